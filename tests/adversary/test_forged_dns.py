# SPDX-License-Identifier: Apache-2.0
"""The host forges DNS: without DNSSEC or an authenticated resolver, the gate stays closed."""

import pytest


@pytest.fixture
def published(enclave, ca, owner):
    """The right records, in the signed zone and in the unsigned one."""
    enclave.domains = ("example.test", "unsigned.test")
    owner.publish(enclave.registered()["records"])
    enclave.domains = ("example.test",)
    return enclave


def _refused(enclave, ca, *whys):
    done = enclave.issue()
    assert done.code == 1
    for why in whys:
        assert why in done.text
    assert ca.count("requests", "newOrder") == 0


def test_answers_without_ad_do_not_open(published, ca, world):
    published.resolver = world.start_resolver(validating=False).address
    _refused(published, ca, "not authenticated by DNSSEC")


def test_plain_resolver_elsewhere_is_refused(published, ca):
    published.resolver = "192.0.2.53"
    _refused(published, ca, "is plain DNS and not on loopback")


def test_resolver_with_another_certificate_is_refused(published, ca, world):
    published.resolver = world.resolver.tls_address  # under a root that the system does not know
    _refused(published, ca, "unable to get local issuer certificate")
    published.extra["resolver-roots"] = str(world.tls_root)
    published.resolver = world.resolver.tls_address.replace("#resolver.test", "#other.test")
    _refused(published, ca, "Hostname mismatch")


def test_resolver_over_tls_opens(published, ca, world):
    published.extra["resolver-roots"] = str(world.tls_root)
    published.resolver = world.resolver.tls_address
    published.issue().ok()


def test_one_resolver_that_is_down_closes(published, ca, world):
    published.resolver += ",tls://127.0.0.1:1#down.test"
    _refused(published, ca, "down.test could not tell the CAA records of example.test")


def test_unsigned_zone_is_refused(published, ca):
    published.domains = ("unsigned.test",)
    signed = "sign the zone and have its DS record published by the parent"
    _refused(published, ca, "not authenticated by DNSSEC", signed)


def test_unsigned_zone_is_pinned_when_independent_resolvers_agree(published, ca, world):
    published.domains = ("unsigned.test",)
    published.extra["allow-unsigned-zone"] = True
    _refused(published, ca, "not authenticated by DNSSEC")  # one plain resolver is no witness
    second = world.start_resolver(name="second.test")
    published.extra["resolver-roots"] = str(world.tls_root)
    published.resolver = f"{world.resolver.tls_address},{second.tls_address}"
    published.issue().ok()
    said = published.said()
    assert "zone-unsigned" in said.conditions
    verdicts = {domain.name: domain.verdict for domain in said.domains}
    assert verdicts["unsigned.test"] == "pinned, zone unsigned"


def test_bogus_zone_is_never_permission(enclave, ca, owner):
    enclave.domains = ("bogus.test",)
    enclave.register().ok()
    _refused(enclave, ca, "SERVFAIL")
