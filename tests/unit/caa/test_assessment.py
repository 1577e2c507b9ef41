# SPDX-License-Identifier: Apache-2.0
"""What is said of a name: words, severities, notes, and the end of the window."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import certbot_enclave.caa
from certbot_enclave import errors
from certbot_enclave.caa import assessment, formats, issuers, lookup, verdict
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from tests.unit.caa.told import Told

URI = "https://ca.test/acct/1"
SUBJECT = Subject("ca.test", URI, ("http-01",))
PAIR = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI)
BOTH = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI, wildcard=True)
OTHER = Record(0, b"issue", b"other.test")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLOSING = Finding("staging-uri-in-production", None, "why", "fix")


def _assess(table, name="www.example.com", above=None, own=None, **options):
    told = Told(table)

    def climb(item):
        return lookup.climb(item, [told])

    judged = judge_name(name, SUBJECT, Tolerance(), climb, today=issuers.MANDATORY)
    given = {"about_accounts": (), "now": NOW, **options}
    return assessment.assess(
        judged, climb(own or name), above and climb(above), subject=SUBJECT, **given
    )


def _notes(found):
    return [finding.name for finding in found.notes]


def test_every_finding_has_a_severity():
    names = set()
    for path in Path(certbot_enclave.caa.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                name = node.args[0]
                names |= {name.value} if isinstance(name, ast.Constant) else set()
    assert len(names) > 15
    assert names - {None} <= set(assessment.SEVERITIES)


@pytest.mark.parametrize(
    ("name", "severity"),
    [("unbound-issuer", "critical"), ("dns-wildcard", "note"), ("no-such", "medium")],
)
def test_severity(name, severity):
    assert assessment.severity(Finding(name, None, "", "")) == severity


def test_a_bound_name_has_its_records_and_nothing_else():
    found = _assess({"example.com": {"records": PAIR, "ttl": 60}})
    assert (found.verdict.word, found.code, found.notes) == ("exclusive", 0, ())
    assert (found.records, found.ttl) == (tuple(sorted(PAIR)), 60)
    assert found.window == (None, NOW + 8 * HOUR)


def test_without_records_there_is_no_window():
    found = _assess({})
    assert (found.code, found.records, found.ttl, found.window) == (1, (), None, None)


def test_what_is_found_about_the_accounts_opens_every_name():
    found = _assess({"example.com": PAIR}, about_accounts=[CLOSING])
    assert (found.verdict.word, found.verdict.findings, found.code) == ("open", (CLOSING,), 1)


@pytest.mark.parametrize(
    ("error", "word", "names", "code"),
    [
        (errors.TransportError("x", code="lookup-failed"), "could not tell", ["lookup-failed"], 3),
        (
            errors.GateError("x", code="servers-disagree"),
            "open",
            ["servers-disagree", "staging-uri-in-production"],
            1,
        ),
    ],
)
def test_a_lookup_that_fails_tells_nothing_and_servers_that_disagree_are_open(
    error, word, names, code
):
    found = assessment.assess(
        verdict.unknown("a.test", error, ("one",)),
        None,
        None,
        subject=SUBJECT,
        about_accounts=[CLOSING],
        now=NOW,
    )
    assert (found.verdict.word, found.code, found.window) == (word, code, None)
    assert [finding.name for finding in found.verdict.findings] == names


def test_what_is_refused_does_not_hold():
    error = errors.PolicyError("'x' has a single label", code="name-refused", hint="name another")
    found = assessment.refused("x", error)
    assert (found.verdict.word, found.code) == ("refused", 1)
    assert found.verdict.findings == (
        Finding("name-refused", None, "'x' has a single label", "name another"),
    )


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 1, 0], 1), ([1], 1)]
)
def test_worst(codes, code):
    assert assessment.worst(codes) == code


@pytest.mark.parametrize(
    ("own", "parent", "noted"),
    [
        ([OTHER], PAIR, True),
        ([Record(0, b"iodef", b"mailto:a@b.test")], PAIR, True),
        # Nothing above, or nothing that binds.
        ([OTHER], [], False),
        ([OTHER], [OTHER], False),
        ([OTHER], [PAIR[0], Record(0, b"issuewild", b"other.test")], False),
        # It shuts out everybody, us too.
        ([OTHER], [Record(0, b"issue", b";")], False),
        # What is closer binds as well: it hides nothing.
        ([*PAIR, Record(0, b"iodef", b"mailto:a@b.test")], PAIR, False),
    ],
)
def test_a_closer_set_that_hides_one_that_binds_is_noted(own, parent, noted):
    table = {"www.example.com": own, "example.com": parent}
    found = _assess(table, above="example.com", about_accounts=[CLOSING])
    assert _notes(found) == ["shadowed-by-closer-set"] * noted
    assert found.verdict.word == "open"
    if noted:
        assert found.notes[0].fix.startswith("remove every CAA record of www.example.com")
        assert _assess({"example.com": parent}).verdict.word == "exclusive"
    assert _notes(_assess(table)) == []


@pytest.mark.parametrize(("above", "noted"), [(BOTH, True), (PAIR, False)])
def test_of_a_wildcard_the_hidden_set_has_to_allow_the_wildcard(above, noted):
    table = {"www.example.com": [OTHER], "example.com": above}
    found = _assess(table, name="*.www.example.com", own="www.example.com", above="example.com")
    assert _notes(found) == ["shadowed-by-closer-set"] * noted


@pytest.mark.parametrize(
    ("entry", "fix", "change"),
    [
        # Others hang on the DNS wildcard too.
        (
            {"records": (OTHER,), "synthesized": True},
            "publish the records of example.com at www.example.com too",
            ("www.example.com", (), tuple(sorted(PAIR))),
        ),
        (
            {"records": (OTHER,), "aliases": ("a.b.net", "lb.other.net")},
            "remove every CAA record of lb.other.net, or replace them by those of example.com",
            ("lb.other.net", (OTHER,), ()),
        ),
    ],
)
def test_a_closer_set_is_changed_where_it_stands(entry, fix, change):
    table = {"www.example.com": entry, "example.com": PAIR}
    (note, *_) = _assess(table, above="example.com").notes
    assert (note.name, note.fix, note.change[:3]) == ("shadowed-by-closer-set", fix, change)


def test_records_from_a_dns_wildcard_are_noted():
    entry = {"records": PAIR, "synthesized": True}
    found = _assess({"www.example.com": entry, "example.com": PAIR})
    assert (found.verdict.word, _notes(found)) == ("exclusive", ["dns-wildcard"])
    assert found.notes[0].change[:3] == ("www.example.com", (), tuple(sorted(PAIR)))
    # At the end of an alias they would go there.
    there = {"www.example.com": {**entry, "aliases": ("lb.other.net",)}, "example.com": PAIR}
    (note,) = _assess(there).notes
    assert note.fix == "publish them at lb.other.net itself"
    assert note.change[:3] == ("lb.other.net", (), tuple(sorted(PAIR)))
    # Of no matter on the way, or without records.
    table = {"www.example.com": {"synthesized": True}, "example.com": PAIR}
    assert _notes(_assess(table)) == []


@pytest.mark.parametrize(
    ("published", "old_ttl", "ttl", "since", "settled"),
    [
        (None, None, None, None, 8),
        (None, None, 9 * 3600, None, 9),
        (None, 10 * 3600, 9 * 3600, None, 10),
        (-2, None, None, 6, 8),
        (-2, None, 9 * 3600, 7, 9),
        (-2, 60, 9 * 3600, 6, 9),
        (-2, 24 * 3600, 60, 22, 24),
        (-30, 24 * 3600, 60, -6, 24),
    ],
)
def test_the_window_is_eight_hours_or_the_old_ttl(published, old_ttl, ttl, since, settled):
    when = None if published is None else NOW + published * HOUR
    table = {"example.com": {"records": PAIR, "ttl": ttl}}
    found = _assess(table, published=when, old_ttl=old_ttl)
    assert found.window == (None if since is None else NOW + since * HOUR, NOW + settled * HOUR)
    assert _notes(found) == ["ttl-window-open"] * (since is not None and since > 0)
    # It never makes a name open.
    assert found.code == 0


def test_the_fix_of_an_alias_names_the_option_of_this_command():
    table = {
        "www.example.com": {"records": PAIR, "aliases": ("lb.other.net",)},
        "example.com": PAIR,
    }
    (finding,) = _assess(table).verdict.findings
    assert finding.fix.endswith(" --allow-alias-zone lb.other.net")
