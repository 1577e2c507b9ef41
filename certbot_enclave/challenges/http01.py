# SPDX-License-Identifier: Apache-2.0
"""http-01 (RFC 8555 §8.3), served inside the enclave while an order is validated.

acme's own server answers one connection at a time, so any stranger who connects and says nothing
would keep the CA out; it also serves an index, and looks up the machine's name before it listens.
"""

from __future__ import annotations

import http.server
import logging
import socketserver
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from acme import standalone

from certbot_enclave import errors

logger = logging.getLogger(__name__)

Resource = standalone.HTTP01RequestHandler.HTTP01Resource
_POLL = 0.02  # seconds between looks at the stop flag; the library's 0.5 would delay every issuance
_PATIENCE = 10.0  # seconds that a client may stay silent


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server: _Server

    def do_GET(self) -> None:
        """Answer with the key authorization of this very path, or with 404."""
        body = self.server.answers.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def version_string(self) -> str:
        """Name the software, and not Python's version."""
        return "certbot-enclave"

    def log_message(self, format: str, *args: Any) -> None:
        """Log for debugging; what strangers send is quoted."""
        logger.debug("http-01: %s: %r", self.client_address[0], format % args)


class _Server(socketserver.ThreadingMixIn, standalone.HTTPServer):
    daemon_threads = True
    block_on_close = False  # a silent client must not delay certbot

    def __init__(self, address: tuple[str, int], answers: dict[str, bytes], *, ipv6: bool) -> None:
        self.answers = answers
        super().__init__(address, _Handler, ipv6=ipv6)

    def server_bind(self) -> None:
        """Bind without the library's reverse lookup of the address, which can take long."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log for debugging; the library prints a traceback for each client that hangs up."""
        logger.debug("http-01: %s hung up", client_address, exc_info=True)


class Responder:
    """Serves key authorizations, and nothing else, over plain HTTP.

    Args:
        address: Address to listen on; empty means all.
        port: TCP port. The CA always connects to port 80 of the name; the host forwards it here.
        resources: What to serve.

    Raises:
        TransportError: The port is taken or not allowed (``http01-port``).
    """

    def __init__(self, address: str, port: int, resources: Iterable[Resource]) -> None:
        answers = {item.chall.path: item.validation.encode() for item in resources}
        try:
            self._servers = standalone.BaseDualNetworkedServers(_Server, (address, port), answers)
        except (OSError, OverflowError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise errors.TransportError(
                f"cannot listen for http-01 on {address or 'any address'} port {port}: {reason}",
                code="http01-port",
                hint="stop what uses the port, or name another with "
                "--http-01-port and forward port 80 to it",
            ) from error
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL,), daemon=True)
            for server in self._servers.servers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The port it listens on; tells which one the system chose for 0."""
        number: int = self._servers.getsocknames()[0][1]
        return number

    def __enter__(self) -> Responder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and wait until the port is free; again does nothing."""
        self._servers.shutdown_and_server_close()
        for thread in self._threads:
            thread.join()
