# SPDX-License-Identifier: Apache-2.0
"""A server of DNS over HTTPS that does as it is told: real TLS and HTTP/2, and any lie."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

import dns.flags
import dns.message
import dns.rrset
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

NAME = "liar.test"
CAA = '0 issue "ca.test"'
MEDIA_TYPE = "application/dns-message"


def answer(wire: bytes, ttl: int = 300) -> bytes:
    """Answer a question with one record, authenticated."""
    query = dns.message.from_wire(wire)
    found = dns.message.make_response(query, recursion_available=True)
    found.flags |= dns.flags.AD
    found.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", "CAA", CAA))
    return found.to_wire()


class Connection:
    """One connection of the server.

    Attributes:
        http: Its state.
        stream: Its TLS.
        answered: How many answers were begun.
    """

    def __init__(self, http: H2Connection, stream: ssl.SSLSocket) -> None:
        self.http, self.stream, self.answered = http, stream, 0
        self._bodies: dict[int, bytes] = {}

    def reply(
        self,
        number: int,
        body: bytes,
        *extra: tuple[str, str],
        status: str = "200",
        media_type: str | None = MEDIA_TYPE,
    ) -> None:
        """Answer on a stream."""
        head = [(":status", status), *extra]
        if media_type is not None:
            head.append(("content-type", media_type))
        self.http.send_headers(number, head)
        self._bodies[number] = body
        self.answered += 1
        self.flush()

    def reset(self, number: int) -> None:
        """Give a stream up."""
        self.http.reset_stream(number, ErrorCodes.REFUSED_STREAM)

    def flush(self) -> None:
        """Send what the client's windows allow of the bodies."""
        for number, body in list(self._bodies.items()):
            try:
                while True:
                    room = self.http.local_flow_control_window(number)
                    size = min(room, len(body), self.http.max_outbound_frame_size)
                    if body and not size:
                        break
                    self.http.send_data(number, body[:size], end_stream=size == len(body))
                    body = body[size:]
                    if not body:
                        break
            except ProtocolError:  # the client gave it up
                body = b""
            if body:
                self._bodies[number] = body
            else:
                del self._bodies[number]


Act = Callable[[Connection, int, bytes], None]


def truth(connection: Connection, number: int, wire: bytes) -> None:
    """Answer as a server should."""
    connection.reply(number, answer(wire))


def silence(connection: Connection, number: int, wire: bytes) -> None:
    """Never answer."""


class HttpsServer:
    """Listens on loopback, one thread for each connection.

    Args:
        authority: Issues its certificate.
        act: What is done with each question.
        alpn: Protocols it can speak.
        settings: HTTP/2 settings.
        raw: What is done with each connection, in place of HTTP/2.

    Attributes:
        port: Where.
        accepted: How many connections were made.
        heads: Header fields of each request.
        asked: The name of each question.
    """

    def __init__(
        self,
        authority: trustme.CA,
        act: Act = truth,
        *,
        alpn: Sequence[str] = ("h2",),
        settings: dict[SettingCodes, int] | None = None,
        raw: Callable[[ssl.SSLSocket], None] | None = None,
    ) -> None:
        self.act, self._settings, self._raw = act, settings or {}, raw
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME).configure_cert(self._context)
        if alpn:
            self._context.set_alpn_protocols(list(alpn))
        self.accepted = 0
        self.heads: list[dict[str, str]] = []
        self.asked: list[str] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> HttpsServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for stream in list(self._open):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    @property
    def address(self) -> str:
        """``https://127.0.0.1:PORT/dns-query#NAME``."""
        return f"https://127.0.0.1:{self.port}/dns-query#{NAME}"

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                self.accepted += 1
                self._open.add(plain)
                self._begin(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            with self._context.wrap_socket(plain, server_side=True) as stream:
                self._open.add(stream)
                try:
                    (self._raw or self._speak)(stream)
                finally:
                    self._open.discard(stream)
        self._open.discard(plain)

    @staticmethod
    def _read(http: H2Connection, data: bytes) -> list[Event]:
        try:
            return http.receive_data(data)
        except ProtocolError:  # what comes after the server has ended the connection
            return []

    def _speak(self, stream: ssl.SSLSocket) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        if self._settings:
            http.local_settings = Settings(client=False, initial_values=self._settings)
        http.initiate_connection()
        connection = Connection(http, stream)
        wires: dict[int, bytes] = {}
        stream.sendall(http.data_to_send())
        while data := stream.recv(1 << 16):
            for event in self._read(http, data):
                if isinstance(event, RequestReceived):
                    self.heads.append({str(key): str(value) for key, value in event.headers})
                    wires[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    wires[event.stream_id] += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    wire = wires.pop(event.stream_id)
                    name = dns.message.from_wire(wire).question[0].name
                    self.asked.append(name.to_text(omit_final_dot=True))
                    self.act(connection, event.stream_id, wire)
            connection.flush()
            stream.sendall(http.data_to_send())
