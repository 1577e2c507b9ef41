# SPDX-License-Identifier: Apache-2.0
"""The attestation format ``oyster-signed``: a fixed document, and a signature of the key in it.

Where an image gives no access to the security module, Marlin Oyster serves documents over keys of
its own only, and none that a caller could choose a byte of. So a document is taken whose
``public_key`` is the enclave's secp256k1 key, and that key signs, by ECDSA with SHA-256, over

    ``certbot-enclave-oyster-v1:`` ‖ length of the nonce, one byte ‖ nonce ‖ user data

where the user data are the 64 bytes that a document of the other format carries in ``user_data``,
and no nonce has length 0. This is weaker than the other format: the hardware does not vouch for the
statement itself, and every process in the enclave can read that key.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from certbot_enclave import errors

TAG = b"certbot-enclave-oyster-v1:"
KEY_SIZE = 64  # x ‖ y of a point of secp256k1, as Oyster's keygen writes it
SIGNATURE_SIZE = 64  # r ‖ s, 32 bytes each


def message(user_data: bytes, nonce: bytes | None) -> bytes:
    """Return what the attested key signs.

    Args:
        user_data: 64 bytes.
        nonce: At most 64 bytes, or None.
    """
    chosen = nonce or b""
    return TAG + len(chosen).to_bytes(1, "big") + chosen + user_data


def verify(
    public_key: bytes | None, signature: bytes, *, user_data: bytes, nonce: bytes | None
) -> None:
    """Check the signature.

    Args:
        public_key: As it stands in the document.
        signature: r ‖ s. Hostile.
        user_data: 64 bytes.
        nonce: What was asked for, or None.

    Raises:
        FormatError: The document's key is none of secp256k1 (``oyster-key``), or the signature has
            another size (``oyster-signature-size``).
        SignatureError: It does not match (``oyster-signature``).
    """
    if public_key is None or len(public_key) != KEY_SIZE:
        raise errors.FormatError(
            f"the document's public_key is not {KEY_SIZE} bytes, x and y of secp256k1",
            code="oyster-key",
            hint="take the document of Oyster's port 1301",
        )
    if len(signature) != SIGNATURE_SIZE:
        raise errors.FormatError(
            f"signature has {len(signature)} bytes, expected {SIGNATURE_SIZE}",
            code="oyster-signature-size",
        )
    half = SIGNATURE_SIZE // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), b"\x04" + public_key)
        key.verify(encode_dss_signature(r, s), message(user_data, nonce), ec.ECDSA(SHA256()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise errors.FormatError(
            "the document's public_key is no point of secp256k1", code="oyster-key"
        ) from error
    except InvalidSignature as error:
        raise errors.SignatureError(
            "the attested key signed another statement, or for another nonce",
            code="oyster-signature",
            hint="this answers another question: a replay, or give its own nonce with --nonce",
        ) from error
