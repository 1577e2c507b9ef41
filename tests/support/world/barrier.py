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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

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


class S3Barrier:
    """A front before an S3 endpoint that holds who puts a bundle there.

    Args:
        url: Of the endpoint.

    Attributes:
        url: Of the front; what is named in the settings.
    """

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._gate: threading.Event | None = None
        self._queue: list[threading.Event] = []
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> S3Barrier:
        """Start."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; whoever is held goes on."""
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

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
        writes = method == "PUT" and path.partition("?")[0].endswith("/bundle")
        gate = self._gate
        if writes and gate is not None:
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


def _handler(barrier: S3Barrier) -> type[BaseHTTPRequestHandler]:
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
