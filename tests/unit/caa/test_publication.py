# SPDX-License-Identifier: Apache-2.0
"""The record set of a name: each account a property of its own, nobody else, reports if wanted."""

import pytest

from certbot_enclave import errors
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.publication import Account, Publication, inside, plain, records_of

BLUE = Account("ca.test", "https://ca.test/acct/1", ("http-01", "dns-01"))
GREEN = Account("ca.test", "https://ca.test/acct/2", ("dns-01",))
VALUES = {
    BLUE: b"ca.test;validationmethods=http-01,dns-01;accounturi=https://ca.test/acct/1",
    GREEN: b"ca.test;validationmethods=dns-01;accounturi=https://ca.test/acct/2",
}


def test_one_account():
    assert records_of([BLUE]) == (
        Record(0, b"issue", VALUES[BLUE]),
        Record(0, b"issuewild", b";"),
    )


def test_two_accounts_are_two_properties():
    assert records_of([BLUE, GREEN, BLUE], iodef="mailto:a@example.com") == (
        Record(0, b"issue", VALUES[BLUE]),
        Record(0, b"issue", VALUES[GREEN]),
        Record(0, b"issuewild", b";"),
        Record(0, b"iodef", b"mailto:a@example.com"),
    )


def test_the_wildcard_is_for_them_and_nobody_else():
    assert records_of([BLUE, GREEN], wildcard=True)[2:] == (
        Record(0, b"issuewild", VALUES[BLUE]),
        Record(0, b"issuewild", VALUES[GREEN]),
    )


def test_no_account_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="account"):
        records_of([])


@pytest.mark.parametrize(
    "url", ["mailto:a@example.com", "mailto:a@b.test?subject=CAA", "https://a.test", "http://a/b?c"]
)
def test_iodef_takes_what_rfc_8659_names(url):
    assert records_of([BLUE], iodef=url)[-1] == Record(0, b"iodef", url.encode())


@pytest.mark.parametrize(
    "url",
    [
        *("", "a@example.com", "mailto:a", "mailto:a@b c", "mailto:a@b@c", "ftp://a.test"),
        *("https://", "https:///a", "https://a;b/", "https://a.test/;b", "https://a.test/\n"),
        *('https://a.test/"', "https://a.test/\\", "https://a.test/ä", "https://a.test/{a}"),
    ],
)
def test_other_iodef_is_refused(url):
    with pytest.raises(errors.PolicyError) as caught:
        records_of([BLUE], iodef=url)
    assert caught.value.code == "caa-iodef"


def test_what_grammar_refuses_is_refused():
    with pytest.raises(errors.PolicyError) as caught:
        records_of([BLUE, GREEN._replace(uri="http://ca.test/acct/1")])
    assert caught.value.code == "caa-account-uri"


@pytest.mark.parametrize(
    ("name", "zone", "below"),
    [
        ("example.com", "example.com", ""),
        ("a.b.example.com", "example.com", "a.b"),
        ("com.example.com", "com", "com.example"),
        ("example.com.example.com", "example.com", "example.com"),
    ],
)
def test_name_below_its_zone(name, zone, below):
    assert inside(Publication(name, (), 1, zone)) == (zone, below)


def test_plain_gives_text():
    assert plain(Record(128, b"tbs", b"a;b=c")) == (128, "tbs", "a;b=c")
