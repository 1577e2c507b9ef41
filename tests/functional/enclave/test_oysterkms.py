# SPDX-License-Identifier: Apache-2.0
"""With Oyster's key service: whose secret it is, a derived account key, and no secret at all."""

import json

import pytest

from tests.support.world import derive

IMAGE = derive.image_seed(b"i" * 32)
OTHER_IMAGE = derive.image_seed(b"j" * 32)
CONTRACT = derive.contract_seed(42161, "0x" + "ab" * 20)


@pytest.fixture
def kms(derive_server):
    """The derive server beside the enclave."""
    return derive_server


@pytest.fixture
def stored(enclave, kms):
    """An enclave that seals with Oyster's key service; the host keeps the bundle."""
    return enclave


@pytest.fixture
def stateless(stored):
    """An enclave with no store at all."""
    stored.extra.update({"account-key": "derived", "store": "none:"})
    return stored


def _refused(done, code=1):
    assert (done.code, "Traceback" in done.text) == (code, False), done.text
    return json.loads(done.out)["code"]


def test_run_begins_without_a_bundle_and_with_the_same_account(stateless, ca, owner, kms):
    first = stateless.registered()
    owner.publish(first["records"])
    stateless.let("certonly").ok()
    stateless.let("renew").ok()
    stateless.reboot()
    stateless.let("certonly").ok()
    assert [known["uri"] for known in ca.accounts()] == [first["account"]]


def test_contract_mode_keeps_the_account_over_an_upgrade(stateless, ca, owner, kms):
    kms.seed = CONTRACT
    uri = stateless.registered()["account"]
    stateless.reboot()
    stateless.image.write_bytes(b"the measured application, version 2\n")
    again = json.loads(stateless.register("--json", agree=False).ok().out)
    assert (again["account"], again["new"]) == (uri, False)


def _verified(enclave, owner, sealing, accepted):
    policy = owner.policy(enclave.state / "policy.toml", enclave)
    text = policy.read_text().replace("[accept]\n", f'[accept]\nsealing = ["{sealing}"]\n')
    if not accepted:
        text = text.replace('account_key = "derived"\n', "")
    policy.write_text(text)
    return enclave.run(
        "certbot-enclave",
        "verify",
        str(enclave.evidence),
        "--domain=example.test",
        f"--policy={policy}",
        f"--trust-root={enclave.simulator / 'root.pem'}",
        "--json",
    )


def test_verifier_accepts_sealing_and_derived_key_by_name_only(stateless, ca, owner, kms):
    uri = stateless.registered()["account"]
    full = f"oysterkms:{kms.address}"
    done = _verified(stateless, owner, full, True).ok()
    assert json.loads(done.out)["account"] == uri
    for sealing, accepted, code in [("oysterkms", True, "sealing"), (full, False, "setting")]:
        assert _refused(_verified(stateless, owner, sealing, accepted)) == code


def test_account_that_is_expected_is_found_or_nothing_is_made(stateless, ca, owner, kms):
    uri = stateless.registered()["account"]
    stateless.reboot()
    assert json.loads(stateless.register("--json", f"--account={uri}").ok().out)["account"] == uri
    stateless.reboot()
    kms.seed = OTHER_IMAGE
    assert _refused(stateless.register("--json", f"--account={uri}")) == "account-lost"
    assert len(ca.accounts()) == 1
    kms.seed = IMAGE
    stateless.reboot()
    assert _refused(stateless.register("--json", f"--account={uri}0")) == "account-unexpected"


def test_unknown_key_without_agreement_leaves_nothing_behind(stateless, ca, owner):
    assert _refused(stateless.register("--json", agree=False), 2) == "account-missing"
    assert ca.accounts() == []
    assert not (stateless.config / "enclave" / "pending.json").exists()
    assert stateless.registered()["new"]


def test_another_directory_is_another_account(stateless, ca, owner, new_ca):
    keys = {stateless.registered()["thumbprint"]}
    stateless.reboot()
    other = new_ca()
    stateless.server, stateless.tls_root = other.directory_url, other.tls_root
    keys.add(stateless.registered()["thumbprint"])
    assert len(keys) == 2


def test_deactivated_account_is_not_replaced(stateless, ca, owner):
    ca.deactivate(stateless.registered()["account"])
    stateless.reboot()
    assert _refused(stateless.register("--json")) == "ca-refused"
    assert len(ca.accounts()) == 1


def test_random_key_without_a_store_is_refused(stateless, ca, owner):
    del stateless.extra["account-key"]
    assert _refused(stateless.register("--json"), 2) == "store-none"
    assert ca.accounts() == []


def test_simulated_sealer_derives_nothing(enclave, ca, owner):
    enclave.extra["account-key"] = "derived"
    assert _refused(enclave.register("--json"), 2) == "account-key-underivable"
    assert ca.accounts() == []


def test_binding_to_a_shop_is_still_said_after_a_restart(stateless, ca, owner):
    key = "c2VjcmV0LW9mLXRoZS1zaG9wLWFjY291bnQtMzItYnl0ZXM"
    ca.change(external_account_required=True, eab_keys={"shop-1": key})
    (stateless.state / "hmac").write_text(key)
    options = ["--eab-kid=shop-1", f"--eab-hmac-file={stateless.state / 'hmac'}"]
    stateless.register(*options).ok()
    stateless.reboot()
    stateless.register(agree=False).ok()
    assert stateless.said().external_account_binding is True
    assert len(ca.accounts()) == 1


# --- with a store ---


@pytest.mark.parametrize("seed", [OTHER_IMAGE, CONTRACT], ids=["other image", "contract"])
def test_seed_of_another_image_does_not_unseal(stored, ca, owner, kms, seed):
    stored.registered()
    stored.reboot()
    kms.seed = seed
    assert _refused(stored.register("--json")) == "sealed-elsewhere"
    assert not (stored.config / "accounts").exists()
    assert len(ca.accounts()) == 1


def test_lost_bundle_is_no_lost_account_if_its_key_is_derived(stored, ca, owner):
    stored.extra["account-key"] = "derived"
    uri = stored.registered()["account"]
    stored.reboot()
    stored.bundle.unlink()
    again = json.loads(stored.register("--json", f"--account={uri}").ok().out)
    assert (again["account"], again["new"]) == (uri, False)
    assert stored.said().restored_from == 0  # and the statement shows it


FAULTS = {
    "zeros with an error": ({"status": 500, "body": bytes(64)}, 1, "sealer-refused"),
    "zeros": ({"body": bytes(64)}, 1, "oyster-kms-answer"),
    "short": ({"body": b"s" * 32}, 1, "oyster-kms-answer"),
}


@pytest.mark.parametrize(("fault", "exit", "code"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("source", ["random", "derived"])
def test_derive_server_that_gives_no_secret(stored, ca, owner, kms, source, fault, exit, code):
    stored.extra["account-key"] = source
    kms.fault(**fault)
    assert _refused(stored.register("--json"), exit) == code
    assert ca.accounts() == []


def test_derive_server_that_is_down(stored, ca, owner, kms):
    uri = stored.registered()["account"]
    stored.reboot()
    stored.extra["sealer"] = "oysterkms:127.0.0.1:1"
    assert _refused(stored.register("--json")) == "sealer-mismatch"
    stored.extra["sealer"] = f"oysterkms:{kms.address}"
    kms.fault(raw=b"")
    assert _refused(stored.register("--json"), 3) == "oyster-kms-unreachable"
    kms.fault()
    assert stored.registered()["account"] == uri


def test_mock_has_to_be_named(stored, ca, owner, kms):
    kms.seed = derive.MOCK_SEED
    assert _refused(stored.register("--json")) == "oyster-kms-mock"
    stored.extra["sealer"] = f"oysterkms:mock@{kms.address}"
    stored.register().ok()
    assert (stored.said().sealing_key, stored.said().sealing_scheme) == ("mock", "oysterkms")


@pytest.mark.parametrize(("made", "later"), [("random", "derived"), ("derived", "random")])
def test_key_is_what_the_statement_says_of_it(stored, ca, owner, made, later):
    stored.extra["account-key"] = made
    uri = stored.registered()["account"]
    stored.extra["account-key"] = later
    assert _refused(stored.register("--json")) == "account-key-source"
    stored.extra["account-key"] = made
    assert stored.registered()["account"] == uri
