# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on loopback, in threads of this process, for the services that the world needs."""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import trustme


class HttpService(ABC):
    """One service; use it as a context, and connections are refused outside.

    Attributes:
        address: Where it listens, ``HOST:PORT``.
        url: The same with its scheme.
    """

    authority: trustme.CA | None = None  # who certifies it; None for plain HTTP
    certified = "127.0.0.1"  # for which name

    @abstractmethod
    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return what answers its requests."""

    def __enter__(self) -> Self:
        """Start."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self._server.daemon_threads = True
        scheme = "http"
        if self.authority is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(self.certified).configure_cert(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"{scheme}://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
