# SPDX-License-Identifier: Apache-2.0
"""The liberal reading finds everybody else whom any CA's parser could allow."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certbot_enclave.caa import formats
from certbot_enclave.caa.evaluate import liberal, strict
from certbot_enclave.caa.grammar import Record
from tests.unit.caa import zones

ISSUER = "ca.test"
OURS = "https://ca.test/acct/1"
METHODS = ("http-01",)
BOUND = f"ca.test;validationmethods=http-01;accounturi={OURS}"
WILD = Record(0, b"issuewild", b";")


def _issue(value):
    return Record(0, b"issue", value if isinstance(value, bytes) else value.encode("latin-1"))


def _find(*records, wildcard=False, methods=METHODS, ours=OURS, issuer=ISSUER):
    return liberal(records, issuer=issuer, account_uri=ours, methods=methods, wildcard=wildcard)


def _names(*records, **options):
    return [finding.name for finding in _find(*records, **options)]


@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("methods", [("http-01",), ("dns-01", "http-01")])
def test_the_records_that_we_print_leave_nobody_else(wildcard, methods):
    pair = formats.records_for(issuer=ISSUER, methods=methods, account_uri=OURS, wildcard=wildcard)
    assert _find(*pair, methods=methods) == ()
    assert _find(*pair, methods=methods, wildcard=True) == ()


# One case and more for each row of evaluate's table, in its order.
@pytest.mark.parametrize(
    ("records", "names"),
    [
        # no records, or no issue property
        ([], ["no-caa"]),
        ([WILD], ["no-issue"]),
        ([Record(0, b"iodef", b"mailto:a@b.test")], ["no-issue"]),
        ([Record(0, b"issuemail", b";"), Record(0, b"issuevmc", b";")], ["no-issue"]),
        # another issuer
        ([_issue("other.test")], ["unbound-issuer"]),
        ([_issue(f"other.test;accounturi={OURS}")], ["unbound-issuer"]),
        ([_issue("a.ca.test")], ["unbound-issuer"]),
        ([_issue("ca.test other.test")], ["unbound-issuer"]),
        ([_issue(".")], ["unbound-issuer"]),
        ([_issue(BOUND), _issue("other.test")], ["unbound-issuer"]),
        # issuer in another case, or with a final dot
        ([_issue(BOUND.replace("ca.test;", "CA.test;"))], ["issuer-case"]),
        ([_issue(BOUND.replace("ca.test;", "ca.test.;"))], ["issuer-case"]),
        # no accounturi
        ([_issue("ca.test;validationmethods=http-01")], ["unpinned-account"]),
        ([_issue(BOUND), _issue("ca.test;validationmethods=http-01")], ["unpinned-account"]),
        # AccountURI=…
        ([_issue(BOUND.replace("accounturi", "AccountURI"))], ["case-variant-parameter"]),
        ([_issue(BOUND.replace("accounturi", "ACCOUNTURI"))], ["case-variant-parameter"]),
        # accounturl=…, account-uri=…
        ([_issue(BOUND.replace("accounturi", "accounturl"))], ["unknown-parameter"]),
        (
            [_issue(BOUND.replace("accounturi", "account-uri"))],
            ["unknown-parameter", "malformed-value"],
        ),
        (
            [_issue(BOUND.replace("accounturi", "Account_URL"))],
            ["unknown-parameter", "malformed-value"],
        ),
        # accounturi twice
        ([_issue(f"{BOUND};accounturi={OURS}")], ["duplicate-parameter"]),
        ([_issue(f"{BOUND};accounturi=https://ca.test/acct/2")], ["duplicate-parameter"]),
        ([_issue(f"{BOUND};AccountURI=https://ca.test/acct/2")], ["duplicate-parameter"]),
        # another account, also by a trailing slash
        ([_issue(BOUND + "2")], ["foreign-account"]),
        ([_issue(BOUND + "/")], ["foreign-account"]),
        ([_issue(BOUND.replace("https", "HTTPS"))], ["foreign-account"]),
        ([_issue(BOUND.replace(OURS, ""))], ["foreign-account"]),
        # no validationmethods
        ([_issue(f"ca.test;accounturi={OURS}")], ["unpinned-method"]),
        # validationmethods twice, other labels
        ([_issue(f"{BOUND};validationmethods=http-01")], ["foreign-method"]),
        ([_issue(f"{BOUND};ValidationMethods=http-01")], ["foreign-method"]),
        ([_issue(BOUND.replace("http-01", "http-01,dns-01"))], ["foreign-method"]),
        ([_issue(BOUND.replace("http-01", "dns-01"))], ["foreign-method"]),
        ([_issue(BOUND.replace("http-01", "http-01,"))], ["foreign-method"]),
        ([_issue(BOUND.replace("http-01", ""))], ["foreign-method"]),
        # ca-tbr-N labels, other case
        ([_issue(BOUND.replace("http-01", "ca-tbr-19"))], ["foreign-method"]),
        ([_issue(BOUND.replace("http-01", "HTTP-01"))], ["foreign-method"]),
        ([_issue(BOUND.replace("validation", "Validation"))], ["unpinned-method"]),
        # malformed value
        ([_issue(BOUND + ";")], ["malformed-value"]),
        ([_issue(BOUND + ";;x=y")], ["malformed-value"]),
        ([_issue(BOUND + ";a-b=1")], ["malformed-value"]),
        ([_issue(BOUND + ";x")], ["malformed-value"]),
        ([_issue(BOUND + ";x=a b")], ["malformed-value"]),
        # other blanks or NUL around parts
        ([_issue(BOUND.replace("=http", "=\xa0http"))], ["malformed-value"]),
        ([_issue(BOUND.encode().replace(b"=http", b"=\xe2\x80\x83http"))], ["malformed-value"]),
        ([_issue(BOUND + "\n")], ["malformed-value"]),
        ([_issue(BOUND + "\0")], ["malformed-value"]),
        ([_issue("\xa0" + BOUND)], ["malformed-value"]),
        ([_issue(BOUND.replace("ca.test;", "ca.test\0;"))], ["malformed-value"]),
        ([_issue(BOUND.replace("ca.test;", "ca.test\n;"))], ["malformed-value"]),
        # issuer empty
        ([_issue("")], []),
        ([_issue(";")], []),
        ([_issue(" ; accounturi=x")], []),
        ([_issue(BOUND), _issue(";")], []),
        # critical flag on an unknown tag
        ([_issue(BOUND), Record(128, b"tbs", b"")], []),
        ([_issue("ca.test"), Record(128, b"tbs", b"")], ["unpinned-account", "unpinned-method"]),
        # reserved flag bits
        ([Record(1, b"issue", BOUND.encode())], []),
        ([Record(255, b"issue", b"other.test")], ["unbound-issuer"]),
        # tag in another case
        ([Record(0, b"ISSUE", BOUND.encode())], []),
        ([Record(0, b"IsSuE", b"other.test")], ["unbound-issuer"]),
        # blanks around a tag
        ([Record(0, b"issue ", BOUND.encode())], ["no-issue"]),
        ([Record(0, b" issue", b"other.test")], ["no-issue", "unbound-issuer"]),
        ([_issue(BOUND), Record(0, b"issue ", b"other.test")], ["unbound-issuer"]),
        # what is no deviation: order, blanks that all strip, parameters that nobody knows
        ([_issue(f"ca.test;accounturi={OURS};validationmethods=http-01")], []),
        ([_issue(f" ca.test ;\tvalidationmethods = http-01 ; accounturi = {OURS} ")], []),
        ([_issue(BOUND + ";x=y")], []),
    ],
)
def test_each_row_of_the_table(records, names):
    assert _names(*records) == names


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([], ["no-caa"]),
        ([_issue(BOUND)], []),
        ([_issue(BOUND), WILD], []),
        ([_issue("other.test"), WILD], []),
        ([WILD], []),
        ([_issue(BOUND), Record(0, b"issuewild", b"other.test")], ["unbound-issuer"]),
        ([_issue(BOUND), Record(0, b"IssueWild", b"other.test")], ["unbound-issuer"]),
        ([WILD, Record(0, b"issuewild", b"other.test")], ["unbound-issuer"]),
        ([_issue("other.test")], ["unbound-issuer"]),
        # Only a parser that strips tags sees the second record, the other falls back to the first.
        ([_issue("other.test"), Record(0, b"issuewild ", b";")], ["unbound-issuer"]),
        ([WILD, Record(0, b"issuewild ", b"other.test")], ["unbound-issuer"]),
    ],
)
def test_a_wildcard_is_read_by_issuewild_if_there_is_one(records, names):
    assert _names(*records, wildcard=True) == names


def test_blanks_in_a_list_of_methods_are_malformed_and_allow_no_other():
    two = ("dns-01", "http-01")
    assert _names(_issue(BOUND.replace("http-01", "dns-01, http-01")), methods=two) == [
        "malformed-value"
    ]


def test_a_finding_says_which_record_why_and_what_to_change():
    (finding,) = _find(_issue("other.test"), _issue(BOUND))
    assert finding.record == '0 issue "other.test"'
    assert finding.why == "another CA, other.test, is allowed"
    assert finding.fix == "remove this record"
    (finding,) = _find(_issue(BOUND.replace("http-01", "dns-01")))
    assert finding.fix == "write validationmethods=http-01 once, in lower case"
    (finding,) = _find(_issue(BOUND.replace("ca.test;", "Ca.test;")))
    assert finding.fix == "write ca.test"


@given(st.binary(max_size=40), st.binary(max_size=20))
@example(b"\x1b[2J.test", b"accounturl\x1b=x")
def test_no_byte_of_a_record_reaches_the_terminal_raw(issuer, parameter):
    records = [_issue(issuer), _issue(b"ca.test;account\x1b" + parameter)]
    for finding in _find(*records):
        for text in (finding.record or "", finding.why, finding.fix):
            assert text.isascii()
            assert text.isprintable()


def test_whoever_boulder_allows_another_account_is_found(vectors):
    cases = json.loads((vectors / "caa" / "boulder-differential.json").read_text())["cases"]
    allowed = [case for case in cases if case["expected"] == "allowed"]
    assert len(allowed) == 537
    missed = [
        case["id"]
        for case in allowed
        if not _names(
            *zones.climb(case),
            issuer=case["issuer"],
            ours=case["account_uri"] + "7",
            methods=(case["method"],),
            wildcard=case["wildcard"],
        )
    ]
    assert missed == []


@pytest.mark.corpus
@pytest.mark.parametrize(("file", "allowed"), [("open-mpic.json", 20), ("opencertserver.json", 10)])
def test_whoever_a_peer_allows_another_account_is_found(corpus, file, allowed):
    cases = json.loads((corpus / "caa" / file).read_text())["cases"]
    permitted = [case for case in cases if case["expected"] == "allowed"]
    assert len(permitted) == allowed
    for case in permitted:
        found = _names(
            *zones.climb(case),
            issuer=case["issuer"],
            ours=case["account_uri"] + "7",
            methods=(case["method"],),
            wildcard=case["wildcard"],
        )
        assert found, case["id"]


@pytest.mark.corpus
@pytest.mark.parametrize("file", ["open-mpic.json", "opencertserver.json"])
def test_where_only_the_peer_allows_us_the_liberal_reading_does_not_rely_on_it(corpus, file):
    cases = json.loads((corpus / "caa" / file).read_text())["cases"]
    differing = [
        case for case in cases if (case["boulder"], case["expected"]) == ("denied", "allowed")
    ]
    assert len(differing) == 4
    for case in differing:
        found = _names(
            *zones.climb(case),
            issuer=case["issuer"],
            ours=case["account_uri"],
            methods=(case["method"],),
            wildcard=case["wildcard"],
        )
        assert found, case["id"]


# Whatever the records: if the strict reading allows anybody but us, the liberal one reports it.
_THEIRS = "https://ca.test/acct/2"
_TAGS = [b"issue", b"issuewild", b"ISSUE", b"IssueWild", b"issue ", b" issuewild", b"iodef", b"tbs"]
_ISSUERS = ["", "ca.test", "CA.test", "other.test", " ca.test\t", "ca.test.", "ca.test\0"]
_PARTS = [
    "",
    " ",
    f"accounturi={OURS}",
    f"accounturi={_THEIRS}",
    f"AccountURI={OURS}",
    f" accounturi = {OURS} ",
    "validationmethods=http-01",
    "validationmethods=dns-01,http-01",
    "validationmethods=",
    "ValidationMethods=http-01",
    "a-b=c",
    "x=y",
    "x",
]
_records = st.lists(
    st.builds(
        lambda flags, tag, issuer, parts: Record(
            flags, tag, ";".join([issuer, *parts]).encode("latin-1")
        ),
        st.sampled_from([0, 0, 1, 128]),
        st.sampled_from(_TAGS),
        st.sampled_from(_ISSUERS),
        st.lists(st.sampled_from(_PARTS), max_size=3),
    ),
    max_size=3,
)
_OTHERS = [
    who
    for who in itertools.product(
        ["ca.test", "other.test", "CA.test"], [OURS, _THEIRS], ["http-01", "dns-01"]
    )
    if who != (ISSUER, OURS, "http-01")
]


@given(_records, st.booleans())
@example([Record(0, b"issue ", BOUND.encode())], False)
def test_the_liberal_reading_is_never_stricter_for_anybody_else(records, wildcard):
    others = [
        who
        for who in _OTHERS
        if strict(
            records, issuer=who[0], account_uris=[who[1]], method=who[2], wildcard=wildcard
        ).allowed
    ]
    assert not others or _find(*records, wildcard=wildcard)
