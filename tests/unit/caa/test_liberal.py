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
from tests import replay_caa
from tests.support import caa_vectors

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
        (
            [_issue("other.test"), Record(0, b"issuewild ", b";")],
            ["malformed-tag", "unbound-issuer"],
        ),
        (
            [WILD, Record(0, b"issuewild\xc2\xa0", b"other.test")],
            ["malformed-tag", "unbound-issuer"],
        ),
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


def test_a_tag_that_some_software_cannot_read_is_named_with_its_record():
    (finding,) = _find(_issue(BOUND), Record(0, b"", b"x"))
    assert (finding.name, finding.record) == ("malformed-tag", '0 "" "x"')
    assert finding.fix == "remove this record"


@given(st.binary(max_size=40), st.binary(max_size=20))
@example(b"\x1b[2J.test", b"accounturl\x1b=x")
def test_no_byte_of_a_record_reaches_the_terminal_raw(issuer, parameter):
    records = [_issue(issuer), _issue(b"ca.test;account\x1b" + parameter)]
    for finding in _find(*records):
        for text in (finding.record or "", finding.why, finding.fix):
            assert text.isascii()
            assert text.isprintable()


def _of(case, account):
    return _names(
        *replay_caa.climb(case).records,
        issuer=case.issuer,
        ours=account,
        methods=(case.method,),
        wildcard=case.wildcard,
    )


def test_whoever_boulder_allows_another_account_is_found(vectors):
    cases = caa_vectors.read(vectors / "caa" / "boulder-differential.json")
    allowed = [case for case in cases if case.expected == "allowed"]
    assert len(allowed) == 537
    assert [case.name for case in allowed if not _of(case, case.account_uris[0] + "7")] == []


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("file", "allowed", "differing"), [("open-mpic.json", 20, 4), ("opencertserver.json", 10, 4)]
)
def test_whoever_a_peer_allows_is_found(corpus, file, allowed, differing):
    path = corpus / "caa" / file
    peer = [item["expected"] for item in json.loads(path.read_text())["cases"]]
    cases = [
        case
        for case, verdict in zip(caa_vectors.read(path), peer, strict=True)
        if verdict == "allowed"
    ]
    assert len(cases) == allowed
    assert [case.name for case in cases if not _of(case, case.account_uris[0] + "7")] == []
    # Where only the peer allows us, that is nothing to rely on.
    alone = [case for case in cases if case.expected == "denied"]
    assert len(alone) == differing
    assert [case.name for case in alone if not _of(case, case.account_uris[0])] == []


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
