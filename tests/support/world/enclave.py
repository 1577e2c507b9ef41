# SPDX-License-Identifier: Apache-2.0
"""A simulated enclave with its directories, and the commands that run in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from certbot_enclave import statement
from certbot_enclave.statement import Statement

BIN = Path(sys.executable).parent
TIMEOUT = 120  # seconds; certbot can hang on an exception between its own threads


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything it printed."""
        return self.out + self.err

    def ok(self) -> Outcome:
        """Return itself if it succeeded, and fail with what it printed if not."""
        if self.code != 0:
            raise AssertionError(f"{' '.join(self.command)}: exit {self.code}\n{self.text}")
        return self


@dataclass
class Enclave:
    """A simulated enclave that talks to one CA and asks given resolvers.

    Attributes:
        state: Its directory, best on tmpfs.
        server: ACME directory.
        tls_root: Roots for the ACME server.
        resolver: Resolvers, comma-separated.
        http_port: Where http-01 is answered.
        domains: What it is for.
        extra: More settings, as the options of ``certbot-enclave``.
        issuer: What the CA is called in CAA records; it is in no table of those that enforce RFC
            8657, so every enclave and every policy for one accepts it.
        environment: Added to the scrubbed environment.
        terse: Leave out settings that ``register`` saved.
        wrapper: Words before every command, such as strace and its options.
    """

    state: Path
    server: str
    tls_root: Path
    resolver: str
    http_port: int
    domains: tuple[str, ...] = ("example.test",)
    extra: dict[str, str | bool] = field(default_factory=dict)
    issuer: str = "ca.test"
    environment: dict[str, str] = field(default_factory=dict)
    terse: bool = False
    wrapper: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "tmp").mkdir(exist_ok=True)
        self.image = self.state / "app.bin"
        self.simulator = self.state / "enclave"
        self.config = self.state / "config"
        self.bundle = self.state / "host" / "bundle"
        self.evidence = self.config / "enclave" / "evidence.json"
        if not self.simulator.exists():
            self.image.write_bytes(b"the measured application, version 1\n")
            self.bundle.parent.mkdir()
            self.run(
                "certbot-enclave", "simulate", str(self.simulator), "--image", str(self.image)
            ).ok()

    def start(
        self, program: str, *arguments: str, output: int | IO[str] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start one command and do not wait for it; the caller does, or kills it."""
        return subprocess.Popen(
            [*self.wrapper, str(BIN / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.full_environment,
            start_new_session=True,
            # Whoever runs the tests in the background may have SIGINT ignored, and so would it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, program: str, *arguments: str, input: str | None = None) -> Outcome:
        """Run one command with an environment of its own."""
        command = (*self.wrapper, str(BIN / program), *arguments)
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=self.full_environment,
        )
        return Outcome((program, *arguments), done.returncode, done.stdout, done.stderr)

    @property
    def full_environment(self) -> dict[str, str]:
        """What the commands get."""
        return {
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "TMPDIR": str(self.state / "tmp"),
            **self.environment,
        }

    @property
    def directories(self) -> list[str]:
        """certbot's options for its directories."""
        return [
            f"--{name}-dir={self.state / folder}"
            for name, folder in (("config", "config"), ("work", "work"), ("logs", "logs"))
        ]

    def settings(self, prefix: str) -> list[str]:
        """Options for the settings; `prefix` is ``--`` or ``--enclave-``."""
        table: dict[str, str | bool] = {
            "attester": f"simulated:{self.simulator}",
            "sealer": f"simulated:{self.simulator}",
            "store": f"file:{self.bundle}",
            "ca-roots": str(self.tls_root),
            "resolver": self.resolver,
            "allow-issuer": self.issuer,
            **self.extra,
        }
        return [
            f"{prefix}{name}" if value is True else f"{prefix}{name}={value}"
            for name, value in table.items()
            if value is not False
        ]

    def ours(self, command: str, *more: str) -> Outcome:
        """``certbot-enclave COMMAND`` with this enclave's directories and settings."""
        return self.run("certbot-enclave", *self.our_words(command, *more))

    def our_words(self, command: str, *more: str) -> list[str]:
        """Arguments of ``certbot-enclave COMMAND``; those of certbot come last, behind ``--``."""
        return [command, *self.directories, *self.settings("--"), *more]

    def letting(self, verb: str, *more: str, own: tuple[str, ...] = ()) -> list[str]:
        """Arguments of ``certbot-enclave run -- VERB`` with this enclave's ports and CA."""
        options = [
            f"--http-01-port={self.http_port}",
            "--http-01-address=127.0.0.1",
            "--no-random-sleep-on-renew",
        ]
        if verb in ("certonly", "run"):
            options += [f"--server={self.server}", *(f"--domain={name}" for name in self.domains)]
        return self.our_words("run", *own, "--", verb, *options, *more)

    def let(self, verb: str, *more: str, own: tuple[str, ...] = ()) -> Outcome:
        """``certbot-enclave run -- VERB``."""
        return self.run("certbot-enclave", *self.letting(verb, *more, own=own))

    def registering(self, *more: str, agree: bool = True) -> list[str]:
        """Arguments of ``certbot-enclave register``."""
        return [
            "register",
            f"--domains={','.join(self.domains)}",
            f"--server={self.server}",
            *(["--agree-tos"] if agree else []),
            *self.directories,
            *self.settings("--"),
            "--challenge=http-01",
            *more,
        ]

    def register(self, *more: str, agree: bool = True) -> Outcome:
        """``certbot-enclave register``."""
        return self.run("certbot-enclave", *self.registering(*more, agree=agree))

    def registered(self) -> dict[str, Any]:
        """Register, and return what it printed as JSON."""
        table: dict[str, Any] = json.loads(self.register("--json").ok().out)
        return table

    def words(self, verb: str, *more: str, names: bool = True, server: bool = True) -> list[str]:
        """Arguments of ``certbot VERB`` with this enclave's directories, settings and ports."""
        options = [
            "--non-interactive",
            *self.directories,
            *([] if self.terse else self.settings("--enclave-")),
            f"--http-01-port={self.http_port}",
            "--http-01-address=127.0.0.1",
            "--no-random-sleep-on-renew",
            "--max-log-backups=5",
        ]
        if server:
            options.append(f"--server={self.server}")
        if names:
            options += [f"--domain={name}" for name in self.domains]
        return [verb, *options, *more]

    def said(self) -> Statement:
        """Return the statement in the evidence that is placed now; nothing is verified."""
        return statement.parse(statement.parse_evidence(self.evidence.read_bytes()).text)

    def sibling(self, name: str, image: bytes, *, shared: tuple[str, ...] = ()) -> Enclave:
        """Make another enclave beside this one, at the same CA and resolver.

        Args:
            name: Of its directory.
            image: What it measures.
            shared: What it has of our simulator: ``root.key`` and ``root.pem`` are the hardware,
                ``sealing.key`` is the key service.
        """
        other = replace(self, state=self.state.parent / name, extra={}, terse=False)
        other.image.write_bytes(image)
        for part in shared:
            shutil.copy(self.simulator / part, other.simulator / part)
        return other

    def later(self, seconds: float) -> Enclave:
        """Return this enclave at a later time; what runs in it is that of this one."""
        words = (sys.executable, str(Path(__file__).with_name("later.py")), str(seconds))
        other = replace(self, wrapper=(*self.wrapper, *words))
        other.config = self.config
        return other

    def certbot(self, verb: str, *more: str, names: bool = True, server: bool = True) -> Outcome:
        """``certbot VERB``."""
        return self.run("certbot", *self.words(verb, *more, names=names, server=server))

    def issue(self, *more: str, verb: str = "certonly") -> Outcome:
        """``certbot certonly --authenticator enclave``."""
        return self.certbot(verb, "--authenticator=enclave", *more)

    def renew(self, *more: str) -> Outcome:
        """``certbot renew --force-renewal``."""
        return self.certbot("renew", "--force-renewal", *more, names=False, server=False)

    def restore(self) -> Outcome:
        """``certbot-enclave restore --json``."""
        words = [*self.directories, *self.settings("--"), "--json"]
        return self.run("certbot-enclave", "restore", *words)

    def certificate(self, name: str = "example.test") -> bytes:
        """Return the certificate that certbot holds, PEM."""
        return (self.config / "live" / name / "cert.pem").read_bytes()

    def reboot(self) -> None:
        """Lose everything that was in RAM; the host keeps the bundle."""
        for folder in ("config", "work", "logs", "tmp"):
            shutil.rmtree(self.state / folder, ignore_errors=True)
        os.mkdir(self.state / "tmp")
