# SPDX-License-Identifier: Apache-2.0
"""With a key of AWS KMS: everything comes back after a restart, and for this image only."""

import json

import pytest

from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from tests.support.world.kms import ACCESS_ID, ARN, SECRET, TOKEN, KmsFront


@pytest.fixture
def kms(enclave):
    """A key service whose key is for this image."""
    root = SimulatedAttester(str(enclave.simulator)).trust_root
    with KmsFront(root, simulated.measure(enclave.simulator)) as started:
        yield started


@pytest.fixture
def stored(enclave, kms):
    """An enclave that seals with it; the host keeps the bundle."""
    enclave.extra.update({"sealer": f"awskms:{ARN}", "aws-endpoint": kms.url})
    enclave.environment |= {
        "AWS_ACCESS_KEY_ID": ACCESS_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
    }
    return enclave


def _restore(enclave):
    return enclave.run(
        "certbot-enclave", "restore", *enclave.directories, *enclave.settings("--"), "--json"
    )


def test_everything_comes_back_and_the_ca_hears_nothing_of_it(stored, ca, owner, kms):
    first = stored.registered()
    owner.publish(first["records"])
    stored.issue().ok()
    certificate, asked = stored.certificate(), ca.counts()["requests"]
    stored.reboot()
    assert json.loads(_restore(stored).ok().out)["accounts"] == [first["account"]]
    assert (stored.certificate(), ca.counts()["requests"]) == (certificate, asked)
    stored.renew().ok()
    assert stored.certificate() != certificate
    assert [account["uri"] for account in ca.accounts()] == [first["account"]]
    said = stored.said()
    assert (said.sealing_scheme, said.sealing_key) == ("awskms", ARN)
    assert said.settings["aws_endpoint"] == kms.url


def test_every_call_says_whose_key_it_is_about(stored, ca, owner, kms):
    account = stored.registered()["account"]
    contexts = [asked["EncryptionContext"] for asked in kms.requests]
    assert {context["directory"] for context in contexts} == {stored.server}
    assert {context["kind"] for context in contexts} == {"account-key", "bundle"}
    named = [context.get("account") for context in contexts if context["kind"] == "bundle"]
    # Sealed first with a key that the CA has not heard of yet.
    assert (named[0], named[-1]) == (None, account)


def test_another_image_gets_no_key_and_no_account(stored, ca, owner, kms):
    stored.registered()
    stored.reboot()
    kms.pcrs = {0: bytes(48)}
    done = _restore(stored)
    assert (done.code, json.loads(done.out)["code"]) == (1, "kms-denied")
    assert not (stored.config / "accounts").exists()
    assert len(ca.accounts()) == 1
