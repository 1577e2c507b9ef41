# SPDX-License-Identifier: Apache-2.0
"""Many questions on the way to one resolver: over few UDP sockets, or kept connections.

Only `certbot_enclave.caa.bulk` and what it drives use this: the plugin and its gate ask one
question at a time (`certbot_enclave.caa.resolvers`), with the same rules for what an answer is.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import doh, http2
from certbot_enclave.caa.question import Query
from certbot_enclave.caa.resolvers import DnsResolver, parse

if TYPE_CHECKING:
    from dns.message import Message

SOCKETS = 4  # UDP: a resolver with several threads gives each its share of our ports
STREAMS = 2  # connections
CONNECTS = 3  # attempts that fail in a row; after them nothing more is tried in this run


class _Waiting:
    """Questions on one socket or connection, by id."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[bytes]] = {}

    def add(self, query: Query) -> asyncio.Future[bytes]:
        """Wait for the answer to a question; it gets another id if its own is taken."""
        while query.id in self._futures:
            query.id = random.SystemRandom().randrange(1 << 16)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._futures[query.id] = future
        return future

    def drop(self, query: Query) -> None:
        """Wait no longer."""
        self._futures.pop(query.id, None)

    def answered(self, wire: bytes) -> None:
        """Hand over what came; an answer that nobody waits for, or waits for any more, is lost."""
        future = self._futures.get(int.from_bytes(wire[:2], "big")) if len(wire) > 1 else None
        if future is not None and not future.done():
            future.set_result(wire)

    def failed(self, error: Exception) -> None:
        """Tell all who wait that nothing will come."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)


class _Socket(asyncio.DatagramProtocol):
    """One UDP socket, connected: the kernel drops what comes from elsewhere."""

    def __init__(self) -> None:
        self.waiting = _Waiting()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.waiting.answered(data)

    def error_received(self, exc: Exception) -> None:
        self.waiting.failed(exc)


class Datagrams:
    """Plain UDP: to a resolver on loopback, or to a server of a zone.

    Args:
        resolver: Where.
        count: How many sockets.
    """

    def __init__(self, resolver: DnsResolver, *, count: int = SOCKETS) -> None:
        self._resolver, self._count = resolver, count
        self._sockets: list[tuple[asyncio.DatagramTransport, _Socket]] = []
        self._lock = asyncio.Lock()
        self._turn = 0

    async def _open(self) -> None:
        async with self._lock:
            while len(self._sockets) < self._count:
                made = await asyncio.get_running_loop().create_datagram_endpoint(
                    _Socket, remote_addr=(self._resolver.address, self._resolver.port)
                )
                self._sockets.append(made)

    async def ask(self, query: Query) -> bytes:
        """Send a question and return what came back, unread.

        Raises:
            OSError: The kernel says that nobody listens.
        """
        if len(self._sockets) < self._count:
            await self._open()
        self._turn += 1
        transport, protocol = self._sockets[self._turn % len(self._sockets)]
        future = protocol.waiting.add(query)
        try:
            transport.sendto(query.to_wire())
            return await future
        finally:
            protocol.waiting.drop(query)

    def close(self) -> None:
        """Close the sockets."""
        for transport, _ in self._sockets:
            transport.close()


class _Connection(ABC):
    """One connection with several questions on the way.

    Attributes:
        open: More can be asked.
        heard: How many answers came.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.open, self.heard = True, 0
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        error: Exception
        try:
            while True:
                await self._receive()
        except (OSError, EOFError) as caught:
            error = caught
        self.close()
        self._failed(error)

    @abstractmethod
    async def _receive(self) -> None:
        """Read something, and hand over the answers in it."""

    @abstractmethod
    def _failed(self, error: Exception) -> None:
        """Tell all who wait that nothing will come."""

    @abstractmethod
    async def ask(self, query: Query) -> Message:
        """Send a question and return the answer."""

    def close(self) -> None:
        self.open = False
        self._writer.close()

    async def end(self) -> None:
        self.open = False
        self._task.cancel()
        # Nobody waits for TLS to say good-bye.
        self._writer.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)


class _Framed(_Connection):
    """DNS over TCP or TLS, the answers in any order (RFC 7766 §6.2.1.1, RFC 7858 §3.3)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting = _Waiting()
        super().__init__(reader, writer)

    async def _receive(self) -> None:
        size = int.from_bytes(await self._reader.readexactly(2), "big")
        wire = await self._reader.readexactly(size)
        self.heard += 1
        self._waiting.answered(wire)

    def _failed(self, error: Exception) -> None:
        self._waiting.failed(error)

    async def ask(self, query: Query) -> Message:
        future = self._waiting.add(query)
        try:
            wire = query.to_wire()
            self._writer.write(len(wire).to_bytes(2, "big") + wire)
            return parse(query, await future)
        finally:
            self._waiting.drop(query)


class _Https(_Connection):
    """DNS over HTTPS, each question on a stream of its own."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, resolver: DnsResolver
    ) -> None:
        self._http = http2.Multiplexer(doh.head(resolver))
        self._futures: dict[doh.Exchange, asyncio.Future[None]] = {}
        super().__init__(reader, writer)

    async def _receive(self) -> None:
        data = await self._reader.read(http2.CHUNK)
        if not data:
            raise EOFError
        for exchange in self._http.received(data):
            self.heard += 1
            future = self._futures[exchange]
            if not future.done():
                future.set_result(None)
        self._send()
        # Who sends and does not read is not read either.
        await self._writer.drain()

    def _failed(self, error: Exception) -> None:
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)

    def _send(self) -> None:
        if self.open and not self._writer.is_closing():
            self._writer.write(self._http.to_send())

    async def ask(self, query: Query) -> Message:
        exchange = doh.exchange_for(query)
        self._http.add(exchange)
        future = self._futures[exchange] = asyncio.get_running_loop().create_future()
        try:
            self._send()
            await future
            return exchange.answer()
        finally:
            del self._futures[exchange]
            self._http.drop(exchange)
            self._send()


class Streams:
    """Kept connections to a resolver: HTTPS, TLS where it has a name to prove, TCP otherwise.

    Args:
        resolver: Where.
    """

    def __init__(self, resolver: DnsResolver) -> None:
        self._resolver = resolver
        self._slots: list[asyncio.Task[_Connection] | None] = [None] * STREAMS
        self._failures = 0
        self._error: OSError | EOFError | errors.TransportError | None = None
        self._turn = 0

    async def _connect(self) -> _Connection:
        if self._failures >= CONNECTS and self._error is not None:
            raise self._error
        resolver = self._resolver
        try:
            context = resolver.context() if resolver.tls_name else None
            async with asyncio.timeout(resolver.timeout):
                reader, writer = await asyncio.open_connection(
                    resolver.address, resolver.port, ssl=context, server_hostname=resolver.tls_name
                )
            connection = self._made(reader, writer)
        except (OSError, EOFError, errors.TransportError) as error:
            self._failures, self._error = self._failures + 1, error
            raise
        self._failures = 0
        return connection

    def _made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Connection:
        if self._resolver.path is None:
            return _Framed(reader, writer)
        try:
            doh.require_http2(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        except errors.TransportError:
            writer.transport.abort()
            raise
        return _Https(reader, writer, self._resolver)

    async def _connection(self) -> _Connection:
        """Return an open connection; those who need one at once share one attempt."""
        self._turn += 1
        slot = self._turn % STREAMS
        task = self._slots[slot]
        if task is None or (
            task.done() and (task.exception() is not None or not task.result().open)
        ):
            task = self._slots[slot] = asyncio.create_task(self._connect())
        # Whoever runs out of time ends its own wait, and not that of the others.
        return await asyncio.shield(task)

    async def ask(self, query: Query) -> Message:
        """Send a question and return the answer.

        Raises:
            OSError, EOFError: There is no connection, or it ended before any answer came.
            TransportError, FormatError, DNSException: What came is no answer to it.
        """
        while True:
            connection = await self._connection()
            heard = connection.heard
            try:
                return await connection.ask(query)
            except (OSError, EOFError):
                # Servers end a connection after some questions; those on the way go to the next.
                if connection.open or connection.heard == heard:
                    raise

    async def ask_alone(self, query: Query) -> Message:
        """Ask as `ask` does, over a connection of its own, for servers that take one question."""
        connection = await self._connect()
        try:
            return await connection.ask(query)
        finally:
            await connection.end()

    async def close(self) -> None:
        """Close the connections."""
        tasks = [task for task in self._slots if task is not None]
        for task in tasks:
            task.cancel()  # does nothing to one that is done
        for made in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(made, _Connection):
                await made.end()
