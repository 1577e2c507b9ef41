# SPDX-License-Identifier: Apache-2.0
"""Test data in the schema ``caa-vectors/1``: read strictly, and its zones resolved.

A file is an object with ``schema`` and a list of ``cases``, or that list alone. A case has

=========================  ======================================================================
member                     meaning
=========================  ======================================================================
``id``, ``name``           who it is, for people; both may be missing
``issuer``, ``method``     of the CA and the request
``account_uri_prefixes``   with ``account_id`` behind it, each is a form of the account's URI
``account_id``             number or text; null: the account is unknown
``identifier``             name asked for; a leading ``*.`` means a wildcard
``wildcard``               may say so too
``zone``                   name -> entry; a name that is missing answers NOERROR without records
``expected``               ``allowed``, ``denied`` or ``error``; ``boulder`` goes before it
``expected_found_at``      name whose record set decided; null or empty: none did
=========================  ======================================================================

A zone entry has ``caa`` (records, each with ``rdata`` in hex, or with ``flags``, ``tag`` and
``value``, a character for each byte), ``cname``, ``dname``, and ``rcode``: a DNS code in words, or
``http500`` (no answer came) or ``truncated``. ``dnssec`` says why a validating resolver shows
SERVFAIL: ``expired``, ``missing``, ``blackhole``, ``servfail``, ``refused``, ``bogus``; without an
``rcode`` beside it, it stands for that. Other members are remarks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

VERDICTS = ("allowed", "denied", "error")
_SCHEMA = "caa-vectors/1"
_MAX_FILE = 1 << 28  # bytes
_MAX_NAME = 253  # characters of a name without the dot at its end
_MAX_LABEL = 63
_BROKEN = ("expired", "missing", "blackhole", "servfail", "refused", "bogus")


class BadFile(Exception):
    """A file is not in the schema."""


class Response(NamedTuple):
    """What a resolver answers.

    Attributes:
        rcode: DNS code in words, or ``HTTP500`` or ``TRUNCATED``.
        rdatas: RDATA of every CAA record.
        aliases: Names that CNAME and DNAME led to.
    """

    rcode: str
    rdatas: tuple[bytes, ...] = ()
    aliases: tuple[str, ...] = ()


class Entry(NamedTuple):
    """What a zone has at one name."""

    rdatas: tuple[bytes, ...] = ()
    cname: str | None = None
    dname: str | None = None
    rcode: str = "NOERROR"


class Case(NamedTuple):
    """One question, and what is to come of it; `found_at` is None if the file does not say."""

    name: str
    issuer: str
    account_uris: tuple[str, ...]
    method: str
    base: str
    wildcard: bool
    zone: Mapping[str, Entry]
    expected: str
    found_at: str | None


def _canonical(name: str) -> str:
    return name.lower().rstrip(".")


def _take(item: Mapping[str, Any], field: str, kind: type, where: str) -> Any:
    value = item.get(field)
    if not isinstance(value, kind):
        raise BadFile(f"{field} of {where} is missing or no {kind.__name__}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{what} is missing or no text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadFile(f"{what} is no text: {error.reason}") from error
    return value


def _rdata(record: Any, where: str) -> bytes:
    try:
        if "rdata" in record:
            return bytes.fromhex(record["rdata"])
        tag, value = (str.encode(record[field], "latin-1") for field in ("tag", "value"))
        return bytes([record["flags"], len(tag)]) + tag + value
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"a record of {where} is malformed: {error!r}") from error


def _entry(item: Any, where: str) -> Entry:
    if not isinstance(item, dict):
        raise BadFile(f"the zone of {where} has an entry that is no object")
    records = item.get("caa", [])
    if not isinstance(records, list):
        raise BadFile(f"caa in the zone of {where} is no list")
    words = {
        field: _text(item[field], f"{field} in the zone of {where}")
        for field in ("cname", "dname", "rcode", "dnssec")
        if field in item
    }
    broken = words.get("dnssec") in _BROKEN
    return Entry(
        tuple(_rdata(record, where) for record in records),
        _canonical(words["cname"]) if "cname" in words else None,
        _canonical(words["dname"]) if "dname" in words else None,
        words.get("rcode", "SERVFAIL" if broken else "NOERROR").upper(),
    )


def read_zone(item: Mapping[str, Any], where: str) -> dict[str, Entry]:
    """Read a zone.

    Args:
        item: Name -> entry.
        where: What a `BadFile` says it is the zone of.
    """
    return {_canonical(name): _entry(entry, where) for name, entry in item.items()}


def _case(item: Any, number: int) -> Case:
    if not isinstance(item, dict):
        raise BadFile(f"case {number} is no object")
    where = str(item.get("id", f"case {number}"))
    issuer, method, identifier = (
        _text(item.get(field), f"{field} of {where}")
        for field in ("issuer", "method", "identifier")
    )
    account = item.get("account_id")
    if not isinstance(account, int | str | None):
        raise BadFile(f"account_id of {where} is neither a number nor text")
    uris = [
        f"{_text(prefix, f'a prefix of {where}')}{account}"
        for prefix in _take(item, "account_uri_prefixes", list, where)
    ]
    expected = item.get("boulder") or item.get("expected")
    if expected not in VERDICTS:
        raise BadFile(f"{where} expects {expected!r}, which is none of {', '.join(VERDICTS)}")
    found_at = None
    if "expected_found_at" in item:
        found_at = item["expected_found_at"] or ""
        found_at = _canonical(_text(found_at, f"expected_found_at of {where}"))
    name = identifier.lower()
    return Case(
        where,
        issuer,
        () if account is None else tuple(_text(uri, f"account_id of {where}") for uri in uris),
        method,
        name.removeprefix("*.").rstrip("."),
        item.get("wildcard") is True or name.startswith("*."),
        read_zone(_take(item, "zone", dict, where), where),
        expected,
        found_at,
    )


def read(path: Path) -> list[Case]:
    """Read a file.

    Raises:
        BadFile: It cannot be read, is not in the schema, or has no cases.
    """
    if not path.is_file():
        raise BadFile(f"{path} cannot be read: no such file")
    try:
        if path.stat().st_size > _MAX_FILE:
            raise BadFile(f"{path} has more than {_MAX_FILE} bytes")
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is no JSON: {error}") from error
    if isinstance(table, list):
        table = {"cases": table}
    if not isinstance(table, dict) or table.get("schema", _SCHEMA) != _SCHEMA:
        raise BadFile(f"{path} is not in the schema {_SCHEMA}")
    cases = table.get("cases")
    if not isinstance(cases, list):
        raise BadFile(f"{path} has no list of cases")
    if not cases:
        raise BadFile(f"{path} has no cases")
    return [_case(item, number) for number, item in enumerate(cases, 1)]


def resolve(zone: Mapping[str, Entry], name: str) -> Response:
    """Answer a CAA query as a recursive resolver does (RFC 1034 §4.3.2, RFC 6672 §3.2).

    Args:
        zone: From a case; a name that it lacks exists and has no records.
        name: Lower case, without a dot at its end.
    """
    aliases: list[str] = []
    while True:
        labels = name.split(".") if name else []
        if len(name) > _MAX_NAME or any(not 0 < len(label) <= _MAX_LABEL for label in labels):
            # Nobody can ask for it. What a DNAME makes of a name may not fit either.
            return Response("YXDOMAIN" if aliases else "FORMERR", aliases=tuple(aliases))
        target = None
        # From the top: a DNAME hides whatever is said to be below it, and never its own name.
        for at in range(len(labels) - 1, 0, -1):
            entry = zone.get(".".join(labels[at:]))
            if entry is not None and entry.dname is not None:
                target = ".".join([*labels[:at], *filter(None, [entry.dname])])
                break
        entry = zone.get(name, Entry())
        if target is None and entry.rcode == "NOERROR":
            target = entry.cname
        if target is None:
            return Response(entry.rcode, entry.rdatas, tuple(aliases))
        if target in aliases:
            return Response("SERVFAIL", aliases=tuple(aliases))
        aliases.append(target)
        name = target
