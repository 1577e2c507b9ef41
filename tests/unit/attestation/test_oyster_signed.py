# SPDX-License-Identifier: Apache-2.0
"""What Oyster's key signed, it signed for this statement and this nonce, or it is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors
from certbot_enclave.attestation import oyster_signed
from tests.support import forge
from tests.support.forge import OYSTER, oyster_key, oyster_signature

DATA = bytes(range(64))
NONCE = b"n" * 16
OTHER = ec.derive_private_key(7, ec.SECP256K1())
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PRIME = 2**256 - 2**32 - 977


def _verify(signature, key=None, *, user_data=DATA, nonce=None):
    public_key = oyster_key() if key is None else key
    oyster_signed.verify(public_key, signature, user_data=user_data, nonce=nonce)


def _refused(*args, **kwargs):
    with pytest.raises((errors.FormatError, errors.SignatureError)) as caught:
        _verify(*args, **kwargs)
    return caught.value


NONCES = {"none": b"", "16 bytes": NONCE, "64 bytes": bytes(64)}


@pytest.mark.parametrize("nonce", NONCES.values(), ids=NONCES)
def test_message_has_its_tag_the_nonces_length_the_nonce_and_the_data(nonce):
    expected = b"certbot-enclave-oyster-v1:" + bytes([len(nonce)]) + nonce + DATA
    assert oyster_signed.message(DATA, nonce or None) == expected


@pytest.mark.parametrize("nonce", NONCES.values(), ids=NONCES)
def test_signature_for_the_statement_and_the_nonce(nonce):
    _verify(oyster_signature(DATA, nonce), nonce=nonce or None)


def test_empty_nonce_is_none():
    _verify(oyster_signature(DATA), nonce=b"")


# The signed bytes may not be read as another pair of nonce and data: there is a length.
FOR_SOMETHING_ELSE = {
    "another statement": (oyster_signature(DATA[::-1]), None),
    "another nonce": (oyster_signature(DATA, NONCE[::-1] + b"x"), NONCE),
    "no nonce": (oyster_signature(DATA), NONCE),
    "a nonce that nobody asked for": (oyster_signature(DATA, NONCE), None),
    "beginning of the nonce": (oyster_signature(DATA, NONCE[:-1]), NONCE),
    "nonce that is the data's beginning": (oyster_signature(DATA[16:], DATA[:16]), None),
    "another key": (oyster_signature(DATA, key=OTHER), None),
    "r and s changed places": (oyster_signature(DATA)[32:] + oyster_signature(DATA)[:32], None),
    "zeros": (bytes(64), None),
    "r zero": (bytes(32) + oyster_signature(DATA)[32:], None),
    "s zero": (oyster_signature(DATA)[:32] + bytes(32), None),
    "all ones": (b"\xff" * 64, None),
}


@pytest.mark.parametrize(
    ("signature", "nonce"), FOR_SOMETHING_ELSE.values(), ids=FOR_SOMETHING_ELSE
)
def test_signature_for_something_else_is_refused(signature, nonce):
    refused = _refused(signature, nonce=nonce)
    assert refused.code == "oyster-signature"
    assert "--nonce" in refused.hint


def test_every_changed_bit_is_refused():
    good = oyster_signature(DATA)
    for bit in range(512):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        assert _refused(bytes(changed)).code == "oyster-signature", bit


def test_second_form_of_a_signature_holds_too():
    """Nothing here takes a signature for a name, so s and -s are as good as each other."""
    good = oyster_signature(DATA)
    s = int.from_bytes(good[32:], "big")
    _verify(good[:32] + (ORDER - s).to_bytes(32, "big"))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 70, 128])
def test_signature_of_another_size_is_refused(size):
    refused = _refused((oyster_signature(DATA) * 2)[:size])
    assert (refused.code, f"{size} bytes" in str(refused)) == ("oyster-signature-size", True)


KEYS = {
    "null": None,
    "empty": b"",
    "X25519, of port 1300": bytes(range(32)),
    "63 bytes": oyster_key()[:63],
    "65 bytes, an uncompressed point": b"\x04" + oyster_key(),
    "33 bytes, a compressed point": b"\x02" + oyster_key()[:32],
    "91 bytes, SPKI of P-256": forge.spki(forge.ACCOUNT),
    "88 bytes, SPKI of secp256k1": forge.spki(OYSTER),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_key_of_another_size_is_refused(key):
    with pytest.raises(errors.FormatError) as caught:
        oyster_signed.verify(key, oyster_signature(DATA), user_data=DATA, nonce=None)
    assert (caught.value.code, "is not 64 bytes" in str(caught.value)) == ("oyster-key", True)
    assert "1301" in caught.value.hint


OFF_CURVE = {
    "zeros": bytes(64),
    "ones": b"\1" * 64,
    "y changed": oyster_key()[:-1] + bytes([oyster_key()[-1] ^ 1]),
    "point of P-256": forge.spki(forge.ACCOUNT)[-64:],
    "x not below the prime": (PRIME + 1).to_bytes(32, "big") + oyster_key()[32:],
}


@pytest.mark.parametrize("key", OFF_CURVE.values(), ids=OFF_CURVE)
def test_key_off_the_curve_is_refused(key):
    refused = _refused(oyster_signature(DATA), key)
    assert (refused.code, "no point of secp256k1" in str(refused)) == ("oyster-key", True)
