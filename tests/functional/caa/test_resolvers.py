# SPDX-License-Identifier: Apache-2.0
"""Real resolvers: what is authenticated is said so; what goes wrong is a failure, not absence."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from certbot_enclave import errors
from certbot_enclave.caa import formats, issuers, lookup, question, resolvers, verdict
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer
from tests.support.world.dns import DnsWorld

OURS = "https://ca.test/acct/1"
CAA = '0 issue "ca.test"'
RECORD = Record(0, b"issue", b"ca.test")
SUBJECT = verdict.Subject("ca.test", OURS, ("http-01",))
PAIR = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=OURS)


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(
            Path(state, "dns"),
            signed=("example.test", "other.test"),
            unsigned=("plain.test",),
            bogus=("bogus.test",),
        ) as world,
    ):
        world.caa("example.test", CAA)
        world.caa("plain.test", CAA)
        world.caa("bogus.test", CAA)
        yield world


@pytest.fixture(scope="module")
def second(world):
    return world.start_resolver(name="second.test")


@pytest.fixture
def publish(world):
    """Publish records for one test. Unbound keeps an alias to the end of the second all the same,
    so each test has its own names for those."""
    published = []

    def put(name, kind, *contents, ttl=1):
        world.update(name, kind, *contents, ttl=ttl)
        published.append((name, kind))

    yield put
    for name, kind in published:
        world.update(name, kind)


def _plain(world):
    return resolvers.parse_resolver(world.resolver.address)


def _over_tls(world, resolver=None, roots=None):
    return resolvers.parse_resolver(
        (resolver or world.resolver).tls_address, roots=str(roots or world.tls_root)
    )


def _over_https(world, resolver=None, roots=None):
    return resolvers.parse_resolver(
        (resolver or world.resolver).https_address, roots=str(roots or world.tls_root)
    )


@pytest.mark.parametrize("way", [_plain, _over_tls, _over_https])
@pytest.mark.parametrize(
    ("name", "records", "authenticated"),
    [
        ("example.test", (RECORD,), True),
        # Denials: the name exists, a wildcard stands for it, it does not exist.
        ("ns.example.test", (), True),
        ("a.b.example.test", (), True),
        ("test", (), True),
        ("absent.test", (), True),
        ("plain.test", (RECORD,), False),
        ("ns.plain.test", (), False),
        ("a.plain.test", (), False),
    ],
)
def test_signed_is_authenticated_and_unsigned_is_not(world, way, name, records, authenticated):
    resolver = way(world)
    assert resolver.ask(name) == Answer(name, resolver.label, records, authenticated)


def test_the_ttl_that_the_zone_signed_is_whole_however_little_a_resolver_has_left(world, publish):
    caching = world.start_resolver(caching=True)
    for name, signed in (("long.example.test", 50_000), ("long.plain.test", None)):
        publish(name, "CAA", CAA, ttl=50_000)
        found = resolvers.parse_resolver(caching.address).ask(name)
        assert (found.signed_ttl, 0 < found.ttl <= 50_000) == (signed, True)


@pytest.mark.parametrize("way", [_plain, _over_tls, _over_https])
def test_a_bogus_zone_is_a_failure_that_says_why(world, way):
    found = way(world).ask("bogus.test")
    # The first time it names the missing key, later the zone that it remembers.
    assert found.failure in ("SERVFAIL (EDE 9 (DNSKEY Missing))", "SERVFAIL (EDE 6 (DNSSEC Bogus))")
    assert (found.records, found.authenticated) == ((), False)


def test_a_top_level_domain_that_does_not_exist_is_a_failure(world):
    assert _plain(world).ask("nosuch").failure == "NXDOMAIN"


def test_who_does_not_validate_authenticates_nothing(world):
    resolver = world.start_resolver(validating=False)
    for name, records in (("example.test", (RECORD,)), ("absent.test", ())):
        found = resolvers.parse_resolver(resolver.address).ask(name)
        assert (found.records, found.authenticated, found.failure) == (records, False, None)


def test_an_authoritative_server_is_no_resolver(world):
    for name in ("example.test", "ns.example.test", "www.nowhere.test", "test"):
        found = resolvers.parse_resolver(f"127.0.0.1:{world.port}").ask(name)
        assert found.failure == "it is no resolver: recursion is not available"


@pytest.mark.parametrize("way", [_over_tls, _over_https])
def test_each_resolver_proves_its_own_name(world, second, way):
    assert way(world, second).tls_name == "second.test"
    assert way(world, second).ask("example.test").records == (RECORD,)
    swapped = replace(way(world, second), tls_name="resolver.test")
    assert swapped.ask("example.test").failure == (
        "TLS: Hostname mismatch, certificate is not valid for 'resolver.test'."
    )


@pytest.mark.parametrize("way", [_over_tls, _over_https])
def test_another_root_is_a_failure(world, tmp_path, way):
    root = tmp_path / "root.pem"
    trustme.CA().cert_pem.write_to_path(str(root))
    found = way(world, roots=root).ask("example.test")
    assert found.failure.startswith("TLS: ")
    assert "certificate" in found.failure
    assert (found.records, found.authenticated) == ((), False)


@pytest.mark.parametrize("way", [_over_tls, _over_https])
def test_the_roots_of_the_system_do_not_know_it(world, way):
    found = replace(way(world), roots=None).ask("example.test")
    assert found.failure == "TLS: unable to get local issuer certificate"


@pytest.mark.parametrize("way", [_over_tls, _over_https])
def test_roots_that_are_missing_are_a_failure(world, tmp_path, way):
    found = way(world, roots=tmp_path / "absent.pem").ask("example.test")
    assert found.failure == "No such file or directory"
    (tmp_path / "empty.pem").write_text("")
    found = way(world, roots=tmp_path / "empty.pem").ask("example.test")
    assert found.failure.startswith("TLS: ")


def test_a_resolver_that_is_down_is_a_failure(world):
    resolver = world.start_resolver(name="down.test")
    resolver.stop()
    for way in (_over_tls, _over_https):
        assert way(world, resolver).ask("example.test").failure == "Connection refused"
    found = resolvers.parse_resolver(resolver.address, timeout=0.2).ask("example.test")
    assert found.failure == "no answer within 0.2 seconds"


@pytest.mark.parametrize("way", [_over_tls, _over_https])
def test_plain_dns_where_tls_is_expected_is_a_failure(world, way):
    resolver = replace(way(world), port=world.resolver.port, timeout=0.5)
    found = resolver.ask("example.test")
    assert found.failure is not None
    assert (found.records, found.authenticated) == ((), False)


def test_aliases_are_told_link_by_link(world, publish):
    publish("chain.example.test", "CNAME", "lb.plain.test.")
    publish("lb.plain.test", "CNAME", "end.other.test.")
    for way in (_plain, _over_tls, _over_https):
        found = way(world).ask("chain.example.test")
        assert found.aliases == ("lb.plain.test", "end.other.test")
        assert (found.records, found.authenticated) == ((), False)
    publish("end.other.test", "CAA", CAA)
    for way in (_plain, _over_tls, _over_https):
        assert way(world).ask("chain.example.test").records == (RECORD,)


def test_an_alias_inside_signed_zones_is_authenticated(world, publish):
    publish("alias.example.test", "CNAME", "other.test.")
    found = _plain(world).ask("alias.example.test")
    assert (found.aliases, found.records, found.authenticated) == (("other.test",), (), True)


def test_an_alias_to_a_name_that_does_not_exist_is_told(world, publish):
    publish("dangling.example.test", "CNAME", "gone.test.")
    found = _plain(world).ask("dangling.example.test")
    assert (found.aliases, found.records, found.failure) == (("gone.test",), (), None)


def test_an_alias_that_a_wildcard_stands_for_is_told(world, publish):
    publish("*.wild.example.test", "CNAME", "other.test.")
    found = _plain(world).ask("any.wild.example.test")
    assert (found.aliases, found.records, found.authenticated) == (("other.test",), (), True)


def test_a_dname_redirects_what_is_below_it_and_not_itself(world, publish):
    publish("moved.example.test", "DNAME", "other.test.")
    publish("www.other.test", "CAA", CAA)
    found = _plain(world).ask("www.moved.example.test")
    assert (found.aliases, found.records) == (("www.other.test",), (RECORD,))
    assert found.authenticated
    found = _plain(world).ask("moved.example.test")
    assert (found.aliases, found.records, found.failure) == ((), (), None)


def test_a_loop_of_aliases_is_a_failure(world, publish):
    publish("one.example.test", "CNAME", "two.example.test.")
    publish("two.example.test", "CNAME", "one.example.test.")
    found = _plain(world).ask("one.example.test")
    assert found.failure is not None
    assert found.failure.startswith("SERVFAIL")


def test_a_large_set_arrives_whole(world, publish):
    values = [f"ca{number}.test;accounturi={OURS}{'0' * 40}" for number in range(60)]
    publish("big.example.test", "CAA", *(f'0 issue "{value}"' for value in values))
    found = _plain(world).ask("big.example.test")
    assert sum(len(value) for value in values) > question.PAYLOAD
    assert [record.value.decode() for record in found.records] == sorted(values)
    assert found.authenticated
    for way in (_over_tls, _over_https):
        assert way(world).ask("big.example.test").records == found.records


@pytest.mark.parametrize(
    "rdata",
    [
        b"\x00",
        b"\x00\x00",
        b"\x00\x00x",
        b"\x00\x05issu",
        b"\x00\xffissue",
        b"\x00\x03a-bx",
        b"\x00\x06issue other.test",
        b"\x00\x05is\x00ueother.test",
        b"\x00\x05issue",
        b"\x80\x05ISSUEca.test\x00;\xff",
    ],
)
def test_no_record_is_ever_dropped(world, publish, rdata):
    publish("odd.example.test", "CAA", CAA, rdata)
    found = _plain(world).ask("odd.example.test")
    if found.failure is None:
        size = rdata[1]
        odd = Record(rdata[0], rdata[2 : 2 + size], rdata[2 + size :])
        assert set(found.records) == {RECORD, odd}
    else:
        assert found.failure.startswith("malformed answer: ")
        with pytest.raises(errors.TransportError):
            lookup.climb("odd.example.test", [_plain(world)])


def _judge(name, asked, **accepted):
    tolerance = verdict.Tolerance(independent_resolvers=resolvers.independent(asked), **accepted)
    return verdict.judge_name(
        name,
        SUBJECT,
        tolerance,
        lambda item: lookup.climb(item, asked),
        today=issuers.MANDATORY,
    )


def test_a_signed_zone_with_our_records_is_exclusive(world, publish):
    publish("example.test", "CAA", *(record.text() for record in PAIR))
    found = _judge("www.example.test", [_plain(world)])
    assert (found.word, found.findings, found.conditions) == ("exclusive", (), ())
    assert found.found_at == "example.test"
    publish("example.test", "CAA", CAA)
    assert not _judge("www.example.test", [_plain(world)]).opens_gate
    publish("example.test", "CAA", CAA)


def test_an_unsigned_zone_is_pinned_by_two_names_and_not_by_two_ports(world, second, publish):
    publish("plain.test", "CAA", *(record.text() for record in PAIR))
    independent = [_over_tls(world), _over_https(world, second)]
    again = world.start_resolver()
    found = _judge("www.plain.test", independent, unsigned_zone=True)
    assert (found.word, found.conditions) == ("pinned, zone unsigned", ("zone-unsigned",))
    for asked in (
        [_plain(world), resolvers.parse_resolver(second.address)],
        [_over_tls(world), _over_tls(world, again)],
        [_over_tls(world), _over_https(world)],
        [_over_tls(world), _plain(world)],
    ):
        found = _judge("www.plain.test", asked, unsigned_zone=True)
        assert [finding.name for finding in found.findings] == ["insecure-zone"]
    assert not _judge("www.plain.test", independent).opens_gate
