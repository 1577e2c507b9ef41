# SPDX-License-Identifier: Apache-2.0
"""``caa watch --metrics-listen``: the metrics at ``/metrics`` over plain HTTP, no more."""

from __future__ import annotations

import http.server
import ipaddress
import re
import socket
import socketserver
import threading
from types import TracebackType
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

from certbot_enclave import errors

PATH = "/metrics"
_PATIENCE = 10.0  # seconds that a client may stay silent
_CLIENTS = 32  # at once; Prometheus is one
_ADDRESS = re.compile(r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})")


def parse(text: str) -> tuple[str, int]:
    """Read ``IP:PORT`` or ``[IP]:PORT``.

    Raises:
        PolicyError: It is neither (``metrics-address``).
    """
    match = _ADDRESS.fullmatch(text)
    try:
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ValueError("no address and port")
        if match["six"] is not None:
            return str(ipaddress.IPv6Address(match["six"])), int(match["port"])
        return str(ipaddress.IPv4Address(match["four"])), int(match["port"])
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} is no address and port such as 127.0.0.1:9464 or [::1]:9464",
            code="metrics-address",
        ) from error


class _Handler(MetricsHandler):
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with the metrics, or with 404."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(404)
            return
        super().do_GET()

    def version_string(self) -> str:
        """Name the software, and not Python's version."""
        return "certbot-enclave"


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = _CLIENTS
    daemon_threads = True
    block_on_close = False  # a silent client must not delay the end

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._room = threading.BoundedSemaphore(_CLIENTS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without the library's reverse lookup of the address, which can take long."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread; hang up when there are too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing; the library prints a traceback for each client that hangs up."""


class Scraped:
    """Serves a registry until its ``with`` block ends.

    Args:
        address: From `parse`.
        registry: What to serve.

    Raises:
        TransportError: The port is taken or not allowed (``metrics-port``).
    """

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        handler = type("Handler", (_Handler,), {"registry": registry})
        try:
            self._server = _Server(address, handler)
        except OSError as error:
            host, port = address
            raise errors.TransportError(
                f"cannot listen for Prometheus on {host} port {port}: {error.strerror}",
                code="metrics-port",
                hint="stop what uses the port, or name another with --metrics-listen",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Scraped:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
