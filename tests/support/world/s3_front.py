# SPDX-License-Identifier: Apache-2.0
"""What stands before an S3 endpoint and holds the requests that a test names."""

from __future__ import annotations

import contextlib
import http.client
import queue
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support.world.http_service import HttpService

_HOLD = 120.0  # seconds at most
_LOOK = 0.02  # seconds between looks at a held client


class _Rule(NamedTuple):
    method: str
    key: str
    phase: str


class S3Front(HttpService):
    """Forwards requests as they are.

    Args:
        endpoint: URL of the S3 endpoint, ``http:``.

    Attributes:
        late: Statuses that the endpoint answered to requests whose clients had gone long before.
    """

    def __init__(self, endpoint: str) -> None:
        self._server_at = urlsplit(endpoint).netloc
        self._rules: list[_Rule] = []
        self._reached: queue.Queue[_Rule] = queue.Queue()
        self._released = threading.Event()
        self.late: list[int] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService.handler`."""
        return _handler(self)

    def stall(self, method: str, key: str, phase: str) -> None:
        """Hold the next such request of which the key has this end.

        Args:
            method: Of the request.
            key: End of its path.
            phase: ``before`` the store has heard it; ``after``, when the answer is on its way;
                ``late``: as before, and it is heard in the end even if its client has gone.
        """
        self._rules.append(_Rule(method, key, phase))

    def wait_stalled(self, timeout: float = 10.0) -> _Rule:
        """Wait until a request is held; each is told once."""
        return self._reached.get(timeout=timeout)

    def release(self) -> None:
        """Let what is held go on, unless its client has gone."""
        self._released.set()
        self._released = threading.Event()

    def clear(self) -> None:
        """Hold nothing that has not come yet."""
        self._rules.clear()

    def hold(self, method: str, path: str, phase: str, client: socket.socket) -> bool:
        """Wait if it is to be held; False if the client has gone."""
        for rule in self._rules:
            if (rule.method, rule.phase) == (method, phase) and path.endswith(rule.key):
                self._rules.remove(rule)
                released = self._released
                self._reached.put(rule)
                return released.wait(_HOLD) if phase == "late" else _goes_on(client, released)
        return phase != "late"

    def forward(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the endpoint."""
        with contextlib.closing(http.client.HTTPConnection(self._server_at, timeout=30)) as there:
            there.request(method, path, body, headers)
            reply = there.getresponse()
            return reply.status, reply.getheaders(), reply.read()


def _goes_on(client: socket.socket, released: threading.Event) -> bool:
    for _ in range(int(_HOLD / _LOOK)):
        go = released.wait(_LOOK)
        readable, _, _ = select.select([client], [], [], 0)
        # A killed process closes its end: looked at first, so that it is never heard afterwards.
        with contextlib.suppress(ConnectionResetError):
            if not readable or client.recv(1, socket.MSG_PEEK):
                if go:
                    return True
                continue
        return False
    return False


def _handler(front: S3Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, method = self.path, self.command
            if not front.hold(method, path, "before", self.connection):
                return
            late = front.hold(method, path, "late", self.connection)
            status, headers, answer = front.forward(method, path, body, dict(self.headers))
            if late:
                front.late.append(status)
                return
            if not front.hold(method, path, "after", self.connection):
                return
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_HEAD = do_PUT = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
