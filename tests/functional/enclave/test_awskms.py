# SPDX-License-Identifier: Apache-2.0
"""With a key of AWS KMS: what it is told, and that it is for this image only."""

import json

import pytest


@pytest.fixture
def kms(kms_front):
    """A key service whose key is for this image."""
    return kms_front


@pytest.fixture
def stored(enclave, kms):
    """An enclave that seals with it; the host keeps the bundle."""
    return enclave


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
    done = stored.restore()
    assert (done.code, json.loads(done.out)["code"]) == (1, "kms-denied")
    assert not (stored.config / "accounts").exists()
    assert len(ca.accounts()) == 1
