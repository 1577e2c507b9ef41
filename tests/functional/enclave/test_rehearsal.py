# SPDX-License-Identifier: Apache-2.0
"""The setting ``staging_rehearsal``: every order is tried at another directory first, once."""

import json
from dataclasses import replace

import pytest
import trustme

from certbot_enclave import rehearsed
from tests.support.world.enclave import Enclave

CONDITION = "rehearsal-account:"


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def ca(new_ca, authority):
    return new_ca(tls_authority=authority)


@pytest.fixture
def staging(new_ca, authority):
    return new_ca(tls_authority=authority)


@pytest.fixture
def enclave(enclave, staging):
    enclave.extra["staging-rehearsal"] = staging.directory_url
    return enclave


def _orders(ca):
    return [ca.count("requests", name) for name in ("newAccount", "newOrder", "finalize")]


def _uri(ca):
    return ca.accounts()[0]["uri"]


def _said(enclave):
    found = [item for item in enclave.said().conditions if item.startswith(CONDITION)]
    return [item.removeprefix(CONDITION) for item in found]


def test_register_makes_both_accounts_and_prints_records_for_both(enclave, ca, staging, owner):
    table = enclave.registered()
    assert (table["account"], table["rehearsal_account"]) == (_uri(ca), _uri(staging))
    named = [uri for uri in (_uri(ca), _uri(staging)) for line in table["records"] if uri in line]
    assert named == [_uri(ca), _uri(staging)]
    assert len(table["records"]) == 3
    said = enclave.said()
    assert (said.directory, said.account_uri) == (ca.directory_url, _uri(ca))
    assert said.settings["staging_rehearsal"] == staging.directory_url
    assert _said(enclave) == []  # the records give it nothing yet
    done = enclave.register().ok()
    assert f"rehearsal:  {_uri(staging)}" in done.out
    assert "CAA records that bind issuance to these accounts" in done.out
    assert (len(ca.accounts()), len(staging.accounts())) == (1, 1)


def test_rehearsal_comes_first_and_once_for_each_image(enclave, ca, staging, registered):
    done = enclave.let("certonly").ok()
    assert f"rehearsing at {staging.directory_url}" in done.err
    rehearsed_once = _orders(staging)
    assert rehearsed_once[1:] == [1, 1]
    assert _orders(ca)[1:] == [1, 1]
    assert _said(enclave) == [_uri(staging)]
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging), _orders(ca)[1:]) == (rehearsed_once, [2, 2])
    enclave.reboot()
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging), _orders(ca)[1:]) == (rehearsed_once, [3, 3])
    assert (len(ca.accounts()), len(staging.accounts())) == (1, 1)
    assert (enclave.said().account_uri, enclave.said().directory) == (_uri(ca), ca.directory_url)
    assert _said(enclave) == [_uri(staging)]


def test_what_is_renewed_is_rehearsed(enclave, ca, staging, registered):
    """The setting comes with a new image, say, which finds certificates without a rehearsal."""
    enclave.let("certonly").ok()
    (enclave.config / rehearsed.PATH).unlink()
    enclave.let("renew").ok()  # nothing is due, and it is rehearsed all the same
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([2, 2], [1, 1])
    text = (enclave.config / "renewal" / "example.test.conf").read_text()
    assert ca.directory_url in text
    assert staging.directory_url not in text.replace(
        f"enclave_staging_rehearsal = {staging.directory_url}", ""
    )
    (enclave.config / rehearsed.PATH).unlink()
    staging.stop()
    assert enclave.let("renew", "--force-renewal").code == 1
    assert _orders(ca)[1:] == [1, 1]


def test_validation_that_fails_there_asks_nothing_here(enclave, ca, staging, registered):
    staging.change(http_port=1)
    done = enclave.let("certonly")
    assert done.code == 1, done.text
    assert f"the rehearsal at {staging.directory_url} did not succeed" in done.err
    assert _orders(ca) == [2, 0, 0]  # newAccount: found once more by its key
    assert not (enclave.config / rehearsed.PATH).exists()
    staging.change(http_port=enclave.http_port)
    enclave.let("certonly").ok()
    assert _orders(ca)[1:] == [1, 1]


def test_staging_that_is_down_asks_nothing_here(enclave, ca, staging, registered):
    asked = _orders(ca)
    staging.stop()
    done = enclave.let("certonly")
    assert (done.code, "did not succeed" in done.err) == (1, True), done.text
    assert _orders(ca) == asked


def test_records_for_one_account_only(enclave, ca, staging, owner):
    """Without the rehearsal's account it stops there; without our own, at our own directory."""
    table = enclave.registered()
    ours, theirs = _uri(ca), _uri(staging)
    owner.publish([line for line in table["records"] if theirs not in line])
    done = enclave.let("certonly")
    assert done.code == 1
    assert done.text.count("the gate is closed") == 1
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([0, 0], [0, 0])
    owner.publish([line for line in table["records"] if ours not in line])
    assert enclave.let("certonly").code == 1
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [0, 0])


def test_third_account_closes_the_gate(enclave, ca, staging, owner):
    records = enclave.registered()["records"]
    third = next(line for line in records if _uri(ca) in line).replace(_uri(ca), f"{_uri(ca)}0")
    owner.publish([*records, third])
    done = enclave.let("certonly")
    assert (done.code, "another account at our CA is allowed" in done.text) == (1, True)
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([0, 0], [0, 0])
    owner.publish(records)
    enclave.let("certonly").ok()
    owner.publish([*records, third])
    done = enclave.let("renew", "--force-renewal")
    assert (done.code, "another account at our CA is allowed" in done.text) == (1, True)
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [1, 1])


def test_record_of_the_rehearsal_may_go_afterwards(enclave, ca, staging, registered, owner):
    enclave.let("certonly").ok()
    owner.publish([line for line in registered["records"] if _uri(staging) not in line])
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [2, 2])
    assert _said(enclave) == []


def test_account_in_a_pcr_is_no_other_image(enclave, ca, staging, owner):
    enclave.extra["bind-pcr"] = "20"
    owner.publish(enclave.registered()["records"])
    for _ in range(2):
        enclave.let("certonly", "--force-renewal").ok()
    enclave.reboot()
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [3, 3])


def test_without_the_setting_names_are_certbots_matter(enclave, ca, registered):
    enclave.extra["staging-rehearsal"] = ""
    enclave.domains = ("other.test",)
    done = enclave.let("certonly")
    assert done.code == 1
    assert "certbot ended with exit code 1" in done.err


def test_several_certificates_are_rehearsed_at_once(enclave, ca, staging, owner):
    names = ("example.test", "other.test")
    enclave.domains = names
    owner.publish(enclave.registered()["records"])
    for name in names:
        enclave.domains = (name,)
        enclave.let("certonly").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([2, 2], [2, 2])
    (enclave.config / rehearsed.PATH).unlink()
    enclave.let("renew", "--force-renewal", "--cert-name=other.test").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([3, 3], [3, 3])
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([5, 5], [5, 5])
    enclave.let("renew", "--force-renewal").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([5, 5], [7, 7])


def test_certbot_alone_does_not_order_without_a_rehearsal(enclave, ca, staging, registered):
    done = enclave.issue()
    assert done.code == 1
    assert "example.test was not rehearsed by this image" in done.text
    assert "certbot-enclave run" in done.text
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([0, 0], [0, 0])
    enclave.let("certonly").ok()
    enclave.issue("--force-renewal").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [2, 2])


def test_trial_needs_no_rehearsal(enclave, ca, staging, registered):
    enclave.let("certonly", "--dry-run", f"--server={staging.directory_url}").ok()
    assert (_orders(staging)[1:], _orders(ca)[1:]) == ([1, 1], [0, 0])
    assert not (enclave.config / rehearsed.PATH).exists()


def test_expected_account_is_our_own(enclave, ca, staging, registered):
    """The setting ``account`` is about the enclave's own directory, and the bundle holds both."""
    enclave.let("certonly").ok()
    enclave.reboot()
    enclave.extra["account"] = _uri(ca)
    enclave.register().ok()
    assert len(staging.accounts()) == 1
    enclave.reboot()
    enclave.extra["account"] = f"{_uri(ca)}0"
    assert "the settings expect" in enclave.register().err


def test_one_origin_is_no_rehearsal(enclave, ca, owner):
    enclave.extra["staging-rehearsal"] = ca.directory_url + "/2"
    done = enclave.register("--json")
    assert (done.code, json.loads(done.out)["code"]) == (2, "rehearsal-origin")
    assert ca.accounts() == []


def test_another_issuer_is_no_rehearsal(enclave, ca, staging, owner):
    staging.change(caa_identities=["staging.test"])
    done = enclave.register("--json")
    assert (done.code, json.loads(done.out)["code"]) == (2, "rehearsal-issuer")


def test_verifier_has_to_accept_setting_and_account(
    enclave: Enclave, ca, staging, registered, owner, shm
):
    enclave.let("certonly").ok()
    words = [
        *("verify", str(enclave.evidence), "--domain=example.test", "--json"),
        f"--trust-root={enclave.simulator / 'root.pem'}",
    ]

    def verdict(policy):
        done = enclave.run("certbot-enclave", *words, f"--policy={policy}")
        return done.code, json.loads(done.out).get("code")

    policy = owner.policy(shm / "policy.toml", enclave)
    assert verdict(policy) == (1, "condition")
    accepting = policy.read_text().replace(
        "conditions = [", f'conditions = ["{CONDITION}{_uri(staging)}", '
    )
    policy.write_text(accepting)
    assert verdict(policy)[0] == 0
    # The owner's commands know both accounts from the evidence.
    check = [
        *("caa", "check", "example.test", f"--evidence={enclave.evidence}"),
        *(f"--policy={policy}", f"--trust-root={enclave.simulator / 'root.pem'}"),
        *(f"--resolver={enclave.resolver}", f"--allow-issuer={enclave.issuer}"),
    ]
    done = enclave.run("certbot-enclave", *check).ok()
    assert "example.test: exclusive" in done.out
    # Without the setting in the policy, it is refused by name.
    plain = owner.policy(shm / "plain.toml", replace(enclave, extra={}))
    plain.write_text(
        plain.read_text().replace("conditions = [", f'conditions = ["{CONDITION}{_uri(staging)}", ')
    )
    assert verdict(plain) == (1, "setting")
