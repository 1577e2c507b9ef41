# SPDX-License-Identifier: Apache-2.0
"""Changes made at the server that holds a zone, by RFC 2136 over TCP, each signed (RFC 8945)."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa import update
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.tsig import TsigKey
from certbot_enclave.caa.update import Present

if TYPE_CHECKING:
    from dns.message import Message

TIMEOUT = 10.0  # seconds for one message and its reply
SHOWN = 8  # records of a set in an error
_FORM = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")
_NO_ZONE = ("server-refused", "server-not-authoritative", "refused-unsigned")
_MOVED = ("NXRRSET", "YXRRSET")  # a prerequisite does not hold (RFC 2136 §3.2)


class Zone(NamedTuple):
    """A zone of the server.

    Attributes:
        name: Without its final dot.
        denied: Seconds for which resolvers keep that something is not there.
    """

    name: str
    denied: int


class Outcome(NamedTuple):
    """What became of one change.

    Attributes:
        change: What was asked for.
        state: ``applied``; ``already``, if the server had it so; ``failed``.
        zone: The zone that holds the name, if it was found.
        old_ttl: Seconds for which others may keep what was there before.
        error: Why it failed, or None.
    """

    change: Change
    state: str
    zone: str | None = None
    old_ttl: int = 0
    error: errors.Error | None = None


def _shown(present: Present) -> str:
    if present.alias:
        return "an alias"
    texts = [record.text() for record in present.records]
    more = [f"{len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return "; ".join([*texts[:SHOWN], *more]) or "no CAA records"


def _same(records: Iterable[Record], others: Iterable[Record]) -> bool:
    return set(records) == set(others)


def _not_here(server: Primary, name: str, zone: str | None = None) -> errors.UpdateError:
    which = "no zone" if zone is None else f"no zone {zone}"
    return errors.UpdateError(
        f"{server.label} speaks for {which} with {name}",
        code="zone-not-here",
        hint="name the primary server of that zone, and a key for it",
    )


@dataclass
class Primary:
    """The server that takes updates of a zone.

    Attributes:
        address: IP address.
        port: TCP.
        key: Signs each message, and must sign each reply.
        timeout: Seconds for one message and its reply.
    """

    address: str
    port: int
    key: TsigKey
    timeout: float = TIMEOUT
    _zones: dict[str, Zone | None] = field(default_factory=dict, init=False, repr=False)

    @property
    def label(self) -> str:
        """``IP:PORT``, for people."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    def _receive(self, stream: socket.socket, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            stream.settimeout(left)
            part = stream.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _send(self, wire: bytes) -> bytes:
        deadline = time.monotonic() + self.timeout
        with socket.create_connection((self.address, self.port), self.timeout) as stream:
            stream.sendall(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(self._receive(stream, 2, deadline), "big")
            return self._receive(stream, size, deadline)

    def _exchange(self, message: Message, hint: str | None = None) -> Message:
        """Send a message, signed; return the reply if its signature holds."""
        from certbot_enclave.caa import failures

        wire = update.signed(message, self.key)
        try:
            answer = self._send(wire)
        except (OSError, EOFError) as error:
            reason, _ = failures.explain(error, self.timeout)
            raise errors.TransportError(
                f"{self.label}: {reason}",
                code="server-unreachable",
                hint=hint or "check --server, and that it takes TCP from here",
            ) from error
        return update.reply(message, answer, self.key, label=self.label)

    def _ask(self, name: str, kind: str) -> Message:
        found = self._exchange(update.question(name, kind))
        asked = f"the question for {kind} of {name}"
        update.check_code(found, label=self.label, asked=asked, also=["NXDOMAIN"])
        return found

    def zone_of(self, name: str) -> Zone | None:
        """Find the zone that holds a name: the closest above it, or its own, that has an SOA.

        Returns:
            None if the server speaks for no such zone: it says so, or refers to other servers.

        Raises:
            TransportError, UpdateError: As `update.reply` and `update.check_code`.
        """
        if name not in self._zones:
            self._zones[name] = self._zone_of(name)
        return self._zones[name]

    def _zone_of(self, name: str) -> Zone | None:
        try:
            found = self._ask(name, "SOA")
        except errors.UpdateError as error:
            # Not signed by Knot for a zone that it does not have. Believing it changes nothing.
            if error.code not in _NO_ZONE:
                raise
            return None
        if not update.authoritative(found):
            return None
        denied = update.zone_at(name, found)
        if denied is not None:
            return Zone(name, denied)
        parent = name.partition(".")[2]
        return self.zone_of(parent) if parent else None

    def present(self, name: str) -> Present:
        """Ask what stands at a name now.

        Raises:
            TransportError, UpdateError: As `zone_of`.
        """
        return update.present(name, self._ask(name, "CAA"))

    def _old_ttl(self, change: Change, present: Present, zone: Zone) -> int:
        """Return for how many seconds others may keep what counted at a name before."""
        kept = [zone.denied if present.ttl is None else present.ttl]
        if present.ttl is None and change.found_at not in (None, change.name):
            # Else it stands on another server, which this one does not speak for.
            with suppress(errors.TransportError, errors.UpdateError):
                kept.append(self.present(str(change.found_at)).ttl or 0)
        return max(kept)

    def _hindrance(self, name: str, present: Present) -> errors.UpdateError | None:
        if present.alias:
            return errors.UpdateError(
                f"an alias stands at {name}, and no record beside one",
                code="place-alias",
                hint="remove the alias, or accept its zone with --allow-alias-zone",
            )
        return None if present.here else _not_here(self, name)

    def replace(self, zone: Zone, changes: Sequence[Change], ttl: int) -> list[Outcome]:
        """Make the changes of one zone: all of those that no alias stands in the way of, or none.

        Args:
            zone: From `zone_of`.
            changes: Of names in that zone.
            ttl: Of the records that come, in seconds.
        """
        outcomes: dict[str, Outcome] = {}
        todo: list[Change] = []
        old: dict[str, int] = {}
        try:
            for change in changes:
                there = self.present(change.name)
                old[change.name] = self._old_ttl(change, there, zone)
                error = self._hindrance(change.name, there)
                if error is not None:
                    outcomes[change.name] = Outcome(change, "failed", zone.name, error=error)
                elif _same(there.records, change.after):
                    outcomes[change.name] = Outcome(change, "already", zone.name, old[change.name])
                else:
                    todo.append(change)
            state = self._update(zone, todo, ttl) if todo else ""
            for change in todo:
                outcomes[change.name] = Outcome(change, state, zone.name, old[change.name])
        except errors.Error as error:
            for change in changes:
                outcomes.setdefault(change.name, Outcome(change, "failed", zone.name, 0, error))
        return [outcomes[change.name] for change in changes]

    def _update(self, zone: Zone, changes: Sequence[Change], ttl: int) -> str:
        """Send the update and read back what stands there then; return the state."""
        found = self._exchange(
            update.replacement(zone.name, changes, ttl),
            "whether it was done is not known; run it again, which is safe",
        )
        asked = f"the update of {zone.name}"
        code = update.check_code(found, label=self.label, asked=asked, also=_MOVED)
        try:
            there = {change.name: self.present(change.name) for change in changes}
        except errors.TransportError as error:
            raise errors.TransportError(
                f"{self.label} answered {code} to {asked}, and then not what it has: {error}",
                code="read-back-failed",
                hint="look with caa diff",
            ) from error
        other = next(
            (item for item in changes if not _same(there[item.name].records, item.after)), None
        )
        if other is None:
            return "applied" if code == "NOERROR" else "already"
        if code in _MOVED:
            moved = next(
                (
                    item
                    for item in changes
                    if there[item.name].alias or not _same(there[item.name].records, item.before)
                ),
                other,
            )
            raise errors.UpdateError(
                f"{self.label} has other records at {moved.name} than resolvers see: "
                f"{_shown(there[moved.name])}",
                code="zone-moved",
                hint="nothing was changed; wait until resolvers see them, then look at the diff "
                "again",
            )
        raise errors.UpdateError(
            f"{self.label} took the update, and has other records at {other.name} now: "
            f"{_shown(there[other.name])}",
            code="zone-differs",
            hint="somebody else changes the zone too, or the server does; look at it",
        )


def parse_server(text: str, key: TsigKey) -> Primary:
    """Read how a server is named.

    Args:
        text: ``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:53``.
        key: Signs.

    Raises:
        PolicyError: It is none of these (``server-invalid``).
    """
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError("form")
        address = ipaddress.ip_address(match["six"] or match["four"])
        port = int(match["port"] or 53)
        if not 1 <= port <= 65535:
            raise ValueError("port")
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} names no server: expected IP[:PORT] or [IPV6]:PORT",
            code="server-invalid",
            hint="give the address of the zone's primary server",
        ) from error
    return Primary(str(address), port, key)


def publish(
    server: Primary, changes: Sequence[Change], *, ttl: int, zone: str | None = None
) -> list[Outcome]:
    """Make changes, one update for each zone.

    Args:
        server: Takes them.
        changes: All of a plan.
        ttl: Of the records that come, in seconds.
        zone: The zone that holds the names, if the server shall not be asked which one does.

    Returns:
        One for each change, in their order; a zone that fails does not keep others from theirs.

    Raises:
        TransportError: The server could not be asked which zones it has; nothing was changed.
    """
    outcomes: dict[str, Outcome] = {}
    zones: dict[Zone, list[Change]] = {}
    for change in changes:
        inside = zone is None or f".{change.name}".endswith(f".{zone}")
        try:
            held = server.zone_of(zone or change.name) if inside else None
        except errors.UpdateError as error:
            outcomes[change.name] = Outcome(change, "failed", error=error)
            continue
        if held is None or (zone is not None and held.name != zone):
            outcomes[change.name] = Outcome(
                change, "failed", error=_not_here(server, change.name, zone)
            )
        else:
            zones.setdefault(held, []).append(change)
    for held, those in zones.items():
        for outcome in server.replace(held, those, ttl):
            outcomes[outcome.change.name] = outcome
    return [outcomes[change.name] for change in changes]
