# SPDX-License-Identifier: Apache-2.0
"""The certificate chain of a Nitro document: followed in its order, to one root, at one time.

``cryptography.x509.verification`` checks signatures, validity, path lengths, critical extensions
along the chain. It searches a set of certificates, though, and takes any curve: so the chain it
found must be the whole bundle in its own order, and every certificate P-384 with SHA-384.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification as xv

from certbot_enclave import errors

# AWS Nitro Enclaves root G1, SHA-256 of the DER certificate. AWS publishes the root at
# https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip (user guide, "Verifying
# the root of trust"); it arrives as the first certificate of every genuine document.
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
MAX_CERTIFICATE = 1024  # bytes, AWS nsm-api, attestation_process.md
MAX_BUNDLE = 8  # genuine bundles have four
_ECDSA_SHA384 = x509.ObjectIdentifier("1.2.840.10045.4.3.3")


def _policy_ca(
    _policy: xv.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is None or not usage.key_cert_sign:
        raise ValueError("an issuing certificate may not sign certificates")


def _policy_leaf_usage(
    _policy: xv.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise ValueError("the leaf certificate may not sign documents")


def _policy_leaf_basic(
    _policy: xv.Policy, _certificate: x509.Certificate, basic: x509.BasicConstraints | None
) -> None:
    if basic is None or basic.ca:
        raise ValueError("the leaf certificate is one of a CA")


def _verifier(root: x509.Certificate, at: datetime, depth: int) -> xv.ClientVerifier:
    critical, agnostic = xv.Criticality.CRITICAL, xv.Criticality.AGNOSTIC
    ca = (
        xv.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, critical, None)
        .require_present(x509.KeyUsage, critical, _policy_ca)
    )
    leaf = (
        xv.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, critical, _policy_leaf_basic)
        # Genuine leaves carry keyUsage, but not as critical.
        .require_present(x509.KeyUsage, agnostic, _policy_leaf_usage)
        .require_not_present(x509.SubjectAlternativeName)
        .require_not_present(x509.ExtendedKeyUsage)
    )
    return (
        xv.PolicyBuilder()
        .store(xv.Store([root]))
        .time(at)
        .max_chain_depth(depth)
        .extension_policies(ca_policy=ca, ee_policy=leaf)
        .build_client_verifier()
    )


def _load(ders: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(der) for der in ders]
    # cryptography warns of a serial number that is not positive; some callers make that an error.
    except (ValueError, x509.InvalidVersion, Warning) as error:
        raise errors.FormatError(
            f"a certificate of the document cannot be read: {_plain(error)}",
            code="certificate-format",
        ) from error


def is_aws_root(der: bytes) -> bool:
    """Tell whether a certificate is the AWS Nitro root G1."""
    return hashlib.sha256(der).hexdigest() == AWS_ROOT_SHA256


def _check_root(first: bytes, trust_root: bytes | None) -> None:
    if trust_root is not None:
        if first != trust_root:
            raise errors.ChainError(
                "the document's first certificate is not the root that was named",
                code="chain-root",
                expected=hashlib.sha256(trust_root).hexdigest(),
                actual=hashlib.sha256(first).hexdigest(),
            )
        return
    if not is_aws_root(first):
        found = hashlib.sha256(first).hexdigest()
        raise errors.ChainError(
            f"the document's root certificate has SHA-256 {found}, "
            f"the AWS Nitro root has {AWS_ROOT_SHA256}",
            code="chain-root",
            expected=AWS_ROOT_SHA256,
            actual=found,
        )


def _plain(error: Exception) -> str:
    """Return the reason on one line: it may quote a hostile certificate's subject."""
    text = " ".join(str(error).split())[:500]
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _check_algorithms(chain: Sequence[x509.Certificate]) -> None:
    for certificate in chain:
        try:
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise errors.ChainError(
                "a certificate's key cannot be read", code="chain-key"
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP384R1
        ):
            raise errors.ChainError("a certificate's key is not on P-384", code="chain-key")
        if certificate.signature_algorithm_oid != _ECDSA_SHA384:
            raise errors.ChainError(
                "a certificate is not signed with ecdsa-with-SHA384", code="chain-algorithm"
            )


def verify(
    leaf: bytes, bundle: Sequence[bytes], *, trust_root: bytes | None, at: datetime
) -> x509.Certificate:
    """Follow the chain from the root to the leaf.

    Args:
        leaf: DER of the certificate whose key signed the document.
        bundle: DER of its issuers, root first, as the document carries them.
        trust_root: DER of the root that the caller named; None means the AWS Nitro root G1.
        at: When every certificate must be valid; aware.

    Returns:
        The leaf certificate; its key is on P-384.

    Raises:
        FormatError: A certificate cannot be read (``certificate-format``).
        ChainError: Another root (``chain-root``), another key or signature algorithm
            (``chain-key``, ``chain-algorithm``), a certificate that is not valid then, may not
            issue, or is not followed by the one it issued (``chain-invalid``), or certificates
            that do not belong to the path (``chain-order``).
    """
    _check_root(bundle[0], trust_root)
    issuers = _load(bundle)
    end = _load([leaf])[0]
    _check_algorithms([*issuers, end])
    try:
        verifier = _verifier(issuers[0], at, len(issuers))
        found = verifier.verify(end, issuers[1:]).chain
    except (xv.VerificationError, ValueError) as error:
        raise errors.ChainError(
            f"certificate chain does not hold at {at:%Y-%m-%dT%H:%M:%SZ}: {_plain(error)}",
            code="chain-invalid",
        ) from error
    if found != [end, *reversed(issuers)]:
        raise errors.ChainError(
            "the document's certificates are not one chain in order, root first",
            code="chain-order",
        )
    return end
