# SPDX-License-Identifier: Apache-2.0
"""The host takes the CA's place, or sends requests to itself; nothing is signed for it."""

import shutil

import pytest

from tests.support.world.host import Host


@pytest.mark.parametrize("endpoint", ["newOrder", "newAccount", "newNonce", "revokeCert"])
def test_endpoint_elsewhere_is_refused(issued, ca, endpoint):
    ca.change(overrides={endpoint: f"https://host.test/{endpoint}"})
    done = issued.issue("--force-renewal")
    assert done.code == 1
    assert f"sends {endpoint} to https://host.test/{endpoint}" in done.text
    assert len(ca.certificates()) == 1


def test_another_directory_gets_no_signature_of_this_account(issued, ca, new_ca):
    """The account is bound to its directory: at another one, there is no account."""
    other = new_ca()
    issued.server, issued.tls_root = other.directory_url, other.tls_root
    done = issued.issue("--force-renewal")
    assert done.code == 1
    assert "there is no account at" in done.text
    assert other.accounts() == []
    assert other.count("requests", "newOrder") == 0


def test_planted_account_is_refused(issued, ca, shm, http_port):
    host = Host(shm / "host", http_port)
    host.issue(ca)
    accounts = issued.config / "accounts"
    shutil.rmtree(accounts)
    shutil.copytree(host.accounts, accounts)
    done = issued.issue("--force-renewal")
    assert done.code == 1
    assert "was not made by this enclave" in done.text
    assert len(ca.certificates()) == 1


def test_doctored_account_uri_is_refused(issued, ca, shm, http_port):
    """The file says that our key belongs to the host's account; the CA's answer decides."""
    host = Host(shm / "host", http_port)
    host.issue(ca)
    ours, theirs = (account["uri"] for account in ca.accounts())
    path = next(issued.config.rglob("regr.json"))
    path.write_text(path.read_text().replace(ours, theirs))
    done = issued.issue("--force-renewal")
    assert done.code == 1
    assert f"our key belongs to {ours}, the file says {theirs}" in done.text
    assert len(ca.certificates()) == 1


def test_ca_that_answers_with_another_account_is_noticed(issued, ca):
    """The account URI of evidence is the CA's answer to this key, at the directory's origin."""
    before = issued.evidence.read_bytes()
    ca.change(account_location_origin="https://host.test")
    done = issued.register()
    assert done.code == 1
    assert "account URI 'https://host.test" in done.err
    assert issued.evidence.read_bytes() == before


def test_unexpected_account_is_refused(issued, ca):
    done = issued.register("--account=https://ca.test/account/7")
    assert done.code == 1
    assert "the settings expect https://ca.test/account/7" in done.err
