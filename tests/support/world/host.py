# SPDX-License-Identifier: Apache-2.0
"""The hostile host: it holds the network path, so it answers http-01 for any name itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.ca.launcher import TestCA
from tests.support.world.enclave import BIN, TIMEOUT, Outcome


class Host:
    """Stock certbot on the host.

    Args:
        folder: Its directories.
        port: Where CAs validate http-01.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self.accounts = folder / "config" / "accounts"

    def issue(self, ca: TestCA, domain: str = "example.test") -> Outcome:
        """Ask for a certificate, with an account of its own."""
        command = [
            "certbot",
            "certonly",
            "--standalone",
            "--non-interactive",
            "--agree-tos",
            "--register-unsafely-without-email",
            f"--domain={domain}",
            f"--server={ca.directory_url}",
            f"--http-01-port={self._port}",
            "--http-01-address=127.0.0.1",
            *(f"--{name}-dir={self._folder / name}" for name in ("config", "work", "logs")),
        ]
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "REQUESTS_CA_BUNDLE": str(ca.tls_root)},
        )
        return Outcome(tuple(command), done.returncode, done.stdout, done.stderr)
