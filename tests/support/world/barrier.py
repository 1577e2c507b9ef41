# SPDX-License-Identifier: Apache-2.0
"""Writers held at the store itself: each has decided what to replace, and none has replaced it.

For ``file:`` by the lock that every writer takes; for ``s3:`` by a front that passes requests on
and holds those that put a bundle.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.world.http_service import HttpService

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_SECONDS = 60.0  # until an answer, and until a writer that is held goes on by itself


class FileBarrier:
    """Holds who writes to a store ``file:``.

    Args:
        folder: The directory of the bundle.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: int | None = None

    def hold(self) -> None:
        """Hold all writers that come from now on."""
        self._opened = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._opened, fcntl.LOCK_EX)

    def let_others(self) -> None:
        """Hold no more writers; one that is stopped by a signal has left the queue."""
        self.release()

    def held(self) -> int:
        """Return how many writers are held now."""
        inode = f":{self._folder.stat().st_ino} "
        with open("/proc/locks", encoding="ascii") as file:
            return sum("->" in line and "FLOCK" in line and inode in line for line in file)

    def release(self) -> None:
        """Let them all go on, at the same time."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None


class S3Barrier(HttpService):
    """A front before an S3 endpoint that holds who puts a bundle there.

    Args:
        url: Of the endpoint.
    """

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url).netloc
        self._gate: threading.Event | None = None
        self._queue: list[threading.Event] = []

    def __exit__(self, *how: Any) -> None:
        """Stop; whoever is held goes on."""
        self.release()
        super().__exit__(*how)

    def hold(self) -> None:
        """Hold all writers that come from now on."""
        self._gate = threading.Event()

    def let_others(self) -> None:
        """Hold no more writers; whoever is held already stays so."""
        self._gate = None

    def held(self) -> int:
        """Return how many writers are held now."""
        return len(self._queue)

    def release(self) -> None:
        """Let them all go on, at the same time."""
        self._gate = None
        for gate in tuple(self._queue):
            gate.set()

    def pass_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the endpoint, and return its status, header fields and body."""
        gate = self._gate
        if gate is not None and method == "PUT" and path.partition("?")[0].endswith("/bundle"):
            self._queue.append(gate)
            gate.wait(_SECONDS)
            self._queue.remove(gate)
        connection = http.client.HTTPConnection(self._behind, timeout=_SECONDS)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService.handler`."""
        barrier = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, fields, reply = barrier.pass_on(
                    self.command, self.path, dict(self.headers), body
                )
                self.send_response_only(status)
                for name, value in fields:
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_HEAD = do_PUT = _any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
