# SPDX-License-Identifier: Apache-2.0
"""Which servers are asked about which names, where none is asked, and what an answer says."""

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import authoritative
from certbot_enclave.caa.authoritative import Expected, Served, Server
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climb, Step

RECORD = Record(0, b"issue", b"ca.test")
CAA = '0 issue "ca.test"'


def _climb(*steps):
    made = [Step(name, records, True, aliases) for name, records, aliases in steps]
    found = made[-1].name if made[-1].records else None
    return Climb(made[0].name, found, made[-1].records, tuple(made), ("one",))


def _message(*lines, question="www.example.com. CAA", rcode="NOERROR", flags="QR AA", section=None):
    answer = dns.message.make_response(dns.message.make_query(*question.split()))
    answer.flags = dns.flags.from_text(flags)
    answer.set_rcode(dns.rcode.from_text(rcode))
    for line in lines:
        owner, kind, text = line.split(" ", 2)
        getattr(answer, section or "answer").append(dns.rrset.from_text(owner, 1, "IN", kind, text))
    return dns.message.from_wire(answer.to_wire())


def _unknown(call, *arguments):
    with pytest.raises(errors.TransportError) as caught:
        call(*arguments)
    assert caught.value.code == "lookup-failed"
    return str(caught.value)


def test_every_name_of_a_climb_is_asked_about_once():
    climb = _climb(("www.example.com", (), ()), ("example.com", (RECORD,), ()))
    above = _climb(("example.com", (RECORD,), ()))
    assert authoritative.expected([climb, above]) == (
        Expected("www.example.com", Served(None, ())),
        Expected("example.com", Served(None, (RECORD,))),
    )


def test_names_of_a_single_label_and_the_root_are_left_to_the_resolvers():
    climb = _climb(("a.test", (), (".",)), ("test", (), ()))
    assert authoritative.expected([climb]) == (Expected("a.test", Served(".", ())),)


def test_each_link_of_an_alias_is_a_question_of_its_own():
    climb = _climb(("a.test", (RECORD,), ("b.net", "c.org")))
    assert authoritative.expected([climb]) == (
        Expected("a.test", Served("b.net", ())),
        Expected("b.net", Served("c.org", ())),
        Expected("c.org", Served(None, (RECORD,))),
    )


def test_aliases_in_a_row_are_bounded():
    links = tuple(f"x{number}.net" for number in range(authoritative.LINKS + 1))
    assert len(authoritative.expected([_climb(("a.test", (), links[1:]))])) == len(links)
    told = _unknown(authoritative.expected, [_climb(("a.test", (), links))])
    assert told == "a.test is an alias of an alias, 17 in a row"


def test_the_apex_is_looked_for_from_the_name_to_the_root():
    assert authoritative.levels("www.example.com") == (
        "www.example.com",
        "example.com",
        "com",
        ".",
    )
    assert authoritative.levels(".") == (".",)
    # A dot inside a label is none between two.
    assert authoritative.levels("a\\.b.test") == ("a\\.b.test", "test", ".")


def test_levels_are_bounded():
    longest = ".".join(["a"] * (authoritative.LEVELS - 1))
    assert len(authoritative.levels(longest)) == authoritative.LEVELS
    assert "has 40 labels" in _unknown(authoritative.levels, f"a.{longest}")


@pytest.mark.parametrize(
    "address",
    # RFC 6890 and the registries that it made, multicast, and what leads to such an address.
    """0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.0.2.1
    192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:9.9.9.9 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1
    2001:db8::1 2001:0:7f00:1::1 2002:7f00:1::1 2002:909:909::1 3fff::1 5f00::1 fc00::1
    fd00:ec2::254 fe80::1 fec0::1 ff02::1 ff0e::1""".split(),
)
def test_what_is_not_on_the_public_internet_is_not_asked(address):
    assert not authoritative.askable(address)


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "192.5.6.30", "172.15.0.1", "2620:fe::fe", "2001:503:ba3e::2:30"]
)
def test_what_is_on_the_public_internet_is_asked(address):
    assert authoritative.askable(address)


def test_a_server_is_not_asked_to_ask_others():
    made = authoritative.question("www.example.com")
    assert (made.flags, made.edns, made.payload) == (0, 0, 1232)
    assert made.question[0].to_text() == "www.example.com. IN CAA"
    assert authoritative.question(".", "NS").question[0].to_text() == ". IN NS"


def test_a_resolver_is_asked_as_for_caa():
    made = authoritative.told_question("www.example.com", "NS")
    assert dns.flags.to_text(made.flags) == "RD AD"
    assert (made.ednsflags, made.payload) == (dns.flags.DO, 1232)
    assert made.question[0].to_text() == "www.example.com. IN NS"


def _told(*lines, kind="NS", flags="QR RD RA", **options):
    message = _message(*lines, question=f"example.com. {kind}", flags=flags, **options)
    return authoritative.told("example.com", kind, "one", message)


def test_what_a_resolver_tells():
    assert _told("example.com. NS NS1.Example.net.", "example.com. NS \\007.net.") == (
        "ns1.example.net",
        "\\007.net",
    )
    assert _told("example.com. A 192.0.2.1", kind="A") == ("192.0.2.1",)
    assert _told("example.com. AAAA 2001:DB8::1", kind="AAAA") == ("2001:db8::1",)
    assert _told() == _told(rcode="NXDOMAIN") == ()


def test_what_stands_behind_an_alias_or_in_another_section_is_not_the_names():
    assert _told("example.com. CNAME a.net.", "a.net. NS ns.a.net.") == ()
    assert _told("example.com. NS ns.a.net.", section="authority") == ()


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        ({"rcode": "SERVFAIL"}, "SERVFAIL"),
        ({"flags": "QR AA"}, "it is no resolver: recursion is not available"),
        ({"flags": "QR RA TC"}, "truncated answer"),
    ],
)
def test_a_resolver_that_cannot_tell(options, failure):
    message = _message(question="example.com. NS", **{"flags": "QR RA", **options})
    told = _unknown(authoritative.told, "example.com", "NS", "one", message)
    assert told == f"one could not tell the NS records of example.com: {failure}"


def test_a_referral_and_an_answer_tell_who_has_a_zone():
    line = "example.com. NS ns.example.net."
    for section in ("answer", "authority"):
        message = _message(line, question="example.com. NS", section=section)
        assert authoritative.delegated("example.com", message) == ("ns.example.net",)
        assert authoritative.delegated("com", message) == ()


SERVER = Server("ns.example.net", "192.0.2.1")


def _served(*lines, **options):
    return authoritative.served(SERVER, "www.example.com", _message(*lines, **options))


def test_records_their_absence_and_an_alias():
    assert _served(f"www.example.com. CAA {CAA}") == Served(None, (RECORD,))
    assert _served() == _served(rcode="NXDOMAIN") == Served(None, ())
    assert _served("www.example.com. CNAME a.net.") == Served("a.net", ())
    # The server's own copy of the target says nothing: its zone may be another's.
    assert _served("www.example.com. CNAME a.net.", f"a.net. CAA {CAA}") == Served("a.net", ())


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        ({"rcode": "REFUSED"}, "REFUSED"),
        ({"rcode": "SERVFAIL"}, "SERVFAIL"),
        ({"flags": "QR"}, "it is not authoritative for the name"),
        # A cache, which is no server of the zone.
        ({"flags": "QR RA"}, "it is not authoritative for the name"),
        ({"flags": "QR AA TC"}, "truncated answer"),
    ],
)
def test_a_lame_server_serves_nothing(options, failure):
    assert _served(f"www.example.com. CAA {CAA}", **options) == failure


def test_an_answer_that_contradicts_itself_is_refused():
    with pytest.raises(errors.FormatError) as caught:
        _served(f"example.com. CAA {CAA}")
    assert caught.value.code == "answer-owner"


def test_servers_are_counted_once_and_bounded():
    names = [f"ns{number:02}.net" for number in range(authoritative.SERVERS)]
    assert authoritative.names_of("a.test", [*reversed(names), *names]) == tuple(names)
    told = _unknown(authoritative.names_of, "a.test", [*names, "ns.net"])
    assert told == "a.test has 17 servers, and no more than 16 are asked"


def test_addresses_are_counted_once_and_bounded():
    addresses = [f"192.0.2.{number:02}" for number in range(authoritative.ADDRESSES)]
    servers = [Server(name, address) for address in addresses for name in ("b.net", "a.net")]
    found = authoritative.servers_of("a.test", servers)
    assert found == tuple(Server("a.net", address) for address in addresses)
    told = _unknown(authoritative.servers_of, "a.test", [*servers, SERVER._replace(address="::1")])
    assert told == "the servers of a.test have 33 addresses, and no more than 32 are asked"


def test_ipv4_goes_first_and_what_has_no_address_last():
    six, nowhere = Server("a.net", "2620:fe::fe"), Server("a.net", None, "why")
    assert authoritative.servers_of("a.test", [nowhere, six, SERVER]) == (SERVER, six, nowhere)
