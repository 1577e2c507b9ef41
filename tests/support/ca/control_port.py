# SPDX-License-Identifier: Apache-2.0
"""The plain HTTP port on loopback through which a test asks and steers the CA.

POST / with ``{"call": NAME, "arguments": {...}}`` answers ``{"result": ...}``, or 400 with
``{"error": ...}``.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.ca.authority import Authority
from tests.support.ca.control import Fault, Rule


class Calls:
    """Every public method is a call; arguments and results are JSON values."""

    def __init__(self, ca: Authority) -> None:
        self._ca = ca
        self._control = ca.control

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests by resource, and events."""
        return {"requests": dict(self._control.requests), "events": dict(self._control.events)}

    def accounts(self) -> list[dict[str, Any]]:
        """Accounts in the order of their making."""
        with self._ca.state.lock:
            return [
                {
                    "uri": account.uri,
                    "thumbprint": account.jwk.thumbprint,
                    "status": account.status,
                    "contact": account.contact,
                    "bound": account.binding is not None,
                }
                for account in self._ca.state.accounts.values()
            ]

    def deactivate(self, uri: str) -> None:
        """Deactivate an account, as a CA does to one that breaks its terms."""
        with self._ca.state.lock:
            (account,) = (a for a in self._ca.state.accounts.values() if a.uri == uri)
            account.status = "deactivated"

    def certificates(self) -> list[dict[str, Any]]:
        """Issued certificates in the order of their making."""
        with self._ca.state.lock:
            return [
                {
                    "account": self._ca.state.accounts[made.account].uri,
                    "names": made.names,
                    "serial": format(made.leaf.serial_number, "x"),
                    "pem": made.leaf.public_bytes(Encoding.PEM).decode(),
                    "revoked": made.revoked,
                }
                for made in self._ca.state.certificates.values()
            ]

    def log(self) -> list[dict[str, Any]]:
        """Requests that were answered or dropped."""
        return list(self._control.log)

    def caa_log(self) -> list[dict[str, Any]]:
        """CAA decisions."""
        return list(self._control.caa_log)

    def stall(self, resource: str, phase: str, times: int) -> None:
        """Add a stall point."""
        self._control.add_stall(Rule(resource, phase, times))

    def wait_stalled(self, timeout: float) -> dict[str, Any] | None:
        """The next stall, or None."""
        return self._control.wait_stalled(timeout)

    def release(self) -> None:
        """Let stalled requests go on."""
        self._control.release()

    def fault(self, **fault: Any) -> None:
        """Add a fault."""
        self._control.add_fault(Fault(**fault))

    def clear(self) -> None:
        """Forget stall points and faults."""
        self._control.clear()

    def change(self, **changes: Any) -> None:
        """Change settings."""
        self._ca.config = self._ca.config.change(changes)


class ControlServer(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.calls: Calls


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ControlServer

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["call"].startswith("_"):
                raise ValueError("no such call")
            call = getattr(self.server.calls, body["call"])
            status, reply = 200, {"result": call(**body["arguments"])}
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            status, reply = 400, {"error": f"{type(e).__name__}: {e}"}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
