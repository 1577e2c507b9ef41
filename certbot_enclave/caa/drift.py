# SPDX-License-Identifier: Apache-2.0
"""Drift: what is different about a name since the last look, and from when on it binds every CA.

A look that failed knows no records. Those of the look before stay in memory, so a failure between
two looks does not hide that the records are others than before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from certbot_enclave.caa import assessment
from certbot_enclave.caa.assessment import Assessment
from certbot_enclave.caa.grammar import Record

NAME = 255  # characters: a star, a dot and a name (RFC 1035 §2.3.4); what is none is cut to this
WHY = 300  # characters
RECORDS = 4096  # characters of a record set that are remembered as they are


class Look(NamedTuple):
    """What is remembered of one look at a name.

    Attributes:
        name: Lower-case A-labels; of what is no name, the text that was given, escaped and cut.
        verdict: As `caa check` words it.
        code: 0 if the name is bound, 1 if not, 3 if nobody could tell.
        findings: Name and severity of each, notes too; sorted, each once.
        why: The worst finding in words, on one line; empty without findings.
        conditions: What was accepted by name; sorted.
        found_at: Where the records stand, or None.
        records: From `remembered`; None if the look failed.
        ttl: Seconds for which resolvers keep them, or None.
        at: When; aware.
    """

    name: str
    verdict: str
    code: int
    findings: tuple[tuple[str, str], ...]
    why: str
    conditions: tuple[str, ...]
    found_at: str | None
    records: tuple[str, ...] | None
    ttl: int | None
    at: datetime


class Known(NamedTuple):
    """What is remembered of a name.

    Attributes:
        look: The last one; it has the records of the last that did not fail.
        changes: How often anything was different.
        settled: From when on what is seen now binds every CA, if it holds; aware.
        longest: Greatest TTL since the last change, in seconds.
    """

    look: Look
    changes: int
    settled: datetime
    longest: int


class Event(NamedTuple):
    """One name, seen first, seen different, or no longer asked for.

    Attributes:
        before: None if it was not known.
        now: None if nobody asks for it any more.
        at: When; aware.
    """

    before: Look | None
    now: Look | None
    at: datetime

    @property
    def name(self) -> str:
        """The name."""
        look = self.now or self.before
        assert look is not None  # noqa: S101 - an event is about something
        return look.name

    @property
    def kind(self) -> str:
        """``first``, ``changed`` or ``dropped``."""
        if self.now is None:
            return "dropped"
        return "first" if self.before is None else "changed"

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        before, now = self.before, self.now
        return {
            "event": self.kind,
            "at": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "name": self.name,
            "was": before.verdict if before else None,
            "verdict": now.verdict if now else None,
            "findings": _difference(_names(before), _names(now)),
            "conditions": _difference(
                before.conditions if before else (), now.conditions if now else ()
            ),
            "records": _difference(
                (before.records if before else None) or (), (now.records if now else None) or ()
            ),
            "found_at": now.found_at if now else None,
            "why": now.why if now else "",
        }

    def text(self) -> str:
        """Return it as one line."""
        head = f"{self.at:%Y-%m-%dT%H:%M:%SZ} {self.name}"
        if self.now is None:
            return f"{head} no longer watched"
        verdict = self.now.verdict
        if self.before is None:
            return f"{head} {verdict}" + (f": {self.now.why}" if self.now.why else "")
        parts = [self.now.why] if verdict != self.before.verdict and self.now.why else []
        table = self.table()
        for what in ("findings", "conditions", "records"):
            if what == "findings" and parts:
                continue  # the worst one is told
            signs = [f"- {item}" for item in table[what]["gone"]]
            signs += [f"+ {item}" for item in table[what]["new"]]
            if signs:
                parts.append(f"{what} changed: {' '.join(signs)}")
        if self.now.found_at != self.before.found_at:
            parts.append(f"records are those of {self.now.found_at or 'no name'} now")
        words = verdict if verdict == self.before.verdict else f"{self.before.verdict} -> {verdict}"
        return f"{head} {words}: {'; '.join(parts)}" if parts else f"{head} {words}"


def _names(look: Look | None) -> list[str]:
    return list(dict.fromkeys(name for name, _ in look.findings)) if look else []


def _difference(before: Iterable[str], now: Iterable[str]) -> dict[str, list[str]]:
    old, new = list(before), list(now)
    return {
        "gone": [item for item in old if item not in new],
        "new": [item for item in new if item not in old],
    }


def remembered(records: Iterable[Record]) -> tuple[str, ...]:
    """Return a record set as text, or its digest in place of one that is large."""
    texts = sorted({record.text() for record in records})
    if sum(map(len, texts)) <= RECORDS:
        return tuple(texts)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return (f"{len(texts)} records with SHA-256 {digest}",)


def look(found: Assessment, at: datetime) -> Look:
    """Return what is remembered of an assessment.

    Args:
        found: What was found.
        at: When; aware.
    """
    verdict = found.verdict
    every = [*verdict.findings, *found.notes]
    # The table of severities has the worst ones first.
    order = list(dict.fromkeys(assessment.SEVERITIES.values()))
    ranked = sorted(every, key=lambda item: order.index(assessment.severity(item)))
    why = ""
    if ranked:
        # What a server said may be in it, and this is a line.
        said = f"{ranked[0].name}: {ranked[0].why}"
        why = "".join(sign if sign.isprintable() else "?" for sign in said)
        why = why if len(why) <= WHY else why[:WHY] + "…"
        others = len({item.name for item in every}) - 1
        why += f" (and {others} more finding{'s' if others > 1 else ''})" if others else ""
    failed = verdict.failure is not None
    return Look(
        verdict.name[:NAME],
        verdict.word,
        found.code,
        tuple(sorted({(item.name, assessment.severity(item)) for item in every})),
        why,
        tuple(sorted(verdict.conditions)),
        verdict.found_at,
        None if failed else remembered(found.records),
        found.ttl,
        at,
    )


def worse(one: Look, other: Look | None) -> bool:
    """Return True if of two looks at one name in a round the first is the one to tell."""
    if other is None:
        return True
    return one.code != other.code and assessment.worst((one.code, other.code)) == one.code


def _differs(before: Look, now: Look) -> bool:
    return (
        before.verdict,
        _names(before),
        before.conditions,
        before.records,
        before.found_at,
    ) != (now.verdict, _names(now), now.conditions, now.records, now.found_at)


def _settled(now: Look, ttl: int) -> datetime:
    return now.at + max(assessment.WINDOW, timedelta(seconds=ttl))


def _next(known: Known, now: Look) -> tuple[Known, Event | None]:
    """Return what is known of a name after another look, and what is different, if anything is."""
    before, longest = known.look, max(known.longest, now.ttl or 0)
    if now.records is None:
        now = now._replace(records=before.records, found_at=before.found_at)
    elif before.records is None:
        # Every look before it failed: what comes now is no change of the records.
        before = before._replace(records=now.records, found_at=now.found_at)
    if not _differs(before, now):
        return Known(now, known.changes, known.settled, longest), None
    # A CA may still use what it looked up before this change, by the TTL that it had then; or, if
    # that is later, before the change before.
    settled = max(known.settled, _settled(now, longest))
    kept = longest if now.ttl is None else now.ttl
    return Known(now, known.changes + 1, settled, kept), Event(before, now, now.at)


def compare(
    before: Mapping[str, Known], looks: Iterable[Look], *, at: datetime
) -> tuple[dict[str, Known], list[Event]]:
    """Compare a round with what is known.

    Args:
        before: By name.
        looks: Those of the round, each name once.
        at: When the round ended; aware.

    Returns:
        What is known now, and an event for each name that is new, different or gone.
    """
    known: dict[str, Known] = {}
    events = []
    for now in looks:
        old = before.get(now.name)
        if old is None:
            ttl = now.ttl or 0
            known[now.name] = Known(now, 0, _settled(now, ttl), ttl)
            events.append(Event(None, now, now.at))
            continue
        known[now.name], event = _next(old, now)
        if event is not None:
            events.append(event)
    events += [Event(old.look, None, at) for name, old in before.items() if name not in known]
    return known, events
