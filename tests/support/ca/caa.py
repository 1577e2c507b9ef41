# SPDX-License-Identifier: Apache-2.0
"""May this account get a certificate for this name? The CAA rules as Boulder applies them.

A second, independent reading of RFC 8659 and RFC 8657, on purpose: nothing here is shared with
the product. Where the RFCs and Boulder differ, Boulder is followed. All input is octets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

NOERROR = 0
SERVFAIL = 2
NXDOMAIN = 3
CRITICAL = 128 | 1  # RFC 8659 has 128; Boulder takes bit value 1 as well
WHITE = b" \t"
KNOWN_AND_IGNORED = {b"iodef", b"issuemail", b"issuevmc"}


@dataclass(frozen=True)
class Answer:
    """What the resolver said to one CAA query.

    Attributes:
        rdatas: RDATA of each CAA record of the answer section, whatever its owner.
        rcode: DNS response code.
        truncated: The TC bit was still set at the end.
    """

    rdatas: tuple[bytes, ...] = ()
    rcode: int = NOERROR
    truncated: bool = False


class LookupFailed(Exception):
    """No usable answer came: time-out, transport error, or a message that cannot be read."""


Lookup = Callable[[str], Answer]


@dataclass(frozen=True)
class Verdict:
    """The decision for one name.

    Attributes:
        status: allowed, denied, or error (the records could not be read: never permission).
        found_at: The name whose record set decided, or "" if none was found.
        reason: Why, for people.
    """

    status: Literal["allowed", "denied", "error"]
    found_at: str
    reason: str


@dataclass(frozen=True)
class _Record:
    flags: int
    tag: bytes
    value: bytes


def check(
    identifier: str,
    wildcard: bool,
    lookup: Lookup,
    *,
    issuer: str,
    account_uris: Collection[str],
    method: str,
) -> Verdict:
    """Decide for one identifier.

    Args:
        identifier: Domain name; a leading ``*.`` means a wildcard and is looked up without it.
        wildcard: The certificate would hold the wildcard of this name.
        lookup: Asks for the CAA records of one name; may raise LookupFailed.
        issuer: The CA's issuer domain name.
        account_uris: Every form of the requesting account's URI.
        method: Validation method label, such as ``http-01``.
    """
    name = identifier.lower().rstrip(".")
    if name.startswith("*."):
        name, wildcard = name[2:], True
    labels = name.split(".")
    for at in (".".join(labels[i:]) for i in range(len(labels))):
        try:
            records = _ask(at, lookup)
        except LookupFailed as e:
            return Verdict("error", "", f"could not look up CAA for {at}: {e}")
        if records:
            return _judge(at, records, wildcard, issuer, account_uris, method)
    return Verdict("allowed", "", "no CAA record at the name or any parent")


def _ask(name: str, lookup: Lookup) -> list[_Record]:
    answer = lookup(name)
    if answer.truncated:
        raise LookupFailed("the answer was truncated")
    if answer.rcode == NXDOMAIN and "." in name:
        return []
    if answer.rcode != NOERROR:
        raise LookupFailed(f"the resolver answered rcode {answer.rcode}")
    return [_parse_rdata(rdata) for rdata in answer.rdatas]


def _parse_rdata(rdata: bytes) -> _Record:
    """Short RDATA is a record with an empty tag; a tag that overruns spoils the message."""
    if len(rdata) < 2:
        return _Record(rdata[0] if rdata else 0, b"", b"")
    end = 2 + rdata[1]
    if end > len(rdata):
        raise LookupFailed("a record's tag length runs past its end")
    return _Record(rdata[0], rdata[2:end].lower(), rdata[end:])


def _judge(
    at: str,
    records: Iterable[_Record],
    wildcard: bool,
    issuer: str,
    account_uris: Collection[str],
    method: str,
) -> Verdict:
    issue: list[bytes] = []
    issuewild: list[bytes] = []
    for record in records:
        if record.tag == b"issue":
            issue.append(record.value)
        elif record.tag == b"issuewild":
            issuewild.append(record.value)
        elif record.tag not in KNOWN_AND_IGNORED and record.flags & CRITICAL:
            return Verdict("denied", at, f"critical property {record.tag!r} is not known")
    values = issuewild if wildcard and issuewild else issue
    if not values:
        return Verdict("allowed", at, "the record set restricts no issuer")
    refusals = []
    for value in values:
        refusal = _refusal(value, issuer, account_uris, method)
        if refusal is None:
            return Verdict("allowed", at, f"{_shown(value)} allows it")
        refusals.append(f"{_shown(value)}: {refusal}")
    return Verdict("denied", at, "; ".join(refusals))


def _shown(value: bytes) -> str:
    return '"' + value.decode("ascii", "backslashreplace") + '"'


def _refusal(value: bytes, issuer: str, account_uris: Collection[str], method: str) -> str | None:
    """Why this one property does not authorise, or None if it does."""
    parsed = _parse_value(value)
    if parsed is None:
        return "malformed"
    domain, parameters = parsed
    if domain != issuer.encode():
        return "another issuer"
    uris = [v for tag, v in parameters if tag == b"accounturi"]
    if len(uris) > 1:
        return "more than one accounturi"
    if uris and uris[0] not in {uri.encode() for uri in account_uris}:
        return "another account"
    lists = [v for tag, v in parameters if tag == b"validationmethods"]
    if len(lists) > 1:
        return "more than one validationmethods"
    if lists and not _method_listed(lists[0], method.encode()):
        return "another validation method"
    return None


def _parse_value(value: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
    first, *rest = value.split(b";")
    domain = first.strip(WHITE)
    if len(rest) == 1 and not rest[0].strip(WHITE):
        return domain, []
    parameters = []
    for part in rest:
        tag, equals, content = (piece.strip(WHITE) for piece in part.partition(b"="))
        if not equals or not re.fullmatch(rb"[0-9A-Za-z]*", tag):
            return None
        if not re.fullmatch(rb"[\x21-\x7e]*", content):
            return None
        parameters.append((tag, content))
    return domain, parameters


def _method_listed(value: bytes, method: bytes) -> bool:
    """Left to right, as Boulder does: a bad label ends the list, a match before it counts."""
    for label in value.split(b","):
        if not re.fullmatch(rb"[A-Za-z0-9-]+", label):
            return False
        if label == method:
            return True
    return False
