# SPDX-License-Identifier: Apache-2.0
"""Start a test CA as a process of its own, ask and steer it, and stop it whatever happens."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import trustme

TOP = Path(__file__).parents[3]
START_SECONDS = 20.0
STOP_SECONDS = 5.0
CALL_SECONDS = 10.0


class TestCA:
    """A running test CA; use it in a ``with`` statement.

    It dies with the thread that started it (PR_SET_PDEATHSIG), so start it from the main thread.

    Args:
        tls_authority: Signs the server's TLS certificate; a new one unless given.
        settings: See the package's docstring.

    Attributes:
        port: The HTTPS port.
        control_port: The control port.
        directory_url: The ACME directory.
        tls_root: PEM file of the root that the TLS certificate leads to.
        issuer_root: PEM file of the root that issued certificates lead to.
        log_file: What the process wrote to stderr: empty unless it has a defect.
    """

    __test__ = False  # not a class of tests, whatever its name begins with

    port: int
    control_port: int
    directory_url: str

    def __init__(self, *, tls_authority: trustme.CA | None = None, **settings: Any) -> None:
        self._settings = settings
        self._tls_authority = tls_authority
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TestCA:
        """Start, and wait until it listens."""
        self._folder = tempfile.TemporaryDirectory(prefix="test-ca-")
        try:
            self._start(Path(self._folder.name))
        except BaseException:  # nothing may be left behind, not even after Ctrl-C
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _start(self, folder: Path) -> None:
        self.tls_root = folder / "tls-root.pem"
        self.issuer_root = folder / "issuer-root.pem"
        self.log_file = folder / "stderr"
        hostname = self._settings.get("hostname", "localhost")
        authority = self._tls_authority or trustme.CA()
        certificate = authority.issue_cert(hostname, "localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.tls_root))
        pem = folder / "tls-server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
        pem.chmod(0o600)
        config = folder / "config.json"
        defaults = {
            "tls_certificate": str(pem),
            "tls_key": str(pem),
            "issuer_root_file": str(self.issuer_root),
        }
        config.write_text(json.dumps(defaults | self._settings))
        command = [sys.executable, "-m", "tests.support.ca", "--config", str(config)]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                cwd=TOP,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        ready = self._ready(self._process)
        self.port, self.control_port = ready["port"], ready["control_port"]
        self.directory_url = f"https://{hostname}:{self.port}/directory"
        self.counts()

    def _ready(self, process: subprocess.Popen[bytes]) -> dict[str, int]:
        stdout = process.stdout
        if stdout is None:
            raise RuntimeError("a pipe was asked for and did not come")
        readable, _, _ = select.select([stdout], [], [], START_SECONDS)
        line = stdout.readline() if readable else b""
        if not line:
            raise RuntimeError(f"test CA did not start: {self.log_file.read_text().strip()}")
        ports: dict[str, int] = json.loads(line)
        return ports

    def stop(self) -> None:
        """Terminate, then kill; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._folder.cleanup()

    def _call(self, call: str, *, wait: float = 0.0, **arguments: Any) -> Any:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.control_port, timeout=CALL_SECONDS + wait
        )
        try:
            body = json.dumps({"call": call, "arguments": arguments})
            connection.request("POST", "/", body)
            reply = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in reply:
            raise ValueError(reply["error"])
        return reply["result"]

    def counts(self) -> dict[str, dict[str, int]]:
        """``requests`` by resource, and ``events``; what never happened is not there."""
        return dict(self._call("counts"))

    def count(self, kind: str, name: str) -> int:
        """One count, 0 if it never happened; kind is ``requests`` or ``events``."""
        return self.counts()[kind].get(name, 0)

    def accounts(self) -> list[dict[str, Any]]:
        """Accounts: uri, thumbprint, status, contact, bound."""
        return list(self._call("accounts"))

    def deactivate(self, uri: str) -> None:
        """Deactivate an account, as a CA does to one that breaks its terms."""
        self._call("deactivate", uri=uri)

    def certificates(self) -> list[dict[str, Any]]:
        """Issued certificates: account, names, serial (hex), pem, revoked."""
        return list(self._call("certificates"))

    def log(self) -> list[dict[str, Any]]:
        """Requests: resource, method, path, status (0: no answer), problem, account."""
        return list(self._call("log"))

    def caa_log(self) -> list[dict[str, Any]]:
        """CAA decisions: phase, name, account, status, found_at, reason."""
        return list(self._call("caa_log"))

    def stall(self, resource: str, phase: str = "before", times: int = 1) -> None:
        """Hold the next requests of a resource before or after they are processed."""
        self._call("stall", resource=resource, phase=phase, times=times)

    def wait_stalled(self, timeout: float = 10.0) -> dict[str, Any]:
        """Wait for the next stall; each is reported once.

        Raises:
            TimeoutError: None came in ``timeout`` seconds.
        """
        reached = self._call("wait_stalled", wait=timeout, timeout=timeout)
        if reached is None:
            raise TimeoutError(f"no request stalled in {timeout} s")
        return dict(reached)

    def release(self) -> None:
        """Let every stalled request go on."""
        self._call("release")

    def fault(self, resource: str, **fault: Any) -> None:
        """Spoil the next requests of a resource; see control.Fault for the fields."""
        self._call("fault", resource=resource, **fault)

    def clear(self) -> None:
        """Forget stall points and faults that were not reached."""
        self._call("clear")

    def change(self, **changes: Any) -> None:
        """Change settings of the running CA.

        Raises:
            ValueError: A setting is not known, cannot change, or is not acceptable.
        """
        self._call("change", **changes)
