# SPDX-License-Identifier: Apache-2.0
"""The strict reading gives the verdicts of Let's Encrypt's Boulder."""

import json

import pytest

from certbot_enclave.caa.evaluate import strict
from certbot_enclave.caa.formats import records_for
from certbot_enclave.caa.grammar import Record
from tests.unit.caa import zones


def _verdict(case):
    found = zones.climb(case)
    if found is None:
        return "error"
    decision = strict(
        found,
        issuer=case["issuer"],
        account_uris=[f"{prefix}{case['account_id']}" for prefix in case["account_uri_prefixes"]],
        method=case["method"],
        wildcard=case["wildcard"],
    )
    return "allowed" if decision.allowed else "denied"


def _mismatches(path, key="cases"):
    table = json.loads(path.read_text())
    cases = table[key] if isinstance(table, dict) else table
    wrong = [
        (case["name"], case["expected"], found)
        for case in cases
        if (found := _verdict(case)) != case["expected"]
    ]
    return len(cases), wrong


@pytest.mark.parametrize(
    ("file", "count"), [("boulder-differential.json", 1434), ("rfc-examples.json", 42)]
)
def test_own_vectors(vectors, file, count):
    assert _mismatches(vectors / "caa" / file) == (count, [])


@pytest.mark.corpus
def test_boulder_own_tests(corpus):
    assert _mismatches(corpus / "caa" / "boulder.json") == (53, [])


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


def test_every_pair_that_we_print_is_allowed():
    for wildcard in (False, True):
        pair = records_for(
            issuer="ca.test", methods=["dns-01"], account_uri=OURS, wildcard=wildcard
        )
        rows = [(record.flags, record.tag, record.value) for record in pair]
        assert _decide(*rows, method="dns-01").allowed
        assert _decide(*rows, method="dns-01", wildcard=True).allowed is wildcard
        assert not _decide(*rows, method="http-01").allowed
