# SPDX-License-Identifier: Apache-2.0
"""The strict reading gives the verdicts of Let's Encrypt's Boulder."""

import json
from collections import Counter

import pytest

from certbot_enclave import errors
from certbot_enclave.caa import grammar
from certbot_enclave.caa.evaluate import strict
from certbot_enclave.caa.formats import records_for
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climbing
from tests import replay_caa
from tests.support import caa_vectors


def _mismatches(path):
    cases = caa_vectors.read(path)
    wrong = []
    for case in cases:
        verdict, found_at = replay_caa.judge(case)
        if verdict != case.expected or case.found_at not in (None, found_at):
            wrong.append((case.name, case.expected, case.found_at, verdict, found_at))
    return len(cases), wrong


@pytest.mark.parametrize(
    ("file", "count"), [("boulder-differential.json", 1434), ("rfc-examples.json", 42)]
)
def test_own_vectors(vectors, file, count):
    assert _mismatches(vectors / "caa" / file) == (count, [])


# Of the last two, Boulder's verdict on each case.
@pytest.mark.corpus
@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("boulder.json", 53),
        ("caatestsuite.json", 28),
        ("open-mpic.json", 45),
        ("opencertserver.json", 18),
    ],
)
def test_corpus(corpus, file, count):
    assert _mismatches(corpus / "caa" / file) == (count, [])


@pytest.mark.parametrize("file", ["boulder-differential.json"])
def test_the_place_is_told_by_the_vectors(vectors, file):
    cases = caa_vectors.read(vectors / "caa" / file)
    assert sum(case.found_at is not None for case in cases) == 1313
    assert len({case.found_at for case in cases}) > 5


@pytest.fixture
def boulder(corpus):
    """Boulder's own unit tables."""
    return json.loads((corpus / "caa" / "boulder.json").read_text(encoding="utf-8"))


def _unit(item, **asked):
    """Judge one property with the parameters of a unit test."""
    parameters = "".join(f";{param['tag']}={param['value']}" for param in item["params"])
    asked = {"issuer": "ca.test", "account_uris": [], "method": "m", "wildcard": False, **asked}
    return strict([Record(0, b"issue", f"ca.test{parameters}".encode())], **asked).allowed


@pytest.mark.corpus
def test_boulder_account_uri_units(boulder):
    items = boulder["units"]["account_uri_matches"]
    assert len(items) == 16
    for item in items:
        uris = [f"{prefix}{item['account_id']}" for prefix in item["account_uri_prefixes"]]
        # Another parameter may name methods.
        method = next((p["value"] for p in item["params"] if p["tag"] != "accounturi"), "m")
        assert _unit(item, account_uris=uris, method=method) is item["match"], item["name"]


@pytest.mark.corpus
def test_boulder_validation_method_units(boulder):
    items = boulder["units"]["validation_method_matches"]
    assert len(items) == 16
    for item in items:
        uris = [param["value"] for param in item["params"] if param["tag"] == "accounturi"]
        assert _unit(item, account_uris=uris, method=item["method"]) is item["match"], item["name"]


@pytest.mark.corpus
def test_boulder_issue_value_units(boulder):
    items = boulder["units"]["parse_issue_value"]
    assert len(items) == 21
    for item in items:
        found = grammar.split_strict(item["value"].encode())
        if item["error"] is not None:
            assert found is None, item["name"]
            continue
        pairs = [(p["tag"].encode(), p["value"].encode()) for p in item["params"]]
        assert found == (item["issuer_domain"].encode(), pairs), item["name"]


@pytest.mark.corpus
def test_boulder_filter_units(boulder):
    items = boulder["units"]["filter"]
    assert len(items) == 6
    for item in items:
        rows = [Record(r["flags"], r["tag"].encode(), r["value"].encode()) for r in item["records"]]
        for wildcard, field in ((False, "issue_values"), (True, "issuewild_values")):
            expected = set("abc" if not item[field] else item[field])
            if item["unknown_critical"]:
                expected = set()
            found = {
                name
                for name in "abc"
                if strict(rows, issuer=name, account_uris=[], method="m", wildcard=wildcard).allowed
            }
            assert found == expected, item["name"]


@pytest.mark.corpus
def test_where_boulder_outvotes_a_perspective_all_of_ours_must_agree(boulder):
    # Boulder tolerates that one of three remote perspectives fails or sees other records. We do
    # not, so of its quorum cases only that nothing is allowed here which is not allowed there.
    assert len(boulder["mpic"]) == 19
    tally = Counter()
    for item in boulder["mpic"]:
        words = [item["primary"], *(word for _, word in item["remotes"])]
        found = _agreed(item, words)
        tally[item["expected"], found] += 1
        if set(words) == {"honest"}:
            assert found == item["expected"], item["name"]
    assert tally["allowed", "allowed"] >= 2
    assert not tally["denied", "allowed"]
    assert not tally["error", "allowed"]


def _agreed(item, words):
    """Return the verdict of resolvers that must agree, one for each perspective."""
    climbing = Climbing(item["identifier"], [str(number) for number in range(len(words))])
    zones = {
        word: caa_vectors.read_zone(item[f"zone_{word}"], item["name"])
        for word in ("honest", "hijacked")
    }
    zones["broken"] = {item["identifier"]: caa_vectors.Entry(rcode="SERVFAIL")}
    try:
        while (question := climbing.question) is not None:
            climbing.feed(
                [
                    replay_caa.answer(question, str(number), zones[word])
                    for number, word in enumerate(words)
                ]
            )
    except errors.Error:
        return "error"
    found = climbing.result
    allowed = strict(
        found.records,
        issuer="letsencrypt.org",
        account_uris=[],
        method=item["method"],
        wildcard=False,
    ).allowed
    return "allowed" if allowed else "denied"


OURS = "https://ca.test/acct/1"


def _decide(*rows, method="http-01", wildcard=False):
    return strict(
        [Record(*row) for row in rows],
        issuer="ca.test",
        account_uris=(OURS,),
        method=method,
        wildcard=wildcard,
    )


@pytest.mark.parametrize(
    ("rows", "allowed", "reason"),
    [
        ([], True, "no property restricts issuance"),
        ([(0, b"iodef", b"mailto:a@b.test")], True, "no property restricts issuance"),
        ([(0, b"issue", b"ca.test")], True, '0 issue "ca.test" allows it'),
        ([(0, b"issue", b"other.test")], False, "no record allows this account by this method"),
        (
            [(128, b"tbs", b""), (0, b"issue", b"ca.test")],
            False,
            'critical property 128 tbs "" is unknown to the CA',
        ),
        (
            [(1, b"tbs", b""), (0, b"issue", b"ca.test")],
            False,
            'critical property 1 tbs "" is unknown to the CA',
        ),
    ],
)
def test_the_reason_names_what_decides(rows, allowed, reason):
    decision = _decide(*rows)
    assert (decision.allowed, decision.reason) == (allowed, reason)


@pytest.mark.parametrize("uris", [(OURS, "https://old.test/acct/1"), ("https://old.test/acct/1",)])
def test_a_ca_may_know_an_account_by_several_uris(uris):
    record = Record(0, b"issue", f"ca.test;accounturi={OURS}".encode())
    decision = strict([record], issuer="ca.test", account_uris=uris, method="m", wildcard=False)
    assert decision.allowed is (OURS in uris)


@pytest.mark.parametrize(
    ("method", "allowed"),
    [
        *((name, True) for name in ("http-01", "dns-01", "tls-alpn-01")),
        *((name, True) for name in ("dns-account-01", "dns-persist-01")),
        *((name, False) for name in ("tls-sni-01", "ca-tbr-7", "HTTP-01", "")),
    ],
)
def test_a_label_that_boulder_does_not_know_is_passed_over_even_if_it_is_asked_for(method, allowed):
    value = f"ca.test;validationmethods={method}".encode()
    assert _decide((0, b"issue", value), method=method).allowed is allowed
    both = f"ca.test;validationmethods=tls-sni-01,{method}".encode()
    assert _decide((0, b"issue", both), method=method).allowed is allowed


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://ca.test/acct/1", True),
        ("HTTPS://[::1]:443/%41?%zz", True),
        ("acct:1@ca.test", True),
        ("//ca.test/1", True),
        ("/1", True),
        ("1", True),
        ("https://ca.test/%zz", False),
        ("https://ca.test:x/1", False),
        ("https://ca.test^/1", False),
        ("https://%41/1", False),
        ("https://[::1/1", False),
        ("https://a b/1", False),
        ("https://ca.test/1#%", False),
        (":1", False),
        ("1:1", False),
        ("%", False),
    ],
)
def test_an_account_uri_that_is_none_to_go_allows_nobody(uri, allowed):
    record = Record(0, b"issue", f"ca.test;accounturi={uri}".encode())
    found = strict([record], issuer="ca.test", account_uris=[uri], method="m", wildcard=False)
    assert found.allowed is allowed


def test_every_pair_that_we_print_is_allowed():
    for wildcard in (False, True):
        pair = records_for(
            issuer="ca.test", methods=["dns-01"], account_uri=OURS, wildcard=wildcard
        )
        rows = [(record.flags, record.tag, record.value) for record in pair]
        assert _decide(*rows, method="dns-01").allowed
        assert _decide(*rows, method="dns-01", wildcard=True).allowed is wildcard
        assert not _decide(*rows, method="http-01").allowed
