# SPDX-License-Identifier: Apache-2.0
"""Start a server, wait until it is ready, stop it; it never outlives its parent."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

START = 20.0  # seconds
LOOK = 0.02  # seconds between looks
STOP = 5.0
_PACKAGES = {
    "knotd": "knot",
    "keymgr": "knot",
    "knsupdate": "knot-dnsutils",
    "kzonecheck": "knot-dnssecutils",
    "named-checkzone": "bind9-utils",
    "nsd": "nsd",
    "nsd-checkzone": "nsd",
    "nsupdate": "bind9-dnsutils",
    "pdns_server": "pdns-server pdns-backend-sqlite3",
    "unbound": "unbound",
    "pebble": "pebble",
    "nginx": "nginx-light",
    "curl": "curl",
    "strace": "strace",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """Return the path of a program, or say how to install it."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise FileNotFoundError(
            f"{name} is not installed: apt-get install --no-install-recommends {_PACKAGES[name]}"
        )
    return found


def free_port() -> int:
    """Return a port that is free for both UDP and TCP on loopback."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def accepts(port: int) -> bool:
    """Return True if something accepts TCP connections on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(holds: Callable[[], bool], seconds: float = START) -> bool:
    """Look until it holds; False if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


@contextmanager
def listener(port: int) -> Iterator[None]:
    """Take a port on loopback."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


class Process:
    """A server process, started at once.

    Args:
        command: Program and arguments.
        log: File for what it prints.
        ready: Returns True once it serves.
        environment: Its whole environment.
        directory: Where it starts.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool],
        environment: dict[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        words = [str(word) for word in command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # The kernel kills it when we die, even by SIGKILL.
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", program(words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment or {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd=directory,
            )
        ended = self._process.poll
        if not eventually(lambda: ready() or ended() is not None) or ended() is not None:
            self.stop()
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{words[0]} did not start:\n{tail}")

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def stop(self) -> None:
        """Terminate, then kill; safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class Server:
    """What stops its one process when its ``with`` block ends."""

    _process: Process

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._process.stop()
