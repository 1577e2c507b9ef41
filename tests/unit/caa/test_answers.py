# SPDX-License-Identifier: Apache-2.0
"""A response is read as records, their absence or a failure; nothing in it is passed over."""

import errno
import ssl

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa.failures import explain
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer
from certbot_enclave.caa.resolvers import read

NAME = "www.example.com"
CAA = '0 issue "ca.test"'
RECORD = Record(0, b"issue", b"ca.test")


def _message(*lines, rcode="NOERROR", flags="QR RD RA", name=NAME, options=()):
    """Make what came over the wire, from lines in zone-file form without TTL."""
    query = dns.message.make_query(name + ".", "CAA", use_edns=0, options=list(options))
    answer = dns.message.make_response(query)
    if options:
        answer.use_edns(0, options=list(options))
    answer.flags = dns.flags.from_text(flags)
    answer.set_rcode(dns.rcode.from_text(rcode))
    for line in lines:
        owner, kind, text = line.split(" ", 2)
        rdclass = "IN"
        if kind == "CH":
            rdclass, (kind, text) = "CH", text.split(" ", 1)
        rrset = dns.rrset.from_text(owner, 1, rdclass, kind, text)
        answer.find_rrset(
            answer.answer, rrset.name, rrset.rdclass, rrset.rdtype, create=True
        ).update(rrset)
    return dns.message.from_wire(answer.to_wire())


def _read(*lines, **options):
    name = options.get("name", NAME)
    return read(name, "one", _message(*lines, **options))


def test_records():
    found = _read(f"{NAME}. CAA {CAA}", f'{NAME}. CAA 128 TBS "\\000\\255;"', f"{NAME}. CAA {CAA}")
    assert found == Answer(NAME, "one", (RECORD, Record(128, b"TBS", b"\0\xff;")))


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
@pytest.mark.parametrize(("flags", "authenticated"), [("QR RD RA", False), ("QR RD RA AD", True)])
def test_absence_and_what_the_ad_bit_says_of_it(rcode, flags, authenticated):
    found = _read(rcode=rcode, flags=flags)
    assert found == Answer(NAME, "one", authenticated=authenticated)


def test_records_of_other_types_are_no_matter():
    assert _read(f"{NAME}. A 192.0.2.1", f"{NAME}. CAA {CAA}").records == (RECORD,)


def test_the_question_is_found_whatever_its_case():
    assert _read(f"WWW.Example.COM. CAA {CAA}").records == (RECORD,)


@pytest.mark.parametrize(
    ("rcode", "name"),
    [
        *((code, NAME) for code in ("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "YXDOMAIN")),
        ("NXDOMAIN", "com"),
    ],
)
def test_other_codes_are_failures(rcode, name):
    found = _read(rcode=rcode, name=name, flags="QR RD RA AD")
    assert found == Answer(name, "one", failure=rcode)


def test_a_top_level_domain_without_records_is_absence():
    assert _read(name="com") == Answer("com", "one")


def test_extended_errors_are_told_and_cannot_reach_the_terminal_raw():
    options = [
        dns.edns.EDEOption(9, "no key \x1b[2J\n"),
        dns.edns.EDEOption(65000),
        dns.edns.GenericOption(10, b"cookie88"),
    ]
    found = _read(rcode="SERVFAIL", options=options)
    assert found.failure.startswith("SERVFAIL (EDE 9 (DNSKEY Missing): no key ")
    assert found.failure.endswith("; EDE 65000)")
    assert found.failure.isprintable()


def test_a_truncated_answer_is_a_failure():
    found = _read(f"{NAME}. CAA {CAA}", flags="QR RD RA TC AD")
    assert found == Answer(NAME, "one", failure="truncated answer")


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
def test_who_does_not_recurse_is_no_resolver(rcode):
    found = _read(rcode=rcode, flags="QR RD AA")
    assert found.failure == "it is no resolver: recursion is not available"


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
@pytest.mark.parametrize(
    ("lines", "aliases"),
    [
        ([f"{NAME}. CNAME lb.other.net."], ["lb.other.net"]),
        (
            [f"{NAME}. CNAME LB.Other.net.", "lb.other.NET. CNAME a.third.org."],
            ["lb.other.net", "a.third.org"],
        ),
        # Order in the section means nothing.
        (
            ["lb.other.net. CNAME a.third.org.", f"{NAME}. CNAME lb.other.net."],
            ["lb.other.net", "a.third.org"],
        ),
        # A DNAME comes with the CNAME that it means.
        (
            ["example.com. DNAME other.net.", f"{NAME}. CNAME www.other.net."],
            ["www.other.net"],
        ),
        (
            [
                f"{NAME}. CNAME a.b.other.net.",
                "other.net. DNAME third.org.",
                "a.b.other.net. CNAME a.b.third.org.",
            ],
            ["a.b.other.net", "a.b.third.org"],
        ),
        (
            [
                f"{NAME}. CNAME x1.net.",
                *(f"x{number}.net. CNAME x{number + 1}.net." for number in range(1, 40)),
            ],
            [f"x{number}.net" for number in range(1, 41)],
        ),
    ],
)
def test_every_name_on_the_way_of_an_alias(lines, aliases, rcode):
    found = _read(*lines, rcode=rcode)
    assert found == Answer(NAME, "one", aliases=tuple(aliases))
    if rcode == "NOERROR":
        found = _read(*lines, f"{aliases[-1]}. CAA {CAA}", flags="QR RD RA AD")
        assert found == Answer(NAME, "one", (RECORD,), True, tuple(aliases))


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        # Records whose owner is not the end of the chain.
        (["other.net. CAA {}"], "answer-owner"),
        (["example.com. CAA {}"], "answer-owner"),
        ([f"{NAME}. CAA {{}}", "other.net. CAA {}"], "answer-owner"),
        ([f"{NAME}. CAA {{}}", f"{NAME}. CNAME lb.other.net."], "answer-owner"),
        (
            [f"{NAME}. CNAME a.net.", "a.net. CNAME b.net.", "a.net. CAA {}", "b.net. CAA {}"],
            "answer-owner",
        ),
        # Aliases that do not begin at the question, or end nowhere.
        (["other.net. CNAME third.org."], "answer-chain"),
        (["other.net. CNAME third.org.", f"{NAME}. CAA {{}}"], "answer-chain"),
        ([f"{NAME}. CNAME {NAME}."], "answer-chain"),
        ([f"{NAME}. CNAME a.net.", f"a.net. CNAME {NAME}."], "answer-chain"),
        ([f"{NAME}. CNAME a.net.", "a.net. CNAME b.net.", "b.net. CNAME a.net."], "answer-chain"),
        # DNAMEs that redirect nothing here, or whose CNAME is missing.
        (["example.com. DNAME other.net."], "answer-dname"),
        (["example.com. DNAME other.net.", "www.other.net. CAA {}"], "answer-dname"),
        (["example.com. DNAME other.net.", f"{NAME}. CNAME ftp.example.com."], "answer-dname"),
        (["example.com. DNAME other.net.", f"{NAME}. CAA {{}}"], "answer-dname"),
        ([f"{NAME}. DNAME other.net.", f"{NAME}. CNAME a.net."], "answer-dname"),
        (["elsewhere.org. DNAME other.net.", f"{NAME}. CNAME a.net."], "answer-dname"),
        ([f"{NAME}. CNAME a.net.", "net. DNAME org."], "answer-dname"),
    ],
)
def test_what_belongs_to_no_chain_is_refused(lines, code):
    with pytest.raises(errors.FormatError) as caught:
        _read(*(line.format(CAA) for line in lines))
    assert caught.value.code == code


def test_records_of_a_name_that_does_not_exist_are_refused():
    with pytest.raises(errors.FormatError) as caught:
        _read(f"{NAME}. CAA {CAA}", rcode="NXDOMAIN")
    assert caught.value.code == "answer-nxdomain"


@pytest.mark.parametrize("line", [f"CAA {CAA}", "CNAME a.net.", "TXT x"])
def test_records_of_another_class_are_refused(line):
    with pytest.raises(errors.FormatError) as caught:
        _read(f"{NAME}. CH {line}")
    assert caught.value.code == "answer-class"


_OWNERS = [f"{NAME}.", "a.net.", "b.net.", "example.com.", "net."]


@given(
    st.lists(
        st.one_of(
            st.builds("{} CAA {}".format, st.sampled_from(_OWNERS), st.just(CAA)),
            st.builds("{} CNAME {}".format, st.sampled_from(_OWNERS), st.sampled_from(_OWNERS)),
            st.builds("{} DNAME {}".format, st.sampled_from(_OWNERS), st.sampled_from(_OWNERS)),
        ),
        max_size=5,
    )
)
def test_no_record_and_no_alias_is_ever_passed_over(lines):
    try:
        found = _read(*lines)
    except errors.FormatError:
        return
    # Two CNAMEs of one name are one to the reader of messages: the last.
    links = {line.split()[0] for line in lines if " CNAME " in line}
    assert len(found.aliases) == len(links)
    holders = {line.split()[0] for line in lines if " CAA " in line}
    assert holders <= {f"{[NAME, *found.aliases][-1]}."}
    assert bool(found.records) is bool(holders)
    assert found.aliases or not any(" DNAME " in line for line in lines)


def test_the_shortest_ttl_of_an_answer_counts_and_no_records_have_none():
    message = _message(f"{NAME}. CNAME lb.other.net.", f"lb.other.net. CAA {CAA}")
    message.answer[0].ttl, message.answer[1].ttl = 60, 3600
    assert read(NAME, "one", message).ttl == 60
    assert _read(f"{NAME}. CAA {CAA}").ttl == 1
    assert _read(f"{NAME}. CNAME lb.other.net.").ttl is None


def test_the_longest_ttl_that_was_signed_is_told_beside_what_is_left_of_it():
    signed = "{} 13 2 {} 20300101000000 20200101000000 1 example.com. AAAA"
    lines = [f"{NAME}. CNAME lb.other.net.", f"{NAME}. RRSIG {signed.format('CNAME', 86400)}"]
    assert _read(*lines).signed_ttl is None
    lines += [f"lb.other.net. CAA {CAA}", f"lb.other.net. RRSIG {signed.format('CAA', 300)}"]
    found = _read(*lines)
    assert (found.ttl, found.signed_ttl) == (1, 86400)
    assert _read(f"{NAME}. CAA {CAA}").signed_ttl is None


@pytest.mark.parametrize(("labels", "synthesized"), [(3, False), (2, True), (1, True)])
def test_a_signature_of_fewer_labels_is_that_of_a_wildcard(labels, synthesized):
    signature = f"CAA 13 {labels} 1 20300101000000 20200101000000 1 example.com. AAAA"
    found = _read(f"{NAME}. CAA {CAA}", f"{NAME}. RRSIG {signature}")
    assert found.synthesized is synthesized
    assert not _read(f"{NAME}. CAA {CAA}").synthesized
    # That of an alias is another matter: the records stand where it leads to.
    alias = [f"{NAME}. CNAME lb.other.net.", f"{NAME}. RRSIG {signature.replace('CAA', 'CNAME')}"]
    assert not _read(*alias, f"lb.other.net. CAA {CAA}").synthesized
    found = _read(*alias[:1], f"lb.other.net. CAA {CAA}", f"lb.other.net. RRSIG {signature}")
    assert found.synthesized is synthesized


@pytest.mark.parametrize(
    ("error", "text", "again"),
    [
        (dns.exception.Timeout(), "no answer within 2 seconds", True),
        (TimeoutError(), "no answer within 2 seconds", True),
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused", True),
        (TimeoutError(errno.ETIMEDOUT, "x"), "Connection timed out", True),
        (OSError("odd"), "odd", True),
        (EOFError(), "the connection ended before the answer", True),
        (ssl.SSLError(1, "[SSL: X] words"), "TLS: [SSL: X] words", True),
        (errors.FormatError("bad \x1b", code="x"), "malformed answer: bad \\027", False),
    ],
)
def test_why_a_try_gave_nothing(error, text, again):
    assert explain(error, 2.0) == (text, again)
