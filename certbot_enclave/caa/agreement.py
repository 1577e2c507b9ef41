# SPDX-License-Identifier: Apache-2.0
"""Do the servers of a zone serve what the resolvers were told, and each the same?

=====================================  ===========================================================
a server                               what is made of it
=====================================  ===========================================================
serves the same                        it agrees
serves something else, or what cannot  ``servers-disagree``: the name is open, since a CA may be
be read                                told that
is silent, refuses, fails, is not      ``server-lame``, a note: a CA that meets it asks another
authoritative, has no address
is where this host has no way to       nothing: no word about the server
=====================================  ===========================================================

A name about which no server gave any answer could not be told. Whether answers are authentic stays
the resolvers' word: these come over plain UDP and TCP, so they can open a name and never close it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa import authoritative, failures, verdict
from certbot_enclave.caa.authoritative import Expected, Served, Server
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.verdict import Verdict

SHOWN = 4  # servers, or records, in one sentence
LONG = 200  # characters of a record in it
# The kernel's word for having no way there at all: no route, no IPv6, no address of our own.
_NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Reply(NamedTuple):
    """What came of asking one address.

    Attributes:
        server: Who was asked.
        served: What it serves, or None.
        failure: Why that is not known, or None.
        unreadable: It answered with what cannot be read.
        away: This host has no way to the address.
    """

    server: Server
    served: Served | None = None
    failure: str | None = None
    unreadable: bool = False
    away: bool = False


class Outcome(NamedTuple):
    """What came of asking all servers of a zone about one name.

    Attributes:
        expected: The name, and what the resolvers were told.
        zone: Its zone; empty if that is not known.
        replies: One of each address.
        error: Why there are none, or None.
    """

    expected: Expected
    zone: str
    replies: tuple[Reply, ...]
    error: errors.TransportError | None = None


class State(NamedTuple):
    """One server, over all that it was asked.

    Attributes:
        name: From an NS record.
        address: IP address, or None.
        agrees: None if it did not always answer.
        failure: Why not, or why what it answers cannot be read.
        away: This host has no way to it.
    """

    name: str
    address: str | None
    agrees: bool | None
    failure: str | None
    away: bool


class Compared(NamedTuple):
    """What asking the servers of all zones of a name gave.

    Attributes:
        findings: Disagreements.
        notes: Lame servers.
        servers: Each that was asked.
        error: A name about which nobody could be asked, or None.
    """

    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    servers: tuple[State, ...]
    error: errors.TransportError | None


def failed(server: Server, error: Exception, timeout: float) -> tuple[Reply, bool]:
    """Return what is made of a try that gave nothing, and whether another could help.

    Args:
        server: Who was asked.
        error: As `failures.explain` takes it.
        timeout: What the try had, in seconds.
    """
    failure, again = failures.explain(error, timeout)
    away = isinstance(error, OSError) and error.errno in _NO_WAY
    if away:
        failure += " from here"
    return Reply(server, None, failure, unreadable=not again, away=away), again and not away


def _listed(items: Iterable[str], between: str) -> str:
    found = list(items)
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return between.join([*found[:SHOWN], *more])


def _who(servers: Iterable[Server]) -> str:
    return _listed(
        (f"{item.name} ({item.address})" if item.address else item.name for item in servers), ", "
    )


def _shown(served: Served) -> str:
    if served.alias is not None:
        return f"an alias of {served.alias}"
    texts = (record.text() for record in served.records)
    short = (text if len(text) <= LONG else text[:LONG] + "…" for text in texts)
    return _listed(short, "; ") or "no CAA records"


def _disagreements(outcome: Outcome) -> list[Finding]:
    wanted = outcome.expected.served
    # By what they serve: all servers of one provider mostly serve the same.
    groups: dict[Served | str, list[Server]] = {}
    for reply in outcome.replies:
        if reply.unreadable and reply.failure is not None:
            groups.setdefault(reply.failure, []).append(reply.server)
        elif reply.served not in (None, wanted):
            groups.setdefault(reply.served, []).append(reply.server)
    findings: list[Finding] = []
    for served, servers in groups.items():
        other = () if isinstance(served, str) else served.records
        extra = [record for record in other if record not in wanted.records]
        findings.append(
            Finding(
                "servers-disagree",
                extra[0].text() if extra else None,
                f"asked about {outcome.expected.name}, {_who(servers)} answered: "
                f"{served if isinstance(served, str) else _shown(served)}; "
                f"the resolvers were told: {_shown(wanted)}",
                "if the records were changed just now, wait for the old TTL; if the provider "
                "serves CAA records of its own, switch that off (Cloudflare: Universal SSL); "
                f"else have all servers of {outcome.zone} serve the same zone",
            )
        )
    return findings


def _lame(outcomes: Iterable[Outcome]) -> list[Finding]:
    groups: dict[tuple[str, str], dict[Server, None]] = {}
    for outcome in outcomes:
        for reply in outcome.replies:
            if reply.failure is not None and not (reply.away or reply.unreadable):
                groups.setdefault((outcome.zone, reply.failure), {})[reply.server] = None
    notes: list[Finding] = []
    for (zone, failure), servers in groups.items():
        notes.append(
            Finding(
                "server-lame",
                None,
                f"{_who(servers)}, for {zone}: {failure}; CAs may meet it",
                f"mend it, or take it out of the NS records of {zone} and of those at its parent",
            )
        )
    return notes


def _state(server: Server, replies: list[tuple[Served, Reply]]) -> State:
    failure = next((reply.failure for _, reply in replies if reply.failure is not None), None)
    agrees = None if failure else True
    if any(reply.unreadable or reply.served not in (None, wanted) for wanted, reply in replies):
        agrees = False
    away = any(reply.away for _, reply in replies)
    return State(server.name, server.address, agrees, failure, away)


def _unasked(outcome: Outcome) -> errors.TransportError | None:
    """Return why nothing is known of a name, or None if any server answered."""
    if outcome.error is not None:
        return outcome.error
    if any(reply.served is not None or reply.unreadable for reply in outcome.replies):
        return None
    why = dict.fromkeys(f"{_who([reply.server])}: {reply.failure}" for reply in outcome.replies)
    return authoritative.unknown(
        f"no server of {outcome.zone} could be asked about {outcome.expected.name}: "
        f"{_listed(why, '; ')}"
    )


def compare(outcomes: Iterable[Outcome]) -> Compared:
    """Compare what servers serve with what the resolvers were told."""
    found = list(outcomes)
    asked: dict[Server, list[tuple[Served, Reply]]] = {}
    for outcome in found:
        for reply in outcome.replies:
            asked.setdefault(reply.server, []).append((outcome.expected.served, reply))
    return Compared(
        tuple(finding for outcome in found for finding in _disagreements(outcome)),
        tuple(_lame(found)),
        tuple(_state(server, replies) for server, replies in asked.items()),
        next(filter(None, map(_unasked, found)), None),
    )


def weigh(found: Verdict, compared: Compared) -> Verdict:
    """Return the verdict with what the servers said.

    A name that is open already stays so when they could not be asked.
    """
    findings = (*found.findings, *compared.findings)
    if compared.error is not None:
        if not findings:
            return verdict.unknown(found.name, compared.error, found.resolvers)
        more = Finding(compared.error.code, None, str(compared.error), compared.error.hint)
        findings = (*findings, more)
    return replace(found, word="open", findings=findings) if findings else found
