# SPDX-License-Identifier: Apache-2.0
"""Resolvers are named so that the host cannot forge them, each once; some are independent."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import cli, errors
from certbot_enclave.caa import resolvers
from certbot_enclave.caa.resolvers import DnsResolver, independent, parse_resolver, parse_resolvers

QUAD9 = "tls://9.9.9.9#dns.quad9.net"
QUAD9_HTTPS = "https://9.9.9.9/dns-query#dns.quad9.net"
CLOUDFLARE = "tls://1.1.1.1#one.one.one.one"


@pytest.mark.parametrize(
    ("text", "address", "port", "tls_name"),
    [
        ("127.0.0.1", "127.0.0.1", 53, None),
        ("127.1.2.3:5353", "127.1.2.3", 5353, None),
        ("[::1]", "::1", 53, None),
        ("[::1]:65535", "::1", 65535, None),
        ("[0:0:0:0:0:0:0:1]:1", "::1", 1, None),
        (QUAD9, "9.9.9.9", 853, "dns.quad9.net"),
        ("tls://9.9.9.9:8853#dns.quad9.net", "9.9.9.9", 8853, "dns.quad9.net"),
        ("tls://[2620:FE::9]#DNS.Quad9.net", "2620:fe::9", 853, "dns.quad9.net"),
        ("tls://[2620:fe::9]:8853#dns.quad9.net", "2620:fe::9", 8853, "dns.quad9.net"),
        ("tls://127.0.0.1:1#localhost", "127.0.0.1", 1, "localhost"),
        ("tls://1.1.1.1#1.1.1.1", "1.1.1.1", 853, "1.1.1.1"),
    ],
)
def test_accepted(text, address, port, tls_name):
    found = parse_resolver(text)
    assert found == DnsResolver(text, address, port, tls_name, None, resolvers.TIMEOUT)


@pytest.mark.parametrize(
    ("text", "address", "port", "name", "path"),
    [
        (QUAD9_HTTPS, "9.9.9.9", 443, "dns.quad9.net", "/dns-query"),
        ("https://[2620:FE::9]/q#DNS.Quad9.net", "2620:fe::9", 443, "dns.quad9.net", "/q"),
        ("https://[2620:fe::9]:8443/a/b.c_d~e-1#x", "2620:fe::9", 8443, "x", "/a/b.c_d~e-1"),
        ("https://127.0.0.1:1/Dns-Query/#localhost", "127.0.0.1", 1, "localhost", "/Dns-Query/"),
        (f"https://1.1.1.1/{'a' * 255}#a", "1.1.1.1", 443, "a", "/" + "a" * 255),
    ],
)
def test_accepted_over_https(text, address, port, name, path):
    found = parse_resolver(text)
    assert found == DnsResolver(text, address, port, name, None, resolvers.TIMEOUT, path)


@pytest.mark.parametrize("module", ["h2", "hpack"])
def test_https_without_its_library_is_refused_and_nothing_else_is(monkeypatch, capsys, module):
    for name in [*sys.modules, "h2.connection"]:
        if name.partition(".")[0] in ("h2", module):
            monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolvers([QUAD9, QUAD9_HTTPS])
    assert caught.value.code == "doh-missing"
    assert caught.value.hint == "pip install 'certbot-enclave[doh]'"
    assert len(parse_resolvers([QUAD9, "127.0.0.1"])) == 2
    account = ["--account-uri", "https://ca.test/acct/1", "--method", "http-01"]
    assert cli.main(["caa", "check", "a.test", *account, "--resolver", QUAD9_HTTPS]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "certbot-enclave: error: DNS over HTTPS needs the package h2, and there is none\n"
        "certbot-enclave: hint: pip install 'certbot-enclave[doh]'\n"
    )


def test_roots_and_timeout_are_handed_on():
    found = parse_resolver(QUAD9, roots="/r.pem", timeout=0.5)
    assert (found.roots, found.timeout) == ("/r.pem", 0.5)
    (found,) = parse_resolvers([QUAD9], roots="/r.pem", timeout=0.5)
    assert (found.roots, found.timeout) == ("/r.pem", 0.5)


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "::1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x"),
        *("127.0.0.1:123456", "127.0.0", "127.0.0.1.1", "256.0.0.1", "127.0.0.01", " 127.0.0.1"),
        *("127.0.0.1\n", "127.0.0.1 127.0.0.2", "127.0.0.1,127.0.0.2", "[::1", "[127.0.0.1]x"),
        *("[::1]:", "[fe80::1%lo]", "udp://127.0.0.1", "TLS://1.1.1.1#a"),
        # TLS without a name proves nothing; a name without TLS is proved by nothing.
        *("tls://9.9.9.9", "tls://9.9.9.9#", "127.0.0.1#dns.quad9.net", "9.9.9.9#dns.quad9.net"),
        *("tls://9.9.9.9#.", "tls://9.9.9.9#.a", "tls://9.9.9.9#a.", "tls://9.9.9.9#a..b"),
        *("tls://9.9.9.9#-a", "tls://9.9.9.9#*.a", "tls://9.9.9.9#a b", "tls://9.9.9.9#ä"),
        *("tls://dns.quad9.net#dns.quad9.net", "tls://9.9.9.9#a#b", "tls://9.9.9.9#a:853"),
        # HTTPS needs name and path, and nothing else has a path.
        *("https://9.9.9.9#a", "https://9.9.9.9/#a", "https://9.9.9.9/q", "https://9.9.9.9/q#"),
        *(
            "tls://9.9.9.9/q#a",
            "127.0.0.1/q",
            "127.0.0.1/q#a",
            "//9.9.9.9/q#a",
            "http://9.9.9.9/q#a",
        ),
        *("https://9.9.9.9/q{?dns}#a", "https://9.9.9.9/q?a#a", "https://9.9.9.9/%71#a"),
        *("https://9.9.9.9/a b#a", "https://9.9.9.9/q\r\n#a", "https://a@9.9.9.9/q#a"),
        *("https://dns.quad9.net/q#a", "https://9.9.9.9:0/q#a", "HTTPS://9.9.9.9/q#a"),
        f"https://9.9.9.9/{'a' * 256}#a",
    ],
)
def test_refused(text):
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolver(text)
    assert caught.value.code == "resolver-invalid"


@pytest.mark.parametrize(
    "text", ["9.9.9.9", "10.0.0.1:53", "0.0.0.0", "[::]", "[2620:fe::9]", "128.0.0.1", "[fe80::1]"]
)
def test_plain_is_refused_but_on_loopback(text):
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolver(text)
    assert caught.value.code == "resolver-plain"
    assert caught.value.hint == f"use DNS over TLS: tls://{text}#NAME"


@given(st.text("htps:/[]#.0129afx-\n ", max_size=30) | st.from_regex(resolvers._FORM))
def test_any_text_is_a_resolver_or_a_policy_error(text):
    try:
        found = parse_resolver(text)
    except errors.PolicyError:
        return
    assert found.label == text
    assert found.tls_name or found.address.startswith("127.") or found.address == "::1"


def test_several_keep_their_order():
    found = parse_resolvers(iter([QUAD9, "127.0.0.1", CLOUDFLARE]))
    assert [item.label for item in found] == [QUAD9, "127.0.0.1", CLOUDFLARE]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (QUAD9, QUAD9),
        (QUAD9, "tls://9.9.9.9:853#dns.quad9.net"),
        (QUAD9, "tls://9.9.9.9#DNS.quad9.net"),
        # One server that proves two names.
        (QUAD9, "tls://9.9.9.9#other.quad9.net"),
        ("127.0.0.1", "127.0.0.1:53"),
        ("[::1]", "[0::1]:53"),
        ("127.0.0.1:853", "tls://127.0.0.1#localhost"),
        # Another path is no other server.
        (QUAD9_HTTPS, "https://9.9.9.9:443/other#dns.quad9.net"),
        ("tls://9.9.9.9:443#dns.quad9.net", QUAD9_HTTPS),
    ],
)
def test_one_resolver_named_twice_is_refused(first, second):
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolvers([first, CLOUDFLARE, second])
    assert caught.value.code == "resolver-twice"
    assert str(caught.value) == f"{first} and {second} are the same resolver"


def test_none_at_all_is_refused():
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolvers([])
    assert caught.value.code == "resolver-missing"


def test_each_of_several_is_checked():
    with pytest.raises(errors.PolicyError) as caught:
        parse_resolvers([QUAD9, "8.8.8.8"])
    assert caught.value.code == "resolver-plain"


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ([QUAD9], 1),
        ([QUAD9, CLOUDFLARE], 2),
        ([QUAD9, CLOUDFLARE, "tls://8.8.8.8#dns.google"], 3),
        # Plain ones repeat what the host's network says.
        (["127.0.0.1"], 0),
        (["127.0.0.1", "127.0.0.1:5353", "[::1]"], 0),
        ([QUAD9, "127.0.0.1"], 1),
        # Two addresses of one operator.
        ([QUAD9, "tls://149.112.112.112#dns.quad9.net"], 1),
        ([QUAD9, "tls://149.112.112.112#DNS.QUAD9.NET"], 1),
        ([QUAD9_HTTPS], 1),
        ([QUAD9_HTTPS, CLOUDFLARE], 2),
        # One operator by two ways.
        ([QUAD9_HTTPS, QUAD9], 1),
    ],
)
def test_independent_are_distinct_tls_names(texts, count):
    assert independent(parse_resolvers(texts)) == count


def test_independence_does_not_hang_on_how_a_name_is_written():
    names = ["dns.test", "DNS.test", "dns.test.", None, ""]
    assert independent(DnsResolver(str(name), "9.9.9.9", 853, name) for name in names) == 1
