# SPDX-License-Identifier: Apache-2.0
"""Drift between two looks: what is told of it, and from when on what is seen binds every CA."""

from datetime import UTC, datetime, timedelta

import pytest

from certbot_enclave import errors
from certbot_enclave.caa import assessment, drift, formats
from certbot_enclave.caa.assessment import Assessment
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Verdict

NOW = datetime(2026, 11, 25, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
URI = "https://ca.test/acct/1"
PAIR = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI)
TEXTS = sorted(record.text() for record in PAIR)
OTHER = Record(0, b"issue", b"other.test")
UNBOUND = Finding("unbound-issuer", OTHER.text(), "other.test may issue", "remove it")
COVERING = Finding("covering-wildcard-open", None, "*.example.com is open", "bind it")
SHADOW = Finding("shadowed-by-closer-set", None, "it hides another", "remove it")
DOWN = errors.TransportError("nobody answers", code="lookup-failed")


def _found(
    word="exclusive",
    *findings,
    records=PAIR,
    name="www.example.com",
    failure=None,
    ttl=3600,
    conditions=(),
    found_at="example.com",
    notes=(),
    at=NOW,
):
    verdict = Verdict(name, word, findings, conditions, ("one",), found_at, failure)
    if failure is not None:
        return Assessment(verdict)
    window = assessment.window(ttl, now=at, published=None, old_ttl=None) if records else None
    return Assessment(verdict, notes, tuple(records), ttl if records else None, window)


def _look(*arguments, at=NOW, **options):
    return drift.look(_found(*arguments, at=at, **options), at)


def _down(at=NOW, **options):
    found = Finding("lookup-failed", None, "nobody answers", "try again")
    return _look("could not tell", found, failure=DOWN, found_at=None, at=at, **options)


def _run(*looks):
    """The events of one name over several rounds, and what is known in the end."""
    known, told = {}, []
    for look in looks:
        known, events = drift.compare(known, [look], at=look.at)
        told += events
    return known["www.example.com"], told


def _later(hours):
    return NOW + hours * HOUR


def test_what_is_remembered_of_an_assessment():
    look = _look("open", UNBOUND, COVERING, notes=(SHADOW,), conditions=("b", "a"))
    assert look == drift.Look(
        "www.example.com",
        "open",
        1,
        (
            ("covering-wildcard-open", "critical"),
            ("shadowed-by-closer-set", "note"),
            ("unbound-issuer", "critical"),
        ),
        "unbound-issuer: other.test may issue (and 2 more findings)",
        ("a", "b"),
        "example.com",
        tuple(TEXTS),
        3600,
        NOW,
    )
    assert _down().records is None
    assert _look("open", records=()).records == ()


def test_the_worst_finding_is_told_first_and_on_one_line():
    medium = Finding("not-allowed", None, "we may not", "publish")
    assert _look("open", medium, UNBOUND).why.startswith("unbound-issuer: ")
    assert _look("exclusive", notes=(SHADOW,)).why == "shadowed-by-closer-set: it hides another"
    assert _look("open", medium, UNBOUND).why.endswith(" (and 1 more finding)")
    # Many of one name are one.
    assert _look("open", UNBOUND, Finding("unbound-issuer", "x", "y", "z")).why.endswith("issue")
    hostile = Finding("unbound-issuer", None, "a\n\x1b[2J" + "b" * 1000, "fix")
    why = _look("open", hostile).why
    assert why.startswith("unbound-issuer: a??[2Jbb")
    assert len(why) == drift.WHY + 1


def test_a_name_that_is_none_is_cut():
    refused = assessment.refused("x" * 4000, errors.PolicyError("no name", code="name-refused"))
    look = drift.look(refused, NOW)
    assert (len(look.name), look.verdict, look.code, look.records) == (255, "refused", 1, None)


def test_a_large_record_set_is_its_digest_and_a_change_in_it_is_a_change():
    many = [Record(0, b"issue", f"ca{n}.test".encode()) for n in range(1000)]
    (text,) = drift.remembered(many)
    assert text.startswith("1000 records with SHA-256 ")
    assert drift.remembered(reversed(many)) == (text,)
    assert drift.remembered([*many[:-1], OTHER]) != (text,)
    assert len(drift.remembered(many[:100])) == 100


def test_the_first_round_is_one_line_for_each_name():
    _, (event,) = _run(_look())
    assert event.text() == "2026-11-25T20:00:00Z www.example.com exclusive"
    _, (event,) = _run(_look("open", UNBOUND))
    assert event.text() == (
        "2026-11-25T20:00:00Z www.example.com open: unbound-issuer: other.test may issue"
    )
    assert event.table() == {
        "event": "first",
        "at": "2026-11-25T20:00:00Z",
        "name": "www.example.com",
        "was": None,
        "verdict": "open",
        "findings": {"gone": [], "new": ["unbound-issuer"]},
        "conditions": {"gone": [], "new": []},
        "records": {"gone": [], "new": TEXTS},
        "found_at": "example.com",
        "why": "unbound-issuer: other.test may issue",
    }


def test_nothing_is_told_of_what_stays():
    known, events = _run(_look(), _look(at=_later(1), ttl=60), _look(at=_later(2), ttl=7))
    assert [event.kind for event in events] == ["first"]
    assert (known.changes, known.look.at, known.settled) == (0, _later(2), _later(8))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            {"arguments": ("open", UNBOUND), "records": [*PAIR, OTHER]},
            "exclusive -> open: unbound-issuer: other.test may issue; "
            f"records changed: + {OTHER.text()}",
        ),
        ({"records": [PAIR[0]]}, f"exclusive: records changed: - {PAIR[1].text()}"),
        (
            {"records": [PAIR[0], OTHER]},
            f"exclusive: records changed: - {PAIR[1].text()} + {OTHER.text()}",
        ),
        ({"found_at": "www.example.com"}, "exclusive: records are those of www.example.com now"),
        ({"conditions": ("zone-unsigned",)}, "exclusive: conditions changed: + zone-unsigned"),
        ({"notes": (SHADOW,)}, "exclusive: findings changed: + shadowed-by-closer-set"),
        (
            {"arguments": ("open", COVERING), "records": (), "found_at": None},
            "exclusive -> open: covering-wildcard-open: *.example.com is open; records changed: "
            + " ".join(f"- {text}" for text in TEXTS)
            + "; records are those of no name now",
        ),
        (
            {"arguments": ("pinned, zone unsigned",)},
            "exclusive -> pinned, zone unsigned",
        ),
    ],
)
def test_every_change_is_told(now, told):
    arguments = now.pop("arguments", ("exclusive",))
    known, (_, event) = _run(_look(), _look(*arguments, at=_later(1), **now))
    assert event.text() == f"2026-11-25T21:00:00Z www.example.com {told}"
    assert (event.kind, known.changes) == ("changed", 1)


def test_a_change_for_the_better_says_what_went():
    _, (_, event) = _run(_look("open", UNBOUND, records=[*PAIR, OTHER]), _look(at=_later(1)))
    assert event.text().endswith(
        f" open -> exclusive: findings changed: - unbound-issuer; records changed: - {OTHER.text()}"
    )
    table = event.table()
    assert (table["was"], table["verdict"], table["why"]) == ("open", "exclusive", "")
    assert table["findings"] == {"gone": ["unbound-issuer"], "new": []}


def test_another_finding_while_the_verdict_stays_is_told():
    _, (_, event) = _run(_look("open", UNBOUND), _look("open", COVERING, at=_later(1)))
    assert event.text().endswith(
        " open: findings changed: - unbound-issuer + covering-wildcard-open"
    )


def test_a_failed_look_does_not_hide_a_change_of_the_records():
    looks = [_look(), _down(_later(1)), _down(_later(2)), _look(at=_later(3))]
    _, events = _run(*looks)
    assert [event.text()[21:] for event in events[1:]] == [
        "www.example.com exclusive -> could not tell: lookup-failed: nobody answers",
        "www.example.com could not tell -> exclusive: findings changed: - lookup-failed",
    ]
    known, events = _run(*looks[:-1], _look(records=[PAIR[0]], found_at="com", at=_later(3)))
    assert (
        events[-1]
        .text()
        .endswith(f"; records changed: - {PAIR[1].text()}; records are those of com now")
    )
    assert known.changes == 2


def test_records_that_are_seen_after_failures_only_are_no_change():
    known, events = _run(_down(), _down(_later(1)), _look(at=_later(2)))
    assert events[-1].text().endswith("-> exclusive: findings changed: - lookup-failed")
    assert events[-1].table()["records"] == {"gone": [], "new": []}
    assert known.look.records == tuple(TEXTS)


def test_a_severity_that_is_judged_otherwise_is_no_drift():
    look = _look("open", UNBOUND)
    milder = look._replace(findings=(("unbound-issuer", "high"),), at=_later(1))
    known, events = _run(look, milder)
    assert len(events) == 1
    assert known.look.findings == (("unbound-issuer", "high"),)


def test_a_name_that_nobody_asks_for_any_more_is_told_once():
    known, _ = drift.compare({}, [_look(), _look(name="a.example.com")], at=NOW)
    known, (event,) = drift.compare(known, [_look()], at=_later(1))
    assert event.text() == "2026-11-25T21:00:00Z a.example.com no longer watched"
    assert (event.kind, event.table()["verdict"], event.table()["why"]) == ("dropped", None, "")
    assert known.keys() == {"www.example.com"}
    assert drift.compare(known, [_look()], at=_later(2))[1] == []


@pytest.mark.parametrize(
    ("before", "ttl", "hours"),
    [
        # Eight hours, the TTL of now, or that of what was there before.
        ([3600], 3600, 8),
        ([3600], 9 * 3600, 9),
        ([10 * 3600], 3600, 10),
        # A cached answer counts down; the longest one says it.
        ([12 * 3600, 60], 3600, 12),
    ],
)
def test_a_change_binds_every_ca_after_the_window(before, ttl, hours):
    looks = [_look(ttl=item, at=_later(index)) for index, item in enumerate(before)]
    known, _ = _run(*looks, _look(records=[PAIR[0]], ttl=ttl, at=_later(2)))
    assert known.settled == _later(2 + hours)
    assert known.longest == ttl


def test_the_window_stays_where_it_was_until_something_changes():
    known, _ = _run(
        _look(),
        _look(records=[PAIR[0]], at=_later(2)),
        *[_look(records=[PAIR[0]], at=_later(hours)) for hours in (3, 4)],
    )
    assert known.settled == _later(10)


def test_a_failure_begins_the_window_anew_and_keeps_the_ttl_from_before():
    looks = [_look(ttl=12 * 3600), _down(_later(1)), _look(records=[PAIR[0]], at=_later(2))]
    known, _ = _run(*looks[:2])
    assert (known.settled, known.longest) == (_later(1 + 12), 12 * 3600)
    assert _run(*looks)[0].settled == _later(2 + 12)


def test_a_second_change_does_not_end_the_window_of_the_first():
    looks = [_look(ttl=24 * 3600), _look("open", records=(), found_at=None, at=_later(1))]
    known, _ = _run(*looks, _look(ttl=60, at=_later(2)), _look(records=[PAIR[0]], at=_later(3)))
    assert known.settled == _later(2 + 24)


def test_the_worse_of_two_looks_counts():
    good, bad, unknown = _look(), _look("open", UNBOUND), _down()
    assert drift.worse(good, None)
    assert drift.worse(bad, good)
    assert drift.worse(bad, unknown)
    assert drift.worse(unknown, good)
    assert not drift.worse(good, bad)
    assert not drift.worse(good, unknown)
    assert not drift.worse(bad, bad)
