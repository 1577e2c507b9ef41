# SPDX-License-Identifier: Apache-2.0
"""The client's half of an HTTP/2 connection that only asks (RFC 9113), without I/O.

The library h2 reads and writes the frames and keeps the state. Here is which question goes out
when, and what the server may not do: send frames without end, or keep more here than answers.
`certbot_enclave.caa.doh` says what a question and its answer are.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import grammar

if TYPE_CHECKING:
    from certbot_enclave.caa.doh import Exchange

CHUNK = 1 << 16  # bytes to read at once
FRAME = 1 << 14  # bytes of a frame (RFC 9113 §4.2); h2 itself looks when all of it has come
FRAMES = 4096  # between two answers; whoever sends more keeps us busy


class Multiplexer:
    """The client's half of one connection: questions and bytes in, bytes and answers out.

    Args:
        head: Header fields of every request, but for its length.
    """

    def __init__(self, head: list[tuple[bytes, bytes]]) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.settings import SettingCodes, Settings

        self._head = head
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self._http.initiate_connection()
        self._queue: deque[Exchange] = deque()
        self._streams: dict[int, Exchange] = {}
        self._settled = False
        self._rest = bytearray()
        self._frames_since = 0

    def add(self, exchange: Exchange) -> None:
        """Take a question; it goes out with `to_send`, when the server lets it."""
        self._queue.append(exchange)

    def drop(self, exchange: Exchange) -> None:
        """Wait for an answer no longer."""
        if not exchange.stream:
            with contextlib.suppress(ValueError):
                self._queue.remove(exchange)
        elif not exchange.done:
            self._end(exchange, reset=True)

    def to_send(self) -> bytes:
        """Return what is to be sent now."""
        while self._queue and self._room(len(self._queue[0].wire)):
            exchange = self._queue.popleft()
            exchange.stream = self._http.get_next_available_stream_id()
            self._streams[exchange.stream] = exchange
            length = (b"content-length", b"%d" % len(exchange.wire))
            self._http.send_headers(exchange.stream, [*self._head, length])
            self._http.send_data(exchange.stream, exchange.wire, end_stream=True)
        return self._http.data_to_send()

    def _room(self, size: int) -> bool:
        """Tell whether the server takes one more question (RFC 9113 §5.1.2, §5.2)."""
        settings = self._http.remote_settings
        # Before its settings have come it must take one.
        streams = settings.max_concurrent_streams if self._settled else 1
        window = min(self._http.outbound_flow_control_window, settings.initial_window_size)
        return len(self._streams) < streams and size <= window

    def received(self, data: bytes) -> Iterator[Exchange]:
        """Read what came; yield the exchanges that are done with it.

        Raises:
            EOFError: The server ends the connection.
            ConnectionError: It is not HTTP/2.
        """
        from h2 import events, exceptions

        found: list[events.Event] = []
        broken = None
        try:
            for frame in self._frames(data):
                for event in self._http.receive_data(frame):
                    found.append(event)
                    if isinstance(event, events.DataReceived):
                        size = event.flow_controlled_length
                        self._http.acknowledge_received_data(size, event.stream_id)
        except (exceptions.H2Error, errors.FormatError) as error:
            text = f"{error}".encode("utf-8", "backslashreplace")
            broken = ConnectionError(f"HTTP/2: {grammar.escaped(text)}")
        over = (events.StreamEnded, events.StreamReset)
        ended = {event.stream_id for event in found if isinstance(event, over)}
        for event in found:
            if isinstance(event, events.RemoteSettingsChanged):
                self._settled = True
            exchange = self._streams.get(getattr(event, "stream_id", None) or 0)
            if exchange is None:
                continue
            _step(exchange, event)
            if exchange.error is not None or isinstance(event, over):
                self._end(exchange, reset=exchange.stream not in ended)
                self._frames_since = 0
                yield exchange
        if any(isinstance(event, events.ConnectionTerminated) for event in found):
            # h2 reads nothing behind it, whatever the server would still answer.
            raise EOFError
        if broken is not None:
            raise broken

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Cut what came into frames; keep what is none yet.

        Raises:
            FormatError: One is larger than any may be, as is the beginning of other protocols; or
                they are too many.
        """
        self._rest += data
        while len(self._rest) >= 3:
            size = int.from_bytes(self._rest[:3], "big")
            if size > FRAME:
                raise errors.FormatError(f"a frame of {size} bytes", code="http2-frame")
            if len(self._rest) < 9 + size:
                return
            self._frames_since += 1
            if self._frames_since > FRAMES:
                raise errors.FormatError("frames without an answer", code="http2-frames")
            frame = bytes(self._rest[: 9 + size])
            del self._rest[: 9 + size]
            yield frame

    def _end(self, exchange: Exchange, *, reset: bool) -> None:
        """Forget an exchange; tell the server, unless it knows."""
        from h2 import errors as codes
        from h2 import exceptions

        exchange.done = True
        del self._streams[exchange.stream]
        if reset:
            with contextlib.suppress(exceptions.ProtocolError):  # the connection has ended
                self._http.reset_stream(exchange.stream, codes.ErrorCodes.CANCEL)


def _step(exchange: Exchange, event: object) -> None:
    """Take one event of a stream."""
    from h2 import events

    try:
        if isinstance(event, events.ResponseReceived):
            exchange.begin(list(event.headers))
        elif isinstance(event, events.DataReceived):
            exchange.take(event.data)
        elif isinstance(event, events.StreamReset):
            exchange.error = ConnectionError("HTTP/2: the server gave the question up")
    except (errors.FormatError, errors.TransportError) as error:
        exchange.error = error
