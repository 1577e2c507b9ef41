# SPDX-License-Identifier: Apache-2.0
"""What an attester returns comes apart as its format says, and binds what it was asked to."""

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import document, proof
from tests.support import forge
from tests.support.forge import CHAIN

DATA = bytes(range(64))
NONCE = bytes(16)


def _found(**fields):
    return document.authenticate(forge.document(**fields), trust_root=CHAIN.root)


def _check(found, signature=None, *, user_data=DATA, nonce=None):
    proof.check_bound(found, signature, user_data=user_data, nonce=nonce)


def _code(*args, **kwargs):
    with pytest.raises((errors.FormatError, errors.VerificationError)) as caught:
        _check(*args, **kwargs)
    return caught.value.code


def test_document_of_nitro_is_all_there_is():
    assert proof.split(b"document", "aws-nitro") == (b"document", None)


def test_signature_of_oyster_is_behind_the_document():
    assert proof.split(b"document" + DATA, "oyster-signed") == (b"document", DATA)


@pytest.mark.parametrize("size", [0, 1, 63, 64])
def test_what_is_too_short_has_no_document(size):
    """Such a signature is refused by its size, and such a document for being empty."""
    shown, signature = proof.split(bytes(size), "oyster-signed")
    assert (shown, signature) == (b"", bytes(size))


def test_document_of_nitro_binds_its_user_data():
    _check(_found(user_data=DATA))
    _check(_found(user_data=DATA, nonce=NONCE), nonce=None)  # the nonce is the caller's to judge


@pytest.mark.parametrize("there", [None, b"", DATA[:-1], DATA + b"\0", DATA[::-1]])
def test_document_of_nitro_that_binds_something_else(there):
    assert _code(_found(user_data=there)) == "statement-unbound"


def test_signature_of_oyster_binds_whatever_the_document_carries():
    found = _found(public_key=forge.oyster_key(), user_data=b"parameters")
    _check(found, forge.oyster_signature(DATA))
    _check(found, forge.oyster_signature(DATA, NONCE), nonce=NONCE)


def test_signature_of_oyster_for_something_else():
    found = _found(public_key=forge.oyster_key(), user_data=DATA)
    assert _code(found, forge.oyster_signature(DATA[::-1])) == "oyster-signature"
    assert _code(found, forge.oyster_signature(DATA), nonce=NONCE) == "oyster-signature"
    assert _code(found, b"") == "oyster-signature-size"
    assert _code(_found(user_data=DATA), forge.oyster_signature(DATA)) == "oyster-key"
