# SPDX-License-Identifier: Apache-2.0
"""The signature in an enclave image file: a certificate, and a COSE_Sign1 about PCR0.

::

    [{"signing_certificate": PEM, "signature": COSE_Sign1}]      CBOR; both as arrays of numbers
    COSE_Sign1 = [<< {1: alg} >>, {}, << payload >>, r ‖ s]
    payload = {"register_index": 0, "register_value": PCR0}      the register an array of numbers

Source: AWS, aws-nitro-enclaves-image-format, README.md (``EifSectionSignature``), and what
src/utils/eif_signer.rs writes there. That format allows further entries, of which nobody reads more
than the first; one entry is accepted, in the one form that is written. The algorithm follows from
the certificate's curve (aws-nitro-enclaves-cose, src/crypto/openssl_pkey.rs).
"""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_enclave import errors
from certbot_enclave.attestation import cbor

_NUMBERS = rb"(?:[\x80-\x97]|\x98.|\x99..)((?:[\0-\x17]|\x18.)*)"  # an array, each 0 to 255
_FORM = re.compile(
    rb"\x81\xa2\x73signing_certificate" + _NUMBERS + rb"\x69signature" + _NUMBERS, re.DOTALL
)
_FROM_24 = re.compile(rb"\x18(.)", re.DOTALL)


class _Algorithm(NamedTuple):
    protected: bytes  # {1: alg}
    digest: SHA256 | SHA384 | SHA512
    size: int  # bytes of r, and of s


_ALGORITHMS = {
    "secp256r1": _Algorithm(bytes.fromhex("a10126"), SHA256(), 32),  # ES256
    "secp384r1": _Algorithm(bytes.fromhex("a1013822"), SHA384(), 48),  # ES384
    "secp521r1": _Algorithm(bytes.fromhex("a1013823"), SHA512(), 66),  # ES512
}


def _parts(section: bytes) -> tuple[bytes, bytes]:
    """Return PEM and COSE_Sign1; written anew, they must give the same section."""
    match = _FORM.fullmatch(section)
    pem, message = (_FROM_24.sub(rb"\1", part) for part in match.groups()) if match else (b"", b"")
    entry = {"signing_certificate": list(pem), "signature": list(message)}
    if cbor.dumps([entry]) != section:
        raise errors.FormatError(
            "EIF: signature is not one certificate and one COSE_Sign1", code="eif-signature-format"
        )
    return pem, message


def certificate(section: bytes, pcr0: bytes) -> bytes:
    """Check the signature of an image.

    Args:
        section: The signature section's data, at most `eif.MAX_SIGNATURE` bytes.
        pcr0: PCR0 as computed.

    Returns:
        The signing certificate's DER: the first in the PEM, which is what OpenSSL, and so
        nitro-cli, reads. It is trusted for nothing, and its dates are not looked at.

    Raises:
        FormatError: It is not in this form (``eif-signature-format``, ``-certificate``, ``-key``,
            ``-cose``, or a ``cbor-…``).
        SignatureError: It is not about this PCR0 (``eif-signature-pcr``), or not by this
            certificate's key (``eif-signature``). Such an image does not boot.
    """
    pem, message = _parts(section)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what later versions of the library refuse
            signer = x509.load_pem_x509_certificate(pem)
            key = signer.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, Warning) as error:
        raise errors.FormatError(
            "EIF: signing certificate is no PEM certificate", code="eif-signature-certificate"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _ALGORITHMS:
        raise errors.FormatError(
            "EIF: signing key is not on P-256, P-384 or P-521", code="eif-signature-key"
        )
    algorithm = _ALGORITHMS[key.curve.name]
    parts = cbor.loads(message)
    if not isinstance(parts, list) or parts[:2] != [algorithm.protected, {}] or len(parts) != 4:
        raise errors.FormatError(
            f"EIF: signature is no COSE_Sign1 by a key on {key.curve.name}",
            code="eif-signature-cose",
        )
    payload, signature = parts[2:]
    if not isinstance(signature, bytes) or len(signature) != 2 * algorithm.size:
        raise errors.FormatError(
            f"EIF: signature is not of {2 * algorithm.size} bytes", code="eif-signature-size"
        )
    if payload != cbor.dumps({"register_index": 0, "register_value": list(pcr0)}):
        raise errors.SignatureError(
            "EIF: what is signed is not PCR0 of this image",
            code="eif-signature-pcr",
            hint="the image was changed after it was signed, and does not boot; sign it again",
        )
    r, s = (
        int.from_bytes(half, "big")
        for half in (signature[: algorithm.size], signature[algorithm.size :])
    )
    signed = cbor.dumps(["Signature1", algorithm.protected, b"", payload])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(algorithm.digest))
    except InvalidSignature as error:
        raise errors.SignatureError(
            "EIF: signature is not by the signing certificate's key",
            code="eif-signature",
            hint="the image does not boot; sign it with the key of the certificate",
        ) from error
    return signer.public_bytes(Encoding.DER)
