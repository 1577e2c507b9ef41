# SPDX-License-Identifier: Apache-2.0
"""The servers of a zone themselves: which they are, what to ask them, and what an answer says.

What a provider's dashboard shows is not always what its servers serve (CVE-2026-14440), and a
resolver is told by one of them only. There is no I/O here: `direct` asks, `agreement` judges.

Where to ask comes from the resolvers and from the parent's delegation, so from whoever holds any
zone on the way. Hence every count is bounded, and what is beyond is an error: servers that nobody
asked agree with nothing. Only addresses on the public Internet are asked, where CAs ask too: a
zone must not lead us to what listens on this host or in its network (RFC 6890).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa import resolvers
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climb
from certbot_enclave.caa.question import PAYLOAD

if TYPE_CHECKING:
    from dns.message import Message
    from dns.name import Name

PORT = 53
SERVERS = 16  # names of servers of one zone
ADDRESSES = 32  # of all of them
LEVELS = 40  # labels of a name; one below ip6.arpa has 34
LINKS = 16  # aliases in a row; resolvers follow no more
PARENTS = 4  # servers of the parent that are asked for the delegation, until one knows
_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 §2.4: all else in IPv6 is special
# What ipaddress takes for global in some releases: protocol assignments (RFC 6890), what leads to
# an IPv4 address (6to4, RFC 3056), documentation (RFC 9637).
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "2002::/16", "3fff::/20")))


class Served(NamedTuple):
    """What a name has, by one server: an alias, or records, or neither.

    Attributes:
        alias: Name that a CNAME, or a DNAME above, leads to.
        records: Its CAA records, sorted.
    """

    alias: str | None
    records: tuple[Record, ...]


class Expected(NamedTuple):
    """What the resolvers were told of a name, and so each of its servers should serve."""

    name: str
    served: Served


class Server(NamedTuple):
    """One address of a server of a zone.

    Attributes:
        name: From an NS record.
        address: IP address, or None.
        failure: Why there is none.
    """

    name: str
    address: str | None
    failure: str | None = None


def unknown(message: str) -> errors.TransportError:
    """Return the error for what could not be told."""
    return errors.TransportError(
        message,
        code="lookup-failed",
        hint="try again, or mend the zone; without --authoritative only resolvers are asked",
    )


def _name(text: str) -> Name:
    import dns.name

    return dns.name.from_text(text if text == "." else text + ".")


def _text(name: Name) -> str:
    # Whatever is no letter, digit or sign is escaped, so that it is fit for a terminal.
    return name.to_text(omit_final_dot=True).lower()


def expected(climbs: Iterable[Climb]) -> tuple[Expected, ...]:
    """Return what to ask servers about: every name of the climbs, and where their aliases lead.

    Every name, since a set that one server has at a closer name hides the relevant one. Each link
    of a chain of aliases is a question of its own, to the servers of its own zone. Names of a
    single label are left to the resolvers.

    Raises:
        TransportError: More aliases in a row than `LINKS` (``lookup-failed``).
    """
    found: dict[Expected, None] = {}
    for step in (step for climb in climbs for step in climb.steps):
        if len(step.aliases) > LINKS:
            raise unknown(f"{step.name} is an alias of an alias, {len(step.aliases)} in a row")
        links = (step.name, *step.aliases)
        for link, target in zip(links, step.aliases, strict=False):
            found[Expected(link, Served(target, ()))] = None
        found[Expected(links[-1], Served(None, step.records))] = None
    # The root is a label too.
    return tuple(item for item in found if len(_name(item.name)) > 2)


def levels(name: str) -> tuple[str, ...]:
    """Return the names that could be the apex of its zone, the closest first, the root last.

    Raises:
        TransportError: More than `LEVELS` (``lookup-failed``).
    """
    import dns.name

    found = [_name(name)]
    while found[-1] != dns.name.root:
        found.append(found[-1].parent())
    if len(found) > LEVELS:
        raise unknown(f"{name} has {len(found) - 1} labels, expected less than {LEVELS}")
    return tuple(_text(level) for level in found)


def askable(address: str) -> bool:
    """Return True if an IP address is one on the public Internet, and not multicast."""
    found = ipaddress.ip_address(address)
    if any(found in net for net in _SPECIAL) or (found.version == 6 and found not in _UNICAST):
        return False
    return found.is_global and not found.is_multicast


def told_question(name: str, kind: str) -> Message:
    """Make the question to a resolver for the records of a type that is not CAA."""
    import dns.flags
    import dns.message

    return dns.message.make_query(
        _name(name),
        kind,
        flags=dns.flags.RD | dns.flags.AD,
        use_edns=0,
        ednsflags=dns.flags.DO,
        payload=PAYLOAD,
    )


def question(name: str, kind: str = "CAA") -> Message:
    """Make the question to a server of a zone, which shall not ask others."""
    import dns.message

    return dns.message.make_query(_name(name), kind, flags=0, use_edns=0, payload=PAYLOAD)


def _contents(name: str, kind: str, section: Iterable[object]) -> tuple[str, ...]:
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset

    owner, rdtype = _name(name), dns.rdatatype.from_text(kind)
    return tuple(
        _text(item.target) if rdtype == dns.rdatatype.NS else item.address
        for rrset in section
        if isinstance(rrset, dns.rrset.RRset)
        and (rrset.name, rrset.rdclass, rrset.rdtype) == (owner, dns.rdataclass.IN, rdtype)
        for item in rrset
    )


def told(name: str, kind: str, label: str, answer: Message) -> tuple[str, ...]:
    """Read what a resolver says of a name's own records; those behind an alias are another's.

    Args:
        name: The name asked about.
        kind: ``NS``, ``A`` or ``AAAA``.
        label: Who answered.
        answer: What came.

    Returns:
        Names or addresses; none if there are none.

    Raises:
        TransportError: The answer says nothing (``lookup-failed``).
    """
    failure = resolvers.unusable(name, answer)
    if failure is not None:
        raise unknown(f"{label} could not tell the {kind} records of {name}: {failure}")
    return _contents(name, kind, answer.answer)


def delegated(zone: str, answer: Message) -> tuple[str, ...]:
    """Read to whom a server of the parent delegates a zone; nobody if it does not say.

    A server that has both zones answers for the lower one (RFC 1034 §4.3.2).
    """
    return _contents(zone, "NS", (*answer.answer, *answer.authority))


def served(server: Server, name: str, answer: Message) -> Served | str:
    """Read what a server has for a name, or why it has nothing to say.

    What follows behind an alias is left out: whose word that is, another zone says.

    Raises:
        FormatError: The answer contradicts itself.
    """
    found = resolvers.read(name, server.name, answer, authoritative=True)
    if found.failure is not None:
        return found.failure
    return Served(found.aliases[0], ()) if found.aliases else Served(None, found.records)


def names_of(zone: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a zone's servers, each once, in order.

    Raises:
        TransportError: More than `SERVERS` (``lookup-failed``).
    """
    found = sorted(set(names))
    if len(found) > SERVERS:
        raise unknown(f"{zone} has {len(found)} servers, and no more than {SERVERS} are asked")
    return tuple(found)


def servers_of(zone: str, servers: Iterable[Server]) -> tuple[Server, ...]:
    """Return the servers of a zone, each address once, IPv4 first, those without one last.

    Raises:
        TransportError: More than `ADDRESSES` (``lookup-failed``).
    """
    nowhere: list[Server] = []
    somewhere: dict[str, Server] = {}
    for server in sorted(servers, key=lambda server: (server.name, server.address or "")):
        if server.address is None:
            nowhere.append(server)
        else:
            somewhere.setdefault(server.address, server)
    if len(somewhere) > ADDRESSES:
        raise unknown(
            f"the servers of {zone} have {len(somewhere)} addresses, and no more than "
            f"{ADDRESSES} are asked"
        )
    return (*sorted(somewhere.values(), key=lambda server: ":" in str(server.address)), *nowhere)
