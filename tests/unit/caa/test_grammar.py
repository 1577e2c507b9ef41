# SPDX-License-Identifier: Apache-2.0
"""CAA values are built in one canonical form, read in two ways, and printed without harm."""

import string

import dns.rdata
import dns.zone
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import grammar
from certbot_enclave.caa.grammar import Record

URI = "https://ca.test/acct/1"
# What a zone file, a shell or a parser of values could stumble over.
AWKWARD = ";\"\\' \t\r\n\0()@$#=,{}%*\x7f\xa0é" + string.ascii_lowercase + "A.-_0:/"


def test_build_writes_the_canonical_form():
    value = grammar.build("ca.test", methods=["http-01", "dns-01"], account_uri=URI)
    assert value == b"ca.test;validationmethods=http-01,dns-01;accounturi=" + URI.encode()
    both = (
        b"ca.test",
        [(b"validationmethods", b"http-01,dns-01"), (b"accounturi", URI.encode())],
    )
    assert grammar.split_strict(value) == both
    assert grammar.split_liberal(value) == both


def test_build_accepts_the_longest_issuer_and_no_longer_one():
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert grammar.build(longest, methods=["http-01"], account_uri=URI).startswith(b"aaa")
    with pytest.raises(errors.PolicyError) as caught:
        grammar.build(longest + "d", methods=["http-01"], account_uri=URI)
    assert caught.value.code == "caa-issuer"


@pytest.mark.parametrize(
    "issuer",
    [
        *("", "ca", "ca.", ".ca.test", "ca..test", "CA.test", "-ca.test", "ca-.test", "ca.test."),
        *("ca.test;", 'ca.test"', "ca.test\n", "ca test", "ca.test ", "cä.test", "*.test"),
        *("a" * 64 + ".test", ".".join(["a" * 60] * 5)),
    ],
)
def test_build_refuses_an_issuer(issuer):
    with pytest.raises(errors.PolicyError) as caught:
        grammar.build(issuer, methods=["http-01"], account_uri=URI)
    assert caught.value.code == "caa-issuer"


@pytest.mark.parametrize(
    "methods",
    [
        *([], [""], ["http-01", ""], ["HTTP-01"], ["http-01,dns-01"], ["http-01;"], ["-"]),
        *(["http-01\n"], ["http 01"], ["-http"], ["http-"], "http-01"),
    ],
)
def test_build_refuses_methods(methods):
    with pytest.raises(errors.PolicyError) as caught:
        grammar.build("ca.test", methods=methods, account_uri=URI)
    assert caught.value.code == "caa-method"


@pytest.mark.parametrize(
    "uri",
    [
        *("", "http://ca.test/1", "https://ca.test", "https:///1", "HTTPS://ca.test/1"),
        *("https://u@ca.test/1", "https://ca.test/1;x", 'https://ca.test/"', "https://ca.test/\\"),
        *("https://ca.test/ 1", "https://ca.test/1\n", "https://ca.test/\x7f", "https://ca.test/é"),
        # RFC 3986: signs outside its sets, escapes that are none, hosts and ports that are none.
        *(f"https://ca.test/{sign}" for sign in "{}|^<>`[]%"),
        *(
            "https://ca.test/%2",
            "https://ca.test/%g0",
            "https://ca.test/?%",
            "https://ca.test/#%0z",
        ),
        *("https://ca.test/?[", "https://ca.test/#a#b", "https://ca.test/#^", "https://c^.test/1"),
        *("https://ca.test:a/1", "https://::1/1", "https://[]/1", "https://[1.2.3.4]/1"),
        *("https://[::1/1", "https://::1]/1", "https://[::1::2]/1", "https://[12345::]/1"),
        *("https://[fe80::1%25eth0]/1", "https://[v1.a]/1", "https://[::1]443/1"),
    ],
)
def test_build_refuses_an_account_uri(uri):
    with pytest.raises(errors.PolicyError) as caught:
        grammar.build("ca.test", methods=["http-01"], account_uri=uri)
    assert caught.value.code == "caa-account-uri"


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "https://ca.test/",
            "https://CA.Test:14000/Acct//1/",
            "https://ca.test:/1",
            URI + "?id=1",
        ),
        *("https://192.0.2.1/1", "https://[::1]:14000/1", "https://[2001:DB8::1.2.3.4]/1"),
        *(URI + "/%e2%82%AC%3b", URI + "?a=/%20?b", URI + "#a/b?%41", URI + "/-._~!$&'()*+,=:@"),
    ],
)
def test_build_leaves_an_account_uri_as_it_is(uri):
    value = grammar.build("ca.test", methods=["http-01"], account_uri=uri)
    assert value == f"ca.test;validationmethods=http-01;accounturi={uri}".encode()
    # Our own CA has to take it for a URL.
    assert grammar.is_url(uri.encode())


@given(
    st.text(AWKWARD, max_size=20),
    st.lists(st.text(AWKWARD, max_size=10), max_size=3),
    st.text(AWKWARD, max_size=20),
)
def test_what_build_accepts_stays_one_record_in_a_zone_file(issuer, methods, path):
    uri = f"https://ca.test/{path}"
    for who, how, account in [
        (issuer, ["http-01"], URI),
        ("ca.test", methods, URI),
        ("ca.test", ["http-01"], uri),
    ]:
        try:
            value = grammar.build(who, methods=how, account_uri=account)
        except errors.PolicyError:
            continue
        record = Record(0, b"issue", value)
        lines = f"@ 1 IN SOA a b 1 1 1 1 1\n@ 1 IN NS a\n@ 1 IN CAA {record.text()}\n"
        zone = dns.zone.from_text(lines, origin="x.test.")
        assert [(name.to_text(), len(node.rdatasets)) for name, node in zone.items()] == [("@", 3)]
        found = [(item.flags, item.tag, item.value) for item in zone.find_rdataset("@", "CAA")]
        assert found == [(0, b"issue", value)]
        assert grammar.split_strict(value) == grammar.split_liberal(value)
        parameters = dict(grammar.split_liberal(value)[1])
        assert parameters == {
            b"validationmethods": ",".join(how).encode(),
            b"accounturi": account.encode(),
        }
        assert grammar.is_url(account.encode())


@given(st.integers(0, 255), st.binary(max_size=60))
def test_text_reads_back_as_the_same_bytes(flags, value):
    text = Record(flags, b"issue", value).text()
    assert text.isascii()
    assert text.isprintable()
    back = dns.rdata.from_text("IN", "CAA", text)
    assert (back.flags, back.tag, back.value) == (flags, b"issue", value)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Record(128, b"issue", b'a"b\\c'), '128 issue "a\\"b\\\\c"'),
        (Record(0, b"issue", b"\0\n\x7f\xff;"), '0 issue "\\000\\010\\127\\255;"'),
        (Record(0, b"is sue;", b""), '0 is\\032sue\\059 ""'),
        (Record(0, b"", b"x"), '0 "" "x"'),
        (Record(0, b"a\x1b", b"\x1b[2J"), '0 a\\027 "\\027[2J"'),
    ],
)
def test_text_escapes(record, text):
    assert record.text() == text


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"", (b"", [])),
        (b";", (b"", [])),
        (b" \tca.test\t ", (b"ca.test", [])),
        (b"ca.test ; ", (b"ca.test", [])),
        (b"ca.test; a = b ", (b"ca.test", [(b"a", b"b")])),
        (b"ca.test;a=b=c", (b"ca.test", [(b"a", b"b=c")])),
        (b"ca.test;=", (b"ca.test", [(b"", b"")])),
        (b"ca.test;a=b;", None),
        (b"ca.test;;a=b", None),
        (b"ca.test;a", None),
        (b"ca.test;a-b=c", None),
        (b"ca.test;a=b c", None),
        (b"ca.test;a=\xc2\xa0b", None),
        (b"ca.test;a=b\n", None),
        (b"ca.test\n;a=b", (b"ca.test\n", [(b"a", b"b")])),
    ],
)
def test_split_strict(value, parts):
    assert grammar.split_strict(value) == parts


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"", (b"", [])),
        (b";;;", (b"", [])),
        (b"ca.test;a=b;", (b"ca.test", [(b"a", b"b")])),
        (b"ca.test;a", (b"ca.test", [(b"a", b"")])),
        (b"ca.test;a-b = c d ", (b"ca.test", [(b"a-b", b"c d")])),
        (b"\xc2\xa0ca.test\xe2\x80\x83;\xa0a=\x00b\r\n", (b"ca.test", [(b"a", b"b")])),
        (b"\x00 ca.test", (b"ca.test", [])),
        ("\u2003\0\ufeffca.test\u200b\n".encode(), (b"ca.test", [])),
        (b"\x85\xa0ca.test\xa0;\xffa=\xfe", (b"ca.test", [(b"\xffa", b"\xfe")])),
    ],
)
def test_split_liberal(value, parts):
    assert grammar.split_liberal(value) == parts


def test_split_liberal_strips_whatever_is_white_space():
    blanks = [chr(code) for code in range(0x11000) if chr(code).isspace()]
    assert len(blanks) == 29
    for blank in blanks:
        value = f"{blank}ca.test{blank};{blank}a{blank}={blank}b{blank}".encode()
        assert grammar.split_liberal(value) == (b"ca.test", [(b"a", b"b")])


@given(st.binary(max_size=80))
def test_split_liberal_reads_anything(value):
    issuer, parameters = grammar.split_liberal(value)
    assert issuer in value
    assert all(tag in value and text in value for tag, text in parameters)
    assert grammar.split_liberal(b" " + value + b"\t")[0] == issuer


@given(st.binary(max_size=80))
def test_the_liberal_reading_finds_whatever_the_strict_one_does(value):
    strictly = grammar.split_strict(value)
    assume(strictly is not None)
    issuer, parameters = strictly
    # A single empty parameter is dropped by one and kept by the other; it says nothing.
    said = [pair for pair in parameters if pair != (b"", b"")]
    assert [pair for pair in grammar.split_liberal(value)[1] if pair != (b"", b"")] == said
    assert grammar.split_liberal(value)[0] in issuer
