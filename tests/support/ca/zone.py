# SPDX-License-Identifier: Apache-2.0
"""CAA answers out of memory, aliases followed, in place of a resolver.

A zone maps a name to ``{"caa": [...]}`` with records as presentation text or ``{"rdata": hex}``,
``{"cname": name}``, ``{"dname": name}`` or ``{"rcode": ...}``: SERVFAIL, NXDOMAIN, REFUSED,
``truncated``, or ``http500`` (no answer at all). A name that is not there exists and is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dns.exception
import dns.rdata

from tests.support.ca.caa import NXDOMAIN, SERVFAIL, Answer, LookupFailed

RCODES = {"NOERROR": 0, "SERVFAIL": SERVFAIL, "NXDOMAIN": NXDOMAIN, "REFUSED": 5}
MAX_ALIASES = 10

Zone = Mapping[str, Mapping[str, Any]]


def lookup(zone: Zone, name: str) -> Answer:
    """The answer for one name.

    Raises:
        LookupFailed: The zone says that this lookup fails.
    """
    for _ in range(MAX_ALIASES):
        target = _alias(zone, name)
        if target is None:
            return _answer(zone.get(name, {}))
        name = target
    return Answer(rcode=SERVFAIL)


def check_zone(zone: Zone) -> None:
    """Read every record once, so that a bad one is found when it is set.

    Raises:
        ValueError: An entry is not one of the forms above.
    """
    for name, entry in zone.items():
        unknown = set(entry) - {"caa", "cname", "dname", "rcode"}
        if unknown or entry.get("rcode", "NOERROR") not in {*RCODES, "truncated", "http500"}:
            raise ValueError(f"zone entry expected for {name}, got {dict(entry)}")
        for record in entry.get("caa", ()):
            rdata(record)


def rdata(record: str | Mapping[str, Any]) -> bytes:
    """The RDATA of a record given as text or as hex.

    Raises:
        ValueError: It is neither.
    """
    try:
        if isinstance(record, str):
            return dns.rdata.from_text("IN", "CAA", record).to_wire() or b""
        return bytes.fromhex(record["rdata"])
    except (dns.exception.DNSException, KeyError, TypeError) as e:
        raise ValueError(f"CAA record expected, got {record!r}") from e


def _alias(zone: Zone, name: str) -> str | None:
    labels = name.split(".")
    for i in range(1, len(labels)):
        above = zone.get(".".join(labels[i:]), {})
        if "dname" in above:
            return ".".join([*labels[:i], above["dname"]])
    target = zone.get(name, {}).get("cname")
    return None if target is None else str(target)


def _answer(entry: Mapping[str, Any]) -> Answer:
    code = entry.get("rcode", "NOERROR")
    if code == "http500":
        raise LookupFailed("the resolver did not answer")
    if code == "truncated":
        return Answer(truncated=True)
    return Answer(tuple(rdata(record) for record in entry.get("caa", ())), RCODES[code])
