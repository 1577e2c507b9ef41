# SPDX-License-Identifier: Apache-2.0
"""Does a certificate signing request ask for exactly what was ordered?"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.support.ca.jose import CURVES, MIN_RSA_BITS, PublicKey
from tests.support.ca.problem import Problem

ACCEPTED_CURVES = {curve.name for _, curve, _ in CURVES.values()}


def check_csr(der: bytes, names: list[str], account_key: PublicKey) -> PublicKey:
    """Check a CSR against an order (RFC 8555 section 7.4).

    Returns:
        The key to certify.

    Raises:
        Problem: ``badCSR``.
    """
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        asked = _names(csr)
        signed = csr.is_signature_valid
    except (
        ValueError,
        InvalidSignature,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as e:
        raise Problem("badCSR", f"the CSR cannot be read: {e}") from e
    if not signed:
        raise Problem("badCSR", "the signature of the CSR does not verify")
    if asked != set(names):
        raise Problem("badCSR", f"the order has {sorted(names)}, the CSR {sorted(asked)}")
    if isinstance(key, ec.EllipticCurvePublicKey):
        acceptable = key.curve.name in ACCEPTED_CURVES
    else:
        acceptable = isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    if not acceptable or not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise Problem("badCSR", "RSA of 2048 bits, or EC on P-256 or P-384, is expected")
    if spki(key) == spki(account_key):
        raise Problem("badCSR", "the CSR's key is the account key")
    return key


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """DER SubjectPublicKeyInfo, to compare keys."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(csr: x509.CertificateSigningRequest) -> set[str]:
    names = {
        str(attribute.value).lower()
        for attribute in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    }
    try:
        extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return names
    for name in extension.value:
        if not isinstance(name, x509.DNSName):
            raise Problem("badCSR", f"only DNS names are expected, got {type(name).__name__}")
        names.add(name.value.lower())
    return names
