# SPDX-License-Identifier: Apache-2.0
"""A name is exclusive only if nobody else can get it, its wildcard or the one that covers it."""

import itertools
from datetime import timedelta

import pytest

from certbot_enclave import errors
from certbot_enclave.caa import formats, issuers, lookup, publication, verdict
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.publication import Account
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from tests.unit.caa.told import Told

ISSUER = "ca.test"
OURS = "https://ca.test/acct/1"
SUBJECT = Subject(ISSUER, OURS, ("http-01",))
PAIR = formats.records_for(issuer=ISSUER, methods=["http-01"], account_uri=OURS)
BOTH = formats.records_for(issuer=ISSUER, methods=["http-01"], account_uri=OURS, wildcard=True)
OTHER = Record(0, b"issue", b"other.test")
OTHER_WILD = Record(0, b"issuewild", b"other.test")
NOBODY_WILD = Record(0, b"issuewild", b";")
NAME = "www.example.com"
# From then on every CA has to read the records, so that nothing is said of this one.
TODAY = issuers.MANDATORY
DAY = timedelta(days=1)


def _by(asked, name=NAME, subject=SUBJECT, tolerance=None, today=TODAY):
    return judge_name(
        name,
        subject,
        tolerance or Tolerance(),
        lambda climbed: lookup.climb(climbed, asked),
        today=today,
    )


def _judge(table, name=NAME, subject=SUBJECT, tolerance=None, today=TODAY, **common):
    return _by([Told(table, **common)], name, subject, tolerance, today)


def _names(found):
    return [finding.name for finding in found.findings]


def test_our_records_at_name_and_parent_are_exclusive():
    found = _judge({NAME: PAIR, "example.com": PAIR})
    assert found == verdict.Verdict(NAME, "exclusive", (), (), ("one",), NAME)
    assert found.opens_gate


def test_inherited_records_are_exclusive_too():
    found = _judge({"example.com": PAIR})
    assert (found.word, found.found_at) == ("exclusive", "example.com")
    told = Told({"example.com": PAIR})
    _by([told], "a.b.example.com")
    # The name up to where records are, then the name that has the covering wildcard.
    assert told.asked == [
        *("a.b.example.com", "b.example.com", "example.com"),
        *("b.example.com", "example.com"),
    ]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        # Nothing anywhere: everybody may, for the name, its wildcard, the covering wildcard.
        ({}, ["no-caa", "covering-wildcard-open"]),
        # Own name.
        ({NAME: [OTHER, *PAIR], "example.com": PAIR}, ["unbound-issuer"]),
        ({NAME: [NOBODY_WILD], "example.com": PAIR}, ["no-issue"]),
        ({NAME: [Record(0, b"iodef", b"")], "example.com": PAIR}, ["no-issue"]),
        # Own wildcard: *.www.example.com.
        ({NAME: [PAIR[0], OTHER_WILD], "example.com": PAIR}, ["unbound-issuer"]),
        # Without issuewild, issue counts.
        ({NAME: [PAIR[0]], "example.com": PAIR}, []),
        ({NAME: BOTH, "example.com": PAIR}, []),
        # Covering wildcard: *.example.com, by issuewild there, by issue if there is none.
        ({NAME: PAIR}, ["covering-wildcard-open"]),
        ({NAME: PAIR, "example.com": [OTHER]}, ["covering-wildcard-open"]),
        ({NAME: PAIR, "example.com": [PAIR[0], OTHER_WILD]}, ["covering-wildcard-open"]),
        ({NAME: PAIR, "example.com": [PAIR[0]]}, []),
        ({NAME: PAIR, "example.com": BOTH}, []),
        # Others may have the parent itself; that is no name of ours.
        ({NAME: PAIR, "example.com": [OTHER, NOBODY_WILD]}, []),
        # The parent inherits as well.
        ({NAME: PAIR, "com": [OTHER]}, ["covering-wildcard-open"]),
        ({NAME: PAIR, "com": [NOBODY_WILD]}, []),
    ],
)
def test_own_name_own_wildcard_and_covering_wildcard(table, names):
    found = _judge(table)
    assert _names(found) == names
    assert (found.word, found.opens_gate) == (("open", False) if names else ("exclusive", True))


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a.example.com", ["a.example.com", "example.com"]),
        # Their parent is a public suffix: no CA issues the wildcard below it.
        ("example.com", ["example.com"]),
        ("example.co.uk", ["example.co.uk"]),
        # These are names that somebody holds.
        ("example.github.io", ["example.github.io", "github.io"]),
        ("a.co.uk.com", ["a.co.uk.com", "co.uk.com"]),
        # What covers a wildcard's hosts is the wildcard itself.
        ("*.a.example.com", ["a.example.com"]),
    ],
)
def test_which_names_are_looked_at(name, asked):
    told = Told({item: BOTH for item in asked})
    found = _by([told], name)
    assert told.asked == asked
    assert (found.name, found.word) == (name, "exclusive")


@pytest.mark.parametrize(
    ("records", "names"),
    [
        (BOTH, []),
        ([BOTH[0]], []),
        (PAIR, ["not-allowed"]),
        ([PAIR[0], OTHER_WILD], ["unbound-issuer", "not-allowed"]),
        ([OTHER, BOTH[1]], ["unbound-issuer"]),
    ],
)
def test_a_wildcard_name_needs_permission_for_wildcards(records, names):
    assert _names(_judge({"example.com": records}, name="*.example.com")) == names


@pytest.mark.parametrize(
    "records",
    [
        [Record(0, b"issue", b";"), NOBODY_WILD],
        [Record(128, b"tbs", b""), *PAIR],
    ],
)
def test_records_that_allow_nobody_are_not_exclusive_for_us(records):
    found = _judge({"example.com": records}, name="example.com")
    assert _names(found) == ["not-allowed"]
    assert found.findings[0].why.startswith("the CA would refuse our own account: ")
    assert found.findings[0].fix.endswith("bind issuance to this account, and no others")
    assert not found.opens_gate


def test_every_method_must_be_allowed_and_no_other():
    two = Subject(ISSUER, OURS, ("http-01", "tls-alpn-01"))
    table = {
        "example.com": formats.records_for(issuer=ISSUER, methods=two.methods, account_uri=OURS)
    }
    assert _judge(table, name="example.com", subject=two).word == "exclusive"
    assert _names(_judge(table, name="example.com")) == ["foreign-method"]
    assert _names(_judge({"example.com": PAIR}, name="example.com", subject=two)) == ["not-allowed"]


def test_some_method_must_be_named():
    with pytest.raises(ValueError, match="at least one validation method"):
        _judge({"example.com": PAIR}, subject=Subject(ISSUER, OURS, ()))


def test_an_open_covering_wildcard_can_be_accepted_and_is_then_said():
    tolerance = Tolerance(covering_wildcard=True)
    found = _judge({NAME: PAIR}, tolerance=tolerance)
    assert (found.word, found.conditions) == ("exclusive", ("covering-wildcard-open",))
    assert found.opens_gate
    # What is not open is no condition, and the name's own wildcard is another matter.
    assert _judge({NAME: PAIR, "example.com": PAIR}, tolerance=tolerance).conditions == ()
    assert _names(_judge({NAME: [PAIR[0], OTHER_WILD]}, tolerance=tolerance)) == ["unbound-issuer"]


@pytest.mark.parametrize(
    "step", [NAME, "example.com", "com"], ids=["own name", "parent", "top of the climb"]
)
def test_an_alias_at_any_step_is_refused(step):
    told = Told({"com": BOTH})
    told.table = {**told.table, step: {"records": BOTH, "aliases": ("lb.other.net",)}}
    found = _by([told])
    assert _names(found) == ["alias-target-controls-policy"]
    assert found.findings[0].why == (
        f"{step} is an alias of lb.other.net; whoever holds that zone decides"
    )
    assert found.findings[0].fix.endswith("--enclave-allow-alias-zone lb.other.net")
    assert not found.opens_gate


def test_an_alias_of_the_parent_alone_is_refused():
    table = {NAME: PAIR, "example.com": {"records": PAIR, "aliases": ("lb.other.net",)}}
    assert _names(_judge(table)) == ["alias-target-controls-policy"]


def test_an_alias_without_records_is_refused():
    table = {NAME: {"aliases": ("lb.other.net",)}, "example.com": PAIR}
    assert _names(_judge(table)) == ["alias-target-controls-policy"]


@pytest.mark.parametrize(
    ("targets", "zones", "refused", "conditions"),
    [
        (["lb.other.net"], ["other.net"], [], ["alias-zone:other.net"]),
        (["other.net"], ["other.net"], [], ["alias-zone:other.net"]),
        (["lb.other.net"], ["Other.NET."], [], ["alias-zone:other.net"]),
        (["lb.other.net"], ["net", "lb.other.net"], [], ["alias-zone:lb.other.net"]),
        (["lbother.net"], ["other.net"], ["lbother.net"], []),
        (["other.net"], ["lb.other.net"], ["other.net"], []),
        (["lb.other.net"], ["", "."], ["lb.other.net"], []),
        (["."], ["", "."], ["."], []),
        # Every link counts, not the last alone.
        (["x.third.org", "lb.other.net"], ["other.net"], ["x.third.org"], ["alias-zone:other.net"]),
        (["lb.other.net", "x.third.org"], ["other.net"], ["x.third.org"], ["alias-zone:other.net"]),
        (
            ["lb.other.net", "x.third.org"],
            ["third.org", "other.net"],
            [],
            ["alias-zone:other.net", "alias-zone:third.org"],
        ),
        (["a.b.c", "d.e.f"], [], ["a.b.c", "d.e.f"], []),
    ],
)
def test_an_alias_is_accepted_by_its_zone_and_is_then_said(targets, zones, refused, conditions):
    table = {NAME: {"records": PAIR, "aliases": tuple(targets)}, "example.com": PAIR}
    found = _judge(table, tolerance=Tolerance(alias_zones=frozenset(zones)))
    assert [finding.fix.rpartition(" ")[2] for finding in found.findings] == refused
    assert set(_names(found)) <= {"alias-target-controls-policy"}
    assert list(found.conditions) == conditions
    assert found.opens_gate is (not refused)


def test_an_accepted_alias_still_needs_the_right_records_at_its_target():
    table = {NAME: {"records": (OTHER,), "aliases": ("lb.other.net",)}, "example.com": PAIR}
    tolerance = Tolerance(alias_zones=frozenset(["other.net"]))
    assert "unbound-issuer" in _names(_judge(table, tolerance=tolerance))


@pytest.mark.parametrize("step", [NAME, "example.com", "com"])
def test_one_answer_without_dnssec_is_enough_for_unsigned(step):
    table = {"com": {"records": BOTH}}
    table[step] = {**table.get(step, {}), "authenticated": False}
    found = _judge(table)
    assert _names(found) == ["insecure-zone"]
    assert found.findings[0].why == f"answers about {step} are not authenticated by DNSSEC"
    assert not found.opens_gate


def test_the_parent_alone_unsigned_is_unsigned():
    table = {NAME: PAIR, "example.com": {"records": PAIR, "authenticated": False}}
    assert _names(_judge(table)) == ["insecure-zone"]


@pytest.mark.parametrize(
    ("accepted", "independent", "word"),
    [
        (True, 2, "pinned, zone unsigned"),
        (True, 3, "pinned, zone unsigned"),
        (True, 1, "open"),
        (True, 0, "open"),
        (False, 2, "open"),
    ],
)
def test_unsigned_is_accepted_by_name_and_with_two_independent_resolvers(
    accepted, independent, word
):
    tolerance = Tolerance(unsigned_zone=accepted, independent_resolvers=independent)
    # However many labels there are: they say nothing about independence.
    asked = [Told({"example.com": PAIR}, label, authenticated=False) for label in ("one", "two")]
    found = _by(asked, tolerance=tolerance)
    assert found.word == word
    assert found.resolvers == ("one", "two")
    if word == "open":
        assert _names(found) == ["insecure-zone"]
        assert ("two DNS over TLS resolvers" in found.findings[0].why) is accepted
        assert found.conditions == ()
    else:
        assert (found.findings, found.conditions) == ((), ("zone-unsigned",))


def test_a_signed_zone_is_exclusive_though_unsigned_would_be_accepted():
    tolerance = Tolerance(unsigned_zone=True, independent_resolvers=2)
    found = _judge({"example.com": PAIR}, tolerance=tolerance)
    assert (found.word, found.conditions) == ("exclusive", ())


def test_open_is_open_however_much_is_accepted():
    tolerance = Tolerance(
        covering_wildcard=True,
        alias_zones=frozenset(["other.net"]),
        unsigned_zone=True,
        independent_resolvers=2,
    )
    table = {NAME: {"records": [OTHER], "aliases": ("other.net",)}}
    found = _judge(table, tolerance=tolerance, authenticated=False)
    assert found.word == "open"
    assert _names(found) == ["unbound-issuer", "not-allowed"]
    assert found.conditions == ("alias-zone:other.net", "covering-wildcard-open", "zone-unsigned")


@pytest.mark.parametrize(
    ("issuer", "today", "accepted", "word", "conditions"),
    [
        ("ca.test", issuers.MANDATORY - DAY, [], "open", ()),
        ("ca.test", issuers.MANDATORY - DAY, ["other.test"], "open", ()),
        ("ca.test", issuers.MANDATORY - DAY, ["a.ca.test", "test"], "open", ()),
        (
            *("ca.test", issuers.MANDATORY - DAY, ["other.test", "ca.test"], "exclusive"),
            ("issuer-not-enforcing:ca.test",),
        ),
        # The condition goes by itself, whatever is still accepted.
        ("ca.test", issuers.MANDATORY, ["ca.test"], "exclusive", ()),
        ("ca.test", issuers.MANDATORY, [], "exclusive", ()),
        ("letsencrypt.org", issuers.MANDATORY - DAY, [], "exclusive", ()),
        ("letsencrypt.org", issuers.MANDATORY - DAY, ["letsencrypt.org"], "exclusive", ()),
    ],
)
def test_a_ca_not_known_to_read_the_records_is_open_unless_it_is_accepted_and_then_said(
    issuer, today, accepted, word, conditions
):
    subject = Subject(issuer, OURS, ("http-01",))
    pair = formats.records_for(issuer=issuer, methods=["http-01"], account_uri=OURS)
    tolerance = Tolerance(issuers=frozenset(accepted))
    found = _judge({"example.com": pair}, subject=subject, tolerance=tolerance, today=today)
    assert (found.word, found.conditions) == (word, conditions)
    assert _names(found) == ["issuer-not-enforcing"] * (word == "open")
    if word == "open":
        assert found.findings[0].fix.endswith(f" accept it with --enclave-allow-issuer {issuer}")


def test_a_verdict_holds_what_it_rests_on():
    told = Told({NAME: PAIR, "example.com": PAIR})
    assert _by([told]).climbs == tuple(lookup.climb(n, [told]) for n in (NAME, "example.com"))
    assert _by([told], "example.com").climbs == (lookup.climb("example.com", [told]),)


def _apply(fix):
    """Read the record set that the fix of a covering wildcard prints."""
    found = []
    for text in fix.partition("example.com: ")[2].split("; "):
        flags, tag, value = text.split(" ", 2)
        found.append(Record(int(flags), tag.encode(), value.strip('"').encode()))
    return found


@pytest.mark.parametrize(
    "above",
    [
        {},
        {"example.com": [OTHER]},
        {"example.com": [OTHER, OTHER_WILD]},
        {"example.com": [Record(0, b"IssueWild", b"other.test")]},
        {"example.com": [Record(0, b"issuewild ", b"other.test")]},
        {"com": [OTHER, OTHER_WILD]},
        {"com": [Record(0, b"iodef", b"mailto:a@b.test")]},
    ],
)
def test_the_fix_of_the_covering_wildcard_closes_it_and_leaves_the_parent_alone(above):
    table = {NAME: PAIR, **above}
    (finding,) = _judge(table).findings
    assert finding.name == "covering-wildcard-open"
    wanted = _apply(finding.fix)
    inherited = next(iter(above.values()), [])
    kept = [record for record in inherited if record.tag.strip().lower() != b"issuewild"]
    assert wanted == [*kept, NOBODY_WILD]
    assert _judge({**table, "example.com": wanted}).word == "exclusive"


def test_the_fix_of_inherited_records_is_to_publish_at_the_name():
    found = _judge({"example.com": [OTHER, NOBODY_WILD]})
    assert _names(found) == ["unbound-issuer", "not-allowed"]
    assert found.findings[0].fix == (
        f"publish the records that bind issuance to this account at {NAME}: "
        "they go before those of example.com"
    )
    assert _judge({"example.com": [OTHER, NOBODY_WILD], NAME: PAIR}).word == "exclusive"


def test_behind_an_alias_that_is_not_accepted_the_fix_takes_its_place():
    entry = {"records": (OTHER, NOBODY_WILD), "aliases": ("lb.other.net",)}
    table = {NAME: entry, "example.com": PAIR}
    found = _judge(table)
    assert found.findings[0].fix == (
        f"publish the records that bind issuance to this account at {NAME}: in place of the alias"
    )
    assert found.findings[0].change == (NAME, (), PAIR, NAME)
    # Into a zone that is accepted, the records stand at its end, and change there.
    found = _judge(table, tolerance=Tolerance(alias_zones=frozenset(["other.net"])))
    assert found.findings[0].fix == "remove this record"
    assert found.findings[0].change == ("lb.other.net", (OTHER, NOBODY_WILD), PAIR, "lb.other.net")


def test_the_fix_of_a_covering_wildcard_behind_an_alias_is_at_its_end():
    above = {"records": (OTHER,), "aliases": ("lb.other.net",)}
    tolerance = Tolerance(alias_zones=frozenset(["other.net"]))
    (finding,) = _judge({NAME: PAIR, "example.com": above}, tolerance=tolerance).findings
    assert finding.fix.startswith("have these CAA records and no others at lb.other.net: ")
    assert finding.change == ("lb.other.net", (OTHER,), (OTHER, NOBODY_WILD), "lb.other.net")


@pytest.mark.parametrize(
    ("subject", "name", "fix"),
    [
        # Told apart by a query alone, at our own CA.
        (Subject(ISSUER, f"{OURS}?id=1", ("http-01",)), "ambiguous-account", "use an account at"),
        (Subject(ISSUER, OURS, ("ca-tbr-19",)), "not-allowed", "no record can allow it: name a"),
    ],
)
def test_what_no_record_can_mend_has_no_change(subject, name, fix):
    bound = formats.records_for(
        issuer=ISSUER, methods=subject.methods, account_uri=subject.account_uri
    )
    for records in (bound, [OTHER, NOBODY_WILD]):
        found = _judge({NAME: records, "example.com": bound}, subject=subject)
        for finding in found.findings:
            assert (finding.change is None) is (finding.name == name)
            assert finding.fix.startswith(fix) is (finding.name == name)
    # Others are shut out by records all the same.
    assert found.findings[0].name == "unbound-issuer"
    assert found.findings[0].change.after == bound


def test_account_that_no_record_can_name_is_refused():
    with pytest.raises(errors.PolicyError) as caught:
        _judge({NAME: PAIR}, subject=Subject(ISSUER, f"{OURS}%zz", ("http-01",)))
    assert caught.value.code == "caa-account-uri"


def test_the_fix_at_the_name_itself_is_that_of_the_record():
    found = _judge({NAME: [OTHER, *PAIR], "example.com": PAIR})
    assert [finding.fix for finding in found.findings] == ["remove this record"]


def test_a_failed_lookup_raises_and_an_unknown_verdict_is_open():
    with pytest.raises(errors.TransportError) as caught:
        _judge({NAME: PAIR, "example.com": {"failure": "SERVFAIL"}})
    found = verdict.unknown(NAME, caught.value, ("one",))
    assert (found.word, found.conditions, found.found_at) == ("open", (), None)
    assert _names(found) == ["lookup-failed"]
    assert found.findings[0].why == str(caught.value)
    assert found.findings[0].fix == caught.value.hint
    assert not found.opens_gate
    bare = errors.TransportError("x", code="y")
    assert verdict.unknown(NAME, bare, ()).findings[0].fix == errors.TransportError.advice


def test_the_word_says_exclusive_only_with_everything_right():
    choices = itertools.product([PAIR, [OTHER]], [PAIR, [OTHER]], [True, False], [(), ("a.b",)])
    for own, above, signed, aliases in choices:
        entry = {"records": own, "authenticated": signed, "aliases": aliases}
        found = _judge({NAME: entry, "example.com": above})
        right = (own, above, signed, aliases) == (PAIR, PAIR, True, ())
        assert (found.word == "exclusive") is right
        assert found.opens_gate is right


HELD = "https://staging.ca.test/acct/7"
THIRD = "https://ca.test/acct/9"


def _set(*uris, wildcard=False):
    accounts = [Account(ISSUER, uri, ("http-01",)) for uri in uris]
    return publication.records_of(accounts, wildcard=wildcard)


def _holding(table, **more):
    return _judge(table, tolerance=Tolerance(accounts=frozenset({HELD})), **more)


@pytest.mark.parametrize(
    "table",
    [
        {NAME: _set(OURS, HELD), "example.com": PAIR},
        {"example.com": _set(OURS, HELD)},
        {"example.com": _set(HELD, OURS, wildcard=True)},
        # It is allowed the covering wildcard alone.
        {NAME: PAIR, "example.com": [*_set(OURS), *_set(HELD, wildcard=True)[1:]]},
    ],
)
def test_account_that_the_enclave_holds_elsewhere_is_a_condition(table):
    found = _holding(table)
    assert (found.word, found.opens_gate) == ("exclusive", True)
    assert found.conditions == (f"rehearsal-account:{HELD}",)
    assert not _judge(table).opens_gate


def test_account_that_the_enclave_holds_elsewhere_need_not_be_allowed():
    found = _holding({NAME: PAIR, "example.com": PAIR})
    assert (found.word, found.conditions) == ("exclusive", ())


@pytest.mark.parametrize(
    ("records", "names"),
    [
        (_set(OURS, HELD, THIRD), ["foreign-account"]),
        (_set(THIRD, HELD), ["foreign-account", "not-allowed"]),
        (_set(HELD), ["not-allowed"]),
        ([*_set(OURS, HELD), OTHER], ["unbound-issuer"]),
        # By another method, or with more than its URI, it is nothing that we hold.
        (
            [*PAIR, Record(0, b"issue", f"{ISSUER};accounturi={HELD}".encode())],
            ["unpinned-method"],
        ),
        (_set(OURS, HELD + "/"), ["foreign-account"]),
        (_set(OURS, HELD + "0"), ["foreign-account"]),
    ],
)
def test_account_that_the_enclave_holds_elsewhere_opens_nothing_else(records, names):
    found = _holding({"example.com": records})
    assert sorted(set(_names(found)) - {"covering-wildcard-open"}) == names
    assert found.word == "open"


def test_change_keeps_the_account_that_the_enclave_holds_elsewhere():
    found = _holding({"example.com": _set(OURS, HELD, THIRD)}, name="example.com")
    assert [finding.change.after for finding in found.findings] == [_set(OURS, HELD)]
    found = _holding({"example.com": _set(THIRD)}, name="example.com")
    assert {finding.change.after for finding in found.findings} == {_set(OURS)}
