# SPDX-License-Identifier: Apache-2.0
"""Since when CAA of a name is as it is now, as far as this enclave's own looks can tell.

A CA may go by what it looked up for eight hours, or for the TTL of what it found if that is longer
(Baseline Requirements 4.2.2.1). So at the first look that finds something new, somebody may have
found what was there before, a moment ago; the new binds every CA only when that time is over:
``since`` is that look plus the longer of eight hours and the TTLs of the old and the new set.

========================================  ======================================================
look                                      what it does
========================================  ======================================================
finds all as at the look before           ``since`` stays
finds anything else: records, aliases,    begins anew; never before what was said so far, since
the verdict, its conditions, whose they   what was there before that may still be in use
are
resolvers disagree                        as if it found something else
the lookup fails                          says nothing about the records: nothing changes, and
                                          nothing is claimed now
========================================  ======================================================

What the zone held between two looks nobody here knows. A host that brings back older state can hide
what was found in between, and never has ``since`` come before the look that found it first: what is
restored was written by this enclave at such a look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from certbot_enclave import errors, fields
from certbot_enclave.caa import assessment
from certbot_enclave.caa.lookup import Climb
from certbot_enclave.caa.verdict import Subject, Verdict
from certbot_enclave.sealing import tree

PATH = "enclave/looks.json"  # below certbot's config directory; carried in the bundle
MAX_NAMES = 100  # as many as a statement has
MAX_FILE = 64 * 1024  # bytes
MAX_TTL = (1 << 32) - 1  # seconds; the field of a signature has 32 bits (RFC 4034 §3.1.4)


class Seen(NamedTuple):
    """What was found of one name.

    Attributes:
        digest: Stands for all that the verdict rests on; SHA-256, lower-case hex.
        ttl: The longest TTL of it that was seen, in seconds; 0 without records.
        since: From then on no CA goes by anything else; aware.
    """

    digest: str
    ttl: int
    since: datetime


class Look(NamedTuple):
    """One look at one name.

    Attributes:
        verdict: What it found.
        at: When; aware.
        since: From when on it holds, which may be in the future; None if it does not hold, or
            nothing is remembered.
    """

    verdict: Verdict
    at: datetime
    since: datetime | None


def _digest(found: Verdict, subject: Subject) -> str:
    rests_on = [
        *(found.word, found.conditions, found.failure and found.failure.code),
        *(subject.issuer, subject.account_uri, subject.methods, subject.also),
        [
            [
                step.name,
                step.aliases,
                [(item.flags, item.tag.hex(), item.value.hex()) for item in step.records],
            ]
            for climb in found.climbs
            for step in climb.steps
        ],
    ]
    return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()


def _ttl(climbs: tuple[Climb, ...]) -> int:
    # What is left of a TTL in a resolver says little; what the zone signed is the whole.
    steps = [step for climb in climbs for step in climb.steps]
    return max((ttl or 0 for step in steps for ttl in (step.ttl, step.signed_ttl)), default=0)


def after(before: Seen | None, found: Verdict, subject: Subject, at: datetime) -> Seen | None:
    """Return what is remembered after a look.

    Args:
        before: What was remembered; None for nothing.
        found: What the look found.
        subject: Who may issue, as the verdict was judged for.
        at: When the answers were there; aware.
    """
    if isinstance(found.failure, errors.TransportError):
        return before
    digest, ttl = _digest(found, subject), _ttl(found.climbs)
    if before is None:
        return Seen(digest, ttl, assessment.window(ttl, now=at, published=None, old_ttl=0).settled)
    if digest == before.digest:
        return before._replace(ttl=max(before.ttl, ttl))
    settled = assessment.window(ttl, now=at, published=None, old_ttl=before.ttl).settled
    # Resolvers that disagree do not tell which set is there: it may be the one before.
    kept = before.ttl if found.failure is not None else ttl
    return Seen(digest, kept, max(before.since, settled))


def added(
    seen: Mapping[str, Seen], found: Iterable[Verdict], subject: Subject, at: datetime
) -> dict[str, Seen]:
    """Return what is remembered after a look at several names, as `after` has it for one."""
    result = dict(seen)
    for item in found:
        new = after(result.pop(item.name, None), item, subject, at)
        if new is not None:
            result[item.name] = new  # behind all others, so that it is kept longest
    return result


def look(found: Verdict, at: datetime, seen: Seen | None) -> Look:
    """Return what is said of a look, with what is remembered after it."""
    return Look(found, at, seen.since if seen is not None and found.opens_gate else None)


def parse(data: bytes) -> dict[str, Seen]:
    """Read what `build` wrote.

    Args:
        data: At most `MAX_FILE` bytes.

    Raises:
        FormatError: It is not that.
    """
    if len(data) > MAX_FILE:
        fields.refuse("what was seen", f"at most {MAX_FILE} bytes")
    try:
        table = fields.table(fields.strict_json(data.decode(), "what was seen"), "what was seen")
        found = {}
        for name, value in table.items():
            item = fields.table(value, name)
            if item.keys() != {*Seen._fields}:
                fields.refuse(name, "an object of digest, ttl and since")
            seen = Seen(
                fields.sha256(item["digest"], "digest"),
                fields.count(item["ttl"], "ttl"),
                fields.time(item["since"], "since"),
            )
            if seen.ttl > MAX_TTL:
                fields.refuse("ttl", f"at most {MAX_TTL} seconds")
            found[fields.name(name, "name")] = seen
    except UnicodeDecodeError as error:
        raise errors.FormatError("what was seen is no UTF-8", code="json-format") from error
    return found


def build(seen: Mapping[str, Seen]) -> bytes:
    """Write what was seen; of more than `MAX_NAMES` names, the last ones."""
    table = {
        name: {**item._asdict(), "since": f"{item.since:%Y-%m-%dT%H:%M:%SZ}"}
        for name, item in [*seen.items()][-MAX_NAMES:]
    }
    return json.dumps(table, indent=1).encode()


def recall(config_dir: Path) -> dict[str, Seen]:
    """Return what was seen at earlier looks; nothing if the file is missing or damaged."""
    try:
        with (config_dir / PATH).open("rb") as file:
            return parse(file.read(MAX_FILE + 1))
    except (OSError, errors.FormatError):
        # Then everything is seen for the first time, and claimed from later on.
        return {}


def remember(config_dir: Path, seen: Mapping[str, Seen]) -> None:
    """Keep what was seen.

    Raises:
        SealError: A symbolic link stands there (``bundle-link``).
        TransportError: It cannot be written (``state-unwritable``).
    """
    tree.restore(config_dir, [tree.File(PATH, 0o600, build(seen))])
