# SPDX-License-Identifier: Apache-2.0
"""A replica as a machine: RAM that can be lost, and processes that can be killed.

The processes of one machine are those that have its TMPDIR, which ``certbot-enclave run`` hands
down, so those whose parent was killed are found as well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cryptography import x509

from tests.support.world.clock import Clock
from tests.support.world.enclave import Enclave
from tests.support.world.process import eventually
from tests.support.world.replica import replica

NAME = "example.test"
_RAM = ("config", "work", "logs", "tls", "tmp")
_GONE = 30.0  # seconds until a killed process is gone


class Machine:
    """A replica that follows the store; it is off at first.

    Args:
        first: As in `replica`; its certificates go to ``tls`` in its directory.
        name: Of this one.
        clock: What it lives by.
        every: Between two looks at the store, as ``follow`` takes it.

    Attributes:
        name: As given.
        enclave: Where to run commands.
    """

    def __init__(self, first: Enclave, name: str, clock: Clock, *, every: str) -> None:
        self.name = name
        self._ram = first.state.parent / name
        self._every = every
        self._follow: subprocess.Popen[str] | None = None
        self.enclave = replica(first, name)
        self.enclave.wrapper += clock.words
        self.enclave.environment = {**first.environment, "TMPDIR": str(self._ram / "tmp")}
        (self._ram / "tmp").mkdir()

    @property
    def log(self) -> Path:
        """What ``follow`` printed, in all boots."""
        return self._ram / "follow.log"

    def on(self) -> None:
        """Start ``follow``, unless it runs."""
        if self._follow is None or self._follow.poll() is not None:
            words = self.enclave.our_words("follow", f"--every={self._every}")
            # It must not outlive the tests, even if those are killed.
            mortal = ("/usr/bin/setpriv", "--pdeathsig", "KILL")
            enclave = replace(self.enclave, wrapper=(*mortal, *self.enclave.wrapper))
            with self.log.open("a") as output:
                self._follow = enclave.start("certbot-enclave", *words, output=output)

    def off(self) -> None:
        """Kill all of its processes, and lose its RAM."""
        self.kill(self.processes)
        for folder in _RAM:
            shutil.rmtree(self._ram / folder)
            (self._ram / folder).mkdir()

    def kill_follow(self) -> None:
        """Kill ``follow``."""
        if self._follow is not None:
            self._follow.kill()
            self._follow.wait()

    def kill(self, find: Callable[[], list[int]]) -> None:
        """Kill what a function finds, until it finds nothing."""

        def gone() -> bool:
            # One that has just been started shows no environment for a moment.
            found = find() or find()
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if self._follow is not None:
                self._follow.poll()
            return not found

        if not eventually(gone, _GONE):
            raise RuntimeError(f"processes of {self.name} are not gone")

    def processes(self) -> list[int]:
        """Return the processes of this machine that live."""
        wanted = os.fsencode(f"TMPDIR={self._ram / 'tmp'}")
        return [pid for pid, environ in _environments() if wanted in environ.split(b"\0")]

    def renewing(self) -> list[int]:
        """Return the same without ``follow``; one that is just being started may be missing."""
        follow = self._follow.pid if self._follow is not None else None
        return [pid for pid in self.processes() if pid != follow]

    def _mark(self, name: str) -> Any:
        try:
            text = (self.enclave.config / "enclave" / "boot.json").read_text()
        except FileNotFoundError:
            return None
        return json.loads(text)[name]

    @property
    def holder(self) -> str | None:
        """This boot, as the ledger names it; None before it has restored anything."""
        return cast("str | None", self._mark("holder"))

    @property
    def generation(self) -> int | None:
        """Where this boot stands; None before it has restored anything."""
        return cast("int | None", self._mark("generation"))

    def place(self) -> str | None:
        """What changes with every deployment; None if nothing is in place."""
        try:
            return os.readlink(self._ram / "tls" / NAME)
        except OSError:
            return None

    def served(self) -> int | None:
        """Serial number of the certificate that the TLS server of this machine has."""
        return _serial(self._ram / "tls" / NAME / "fullchain.pem")

    def held(self) -> int | None:
        """Serial number of the certificate that certbot has here."""
        return _serial(self.enclave.config / "live" / NAME / "cert.pem")


def _environments() -> list[tuple[int, bytes]]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            # That of a process which is dead and not yet waited for is empty.
            found.append((int(name), Path(f"/proc/{name}/environ").read_bytes()))
        except OSError:
            continue
    return found


def _serial(path: Path) -> int | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).serial_number
    except OSError:
        return None
