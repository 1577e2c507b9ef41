# SPDX-License-Identifier: Apache-2.0
"""Since when a verdict holds: from the enclave's own looks, and never earlier than they tell."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from certbot_enclave import errors, looks
from certbot_enclave.caa import formats, issuers, lookup, verdict
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Subject, Tolerance
from certbot_enclave.looks import Seen
from tests.unit.caa.told import Told

NAME = "www.example.com"
URI = "https://ca.test/acct/1"
SUBJECT = Subject("ca.test", URI, ("http-01",))
PAIR = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI)
MORE = (*PAIR, Record(0, b"iodef", b"mailto:a@b.test"))
OTHER = [Record(0, b"issue", b"other.test")]
START = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * 3600
DOWN = errors.TransportError("x", code="lookup-failed")
TORN = errors.GateError("x", code="servers-disagree")
KEPT = {NAME: Seen("0a" * 32, 3600, START)}


def _found(own, parent=PAIR, subject=SUBJECT, today=issuers.MANDATORY, **accepted):
    """The verdict on these records, or the failure; ``{"records": …, "ttl": …}`` says more."""
    if isinstance(own, errors.Error):
        return verdict.unknown(NAME, own, ("one",))
    told = Told({NAME: own, "example.com": parent})
    return verdict.judge_name(
        NAME,
        subject,
        Tolerance(**accepted),
        lambda name: lookup.climb(name, [told]),
        today=today,
    )


def _since(*seen, subject=SUBJECT):
    """Look each hour, at what stands there; return since when it holds, in hours of the story."""
    kept = None
    for hour, found in enumerate(seen):
        kept = looks.after(kept, found, subject, START + hour * HOUR)
    return (kept.since - START) / HOUR


OURS = _found(PAIR)
FOREIGN = _found(OTHER)


@pytest.mark.parametrize(
    ("story", "hours"),
    [
        ([OURS], 8),
        ([OURS] * 5, 8),
        ([FOREIGN, OURS], 1 + 8),
        ([OURS, FOREIGN, OURS, OURS], 2 + 8),
        # Other records, though they let nobody else in either.
        ([OURS, _found(MORE)], 1 + 8),
        # Of the name that has the covering wildcard.
        ([OURS, _found(PAIR, MORE)], 1 + 8),
        # A lookup that fails says nothing; resolvers that disagree say that there is another set.
        ([OURS, _found(DOWN), OURS], 8),
        ([OURS, _found(TORN), OURS], 2 + 8),
    ],
)
def test_what_is_found_anew_holds_eight_hours_later(story, hours):
    assert _since(*story) == hours


@pytest.mark.parametrize(
    ("story", "hours"),
    [
        # The TTL of what was there before counts, if it is longer than eight hours.
        ([{"records": OTHER, "ttl": DAY}, PAIR], 1 + 24),
        ([{"records": OTHER, "ttl": 60}, PAIR], 1 + 8),
        # In full, where the resolver has only some of it left.
        ([{"records": OTHER, "ttl": 60, "signed_ttl": DAY}, PAIR], 1 + 24),
        ([{"records": OTHER, "ttl": DAY}, {"records": OTHER, "ttl": 60}, PAIR], 2 + 24),
        # Nobody knows the TTL of what was there before the first look: that of the new one does.
        ([{"records": PAIR, "ttl": DAY}], 24),
        ([OTHER, {"records": PAIR, "ttl": DAY}], 1 + 24),
        # Whatever was there may be in use for its whole time, also if something else came between.
        ([{"records": OTHER, "ttl": 2 * DAY}, MORE, PAIR], 1 + 48),
        ([{"records": OTHER, "ttl": DAY}, TORN, PAIR], 2 + 24),
        ([{"records": PAIR, "ttl": 60}, {"records": PAIR, "ttl": DAY}], 8),
    ],
)
def test_the_ttl_of_what_was_there_before_counts(story, hours):
    assert _since(*map(_found, story)) == hours


def test_the_ttl_of_the_covering_set_counts_too():
    assert _since(_found(PAIR, {"records": OTHER, "ttl": DAY}), OURS) == 1 + 24


@pytest.mark.parametrize(
    "found",
    [
        _found({"records": PAIR, "aliases": ("lb.other.net",)}, alias_zones=frozenset(["net"])),
        _found({"records": PAIR, "aliases": ("a.third.net",)}, alias_zones=frozenset(["net"])),
        _found([], PAIR),
        _found(
            {"records": PAIR, "authenticated": False}, unsigned_zone=True, independent_resolvers=2
        ),
        _found(PAIR, OTHER),
        _found(PAIR, OTHER, covering_wildcard=True),
    ],
    ids=["alias", "another alias", "inherited", "unsigned", "open above", "accepted above"],
)
def test_everything_that_the_verdict_rests_on_begins_it_anew(found):
    assert _since(OURS, found) == 1 + 8
    assert _since(found, found) == 8


def test_what_is_known_of_the_issuer_begins_it_anew():
    """Until the CA had to read the records it may have issued, so the claim cannot reach back."""
    accepted = {"issuers": frozenset(["ca.test"])}
    before = _found(PAIR, today=issuers.MANDATORY - timedelta(days=1), **accepted)
    assert (before.word, before.conditions) == ("exclusive", ("issuer-not-enforcing:ca.test",))
    assert _since(before, before) == 8
    assert _since(before, _found(PAIR, **accepted)) == 1 + 8


@pytest.mark.parametrize(
    "other",
    [
        SUBJECT,
        Subject("other.test", URI, ("http-01",)),
        Subject("ca.test", URI + "2", ("http-01",)),
        Subject("ca.test", URI, ("dns-01",)),
        Subject("ca.test", URI, ("http-01",), (URI + "2",)),
    ],
)
def test_whose_the_claim_is_begins_it_anew(other):
    kept = looks.after(None, OURS, SUBJECT, START)
    again = looks.after(kept, OURS, other, START + HOUR)
    assert (again == kept) is (other == SUBJECT)


def test_a_failed_lookup_is_nothing_to_remember():
    assert looks.after(None, _found(DOWN), SUBJECT, START) is None
    assert looks.added(KEPT, [_found(DOWN)], SUBJECT, START) == KEPT


@pytest.mark.parametrize(
    ("found", "holds"), [(OURS, True), (FOREIGN, False), (_found(DOWN), False)]
)
def test_only_a_verdict_that_holds_has_a_since(found, holds):
    at = START + 9 * HOUR
    look = looks.look(found, at, KEPT[NAME])
    assert look == (found, at, START if holds else None)
    assert looks.look(found, at, None).since is None


def test_several_names_are_remembered_and_those_looked_at_last_are_kept():
    names = [f"n{number}.example.com" for number in range(looks.MAX_NAMES)]
    seen = dict.fromkeys(names, KEPT[NAME])
    assert looks.parse(looks.build(seen)) == seen
    seen = looks.added(seen, [OURS], SUBJECT, START)
    assert [*looks.parse(looks.build(seen))] == [*names[1:], NAME]
    for item in (_found(DOWN), OURS):
        assert [*looks.added(KEPT | {"a.test": KEPT[NAME]}, [item], SUBJECT, START)][-1] == NAME


def test_what_is_built_has_the_largest_values_and_can_be_read(tmp_path):
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    label = "a" * 57
    names = [f"{number:03}.{label}.{label}.{label}.{label}.example.com" for number in range(100)]
    seen = dict.fromkeys(names, Seen("f" * 64, looks.MAX_TTL, last))
    assert len(names[0]) > 240
    looks.remember(tmp_path, seen)
    assert looks.recall(tmp_path) == seen
    assert (tmp_path / "enclave" / "looks.json").stat().st_mode & 0o777 == 0o600
    # Nothing that is remembered makes the next look fail.
    again = looks.added(seen, [OURS], SUBJECT, START)
    assert again[NAME].since == START + 8 * HOUR
    assert looks.after(seen[names[0]], OURS, SUBJECT, START).since == last


def _with(**fields):
    item = {**KEPT[NAME]._asdict(), "since": "2026-11-25T12:00:00Z", **fields}
    return json.dumps({NAME: item}).encode()


DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": _with().replace(b"www", b"\xff"),
    "a list": b"[]",
    "a name twice": b'{"a.test": {}, "a.test": {}}',
    "no name": _with().replace(b"www.example.com", b"WWW"),
    "no object": b'{"www.example.com": []}',
    "a member more": _with(first=1),
    "a member less": _with().replace(b'"ttl": 3600, ', b""),
    "digest short": _with(digest="0a"),
    "digest a number": _with(digest=1),
    "ttl negative": _with(ttl=-1),
    "ttl a text": _with(ttl="1"),
    "ttl true": _with(ttl=True),
    "ttl too large": _with(ttl=looks.MAX_TTL + 1),
    "since null": _with(since=None),
    "since in another form": _with(since="2026-11-25T12:00:00+00:00"),
    "too long": _with() + b" " * looks.MAX_FILE,
    "too many": json.dumps(
        {f"a{number}.test": json.loads(_with())[NAME] for number in range(101)}
    ).encode(),
    "deep": b"[" * 60_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_refused_and_then_nothing_was_seen(tmp_path, data):
    with pytest.raises(errors.FormatError):
        looks.parse(data)
    (tmp_path / "enclave").mkdir()
    (tmp_path / "enclave" / "looks.json").write_bytes(data)
    assert looks.recall(tmp_path) == {}


def test_what_is_whole_is_read():
    assert looks.parse(_with()) == KEPT
    assert looks.parse(b"{}") == {}


def test_nothing_was_seen_where_nothing_can_be_read(tmp_path):
    assert looks.recall(tmp_path) == {}
    (tmp_path / "enclave" / "looks.json").mkdir(parents=True)
    assert looks.recall(tmp_path) == {}
