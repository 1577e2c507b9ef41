# SPDX-License-Identifier: Apache-2.0
"""Each row of `evaluate`'s table holds: what is strict about it, and what the liberal one finds."""

import re

import pytest

from certbot_enclave.caa import evaluate
from certbot_enclave.caa.grammar import Record

ISSUER = "ca.test"
OURS = "https://ca.test/acct/1"
THEIRS = "https://ca.test/acct/2"
PIN = f"ca.test;validationmethods=http-01;accounturi={OURS}"
FORBID = Record(0, b"issuewild", b";")


def _issue(value, flags=0, tag=b"issue"):
    return Record(flags, tag, value if isinstance(value, bytes) else value.encode("latin-1"))


def _pin(old, new):
    assert old in PIN
    return [_issue(PIN.replace(old, new))]


# Row of the table -> vectors of it: records; whether the strict reading allows our account by
# http-01, and another account by it; what the liberal reading finds.
OPEN = ["unpinned-account", "unpinned-method"]
ROWS: dict = {
    "no records, or no issue property": [
        ([], "us, them", ["no-caa"]),
        ([FORBID], "us, them", ["no-issue"]),
        ([Record(0, b"iodef", b"mailto:a@b.test")], "us, them", ["no-issue"]),
        ([Record(0, b"issuemail", b";"), Record(0, b"tbs", b"")], "us, them", ["no-issue"]),
    ],
    "another issuer": [
        ([_issue("other.test")], "", ["unbound-issuer"]),
        ([_issue(f"other.test;accounturi={OURS}")], "", ["unbound-issuer"]),
        ([_issue("a.ca.test")], "", ["unbound-issuer"]),
        ([_issue("ca.test other.test")], "", ["unbound-issuer"]),
        ([_issue(".")], "", ["unbound-issuer"]),
        ([_issue(PIN), _issue("other.test")], "us", ["unbound-issuer"]),
    ],
    "issuer in another case, or with a final dot": [
        (_pin("ca.test;", "CA.test;"), "", ["issuer-case"]),
        (_pin("ca.test;", "ca.test.;"), "", ["issuer-case"]),
    ],
    "no accounturi": [
        ([_issue("ca.test;validationmethods=http-01")], "us, them", ["unpinned-account"]),
        ([_issue("ca.test")], "us, them", OPEN),
        ([_issue(PIN), _issue("ca.test")], "us, them", OPEN),
    ],
    "AccountURI=…": [
        (_pin("accounturi", "AccountURI"), "us, them", ["case-variant-parameter"]),
        (
            _pin(f"accounturi={OURS}", f"ACCOUNTURI={THEIRS}"),
            "us, them",
            ["case-variant-parameter"],
        ),
    ],
    "accounturl=…, account-uri=…": [
        (_pin("accounturi", "accounturl"), "us, them", ["unknown-parameter"]),
        (_pin("accounturi", "account-uri"), "", ["unknown-parameter", "malformed-value"]),
        (_pin("accounturi", "Account_URL"), "", ["unknown-parameter", "malformed-value"]),
    ],
    "accounturi twice": [
        ([_issue(f"{PIN};accounturi={OURS}")], "", ["duplicate-parameter"]),
        ([_issue(f"{PIN};accounturi={THEIRS}")], "", ["duplicate-parameter"]),
        ([_issue(f"{PIN};AccountURI={THEIRS}")], "us", ["duplicate-parameter"]),
    ],
    "another account, also by a trailing slash": [
        (_pin(OURS, THEIRS), "them", ["foreign-account"]),
        (_pin(OURS, OURS + "/"), "", ["foreign-account"]),
        (_pin("https", "HTTPS"), "", ["foreign-account"]),
        (_pin(OURS, ""), "", ["foreign-account"]),
        (_pin(OURS, "not-a-uri"), "", ["foreign-account"]),
    ],
    "our account, but told apart after ?": [
        (_pin("/acct/1", "/acct?id=1"), "us", ["ambiguous-account"]),
        (_pin("/acct/1", "/acct#1"), "us", ["ambiguous-account"]),
    ],
    "no validationmethods": [
        ([_issue(f"ca.test;accounturi={OURS}")], "us", ["unpinned-method"]),
        (_pin("validation", "Validation"), "us", ["unpinned-method"]),
    ],
    "validationmethods twice": [
        ([_issue(f"{PIN};validationmethods=http-01")], "", ["foreign-method"]),
        ([_issue(f"{PIN};validationmethods=dns-01")], "", ["foreign-method"]),
        ([_issue(f"{PIN};ValidationMethods=http-01")], "us", ["foreign-method"]),
    ],
    "other labels, or none": [
        (_pin("http-01", "http-01,dns-01"), "us", ["foreign-method"]),
        (_pin("http-01", "dns-01"), "", ["foreign-method"]),
        (_pin("http-01", "http-01,"), "us", ["foreign-method"]),
        (_pin("http-01", ",http-01"), "", ["foreign-method"]),
        (_pin("http-01", ""), "", ["foreign-method"]),
    ],
    "ca-tbr-N labels, other case": [
        (_pin("http-01", "ca-tbr-19"), "", ["foreign-method"]),
        (_pin("http-01", "ca-tbr-19,http-01"), "us", ["foreign-method"]),
        (_pin("http-01", "HTTP-01"), "", ["foreign-method"]),
    ],
    "trailing ; after parameters": [
        ([_issue(PIN + ";")], "", ["malformed-value"]),
        ([_issue(PIN + " ; ")], "", ["malformed-value"]),
        # Without parameters it is part of the grammar.
        ([_issue("ca.test;")], "us, them", OPEN),
    ],
    "malformed parameters (hyphens, no =, …)": [
        ([_issue(PIN + ";a-b=1")], "", ["malformed-value"]),
        ([_issue(PIN + ";x")], "", ["malformed-value"]),
        ([_issue(PIN + ";;x=y")], "", ["malformed-value"]),
        ([_issue(PIN + ";x=a b")], "", ["malformed-value"]),
    ],
    "other blanks or NUL around parts": [
        (_pin("=http", "=\xa0http"), "", ["malformed-value"]),
        (_pin("=http", "=\xe2\x80\x83http"), "", ["malformed-value"]),
        ([_issue(PIN + "\n")], "", ["malformed-value"]),
        ([_issue(PIN + "\0")], "", ["malformed-value"]),
        ([_issue("\xa0" + PIN)], "", ["malformed-value"]),
        (_pin("ca.test;", "ca.test\0;"), "", ["malformed-value"]),
        # Space and tab are the grammar's own.
        ([_issue(f" ca.test ;\tvalidationmethods = http-01 ; accounturi = {OURS} ")], "us", []),
    ],
    "issuer empty": [
        ([_issue("")], "", []),
        ([_issue(";")], "", []),
        ([_issue(" ; accounturi=x")], "", []),
        ([_issue(PIN), _issue(";")], "us", []),
    ],
    "critical flag on an unknown tag": [
        ([_issue(PIN), Record(128, b"tbs", b"")], "", []),
        ([_issue("ca.test"), Record(128, b"contactemail", b"")], "", OPEN),
        ([_issue(PIN), Record(128, b"iodef", b"")], "us", []),
    ],
    "reserved flag bits": [
        ([_issue(PIN), Record(1, b"tbs", b"")], "", []),
        ([_issue(PIN), Record(126, b"tbs", b"")], "us", []),
        ([_issue(PIN, flags=255)], "us", []),
        ([_issue("other.test", flags=255)], "", ["unbound-issuer"]),
    ],
    "tag in another case": [
        ([_issue(PIN, tag=b"ISSUE")], "us", []),
        ([_issue("other.test", tag=b"IsSuE")], "", ["unbound-issuer"]),
    ],
    "blanks around a tag": [
        ([_issue(PIN, tag=b"issue ")], "us, them", ["malformed-tag", "no-issue"]),
        (
            [_issue("other.test", tag=b" issue")],
            "us, them",
            ["malformed-tag", "no-issue", "unbound-issuer"],
        ),
        (
            [_issue(PIN), _issue("other.test", tag=b"issue\xa0")],
            "us",
            ["malformed-tag", "unbound-issuer"],
        ),
    ],
    "tag that is not letters and digits": [
        ([_issue(PIN), Record(0, b"", b"")], "us", ["malformed-tag"]),
        ([_issue(PIN), Record(0, b"is-sue", b"other.test")], "us", ["malformed-tag"]),
    ],
}


def _first_column():
    """Return the first column of the table in the docstring, as plain text."""
    rule = re.compile("(=+)  =+  =+")
    _, _, body, _ = re.split("(?m)^=+  =+  =+\n", evaluate.__doc__)[0:4]
    width = len(rule.search(evaluate.__doc__)[1])
    return [line[:width].strip().replace("``", "") for line in body.splitlines()]


def test_the_table_has_these_rows_in_this_order():
    assert _first_column() == list(ROWS)


@pytest.mark.parametrize(
    ("records", "allowed", "names"),
    [
        pytest.param(*vector, id=f"{row}-{number}")
        for row, vectors in ROWS.items()
        for number, vector in enumerate(vectors, 1)
    ],
)
def test_row(records, allowed, names, request):
    ours, theirs = OURS, THEIRS
    if "our account, but" in request.node.name:
        ours = records[0].value.decode().partition("accounturi=")[2]
    said = [
        who
        for who, account in (("us", ours), ("them", theirs))
        if evaluate.strict(
            records, issuer=ISSUER, account_uris=[account], method="http-01", wildcard=False
        ).allowed
    ]
    assert ", ".join(said) == allowed
    found = evaluate.liberal(
        records, issuer=ISSUER, account_uri=ours, methods=["http-01"], wildcard=False
    )
    assert [finding.name for finding in found] == names


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("http-01,dns-01", "other methods are allowed: dns-01"),
        ("tls-alpn-01,http-01,x,x", "other methods are allowed: tls-alpn-01, x"),
        ("dns-01", "other methods are allowed, and ours are not: dns-01"),
        ('HTTP-01,a"b,', 'other methods are allowed, and ours are not: HTTP-01, a\\"b'),
        ("", "validationmethods names no method: a CA that reads it lets nobody issue"),
        (",", "validationmethods names no method: a CA that reads it lets nobody issue"),
        ("http-01,", "an empty method beside ours is read in several ways"),
        ("http-01;validationmethods=http-01", "validationmethods twice is read in several ways"),
    ],
)
def test_what_is_said_of_methods(named, why):
    (found,) = evaluate.liberal(
        _pin("http-01", named),
        issuer=ISSUER,
        account_uri=OURS,
        methods=["http-01", "dns-account-01"],
        wildcard=False,
    )
    assert (found.name, found.why) == ("foreign-method", why)
