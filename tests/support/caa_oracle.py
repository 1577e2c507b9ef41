# SPDX-License-Identifier: Apache-2.0
"""Could somebody else get a certificate? Three CAs' readings of a record set, and who else passes.

Written from the rules that three implementations follow, apart from the product and from the test
CA: nothing here is shared with either.

==============================  ===================  ====================  ======================
rule                            Boulder              open-mpic             opencertserver
==============================  ===================  ====================  ======================
issuer                          octet for octet      lower-cased, a name   lower-cased, no last dot
blanks around parts             space and tab        Unicode's             Unicode's
parameter names                 as written           as written            any case
hyphens in parameter names      void                 allowed               allowed
unknown parameters              ignored              ignored               ignored
parameter without ``=``         void                 void                  ignored
``;`` at the end                void                 void                  ignored
other signs in a parameter      void                 void                  read
``accounturi`` twice            nobody               nobody                nobody
``accounturi`` compared         octet for octet      octet for octet       scheme, host, port, path
``validationmethods`` twice     nobody               common labels         all labels
labels                          as written           as written, or BR's   any case, or BR's
critical property               bits 128 and 1       bit 128               bit 128
known beside issue, issuewild   iodef, issuemail,    iodef, issuemail,     none
                                issuevmc             contactemail, -phone
unreadable tag                  unknown tag          lookup fails: may be  unknown tag
                                                     allowed
==============================  ===================  ====================  ======================
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

cache = functools.lru_cache(maxsize=1024)  # a value is asked about for every stranger

Row = tuple[int, bytes, bytes]  # flags, tag, value

METHODS = ("http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01")
_BR_LABELS = {"http-01": "ca-tbr-19", "dns-01": "ca-tbr-7"}  # Baseline Requirements 4.2.2.1.2
_ELSEWHERE = "elsewhere.example"  # an issuer that no record names
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?")
_PORTS = {"http": 80, "https": 443}


class Request(NamedTuple):
    """Who asks for a certificate, at whose CA, by which method."""

    issuer: str
    account: str
    method: str
    wildcard: bool


class Parsed(NamedTuple):
    """An issue value taken apart by one of them."""

    issuer: str
    accounts: tuple[str, ...]
    lists: tuple[str, ...]  # of methods


def _sorted_out(issuer: str, pairs: Sequence[tuple[str, str]]) -> Parsed:
    accounts, lists = (
        tuple(text for name, text in pairs if name == wanted)
        for wanted in ("accounturi", "validationmethods")
    )
    return Parsed(issuer, accounts, lists)


def _relevant(rows: Sequence[Row], wildcard: bool) -> list[bytes] | None:
    by_tag: dict[bytes, list[bytes]] = {b"issue": [], b"issuewild": []}
    for _, tag, value in rows:
        by_tag.setdefault(tag.lower(), []).append(value)
    return (wildcard and by_tag[b"issuewild"]) or by_tag[b"issue"] or None


def _forbidden(rows: Sequence[Row], bits: int, known: str) -> bool:
    tags = {b"issue", b"issuewild", *known.encode().split()}
    return any(flags & bits and tag.lower() not in tags for flags, tag, _ in rows)


def boulder(rows: Sequence[Row], request: Request) -> bool:
    """Tell whether Let's Encrypt's software would issue."""
    if _forbidden(rows, 129, "iodef issuemail issuevmc"):
        return False
    values = _relevant(rows, request.wildcard)
    return values is None or any(_boulder_value(value, request) for value in values)


@cache
def _boulder_parse(value: bytes) -> Parsed | None:
    head, *parts = [part.strip(" \t") for part in value.decode("latin-1").split(";")]
    pairs = []
    for part in parts if parts != [""] else ():
        name, equals, text = part.partition("=")
        name, text = name.strip(" \t"), text.strip(" \t")
        if not equals or re.search("[^0-9A-Za-z]", name) or re.search("[^!-~]", text):
            return None
        pairs.append((name, text))
    return _sorted_out(head, pairs)


def _boulder_value(value: bytes, request: Request) -> bool:
    parsed = _boulder_parse(value)
    if parsed is None or parsed.issuer != request.issuer:
        return False
    if parsed.accounts and parsed.accounts != (request.account,):
        return False
    if not parsed.lists:
        return True
    for label in parsed.lists[0].split(",") if len(parsed.lists) == 1 else ():
        if not re.fullmatch("[0-9A-Za-z-]+", label):
            return False
        if label == request.method and label in METHODS:
            return True
    return False


def open_mpic(rows: Sequence[Row], request: Request) -> bool:
    """Tell whether open-mpic could let a CA issue, its option to pass over failed lookups set."""
    if not all(tag.isalnum() for _, tag, _ in rows):
        return True
    if _forbidden(rows, 128, "iodef issuemail contactemail contactphone"):
        return False
    values = _relevant(rows, request.wildcard)
    return values is None or any(_mpic_value(value, request) for value in values)


@cache
def _mpic_parse(value: bytes) -> Parsed | None:
    try:
        head, *parts = [part.strip() for part in value.decode().split(";")]
    except UnicodeDecodeError:
        return None
    pairs = []
    for part in parts if parts != [""] else ():
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not _NAME.fullmatch(name) or re.search("[^!-~]", text):
            return None
        pairs.append((name, text))
    if not all(map(_NAME.fullmatch, head.split("."))):
        return None
    return _sorted_out(head.lower(), pairs)


def _mpic_value(value: bytes, request: Request) -> bool:
    parsed = _mpic_parse(value)
    if parsed is None or parsed.issuer != request.issuer:
        return False
    if parsed.accounts and parsed.accounts != (request.account,):
        return False
    asked = {request.method, _BR_LABELS.get(request.method)}
    return all(asked & {label.strip() for label in text.split(",")} for text in parsed.lists)


def opencertserver(rows: Sequence[Row], request: Request) -> bool:
    """Tell whether opencertserver would issue, however its DNS library reads bytes as text."""
    if _forbidden(rows, 128, ""):
        return False
    values = _relevant(rows, request.wildcard)
    return values is None or any(
        _ocs_value(value, encoding, request)
        for value in values
        for encoding in ("utf-8", "latin-1")
    )


@cache
def _ocs_parse(value: bytes, encoding: str) -> Parsed:
    head, *parts = [part.strip() for part in value.decode(encoding, "replace").split(";")]
    pairs = [
        (name.strip().lower(), text.strip()) for name, _, text in (p.partition("=") for p in parts)
    ]
    return _sorted_out(head.rstrip(".").lower(), pairs)


def _ocs_value(value: bytes, encoding: str, request: Request) -> bool:
    parsed = _ocs_parse(value, encoding)
    if parsed.issuer != request.issuer or len(parsed.accounts) > 1:
        return False
    for uri in parsed.accounts:
        place = _place(uri)
        if place is None or place != _place(request.account):
            return False
    labels = {label.strip().lower() for text in parsed.lists for label in text.split(",")}
    return not parsed.lists or not labels.isdisjoint(
        {request.method, _BR_LABELS.get(request.method, request.method)}
    )


@cache
def _place(uri: str) -> tuple[str, str, int | None, str] | None:
    """Return what of a URI opencertserver compares, or None if it is no absolute URI."""
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.scheme or (parts.scheme in _PORTS and not parts.hostname):
        return None
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/")


_CAS: Sequence[Callable[[Sequence[Row], Request], bool]] = (boulder, open_mpic, opencertserver)


def _texts(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """Yield what any of them could read as issuer and as the values of parameters."""
    for value in {value for _, tag, value in rows if tag.lower() in (b"issue", b"issuewild")}:
        for encoding in ("utf-8", "latin-1"):
            head, *parts = value.decode(encoding, "replace").split(";")
            yield head.strip(), [part.partition("=")[2].strip() for part in parts]


def _scheme(text: str) -> str | None:
    """Return the scheme of a text that an account could be known by, or None."""
    try:
        return urlsplit(text).scheme or None
    except ValueError:
        return None


def _strangers(rows: Sequence[Row], issuer: str, account: str) -> tuple[set[str], set[str]]:
    """Return issuers and accounts that are not ours; every one that a record could mean."""
    issuers, accounts = {_ELSEWHERE}, {account + "7"}
    for head, values in _texts(rows):
        issuers |= {head, head.lower().rstrip(".")}
        accounts |= {value for value in values if _scheme(value)}
    # CAs do not tell names apart by case or a last dot, nor accounts by a last slash or the case of
    # scheme and host, which is one place on the net; and their names are domain names.
    return (
        {
            name
            for name in issuers
            if re.search("[0-9A-Za-z]", name) and name.lower().rstrip(".") != issuer
        },
        {uri for uri in accounts if not _same(uri, account)},
    )


def _same(one: str, other: str) -> bool:
    """Return whether two URIs are one place, and not told apart behind it by ``?`` or ``#``."""
    if one.rstrip("/") == other.rstrip("/"):
        return True
    ends = [re.split(r"[?#]", uri, maxsplit=1)[1:] for uri in (one, other)]
    return _place(one) is not None and _place(one) == _place(other) and ends[0] == ends[1]


def others(
    rows: Sequence[Row], *, issuer: str, account: str, methods: Collection[str], wildcard: bool
) -> str | None:
    """Return who else could get a certificate, and where, or None.

    Args:
        rows: The relevant record set.
        issuer: Our issuer, lower case.
        account: Our account's URI.
        methods: Our methods.
        wildcard: Whether to ask for a wildcard.
    """
    if not rows:
        return "anybody"
    issuers, accounts = _strangers(rows, issuer, account)
    asked = [
        *((issuer, account, method) for method in METHODS if method not in methods),
        *((issuer, uri, method) for uri in sorted(accounts) for method in METHODS),
        *(
            (name, uri, method)
            for name in sorted(issuers)
            for uri in (account, *sorted(accounts))
            for method in METHODS
        ),
    ]
    for who in asked:
        for ca in _CAS:
            if ca(rows, Request(*who, wildcard)):
                return f"{ca.__name__}: {' '.join(who)}"
    return None
