# SPDX-License-Identifier: Apache-2.0
"""All that has to change in DNS so that the names that were judged are bound, and nobody else may.

The changes that the findings of several names ask for meet at one place, or one below the other:
a name without records of its own inherits (RFC 8659 §3). What is left are the record sets that are
needed, each once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from certbot_enclave.caa import assessment
from certbot_enclave.caa.assessment import Assessment
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record

# Who asks for a change; at one place the first goes before the others, and binds them too.
_WILDCARD, _NAME, _COVERING = range(3)
_NOBODY_WILD = Record(0, b"issuewild", b";")


class Open(NamedTuple):
    """A finding that no CAA record closes.

    Attributes:
        name: The name that was judged.
        finding: Why it does not hold.
        code: That of the name's assessment, 1 or 3.
    """

    name: str
    finding: Finding
    code: int


class Plan(NamedTuple):
    """What has to be done.

    Attributes:
        changes: One for each place; those of parents before those of their children.
        others: What they cannot close.
    """

    changes: tuple[Change, ...]
    others: tuple[Open, ...]

    @property
    def code(self) -> int:
        """0 if there is nothing to do, 1 if there is, 3 if nobody could tell: 1 before 3."""
        return assessment.worst([*([1] if self.changes else []), self.code_after])

    @property
    def code_after(self) -> int:
        """What `code` is once the changes are made."""
        return assessment.worst(item.code for item in self.others)


def of(found: Iterable[Assessment]) -> Plan:
    """Make the plan for what was found about names.

    Args:
        found: About names of one subject: the same accounts, CA and methods. Names that hold need
            nothing, and notes ask for nothing.
    """
    asked: dict[str, tuple[int, Change]] = {}
    others: dict[Open, None] = {}
    for item in (item for item in found if item.code != 0):
        name = item.verdict.name
        own = _WILDCARD if name.startswith("*.") else _NAME
        for finding in item.verdict.findings:
            change = finding.change
            if change is None:
                others[Open(name, finding, item.code)] = None
                continue
            rank = _COVERING if finding.name == "covering-wildcard-open" else own
            if change.name not in asked or rank < asked[change.name][0]:
                asked[change.name] = rank, change
    return Plan(_needed(asked), tuple(others))


def _needed(asked: Mapping[str, tuple[int, Change]]) -> tuple[Change, ...]:
    """Drop what would only repeat what a name then inherits."""
    kept: dict[str, tuple[int, Change]] = {}
    for name in sorted(asked, key=lambda name: name.split(".")[::-1]):
        rank, change = asked[name]
        above = _inherited(change, kept)
        if above is None or not _enough(rank, change, *above):
            kept[name] = rank, change
    return tuple(change for _, change in kept.values())


def _inherited(change: Change, kept: Mapping[str, tuple[int, Change]]) -> tuple[int, Change] | None:
    """Return the change above whose set a name without one would inherit, or None."""
    if change.before or change.found_at == change.name:
        return None
    place = change.name
    while place := place.partition(".")[2]:
        if place in kept:
            return kept[place]
        if place == change.found_at:
            return None
    return None


def _enough(rank: int, change: Change, above_rank: int, above: Change) -> bool:
    """Return True if a name needs no set of its own under that one."""
    if rank == _COVERING:
        return True  # every change closes the wildcard of its name, and so that of names below it
    wanted, there = set(change.after), set(above.after)
    # The wildcard may be for nobody here and for the account there: it is nobody else's anyway.
    binds = above_rank < _COVERING and wanted - {_NOBODY_WILD} <= there
    return binds or wanted == there
