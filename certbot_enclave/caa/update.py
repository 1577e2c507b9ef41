# SPDX-License-Identifier: Apache-2.0
"""Messages of a change in DNS: questions and updates (RFC 2136), and what their replies mean.

No I/O here: `certbot_enclave.caa.primary` sends them. Every reply that counts is signed with the
key (RFC 8945); one that is not, or wrongly, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.tsig import TsigKey

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rdata import Rdata
    from dns.tsig import Key
    from dns.update import UpdateMessage


class Present(NamedTuple):
    """What a server has at a place.

    Attributes:
        records: Its CAA records, sorted.
        ttl: In seconds; None without records.
        alias: A CNAME stands there, or a DNAME above.
        here: The server speaks for the place; False if it only refers to others.
    """

    records: tuple[Record, ...]
    ttl: int | None
    alias: bool
    here: bool


def key_of(key: TsigKey) -> Key:
    """Return the key as dnspython has it; its `repr` has the secret, so it goes no further."""
    import dns.tsig

    return dns.tsig.Key(key.name + ".", key.secret, key.algorithm)


def question(name: str, kind: str) -> Message:
    """Make a question to an authoritative server, not signed yet.

    Args:
        name: Without its final dot.
        kind: ``SOA`` or ``CAA``.
    """
    import dns.message

    return dns.message.make_query(name + ".", kind, flags=0)


def _rdata(record: Record) -> Rdata:
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    # Generic: what is there and has to go may have a tag that dnspython refuses to build.
    return dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.CAA, record.wire())


def replacement(zone: str, changes: Sequence[Change], ttl: int) -> UpdateMessage:
    """Make one update that replaces the sets of several names of a zone, not signed yet.

    The server makes all of it or nothing (RFC 2136 §3.7), and only if each name has exactly the
    records that it had when it was looked at (§2.4.2, §2.4.3) and no alias stands there, beside
    which it would pass over the records without a word (§3.4.2.2).

    Args:
        zone: Without its final dot.
        changes: Of names in that zone.
        ttl: Of the records that come, in seconds.
    """
    import dns.rdatatype
    import dns.update

    message = dns.update.UpdateMessage(zone + ".")
    for change in changes:
        owner = change.name + "."
        for record in change.before:
            message.present(owner, _rdata(record))
        if not change.before:
            message.absent(owner, dns.rdatatype.CAA)
        message.absent(owner, dns.rdatatype.CNAME)
    for change in changes:
        owner = change.name + "."
        message.delete(owner, dns.rdatatype.CAA)
        for record in change.after:
            message.add(owner, ttl, _rdata(record))
    return message


def signed(message: Message, key: TsigKey) -> bytes:
    """Sign a message; return its bytes.

    Raises:
        UpdateError: It is longer than DNS allows (``update-too-large``).
    """
    import dns.exception

    message.use_tsig(key_of(key))
    try:
        return message.to_wire(max_size=65535)
    except dns.exception.TooBig as error:
        raise errors.UpdateError(
            "the update has more than 65535 bytes",
            code="update-too-large",
            hint="name fewer domains at once",
        ) from error


def reply(message: Message, wire: bytes, key: TsigKey, *, label: str) -> Message:
    """Read the reply to a message that `signed` signed.

    Args:
        message: That message.
        wire: What came.
        key: The same key.
        label: Server, for errors.

    Raises:
        TransportError: It says nothing (``reply-malformed``, ``reply-other``, ``reply-unsigned``,
            ``reply-forged``).
        UpdateError: The server does not accept the signature (``tsig-…``), or refuses without one
            of its own (``refused-unsigned``).
    """
    import dns.exception
    import dns.message
    import dns.rcode
    import dns.tsig

    try:
        loose = dns.message.from_wire(wire, keyring=False)
    except dns.exception.DNSException as error:
        raise errors.TransportError(
            f"{label} sent a reply that cannot be read: {type(error).__name__}",
            code="reply-malformed",
        ) from error
    if not message.is_response(loose):
        raise errors.TransportError(f"{label} replied to something else", code="reply-other")
    if not loose.had_tsig:
        rcode = dns.rcode.to_text(loose.rcode())
        if rcode in ("REFUSED", "NOTAUTH"):
            raise errors.UpdateError(
                f"{label} answers {rcode}, without a signature",
                code="refused-unsigned",
                hint="name the primary server of the zone; some servers do not sign what they "
                "say of a zone that they do not have",
            )
        raise errors.TransportError(
            f"{label} sent a reply without a signature ({rcode})",
            code="reply-unsigned",
            hint="name the primary server of the zone itself; nobody vouches for this reply",
        )
    named = f"the key {key.name} ({key.algorithm})"
    try:
        return dns.message.from_wire(wire, keyring=key_of(key), request_mac=message.mac)
    except dns.tsig.PeerBadKey as error:
        raise errors.UpdateError(
            f"{label} does not know {named} for this zone",
            code="tsig-key-unknown",
            hint="name and algorithm must be those in the server's configuration, and the key be "
            "allowed to update the zone",
        ) from error
    except dns.tsig.PeerBadSignature as error:
        raise errors.UpdateError(
            f"{label} has another secret for {named}",
            code="tsig-secret",
            hint="take the key file from the server again",
        ) from error
    except dns.tsig.PeerBadTime as error:
        raise errors.UpdateError(
            f"{label} has another time: its clock and ours differ by more than five minutes",
            code="tsig-time",
            hint="set both clocks by NTP",
        ) from error
    except dns.exception.DNSException as error:
        raise errors.TransportError(
            f"{label} sent a reply whose signature does not hold: {type(error).__name__}",
            code="reply-forged",
            hint="somebody on the way changed it, or another server answers at this address",
        ) from error


def check_code(found: Message, *, label: str, asked: str, also: Sequence[str] = ()) -> str:
    """Check that a server did what it was asked for.

    Args:
        found: From `reply`.
        label: Server, for errors.
        asked: What for.
        also: Further codes that are an answer.

    Returns:
        ``NOERROR``, or one of `also`.

    Raises:
        TransportError: The server failed (``server-failed``).
        UpdateError: It refuses (``server-refused``, ``server-not-authoritative``,
            ``server-rcode``).
    """
    import dns.rcode

    code = dns.rcode.to_text(found.rcode())
    if code == "NOERROR" or code in also:
        return code
    if code == "SERVFAIL":
        raise errors.TransportError(
            f"{label} answers SERVFAIL to {asked}",
            code="server-failed",
            hint="its log says why; then run it again",
        )
    if code == "REFUSED":
        raise errors.UpdateError(
            f"{label} answers REFUSED to {asked}",
            code="server-refused",
            hint="let the key update the zone: update-policy of BIND, an acl with action update "
            "of Knot",
        )
    if code == "NOTAUTH":
        raise errors.UpdateError(
            f"{label} answers NOTAUTH to {asked}",
            code="server-not-authoritative",
            hint="name the primary server of the zone",
        )
    raise errors.UpdateError(
        f"{label} answers {code} to {asked}", code="server-rcode", hint="its log says why"
    )


def zone_at(name: str, found: Message) -> int | None:
    """Return the TTL of denials in a zone (RFC 2308 §5) if the answer says that it begins there.

    Args:
        name: Whose SOA was asked for.
        found: The answer.
    """
    import dns.name
    import dns.rdatatype

    owner = dns.name.from_text(name + ".")
    for rrset in found.answer:
        if rrset.name == owner and rrset.rdtype == dns.rdatatype.SOA:
            return min(int(rrset.ttl), int(rrset[0].minimum))
    return None


def authoritative(found: Message) -> bool:
    """Return True if the server speaks for the name that was asked about."""
    import dns.flags

    return bool(found.flags & dns.flags.AA)


def present(name: str, found: Message) -> Present:
    """Read what a server answered about the CAA records of a name."""
    import dns.name
    import dns.rdatatype

    owner = dns.name.from_text(name + ".")
    records: list[Record] = []
    ttl, alias = None, False
    for rrset in found.answer:
        if rrset.rdtype in (dns.rdatatype.CNAME, dns.rdatatype.DNAME):
            alias = True
        elif rrset.name == owner and rrset.rdtype == dns.rdatatype.CAA:
            records += [Record(item.flags, item.tag, item.value) for item in rrset]
            ttl = int(rrset.ttl)
    return Present(tuple(sorted(records)), ttl, alias, authoritative(found))
