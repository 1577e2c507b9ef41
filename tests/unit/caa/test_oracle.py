# SPDX-License-Identifier: Apache-2.0
"""The oracle reads records as the three implementations do, and misses nobody that they allow."""

import ast
import json
from pathlib import Path

import pytest

from tests import replay_caa
from tests.support import caa_oracle, caa_vectors
from tests.support.caa_oracle import Request

READINGS = {
    "open-mpic.json": (caa_oracle.open_mpic, 45),
    "opencertserver.json": (caa_oracle.opencertserver, 18),
}
OURS = "https://ca.test/acct/1"
PIN = f"ca.test;validationmethods=http-01;accounturi={OURS}".encode()


def _rows(case):
    """Return the relevant records of a case."""
    return [(record.flags, record.tag, record.value) for record in replay_caa.climb(case).records]


def _allowed(reading, case):
    # An account that is unknown is none that a record names.
    account = case.account_uris[0] if case.account_uris else "https://nobody.example/"
    rows = _rows(case)
    return not rows or reading(rows, Request(case.issuer, account, case.method, case.wildcard))


def _cases(path):
    return [case for case in caa_vectors.read(path) if replay_caa.judge(case)[0] != "error"]


@pytest.mark.parametrize(
    ("file", "count"), [("boulder-differential.json", 1375), ("rfc-examples.json", 42)]
)
def test_boulder_own_vectors(vectors, file, count):
    cases = _cases(vectors / "caa" / file)
    assert len(cases) == count
    for case in cases:
        # Boulder knows an account by several URIs, the oracle by one.
        if len(case.account_uris) == 1:
            assert _allowed(caa_oracle.boulder, case) is (case.expected == "allowed"), case.name


@pytest.mark.corpus
@pytest.mark.parametrize("file", ["boulder.json", "caatestsuite.json", *READINGS])
def test_boulder_corpus(corpus, file):
    for case in _cases(corpus / "caa" / file):
        assert _allowed(caa_oracle.boulder, case) is (case.expected == "allowed"), case.name


@pytest.mark.corpus
@pytest.mark.parametrize(("file", "reading", "count"), [(f, *r) for f, r in READINGS.items()])
def test_peers_by_their_own_verdicts(corpus, file, reading, count):
    path = corpus / "caa" / file
    own = {item["id"]: item for item in json.loads(path.read_text())["cases"]}
    cases = caa_vectors.read(path)
    assert len(cases) == count
    for case in cases:
        if own[case.name]["account_uri"] is None:
            case = case._replace(account_uris=())
        assert _allowed(reading, case) is (own[case.name]["expected"] == "allowed"), case.name


def _others(*rows, account=OURS, methods=("http-01",), wildcard=False):
    return caa_oracle.others(
        rows, issuer="ca.test", account=account, methods=methods, wildcard=wildcard
    )


@pytest.mark.parametrize(
    "rows",
    [
        [(0, b"issue", PIN)],
        [(0, b"ISSUE", PIN), (0, b"issue", b";")],
        [(0, b"issue", b"")],
        [(0, b"issue", PIN + b";accounturi=https://ca.test/acct/2")],
        [(0, b"issue", PIN.replace(b"http-01", b"ca-tbr-19"))],
        [(0, b"issue", PIN + b"/")],
        [(129, b"issue", PIN), (128, b"iodef", b"")],
    ],
)
def test_nobody_else(rows):
    assert _others(*rows) is None


@pytest.mark.parametrize(
    ("rows", "who"),
    [
        ([], "anybody"),
        ([(0, b"iodef", b"")], "boulder: ca.test https://ca.test/acct/1 dns-01"),
        ([(0, b"issue", PIN), (0, b"issue", b"other.test")], "boulder: other.test"),
        ([(0, b"issue", PIN), (0, b"issue", b"Other.test.;a-b=1;")], "opencertserver: other.test"),
        ([(0, b"issue", PIN.replace(b"uri", b"URI"))], "boulder: ca.test https://ca.test/acct/17"),
        ([(0, b"issue", PIN + b"2")], "boulder: ca.test https://ca.test/acct/12 http-01"),
        (
            [(0, b"issue", PIN.replace(b"http", b"dns", 1))],
            "boulder: ca.test https://ca.test/acct/1",
        ),
        ([(0, b"issue", PIN + b";ValidationMethods=DNS-01;")], "opencertserver: ca.test"),
        ([(0, b"issue", PIN), (0, b"t-g", b"")], "open_mpic: ca.test"),
        ([(0, b"issue", b"Ca.test;a-b=1")], "open_mpic: ca.test"),
        ([(128, b"contactemail", b"x")], "open_mpic: ca.test"),
        ([(128, b"issuevmc", b"x")], "boulder: ca.test"),
        ([(1, b"tbs", b"x")], "open_mpic: ca.test"),
    ],
)
def test_somebody_else(rows, who):
    assert _others(*rows).startswith(who)


def test_an_account_that_differs_after_the_path_is_another():
    account = OURS + "?id=1"
    pin = PIN.replace(OURS.encode(), account.encode())
    assert _others((0, b"issue", pin), account=account).startswith("opencertserver: ca.test")


def test_the_oracle_shares_nothing_with_what_it_judges():
    source = ast.parse(Path(caa_oracle.__file__).read_text(encoding="utf-8"))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(source)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= {
        "__future__",
        "collections.abc",
        "functools",
        "re",
        "typing",
        "urllib.parse",
    }
