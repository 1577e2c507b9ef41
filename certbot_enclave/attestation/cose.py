# SPDX-License-Identifier: Apache-2.0
"""COSE_Sign1 (RFC 9052 §4.2) with ES384 (RFC 9053 §2.1), in the one form that Nitro uses.

All genuine documents that were studied are untagged, with the protected header ``{1: -35}`` and an
empty unprotected one. Anything else that a lenient parser would take is refused: it would give many
byte strings for one attestation.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from certbot_enclave import errors
from certbot_enclave.attestation import cbor

PROTECTED = bytes.fromhex("a1013822")  # {1: -35}: alg is ES384
SIGNATURE_SIZE = 96  # r ‖ s, 48 bytes each; high s is allowed, half of the genuine ones have it
MAX_PAYLOAD = 16 * 1024  # bytes, AWS nsm-api, attestation_process.md


class Sign1(NamedTuple):
    """A COSE_Sign1 message whose signature is not yet checked.

    Attributes:
        payload: The signed bytes.
        signature: r ‖ s.
    """

    payload: bytes
    signature: bytes


def parse(data: bytes) -> Sign1:
    """Read an untagged COSE_Sign1.

    Raises:
        FormatError: It is none, it is tagged (``cose-tagged``), or one of its parts is not in the
            one form accepted.
    """
    if data[:1] == b"\xd2":  # tag 18
        raise errors.FormatError("COSE_Sign1 is tagged, expected untagged", code="cose-tagged")
    parts = cbor.loads(data)
    if not isinstance(parts, list) or len(parts) != 4:
        raise errors.FormatError("COSE_Sign1 is no array of four", code="cose-shape")
    protected, unprotected, payload, signature = parts
    if protected != PROTECTED:
        raise errors.FormatError(
            "protected header is not exactly {1: -35} (ES384)", code="cose-protected"
        )
    if unprotected != {}:
        raise errors.FormatError("unprotected header is not empty", code="cose-unprotected")
    if not isinstance(payload, bytes) or not 1 <= len(payload) <= MAX_PAYLOAD:
        raise errors.FormatError(f"payload is not 1 to {MAX_PAYLOAD} bytes", code="cose-payload")
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_SIZE:
        raise errors.FormatError(
            f"signature is not {SIGNATURE_SIZE} bytes", code="cose-signature-size"
        )
    return Sign1(payload, signature)


def to_be_signed(payload: bytes) -> bytes:
    """Return the Sig_structure (RFC 9052 §4.4)."""
    return cbor.dumps(["Signature1", PROTECTED, b"", payload])


def verify(message: Sign1, public_key: ec.EllipticCurvePublicKey) -> None:
    """Check the signature.

    Args:
        message: From `parse`.
        public_key: On P-384.

    Raises:
        SignatureError: It does not match (``cose-signature``).
    """
    half = SIGNATURE_SIZE // 2
    r, s = (
        int.from_bytes(part, "big") for part in (message.signature[:half], message.signature[half:])
    )
    try:
        der = encode_dss_signature(r, s)
        public_key.verify(der, to_be_signed(message.payload), ec.ECDSA(SHA384()))
    except InvalidSignature as error:
        raise errors.SignatureError(
            "COSE signature of the attestation document does not match", code="cose-signature"
        ) from error
