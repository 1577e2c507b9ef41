# SPDX-License-Identifier: Apache-2.0
"""The changes that several names ask for become the record sets that are needed, each once."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import assessment, formats, issuers, lookup, plan, verdict
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.issuers import MANDATORY
from certbot_enclave.caa.verdict import Subject, Tolerance
from tests.unit.caa import record_sets
from tests.unit.caa.told import Told

OURS = "https://ca.test/acct/1"
SUBJECT = Subject("ca.test", OURS, ("http-01",))
PAIR = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=OURS)
BOTH = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=OURS, wildcard=True)
OTHER = Record(0, b"issue", b"other.test")
OTHER_WILD = Record(0, b"issuewild", b"other.test")
NOBODY_WILD = Record(0, b"issuewild", b";")
IODEF = Record(0, b"iodef", b"mailto:a@example.com")
_TURNED = b"ca.test; accounturi=https://ca.test/acct/1; validationmethods=http-01"
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def _judged(table, name, subject=SUBJECT, tolerance=None, about=(), **common):
    told = Told(table, **common)

    def climb(climbed):
        return lookup.climb(climbed, [told])

    try:
        found = verdict.judge_name(name, subject, tolerance or Tolerance(), climb, today=MANDATORY)
        own = climb(name.removeprefix("*."))
    except (errors.TransportError, errors.GateError) as error:
        found, own = verdict.unknown(name, error, ("one",)), None
    above = None
    if own is not None and own.found_at is not None and "." in own.found_at:
        above = climb(own.found_at.partition(".")[2])
    return assessment.assess(found, own, above, subject=subject, about_accounts=about, now=NOW)


def _plan(table, *names, **options):
    return plan.of(_judged(table, name, **options) for name in names)


def _sets(found):
    return [(change.name, set(change.before), set(change.after)) for change in found.changes]


def test_names_that_hold_need_nothing():
    found = _plan({"example.com": PAIR}, "example.com", "www.example.com")
    assert (found, found.code, found.code_after) == (plan.Plan((), ()), 0, 0)


def test_a_note_asks_for_nothing():
    table = {"www.example.com": {"records": PAIR, "synthesized": True}, "example.com": PAIR}
    judged = _judged(table, "www.example.com")
    assert [note.name for note in judged.notes] == ["dns-wildcard"]
    assert plan.of([judged]) == plan.Plan((), ())


TOGETHER = [
    # One name: its own set, and that of the wildcard that covers it.
    (
        {},
        ["www.example.com"],
        [("example.com", set(), {NOBODY_WILD}), ("www.example.com", set(), set(PAIR))],
    ),
    # With the parent, whose set binds both; the name inherits it.
    ({}, ["www.example.com", "example.com"], [("example.com", set(), set(PAIR))]),
    ({}, ["example.com", "www.example.com"], [("example.com", set(), set(PAIR))]),
    # The wildcard goes before the name, wherever it stands among the names.
    ({}, ["*.example.com", "example.com"], [("example.com", set(), set(BOTH))]),
    (
        {},
        ["example.com", "www.example.com", "*.example.com"],
        [("example.com", set(), set(BOTH))],
    ),
    # A name that is to have its wildcard does not get it from a parent that has none.
    (
        {},
        ["*.www.example.com", "example.com"],
        [("example.com", set(), set(PAIR)), ("www.example.com", set(), set(BOTH))],
    ),
    # What may stay, stays.
    (
        {"example.com": [OTHER, IODEF]},
        ["www.example.com", "example.com"],
        [("example.com", {OTHER, IODEF}, {*PAIR, IODEF})],
    ),
    # Of a parent that is not asked for only the wildcard is closed.
    (
        {"example.com": [OTHER, IODEF]},
        ["www.example.com"],
        [
            ("example.com", {OTHER, IODEF}, {OTHER, IODEF, NOBODY_WILD}),
            ("www.example.com", set(), {*PAIR, IODEF}),
        ],
    ),
    # It happens to be what the name needs.
    (
        {"example.com": [PAIR[0], OTHER_WILD]},
        ["www.example.com"],
        [("example.com", {PAIR[0], OTHER_WILD}, set(PAIR))],
    ),
    # A closer set of its own, or between, is changed; it would hide what stands above.
    (
        {"www.example.com": [OTHER]},
        ["www.example.com", "example.com"],
        [("example.com", set(), set(PAIR)), ("www.example.com", {OTHER}, set(PAIR))],
    ),
    (
        {"b.example.com": [OTHER, NOBODY_WILD]},
        ["a.b.example.com", "example.com"],
        [("example.com", set(), set(PAIR)), ("a.b.example.com", set(), set(PAIR))],
    ),
    # A wildcard between is closed by what stands above then: nothing is copied there.
    (
        {"example.com": [OTHER]},
        ["a.b.example.com", "example.com"],
        [("example.com", {OTHER}, set(PAIR))],
    ),
    # Below a set that is only copied there, the name needs its own.
    (
        {"com": [OTHER]},
        ["a.b.example.com"],
        [
            ("b.example.com", set(), {OTHER, NOBODY_WILD}),
            ("a.b.example.com", set(), set(PAIR)),
        ],
    ),
    # The wildcard holds by what is inherited, and would not by a set for the name alone.
    (
        {"com": [BOTH[1], NOBODY_WILD, Record(0, b"issue", b";")]},
        ["*.example.com", "example.com"],
        [("example.com", set(), set(BOTH))],
    ),
    (
        {"example.com": [Record(0, b"issuewild", _TURNED), OTHER]},
        ["*.a.example.com", "example.com"],
        [("example.com", {Record(0, b"issuewild", _TURNED), OTHER}, set(BOTH))],
    ),
    # Two zones.
    (
        {},
        ["example.org", "example.com"],
        [("example.com", set(), set(PAIR)), ("example.org", set(), set(PAIR))],
    ),
    # A DNS wildcard stands closer than the parent: without records of its own the name keeps it.
    (
        {"www.example.com": {"records": (OTHER,), "synthesized": True}},
        ["www.example.com", "example.com"],
        [("example.com", set(), set(PAIR)), ("www.example.com", set(), set(PAIR))],
    ),
]


@pytest.mark.parametrize(("table", "names", "sets"), TOGETHER)
def test_names_together(table, names, sets):
    found = _plan(table, *names)
    assert {item[0]: item for item in _sets(found)} == {item[0]: item for item in sets}
    assert (found.others, found.code, found.code_after) == ((), 1, 0)


def test_parents_go_before_their_children():
    names = ["b.example.org", "example.com", "*.a.example.org", "*.example.org"]
    table = {"b.example.org": [OTHER]}
    assert [change.name for change in _plan(table, *names).changes] == [
        *("example.com", "example.org", "b.example.org")
    ]


def test_behind_an_accepted_alias_the_set_stands_at_its_target_and_inherits_nothing():
    # Whoever asks for the alias climbs from the alias; the zone of the target never counts.
    table = {"www.example.com": {"aliases": ("www.example.org",)}}
    accepted = Tolerance(alias_zones=frozenset(["example.org"]))
    found = _plan(table, "www.example.com", "example.org", tolerance=accepted)
    assert _sets(found)[-1] == ("www.example.org", set(), set(PAIR))
    assert found.changes[-1].found_at == "www.example.org"


def test_an_alias_that_is_not_accepted_is_told_beside_the_change():
    table = {"www.example.com": {"aliases": ("www.example.org",)}, "example.com": PAIR}
    found = _plan(table, "www.example.com")
    assert found.changes == ()
    assert [(item.name, item.finding.name, item.code) for item in found.others] == [
        ("www.example.com", "alias-target-controls-policy", 1)
    ]
    assert (found.code, found.code_after) == (1, 1)


def test_what_records_cannot_close_is_told_once_for_each_name():
    names = ["example.com", "www.example.com", "example.com"]
    about = issuers.judge_enforcement(SUBJECT, NOW.date())
    found = _plan({"example.com": PAIR}, *names, about=about, authenticated=False)
    assert found.changes == ()
    assert [(item.name, item.finding.name) for item in found.others] == [
        ("example.com", "insecure-zone"),
        ("example.com", "issuer-not-enforcing"),
        ("www.example.com", "insecure-zone"),
        ("www.example.com", "issuer-not-enforcing"),
    ]
    assert found.code == 1


def test_a_failed_lookup_is_told_and_changes_nothing():
    found = _plan({"example.com": {"failure": "SERVFAIL"}}, "example.com")
    assert found.changes == ()
    assert [(item.finding.name, item.code) for item in found.others] == [("lookup-failed", 3)]
    assert (found.code, found.code_after) == (3, 3)
    # What is open goes before what could not be told.
    found = _plan({"example.com": {"failure": "SERVFAIL"}}, "example.com", "example.org")
    assert (found.code, found.code_after) == (1, 3)


def test_a_name_that_is_none_is_told():
    error = errors.PolicyError("'x' is none", code="name-refused", hint="name one")
    found = plan.of([assessment.refused("x", error)])
    assert [(item.name, item.finding.name, item.code) for item in found.others] == [
        ("x", "name-refused", 1)
    ]


@pytest.mark.parametrize(
    ("subject", "finding"),
    [
        (Subject("ca.test", "https://ca.test/acct?id=1", ("http-01",)), "ambiguous-account"),
        # A label that no CA knows forbids the account too.
        (Subject("ca.test", OURS, ("ca-odd",)), "not-allowed"),
    ],
)
def test_what_our_own_records_leave_open_is_no_change_again(subject, finding):
    records = formats.records_for(
        issuer="ca.test", methods=subject.methods, account_uri=subject.account_uri
    )
    found = _plan({"example.com": records}, "example.com", subject=subject)
    assert found.changes == ()
    assert {item.finding.name for item in found.others} == {finding}
    assert (found.code, found.code_after) == (1, 1)


def test_an_ambiguous_account_is_told_beside_the_change_that_does_not_help():
    subject = Subject("ca.test", "https://ca.test/acct?id=1", ("http-01",))
    records = formats.records_for(
        issuer="ca.test", methods=["http-01"], account_uri=subject.account_uri
    )
    found = _plan({"example.com": [*records, OTHER]}, "example.com", subject=subject)
    assert [change.removed for change in found.changes] == [(OTHER,)]
    assert [item.finding.name for item in found.others] == ["ambiguous-account"]


def test_of_two_views_of_one_place_the_first_is_taken():
    first, second = (_judged({"example.com": [item]}, "example.com") for item in (OTHER, IODEF))
    assert [change.before for change in plan.of([first, second]).changes] == [(OTHER,)]


def test_a_change_says_whose_set_counts_now():
    def where(table, **options):
        (change, *_) = _plan(table, "www.example.com", **options).changes[::-1]
        assert isinstance(change, Change)
        return change.found_at

    assert where({}) is None
    assert where({"com": [OTHER]}) == "com"
    assert where({"www.example.com": [OTHER]}) == "www.example.com"


# --- any zone ---

_PLACES = [
    *("com", "example.com", "a.example.com", "b.a.example.com", "c.b.a.example.com"),
    *("x.example.com", "y.x.example.com", "example.org", "a.example.org"),
]
_NAMES = [place for place in _PLACES if "." in place]


@st.composite
def _zones(draw):
    record = st.one_of(
        st.sampled_from([*PAIR, *PAIR, BOTH[1], OTHER, OTHER_WILD, NOBODY_WILD, IODEF]),
        record_sets.records(OURS, ("http-01",)),
    )
    sets = st.lists(record, max_size=3)
    return draw(st.dictionaries(st.sampled_from(_PLACES), sets, max_size=6))


@given(
    _zones(),
    st.lists(
        st.builds(str.__add__, st.sampled_from(["", "", "*."]), st.sampled_from(_NAMES)),
        min_size=1,
        max_size=5,
        unique=True,
    ),
)
def test_after_the_changes_every_name_holds_and_nothing_is_left_to_change(table, names):
    found = _plan(table, *names)
    after = dict(table)
    for change in found.changes:
        assert set(change.before) == set(table.get(change.name, ()))
        assert change.removed or change.added
        after[change.name] = change.after
    assert len({change.name for change in found.changes}) == len(found.changes)
    for name in names:
        judged = _judged(after, name)
        assert [finding.name for finding in judged.verdict.findings] == [], name
    assert _plan(after, *names) == plan.Plan((), ())
    # What permits and forbids nothing is not lost.
    for change in found.changes:
        assert {record for record in change.before if record.tag == b"iodef"} <= {*change.after}
