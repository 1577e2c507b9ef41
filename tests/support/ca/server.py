# SPDX-License-Identifier: Apache-2.0
"""The HTTPS server: HTTP/1.1, one thread for each connection, small limits."""

from __future__ import annotations

import select
import socket
import ssl
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.ca.authority import Authority
from tests.support.ca.control import Control
from tests.support.ca.dispatch import answer, finish, route, spoil
from tests.support.ca.messages import Reply, Request, problem_reply
from tests.support.ca.problem import Problem, malformed

MAX_BODY = 64 * 1024
MAX_DRAIN = 1024 * 1024
IDLE_SECONDS = 30


class AcmeServer(ThreadingHTTPServer):
    """Listens from the moment it is made; ``authority`` is set before it serves."""

    daemon_threads = True
    request_queue_size = 128
    authority: Authority

    def __init__(self, address: tuple[str, int], certificate: str, key: str) -> None:
        super().__init__(address, _Handler)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, so that no client holds up others."""
        request.settimeout(IDLE_SECONDS)
        with self._tls.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are ordinary; anything else is a defect and is shown."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc(file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "TestCA"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: AcmeServer

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        ca = self.server.authority
        request = Request(self.command, self.path, self.headers.get("Content-Type", ""))
        try:
            body = self._body()
            resource, _ = route(self.path)
        except Problem as e:
            if e.status != 404:  # the body was not read: nothing more can follow it
                self.close_connection = True
                self._send(finish(ca, request, problem_reply(e)))
                return
            resource = "other"
        request = Request(self.command, self.path, request.content_type, body)
        ca.control.requests[resource] += 1
        reply = self._pass(ca, ca.control, resource, request)
        problem = account = None
        if reply is not None:
            problem, account = reply.problem, reply.account
        ca.control.log.append(
            {
                "resource": resource,
                "method": self.command,
                "path": self.path,
                "status": reply.status if reply else 0,
                "problem": problem,
                "account": account,
            }
        )
        if reply is None:
            self.close_connection = True
        else:
            self._send(reply)

    def _pass(
        self, ca: Authority, control: Control, resource: str, request: Request
    ) -> Reply | None:
        """Stall points and faults around the real work; None closes without an answer."""
        reply: Reply | None = None
        for phase in ("before", "after"):
            if not control.hold(resource, phase, self._gone):
                return None
            fault = control.take_fault(resource, phase)
            if fault is not None:
                return spoil(ca, request, fault) if fault.status else None
            if phase == "before":
                reply = answer(ca, request)
        return reply

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise malformed("Content-Length is expected", status=411)
        text = self.headers.get("Content-Length")
        if text is None:
            if self.command == "POST":
                raise malformed("Content-Length is expected", status=411)
            return b""
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise malformed("Content-Length is not a number", status=400)
        length = int(text)
        if length > MAX_BODY:
            self._drain(min(length, MAX_DRAIN))
            raise malformed(f"{MAX_BODY} octets at most are expected", status=413)
        return self.rfile.read(length)

    def _drain(self, length: int) -> None:
        """Read what will not be used, or the reset that follows would eat the answer."""
        while length > 0 and (got := len(self.rfile.read(min(length, MAX_BODY)))):
            length -= got

    def _gone(self) -> bool:
        """Whether the client closed: nothing else can arrive while it waits for an answer."""
        connection: socket.socket = self.connection
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        if reply.status != 204:
            if reply.body:
                self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the control port has the log."""
