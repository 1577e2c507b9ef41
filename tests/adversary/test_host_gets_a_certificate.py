# SPDX-License-Identifier: Apache-2.0
"""The host, which answers http-01 perfectly, asks for a certificate of its own."""

from tests.support.ca.caa import check
from tests.support.ca.resolver import Resolver
from tests.support.world.host import Host


def test_without_caa_it_succeeds(shm, ca, owner, http_port):
    """The control: nothing but CAA stands in its way."""
    Host(shm / "host", http_port).issue(ca).ok()
    assert len(ca.certificates()) == 1


def test_with_an_account_of_its_own_accounturi_refuses(shm, ca, issued, http_port):
    done = Host(shm / "host", http_port).issue(ca)
    assert done.code == 1
    assert "Type:   caa" in done.text
    assert "another account" in done.text
    assert len(ca.certificates()) == 1


def test_at_another_ca_issue_refuses(shm, new_ca, issued, http_port):
    other = new_ca(issuer_name="other-ca.test")
    done = Host(shm / "host", http_port).issue(other)
    assert done.code == 1
    assert "another issuer" in done.text
    assert other.certificates() == []


def test_for_the_wildcard_issuewild_refuses(issued, ca):
    """http-01 validates no wildcards, so the rule is asked directly."""
    found = check(
        "*.example.test",
        True,
        Resolver(issued.resolver).caa,
        issuer="ca.test",
        account_uris=[ca.accounts()[0]["uri"]],
        method="dns-01",
    )
    assert found.status == "denied"
