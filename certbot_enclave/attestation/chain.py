# SPDX-License-Identifier: Apache-2.0
"""The certificate chain of a Nitro document: followed in its order, to one root, at one time.

Nothing is searched: the bundle has the root first, each certificate issued the one behind it, and
the last one issued the leaf. The rules, with their source (AWS: nsm-api,
docs/attestation_process.md; RFC 5280; seen: in every genuine document from 2021 to 2026):

=====================  =============================================  ====================
code                   rule                                           source
=====================  =============================================  ====================
certificate-format     DER of an X.509 certificate, no extension      RFC 5280 §4.1, 4.2
                       twice
chain-version          X.509 version 3                                RFC 5280 §4.1.2.1
chain-root             the first is the pinned root, byte for byte    AWS, "Root of trust"
chain-serial           serial number positive, at most 20 bytes       RFC 5280 §4.1.2.2
chain-key              every key is on P-384                          AWS; seen
chain-algorithm        every signature is ecdsa-with-SHA384           AWS; seen
chain-order            each is issued by the one before it; none      AWS; RFC 5280 §6.1
                       twice
chain-signature        each is signed by the one before it            RFC 5280 §6.1.3
chain-extension        no critical extension but basicConstraints     RFC 5280 §4.2
                       and keyUsage
chain-ca               issuers: basicConstraints, critical, CA        RFC 5280 §4.2.1.9
chain-usage            issuers: keyUsage, critical, keyCertSign;      RFC 5280 §4.2.1.3;
                       leaf: digitalSignature, not keyCertSign        AWS; seen
chain-path             no more issuers below than pathLen allows      RFC 5280 §4.2.1.9
chain-leaf             leaf: basicConstraints, critical, no CA; no    AWS; seen
                       subjectAltName, no extendedKeyUsage
chain-not-yet-valid    notBefore is not after the time asked for      RFC 5280 §4.1.2.5
chain-expired          notAfter is not before it                      RFC 5280 §4.1.2.5
=====================  =============================================  ====================

Revocation is not looked at: the certificates live for hours to weeks, and AWS says to disable it.
`cryptography.x509.verification` would do most of this, but it searches, takes any curve, and tells
no reasons (docs/adr/0002-chain.md); tests hold that it accepts whatever is accepted here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from certbot_enclave import errors

# AWS Nitro Enclaves root G1, SHA-256 of the DER certificate. AWS publishes the root at
# https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip (user guide, "Verifying
# the root of trust"); it arrives as the first certificate of every genuine document.
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
MAX_CERTIFICATE = 1024  # bytes, AWS nsm-api, attestation_process.md
MAX_BUNDLE = 8  # genuine bundles have four
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
_ECDSA = ec.ECDSA(SHA384())
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_OID_ECDSA_WITH_SHA384 = SignatureAlgorithmOID.ECDSA_WITH_SHA384
_MAX_SERIAL = 21  # bytes: 20, and a zero before them if the first has its high bit set
_VERSION_3 = bytes.fromhex("a003020102")
_ECDSA_WITH_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")  # AlgorithmIdentifier, RFC 5758
_OF_OTHER_PURPOSES = frozenset(
    {ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.EXTENDED_KEY_USAGE}
)


def is_aws_root(der: bytes) -> bool:
    """Tell whether a certificate is the AWS Nitro root G1."""
    return hashlib.sha256(der).hexdigest() == AWS_ROOT_SHA256


def _check_root(first: bytes, trust_root: bytes | None) -> None:
    trusted = AWS_ROOT_SHA256 if trust_root is None else hashlib.sha256(trust_root).hexdigest()
    found = hashlib.sha256(first).hexdigest()
    if found != trusted:
        named = "the AWS Nitro root" if trust_root is None else "the root that was named"
        raise errors.ChainError(
            f"the document's root certificate has SHA-256 {found}, {named} has {trusted}",
            code="chain-root",
            expected=trusted,
            actual=found,
        )


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.extensions  # noqa: B018 - read here, so that later readers need not fail
        return certificate
    # cryptography warns of a serial number that is not positive; some callers make that an error.
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, Warning) as error:
        raise errors.FormatError(
            f"a certificate of the document cannot be read: {error}",
            code="certificate-format",
        ) from error


def _wrong(role: str, reason: str, code: str) -> errors.ChainError:
    return errors.ChainError(f"certificate chain: {role} {reason}", code=code)


class Leaf(NamedTuple):
    """What a chain leads to: the key that signs documents, and DER of the name it belongs to."""

    key: ec.EllipticCurvePublicKey
    subject: bytes


class _Link:
    """A certificate, with its signed part and the names in it, in DER.

    cryptography has read the certificate before, so the lengths in it are right. It would write
    the signed part anew and make objects of names, though, and that costs more than all other rules
    together. Equal bytes are equal names.
    """

    def __init__(self, der: bytes, role: str) -> None:
        self.certificate = certificate = _load(der)
        self.role = role
        # RFC 5280 §4.1: version, serialNumber, signature, issuer, validity, subject, …
        start, _ = _content(der, 0)
        at, end = _content(der, start)
        self.signed = der[start:end]
        if der[at : at + len(_VERSION_3)] != _VERSION_3:
            raise _wrong(role, "is not of version 3", "chain-version")
        begin, at = _content(der, at + len(_VERSION_3))
        serial = der[begin:at]
        if len(serial) > _MAX_SERIAL or serial[0] >= 128 or not any(serial):
            raise _wrong(role, "has a serial number that is not 1 to 20 bytes", "chain-serial")
        # Inside of what is signed the same must stand as outside: RFC 5280 §4.1.2.3.
        inside = der[at : at + len(_ECDSA_WITH_SHA384)] == _ECDSA_WITH_SHA384
        if not inside or certificate.signature_algorithm_oid != _OID_ECDSA_WITH_SHA384:
            raise _wrong(role, "is not signed with ecdsa-with-SHA384", "chain-algorithm")
        at += len(_ECDSA_WITH_SHA384)
        _, end = _content(der, at)
        self.issuer = der[at:end]
        _, at = _content(der, end)
        _, end = _content(der, at)
        self.subject = der[at:end]


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the DER element at `at` begins and ends."""
    size, begin = der[at + 1], at + 2
    if size >= 128:
        begin += size - 128
        size = int.from_bytes(der[at + 2 : begin], "big")
    return begin, begin + size


def _check_key(link: _Link) -> None:
    try:
        key = link.certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(link.role, "has a key that cannot be read", "chain-key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _wrong(link.role, "has a key that is not on P-384", "chain-key")


class ChainCache:
    """Issuing chains that were proven before, for whoever verifies many documents.

    All documents of one instance and day share their issuers, so with a cache a document costs two
    signature checks in place of five. What is kept is that these bytes are one chain in order; the
    validity of each certificate is checked for every document. Threads may share a cache.

    Args:
        capacity: How many chains are kept, at most 5 KiB each; the oldest goes first.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._proven: dict[tuple[bytes, ...], list[_Link]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._proven)

    def find(self, bundle: tuple[bytes, ...]) -> list[_Link] | None:
        """Return the certificates of a chain that was proven, or None."""
        return self._proven.get(bundle)

    def keep(self, bundle: tuple[bytes, ...], proven: list[_Link]) -> None:
        """Remember that these bytes are one chain in order."""
        with self._lock:
            if len(self._proven) >= self._capacity:
                del self._proven[next(iter(self._proven))]
            self._proven[bundle] = proven


def _check_purpose(link: _Link, below: int | None) -> None:
    """Check what a certificate may be used for.

    Args:
        link: Which one.
        below: How many issuers are below this issuer; None for the leaf.
    """
    role = link.role
    basic = usage = None
    for extension in link.certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _wrong(role, "has a critical extension that is not understood", "chain-extension")
        if isinstance(extension.value, x509.BasicConstraints) and extension.critical:
            basic = extension.value
        elif isinstance(extension.value, x509.KeyUsage):
            # Genuine leaves carry keyUsage, but not as critical.
            usage = extension.value if extension.critical or below is None else None
        elif below is None and extension.oid in _OF_OTHER_PURPOSES:
            raise _wrong(role, "has a subjectAltName or extendedKeyUsage", "chain-leaf")
    if below is None:
        if basic is None or basic.ca:
            raise _wrong(role, "has no critical basicConstraints, or is a CA", "chain-leaf")
        if usage is None or not usage.digital_signature or usage.key_cert_sign:
            raise _wrong(role, "may not sign documents by its keyUsage", "chain-usage")
        return
    if basic is None or not basic.ca:
        raise _wrong(role, "has no critical basicConstraints, or is no CA", "chain-ca")
    if usage is None or not usage.key_cert_sign:
        raise _wrong(role, "may not sign certificates by its keyUsage", "chain-usage")
    if basic.path_length is not None and below > basic.path_length:
        raise _wrong(
            role, f"allows {basic.path_length} issuers below it, has {below}", "chain-path"
        )


def _check_issued(link: _Link, issuer: _Link) -> None:
    if link.issuer != issuer.subject:
        raise _wrong(link.role, "is not issued by the one before it", "chain-order")
    # Not verify_directly_issued_by: it would read every key once more.
    key = cast(ec.EllipticCurvePublicKey, issuer.certificate.public_key())
    try:
        key.verify(link.certificate.signature, link.signed, _ECDSA)
    except InvalidSignature as error:
        raise _wrong(link.role, "is not signed by the one before it", "chain-signature") from error


def _check_validity(link: _Link, at: datetime) -> None:
    begin, end = link.certificate.not_valid_before_utc, link.certificate.not_valid_after_utc
    if at < begin:
        reason = f"is valid from {begin:{_TIME}} on, not at {at:{_TIME}}"
        raise _wrong(link.role, reason, "chain-not-yet-valid")
    if at > end:
        raise _wrong(
            link.role, f"is valid until {end:{_TIME}}, not at {at:{_TIME}}", "chain-expired"
        )


def _prove(bundle: Sequence[bytes]) -> list[_Link]:
    """Follow the issuers; their validity is checked for each document."""
    if len(set(bundle)) != len(bundle):
        raise _wrong("a certificate", "occurs twice", "chain-order")
    issuers = [
        _Link(der, f"certificate {index} of the bundle" if index else "the root")
        for index, der in enumerate(bundle)
    ]
    for index, link in enumerate(issuers):
        _check_key(link)
        if index:
            _check_issued(link, issuers[index - 1])
    for index, link in enumerate(issuers):
        _check_purpose(link, below=len(issuers) - 1 - index)
    return issuers


def verify(
    leaf: bytes,
    bundle: Sequence[bytes],
    *,
    trust_root: bytes | None,
    at: datetime,
    cache: ChainCache | None = None,
) -> Leaf:
    """Follow the chain from the root to the leaf.

    Args:
        leaf: DER of the certificate whose key signed the document.
        bundle: DER of its issuers, root first, as the document carries them; not empty.
        trust_root: DER of the root that the caller named; None means the AWS Nitro root G1.
        at: When every certificate must be valid; aware.
        cache: Where issuers that were proven are found and kept; None proves everything anew.

    Returns:
        The leaf's key, on P-384, and its subject.

    Raises:
        FormatError: A certificate cannot be read (``certificate-format``).
        ChainError: A rule of the table above is broken.
    """
    _check_root(bundle[0], trust_root)
    key = tuple(bundle)
    issuers = None if cache is None else cache.find(key)
    if issuers is None:
        issuers = _prove(bundle)
        if cache is not None:
            cache.keep(key, issuers)
    end = _Link(leaf, "the leaf")
    _check_key(end)
    _check_issued(end, issuers[-1])
    _check_purpose(end, below=None)
    for link in (*issuers, end):
        _check_validity(link, at)
    return Leaf(cast(ec.EllipticCurvePublicKey, end.certificate.public_key()), end.subject)
