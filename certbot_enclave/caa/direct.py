# SPDX-License-Identifier: Apache-2.0
"""Asks every server of a zone: the driver of `authoritative`, on asyncio, for many names at once.

Each zone's servers are found once and each name is asked about once in a run, over a UDP socket of
its own (the kernel drops what comes from elsewhere, and the port is a new one), or over TCP if the
answer is truncated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import agreement, authoritative
from certbot_enclave.caa.agreement import Compared, Outcome, Reply
from certbot_enclave.caa.authoritative import Expected, Server
from certbot_enclave.caa.channels import Datagrams, Streams
from certbot_enclave.caa.kept import Kept
from certbot_enclave.caa.lookup import Climb
from certbot_enclave.caa.resolvers import TRIES, DnsResolver, parse

if TYPE_CHECKING:
    from dns.message import Message

OPEN = 64  # questions on the way to all servers
SILENT = 3  # questions in a row that an address does not answer; after them it is asked no more
ELSEWHERE = "its address is not on the public Internet, where CAs would ask it"


class Direct:
    """One run's questions to servers.

    Args:
        told: Asks all resolvers for the records of a name and a type (``NS``, ``A``, ``AAAA``),
            and returns all that any of them told.
        port: Of the servers.
        askable: Whether an address may be asked: `authoritative.askable`.
        timeout: Seconds for one try.
        kept: How many answers of each kind are kept.
    """

    def __init__(
        self,
        told: Callable[[str, str], Awaitable[tuple[str, ...]]],
        *,
        port: int,
        askable: Callable[[str], bool],
        timeout: float,
        kept: int,
    ) -> None:
        self._port, self._askable, self._timeout, self._limit = port, askable, timeout, kept
        self._told = Kept[tuple[str, str], tuple[str, ...]](lambda key: told(*key), kept)
        self._zones = Kept(self._servers, kept)
        self._replies = Kept(self._about, kept)
        self._open = asyncio.Semaphore(OPEN)
        self._silent: dict[str, int] = {}

    async def close(self) -> None:
        """End what is in progress."""
        for kept in (self._replies, self._zones, self._told):
            await kept.close()

    async def compare(self, climbs: Iterable[Climb]) -> Compared:
        """Ask all servers about all names of some climbs."""
        try:
            expected = authoritative.expected(climbs)
        except errors.TransportError as error:
            return Compared((), (), (), error)
        return agreement.compare(await asyncio.gather(*map(self._outcome, expected)))

    async def _outcome(self, expected: Expected) -> Outcome:
        try:
            zone, replies = await self._replies.get(expected.name)
        except errors.TransportError as error:
            return Outcome(expected, "", (), error)
        return Outcome(expected, zone, replies)

    async def _about(self, name: str) -> tuple[str, tuple[Reply, ...]]:
        """Ask all servers of a name's zone for its CAA records."""
        zone = await self._apex(name)
        servers = await self._zones.get(zone)
        return zone, tuple(await asyncio.gather(*(self._ask(item, name) for item in servers)))

    async def _apex(self, name: str) -> str:
        """Find the zone that a name is in."""
        for level in authoritative.levels(name):
            if await self._told.get((level, "NS")):
                return level
        raise authoritative.unknown(f"no zone holds {name}")

    async def _servers(self, zone: str) -> tuple[Server, ...]:
        """Find the servers of a zone: those it names, and those that its parent names."""
        names = {*await self._told.get((zone, "NS")), *await self._delegation(zone)}
        return await self._resolve(zone, names)

    async def _resolve(self, zone: str, names: Iterable[str]) -> tuple[Server, ...]:
        hosts = authoritative.names_of(zone, names)
        found = await asyncio.gather(
            *(self._addresses(host, kind) for host in hosts for kind in ("A", "AAAA"))
        )
        servers = [server for part in found for server in part]
        named = {server.name for server in servers}
        nowhere = [Server(host, None, "it has no address") for host in hosts if host not in named]
        return authoritative.servers_of(zone, [*servers, *nowhere])

    async def _addresses(self, host: str, kind: str) -> tuple[Server, ...]:
        try:
            return tuple(Server(host, item) for item in await self._told.get((host, kind)))
        except errors.TransportError as error:
            return (Server(host, None, str(error)),)

    async def _delegation(self, zone: str) -> tuple[str, ...]:
        """Ask the parent's servers, one after the other, until one says who has a zone."""
        if zone == ".":
            return ()
        parent = await self._apex(authoritative.levels(zone)[1])
        servers = await self._resolve(parent, await self._told.get((parent, "NS")))
        asked = [item for item in servers if item.address and self._askable(item.address)]
        for server in asked[: authoritative.PARENTS]:
            found = await self._exchange(server, zone, "NS", tries=1)
            if not isinstance(found, Reply) and (names := authoritative.delegated(zone, found)):
                return names
        raise authoritative.unknown(
            f"no server of {parent} could be asked who the servers of {zone} are"
        )

    async def _ask(self, server: Server, name: str) -> Reply:
        if server.address is None:
            return Reply(server, failure=server.failure)
        if not self._askable(server.address):
            return Reply(server, failure=ELSEWHERE)
        found = await self._exchange(server, name, "CAA", tries=TRIES)
        if isinstance(found, Reply):
            return found
        try:
            served = authoritative.served(server, name, found)
        except errors.FormatError as error:
            return agreement.failed(server, error, self._timeout)[0]
        if isinstance(served, str):
            return Reply(server, failure=served)
        return Reply(server, served)

    async def _exchange(
        self, server: Server, name: str, kind: str, *, tries: int
    ) -> Message | Reply:
        """Ask a server; return what came, or what is made of its silence."""
        import dns.exception

        address = str(server.address)
        reply = Reply(server, failure=f"it was silent {SILENT} times, and is asked no more")
        async with self._open:
            if self._silent.get(address, 0) >= SILENT:
                return reply
            for _ in range(tries):
                query = authoritative.question(name, kind)
                try:
                    async with asyncio.timeout(self._timeout):
                        message = await self._over_wire(query, address)
                    self._silent.pop(address, None)
                    return message
                except (dns.exception.DNSException, OSError, EOFError, errors.FormatError) as error:
                    reply, again = agreement.failed(server, error, self._timeout)
                    if not again:
                        return reply
        if len(self._silent) >= self._limit:
            self._silent.clear()
        self._silent[address] = self._silent.get(address, 0) + 1
        return reply

    async def _over_wire(self, query: Message, address: str) -> Message:
        import dns.message

        place = DnsResolver(address, address, self._port, timeout=self._timeout)
        datagrams = Datagrams(place, count=1)
        try:
            return parse(query, await datagrams.ask(query), raise_on_truncation=True)
        except dns.message.Truncated:
            pass
        finally:
            datagrams.close()
        return await Streams(place).ask_alone(query)
