# SPDX-License-Identifier: Apache-2.0
"""Holes of peers, by name: our verdict on each, and the change that closes it.

Each docstring says where the hole was read; files are those of the peer's repository, as of
2026-09.
"""

from datetime import date

import pytest

from certbot_enclave import errors
from certbot_enclave.account.gate import Gate
from certbot_enclave.caa import evaluate, issuers, lookup
from certbot_enclave.caa.formats import records_for
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from tests.unit.caa.told import Told

CA = "letsencrypt.org"
BASE, HOST = "example.com", "www.example.com"
LIVE = "https://acme-v02.api.letsencrypt.org/acme/acct/1"
OLD = "https://acme-v02.api.letsencrypt.org/acme/acct/2"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/acme/acct/3"
METHODS = ("dns-01",)
US = Subject(CA, LIVE, METHODS)
PAIR = records_for(issuer=CA, methods=METHODS, account_uri=LIVE)
BOTH = records_for(issuer=CA, methods=METHODS, account_uri=LIVE, wildcard=True)
NOBODY = Record(0, b"issue", b";")
AMAZON = ("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com")


def _issue(value, tag=b"issue"):
    return Record(0, tag, value.encode())


def _judge(name, table, subject=US, *, today=issuers.MANDATORY, **common):
    told = Told(table, **common)
    return judge_name(
        name, subject, Tolerance(), lambda item: lookup.climb(item, [told]), today=today
    )


def _findings(found):
    return {finding.name for finding in found.findings}


def _permitted(records, subject=US):
    """What a permission check sees, and nothing else."""
    return evaluate.strict(
        records,
        issuer=subject.issuer,
        account_uris=(subject.account_uri,),
        method=subject.methods[0],
        wildcard=False,
    ).allowed


def _closed(name, table, subject=US):
    """Make the changes that are offered; return True if nobody else is left then."""
    table = dict(table)
    for finding in _judge(name, table, subject).findings:
        if finding.change is not None:
            table[finding.change.name] = finding.change.after
    return _judge(name, table, subject).word == "exclusive"


@pytest.mark.parametrize("name", [BASE, HOST, f"*.{BASE}"])
def test_dstack_ingress_wildcard_only_pin_leaves_every_name_open(name):
    """dstack-ingress, scripts/functions.sh:202 (PR #85): for ``*.base``, issuewild and no issue."""
    table = {BASE: [BOTH[1]]}
    found = _judge(name, table)
    assert (found.word, _findings(found)) == ("open", {"no-issue"})
    # Any account at any CA is permitted the names themselves.
    assert _permitted(table[BASE], Subject("other.test", OLD, METHODS))
    assert _closed(name, table)


def test_dstack_ingress_route53_merge_drops_the_account_and_adds_four_cas():
    """dstack-ingress, dns_providers/route53.py:348-395: parameters dropped, merged at the apex."""
    table = {BASE: [_issue(issuer) for issuer in (CA, *AMAZON)]}
    found = _judge(HOST, table)
    assert _findings(found) == {
        *("unpinned-account", "unpinned-method", "unbound-issuer", "covering-wildcard-open"),
    }
    named = {finding.record for finding in found.findings if finding.name == "unbound-issuer"}
    assert named == {_issue(issuer).text() for issuer in AMAZON}
    assert _permitted(table[BASE])
    assert _closed(HOST, table)
    # Merged beside a record that is bound, the bound one means nothing.
    assert "unpinned-account" in _findings(_judge(BASE, {BASE: [*table[BASE], *PAIR]}))


@pytest.mark.parametrize("value", [CA, f"{CA};", f"{CA};validationmethods=dns-01"])
def test_issuer_only_record_lets_every_account_in(value):
    """nitriding, Evervault and teels set no account: the CA alone, at best, is named."""
    table = {BASE: [_issue(value)]}
    found = _judge(BASE, table)
    assert found.word == "open"
    assert "unpinned-account" in _findings(found)
    assert _permitted(table[BASE], Subject(CA, OLD, METHODS))
    assert _closed(BASE, table)


@pytest.mark.parametrize(
    ("pinned", "subject", "also"),
    [
        # Renewal at production fails, about 90 days on.
        (STAGING, US, set()),
        # A rehearsal at staging fails.
        (LIVE, Subject(CA, STAGING, METHODS), {"staging-uri-in-production"}),
    ],
)
def test_dstack_ingress_pin_on_staging_refuses_production_and_the_reverse(pinned, subject, also):
    """dstack-examples #109 and letsdebug #107: accounturi of one directory, orders at the other."""
    table = {BASE: records_for(issuer=CA, methods=METHODS, account_uri=pinned)}
    found = _judge(BASE, table, subject)
    assert (found.word, _findings(found)) == ("open", {"foreign-account", "not-allowed"})
    assert not _permitted(table[BASE], subject)
    assert {finding.name for finding in issuers.judge_staging(subject)} == also
    assert _closed(BASE, table, subject)
    # Both accounts, each in a record of its own, and both named as ours.
    both = Subject(CA, LIVE, METHODS, (STAGING,))
    assert _closed(BASE, table, both)
    assert issuers.judge_staging(both) == ()


@pytest.mark.parametrize(
    ("beside", "finding"),
    [
        (_issue("other.test"), "unbound-issuer"),
        (_issue(CA), "unpinned-account"),
        (_issue("other.test", b"issuewild"), "unbound-issuer"),
        (_issue(f"{CA};validationmethods=dns-01;accounturi={OLD}"), "foreign-account"),
        (_issue(f"{CA};validationmethods=dns-01;AccountURI={LIVE}"), "case-variant-parameter"),
    ],
)
def test_dstack_ingress_permission_check_is_not_enough(beside, finding):
    """dstack-ingress, dnsguide.check_caa: passes when any one record permits us."""
    table = {BASE: [*PAIR, beside]}
    assert _permitted(table[BASE])
    found = _judge(BASE, table)
    assert found.word == "open"
    assert finding in _findings(found)
    assert _closed(BASE, table)


def test_dstack_ingress_absence_is_no_pass():
    """dstack-ingress, dnsguide.check_caa: passes when there are no CAA records at all."""
    assert _permitted([])
    found = _judge(BASE, {})
    assert (found.word, _findings(found)) == ("open", {"no-caa"})
    assert _closed(BASE, {})


def test_dstack_ingress_namecheap_success_without_records_is_no_success():
    """dstack-ingress, namecheap.py:259: returns success, and the API has no CAA at all."""
    before = _judge(BASE, {})
    (finding,) = before.findings
    # The provider says that it has these records; DNS says what it said before.
    assert finding.change is not None
    assert set(PAIR) <= set(finding.change.after)
    assert _judge(BASE, {}) == before
    assert _judge(BASE, {BASE: finding.change.after}).word == "exclusive"


def _gate(answers):
    """A gate as `issuance` has it, over what a resolver is told to answer."""

    def check(names):
        found = [_judge(name, answers) for name in names]
        if not all(item.opens_gate for item in found):
            raise errors.GateError("open", code="caa-open")

    return Gate(check, lambda: 0.0)


def test_dstack_ingress_no_order_before_the_records_stand():
    """dstack-ingress, scripts/dns01.sh process_domain: the first certificate comes before CAA."""
    answers, names = {}, frozenset({BASE})
    gate = _gate(answers)
    with pytest.raises(errors.GateError, match="open"):
        gate.open(names)
    with pytest.raises(errors.GateError, match="the gate is closed"):
        gate.require(names)
    answers[BASE] = PAIR
    gate.open(names)
    gate.require(names)


@pytest.mark.parametrize(
    "state", [{}, {BASE: [_issue(CA)]}, {BASE: {"failure": "SERVFAIL"}}], ids=str
)
def test_dstack_ingress_a_failed_write_of_caa_keeps_the_gate_closed(state):
    """dstack-ingress, set_caa_record (dns01.sh:196-227): a failed write is "not critical"."""
    names = frozenset({BASE})
    gate = _gate(state)
    with pytest.raises((errors.GateError, errors.TransportError)):
        gate.open(names)
    with pytest.raises(errors.GateError, match="the gate is closed"):
        gate.require(names)


def test_oyster_printed_line_leaves_every_method():
    """oyster-caddy-account-uri prints accounturi without validationmethods, and no issuewild."""
    table = {BASE: [_issue(f"{CA}; accounturi={LIVE}")]}
    found = _judge(BASE, table)
    assert (found.word, _findings(found)) == ("open", {"unpinned-method"})
    (change,) = {finding.change for finding in found.findings}
    assert change.after == PAIR
    assert _closed(BASE, table)


@pytest.mark.parametrize("ours", [(), PAIR], ids=["in place of ours", "beside ours"])
def test_cloudflare_injected_records_defeat_the_binding(ours):
    """CVE-2026-14440, phala-docs PR #89: Universal SSL serves CAA that no dashboard shows."""
    named = ["comodoca.com", "digicert.com; cansignhttpexchanges=yes", CA, "ssl.com"]
    injected = [_issue(value, tag) for value in named for tag in (b"issue", b"issuewild")]
    table = {BASE: [*ours, *injected]}
    found = _judge(BASE, table)
    assert found.word == "open"
    assert {"unbound-issuer", "unpinned-account"} <= _findings(found)
    # The same names as seen by whoever asks for permission only.
    assert _permitted(table[BASE])
    assert set(injected) <= set(found.findings[0].change.removed)
    assert _closed(BASE, table)


@pytest.mark.parametrize("order", [1, -1])
def test_dstack_gateway_guard_beside_a_permissive_record_guards_nothing(order):
    """dstack, certbot/src/acme_client.rs:129-175: ``;`` is written before old records go."""
    guards = [NOBODY, Record(0, b"issuewild", b";")]
    table = {BASE: [*guards, _issue(CA)][::order]}
    found = _judge(BASE, table)
    assert found.word == "open"
    assert "unpinned-account" in _findings(found)
    assert _permitted(table[BASE], Subject(CA, OLD, METHODS))
    # Alone they do, for us too.
    alone = _judge(BASE, {BASE: guards})
    assert (alone.word, _findings(alone)) == ("open", {"not-allowed"})
    assert _closed(BASE, table)
    assert _closed(BASE, {BASE: guards})


def test_dstack_gateway_the_old_account_beside_the_new_one_still_may():
    """dstack #1009 and #1010: after a rotation the old account stays valid, and its record too."""
    old = records_for(issuer=CA, methods=METHODS, account_uri=OLD)
    table = {BASE: [PAIR[0], *old]}
    found = _judge(BASE, table)
    assert (found.word, _findings(found)) == ("open", {"foreign-account"})
    assert [finding.record for finding in found.findings] == [old[0].text()]
    assert _closed(BASE, table)
    # A rotation that left only the old record refuses us.
    assert "not-allowed" in _findings(_judge(BASE, {BASE: old}))


def test_two_accounts_in_one_property_allow_nobody_or_anybody():
    """RFC 8657 §3: blue and green in one record are unsatisfiable, and parsers differ."""
    value = f"{CA};validationmethods=dns-01;accounturi={LIVE};accounturi={OLD}"
    table = {BASE: [_issue(value)]}
    both = Subject(CA, LIVE, METHODS, (OLD,))
    for subject in (US, both):
        found = _judge(BASE, table, subject)
        assert found.word == "open"
        assert _findings(found) == {"duplicate-parameter", "not-allowed"}
        assert _closed(BASE, table, subject)


@pytest.mark.parametrize(
    "above", [[], [_issue(CA)], [_issue("other.test")], [_issue(CA, b"issuewild"), *PAIR]]
)
def test_every_peer_forgets_the_wildcard_that_covers_the_name(above):
    """No peer reads the parent: ``*.example.com`` serves www.example.com as well."""
    table = {HOST: PAIR, BASE: above}
    assert _permitted(PAIR)
    assert not _permitted(PAIR, Subject(CA, OLD, METHODS))
    found = _judge(HOST, table)
    assert (found.word, _findings(found)) == ("open", {"covering-wildcard-open"})
    assert _closed(HOST, table)
    # The change at the parent takes nothing from whoever had it there.
    (change,) = {finding.change for finding in found.findings}
    assert {record for record in above if record.tag == b"issue"} <= set(change.after)


def test_no_peer_asks_for_dnssec():
    """No peer checks that the answer is authenticated: the host forges what it likes."""
    found = _judge(BASE, {BASE: PAIR}, authenticated=False)
    assert (found.word, _findings(found)) == ("open", {"insecure-zone"})
    assert [finding.change for finding in found.findings] == [None]


def test_a_pin_at_a_ca_that_need_not_read_it_is_told():
    """RFC 8657 binds no CA before CA/B ballot SC-098v2 does, on 2027-03-15."""
    other = Subject("other.test", "https://acme.other.test/acct/1", METHODS)
    table = {BASE: records_for(issuer=other.issuer, methods=METHODS, account_uri=other.account_uri)}
    found = _judge(BASE, table, other, today=date(2027, 3, 14))
    assert (found.word, _findings(found)) == ("open", {"issuer-not-enforcing"})
    assert _judge(BASE, {BASE: PAIR}, today=date(2027, 3, 14)).word == "exclusive"
    assert _judge(BASE, table, other, today=date(2027, 3, 15)).word == "exclusive"
