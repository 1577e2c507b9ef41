# SPDX-License-Identifier: Apache-2.0
"""Each finding, on real zones: what is printed for it, when done, removes it."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from certbot_enclave.caa import assessment
from tests.functional.caa.asking import (
    ACCOUNT,
    ALLOW_ISSUER,
    BLUE,
    BLUE_PAIR,
    ISSUER,
    METHOD,
    NOBODY_WILD,
    OTHER,
    PAIR,
    SUBJECT,
    URI,
    bound,
    findings_of,
)
from tests.functional.caa.places import (
    InMemory,
    Place,
    asking,
    at,
    behind,
    below,
    deeper,
    gone_above,
    having,
    issue,
    loop,
    more,
    named,
    old_answer,
    own,
    published,
    secure,
    star,
    steps,
    subject,
    target,
    wait,
)
from tests.support.world.dns import DnsWorld
from tests.support.world.process import free_port

ROUNDS = 3
LIVE = "https://acme-v02.api.letsencrypt.org/acme/acct/7"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/acme/acct/7"
IODEF = '0 iodef "mailto:a@example.test"'


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(
            Path(state, "dns"),
            signed=("bare.test", "example.test", "lb.test"),
            unsigned=("plain.test", "part.example.test"),
            bogus=("bogus.test",),
        ) as world,
    ):
        for zone in ("example.test", "plain.test", "bogus.test"):
            world.caa(zone, *PAIR)
        yield world


class Case(NamedTuple):
    """How a finding comes about, and how it goes.

    Attributes:
        finding: Its name.
        about: Which case of it; also the label of its name.
        make: Makes the state of the zones.
        mend: Does what the fix says; None where records do: the printed change is published.
        says: What of the fix `mend` does.
        below: What the name ends in.
        kind: Where.
    """

    finding: str
    about: str
    make: object
    mend: object = None
    says: str = ""
    below: str = "example.test"
    kind: type = Place


_PIN = f"{ISSUER};validationmethods={METHOD};accounturi={URI}"
_ODD = "https://ca.test/acct?id=1"
_ALIAS = "replace the alias"

CASES = [
    Case("no-caa", "nothing", steps(), below="bare.test"),
    Case("no-caa", "apex", named("bare.test")),
    Case("no-issue", "iodef-alone", own(IODEF)),
    Case("no-issue", "wildcards-alone", own(NOBODY_WILD)),
    Case("no-issue", "unknown-tag-alone", own('0 tbs "x"')),
    Case("unbound-issuer", "beside-ours", own(*PAIR, OTHER, IODEF)),
    Case("unbound-issuer", "for-wildcards", own(PAIR[0], '0 issuewild "other.test"')),
    Case("unbound-issuer", "inherited", at("bare.test", OTHER, IODEF), below="bare.test"),
    Case(
        "unbound-issuer",
        "from-a-wildcard",
        steps(at("*.w1.example.test", OTHER), named("x.w1.example.test")),
    ),
    Case("unbound-issuer", "behind-an-alias", steps(behind("lb.test"), target(OTHER))),
    Case("foreign-account", "another", own(*BLUE_PAIR)),
    Case("foreign-account", "another-beside", own(PAIR[0], BLUE_PAIR[0], NOBODY_WILD)),
    Case("foreign-account", "slash", issue(f"{_PIN}/")),
    Case("unpinned-account", "no-uri", issue(f"{ISSUER};validationmethods={METHOD}")),
    Case("unknown-parameter", "accounturl", issue(_PIN.replace("accounturi", "accounturl"))),
    Case("unknown-parameter", "uri-hyphen", issue(_PIN.replace("accounturi", "account-uri"))),
    Case("case-variant-parameter", "uri-case", issue(_PIN.replace("accounturi", "AccountURI"))),
    Case("covering-wildcard-open", "none-above", own(*PAIR), below="bare.test"),
    Case("covering-wildcard-open", "another-ca-above", steps(deeper, below(OTHER, IODEF))),
    Case(
        "covering-wildcard-open",
        "wildcards-above",
        steps(deeper, below(PAIR[0], '0 issuewild "other.test"', NOBODY_WILD)),
    ),
    Case("covering-wildcard-open", "unpinned-above", steps(deeper, below('0 issue "ca.test"'))),
    Case(
        "covering-wildcard-open",
        "inherited-above",
        steps(at("bare.test", OTHER), deeper, own(*PAIR)),
        below="bare.test",
    ),
    Case(
        "covering-wildcard-open",
        "alias-above",
        steps(behind("lb.test"), target(OTHER), deeper),
    ),
    Case("duplicate-parameter", "two-uris", issue(f"{_PIN};accounturi={BLUE}")),
    Case("malformed-value", "trailing-semicolon", issue(f"{_PIN};")),
    Case("malformed-value", "binary", issue(rf"{_PIN};x=\000\255")),
    Case("malformed-tag", "tag-hyphen", own(*PAIR, r'0 is\045sue "x"'), kind=InMemory),
    Case(
        "ambiguous-account",
        "query",
        steps(own(*bound(_ODD)), subject("--account-uri", _ODD, *SUBJECT[2:])),
        subject(*SUBJECT),
        "use an account at a CA whose account URIs differ in the path",
    ),
    Case("issuer-case", "upper", issue(_PIN.replace("ca.test;", "CA.test;", 1))),
    Case("issuer-case", "final-dot", issue(_PIN.replace("ca.test;", "ca.test.;", 1))),
    Case(
        "alias-target-controls-policy",
        "cname",
        having("CNAME", "www.lb.test."),
        having("CNAME"),
        _ALIAS,
    ),
    Case(
        "alias-target-controls-policy",
        "cname-accepted",
        having("CNAME", "www.lb.test."),
        more("--allow-alias-zone", "www.lb.test"),
        "or accept its target with --allow-alias-zone www.lb.test",
    ),
    Case(
        "alias-target-controls-policy",
        "cname-to-others-records",
        steps(having("CNAME", "open.lb.test."), at("open.lb.test", OTHER)),
        having("CNAME"),
        _ALIAS,
    ),
    Case(
        "alias-target-controls-policy",
        "dname",
        steps(having("DNAME", "lb.test."), deeper),
        gone_above("DNAME"),
        _ALIAS,
    ),
    Case(
        "alias-target-controls-policy",
        "wildcard-cname",
        steps(having("CNAME", "lb.test.", prefix="*."), deeper),
        having("A", "127.0.0.1"),
        _ALIAS,
    ),
    Case(
        "alias-target-controls-policy",
        "cname-above",
        steps(having("CNAME", "www.lb.test."), deeper),
        gone_above("CNAME"),
        _ALIAS,
    ),
    Case(
        "insecure-zone",
        "stripped",
        asking(lambda world: world.start_resolver(validating=False).address),
        asking(lambda world: world.resolver.address),
        "name a resolver that validates",
    ),
    Case(
        "insecure-zone",
        "unsigned",
        named("plain.test"),
        secure,
        "sign the zone and have its DS record published by the parent",
    ),
    Case(
        "insecure-zone",
        "unsigned-below-signed",
        named("part.example.test"),
        secure,
        "sign the zone",
    ),
    Case(
        "issuer-not-enforcing",
        "accepted",
        subject(*ACCOUNT),
        subject(*SUBJECT),
        f"accept it with --allow-issuer {ISSUER}",
    ),
    Case(
        "issuer-not-enforcing",
        "other-ca",
        subject(*ACCOUNT),
        subject("--account-uri", LIVE, "--method", METHOD),
        "use a CA that does, such as letsencrypt.org",
    ),
    Case("servers-disagree", "old-answer", old_answer, wait, "wait for the old TTL"),
    Case("unpinned-method", "no-methods", issue(f"{ISSUER};accounturi={URI}")),
    Case("foreign-method", "dns-01", issue(_PIN.replace("http-01", "http-01,dns-01"))),
    Case("not-allowed", "nobody", own('0 issue ";"')),
    Case("not-allowed", "wildcard", star),
    Case("not-allowed", "critical", own(*PAIR, '128 tbs "x"')),
    Case(
        "not-allowed",
        "method",
        subject(*ACCOUNT[:4], "--method", "ca-tbr-19", *ALLOW_ISSUER),
        subject(*SUBJECT),
        "name a method and an account URI that the CA knows",
    ),
    Case(
        "staging-uri-in-production",
        "staging",
        steps(
            own(*bound(STAGING, issuer="letsencrypt.org")),
            subject("--account-uri", STAGING, "--method", METHOD),
        ),
        subject("--account-uri", LIVE, "--method", METHOD),
        "bind the account of the production directory, alone",
    ),
    Case(
        "staging-uri-in-production",
        "staging-beside",
        steps(
            own(*bound(STAGING, issuer="letsencrypt.org")),
            subject("--account-uri", STAGING, "--method", METHOD),
        ),
        subject("--account-uri", STAGING, "--account-uri", LIVE, "--method", METHOD),
        "or beside it",
    ),
    Case(
        "lookup-failed",
        "unreadable-record",
        own(*PAIR, b"\0\x20issue"),
        own(*PAIR),
        "mend the zone",
    ),
    Case("lookup-failed", "bogus", named("bogus.test"), secure, "mend the zone"),
    Case("lookup-failed", "alias-loop", loop, having("CNAME"), "mend the zone"),
    Case(
        "lookup-failed",
        "nobody-listens",
        asking(lambda _: f"127.0.0.1:{free_port()}"),
        asking(lambda world: world.resolver.address),
        "or the resolver",
    ),
    Case("shadowed-by-closer-set", "own-set", own(OTHER)),
    Case("shadowed-by-closer-set", "iodef", own(IODEF)),
    Case("shadowed-by-closer-set", "in-between", steps(own(OTHER), deeper)),
    Case(
        "shadowed-by-closer-set",
        "from-wildcard",
        steps(at("*.w2.example.test", OTHER), named("x.w2.example.test")),
    ),
    Case("shadowed-by-closer-set", "behind-alias", steps(behind("lb.test"), target(OTHER))),
    Case("dns-wildcard", "ours", steps(at("*.w3.example.test", *PAIR), named("x.w3.example.test"))),
    Case(
        "dns-wildcard", "behind-our-alias", steps(behind("w4.lb.test"), at("*.w4.lb.test", *PAIR))
    ),
    Case("ttl-window-open", "just-now", published(0), published(9), "wait until then"),
]


@pytest.fixture
def place(world, request):
    made = request.param.kind(world, f"{request.param.about}.{request.param.below}")
    yield made
    made.clear()


def _changes(findings):
    """Return one change for each name: where there are two, the first does it."""
    found = [finding["change"] for finding in findings if finding["change"] is not None]
    return {change["name"]: change for change in reversed(found)}.values()


@pytest.mark.parametrize(
    ("place", "case"),
    [(case, case) for case in CASES],
    indirect=["place"],
    ids=[f"{case.finding}: {case.about}" for case in CASES],
)
def test_what_is_printed_for_a_finding_removes_it(place, case):
    case.make(place)
    item = place.look()
    assert case.finding in findings_of(item)
    found = [finding for finding in item["findings"] if finding["name"] == case.finding]
    if case.mend is None:
        assert _changes(found)
        for change in _changes(found):
            place.publish(change)
    else:
        assert not _changes(found)
        assert case.says in found[0]["fix"]
        case.mend(place)
    item = place.look()
    assert case.finding not in findings_of(item)
    for _ in range(ROUNDS):
        for change in _changes(item["findings"]):
            place.publish(change)
        item = place.look()
    assert (item["verdict"], item["findings"]) == ("exclusive", [])


def test_every_finding_has_a_case():
    # A lame server is mended where there are several, in test_authoritative.py.
    assert {case.finding for case in CASES} | {"server-lame"} == set(assessment.SEVERITIES)
    assert len({case.about for case in CASES}) == len(CASES)
