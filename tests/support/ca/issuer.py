# SPDX-License-Identifier: Apache-2.0
"""A throw-away root, and the ECDSA P-256 issuing CA below it."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.ca.jose import PublicKey

BACKDATE = timedelta(hours=1)  # as public CAs do, against clients whose clock is behind
CA_LIFETIME = timedelta(days=3650)
MAX_COMMON_NAME = 64


class Issuer:
    """Signs certificates; keys live and die with the object."""

    def __init__(self, name: str, now: datetime) -> None:
        root_key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, self._name = (_name(f"{name} {part}") for part in ("root", "issuing CA"))
        root = _ca_builder(root_name, root_name, root_key.public_key(), root_key, 1, now)
        self._root = root.sign(root_key, hashes.SHA256())
        issuing = _ca_builder(self._name, root_name, self._key.public_key(), root_key, 0, now)
        self._issuing = issuing.sign(root_key, hashes.SHA256())

    @property
    def root_pem(self) -> bytes:
        """The root certificate."""
        return self._root.public_bytes(Encoding.PEM)

    def issue(
        self, key: PublicKey, names: list[str], now: datetime, lifetime: timedelta
    ) -> tuple[x509.Certificate, bytes]:
        """Issue for DNS names.

        Returns:
            The certificate, and the PEM chain of it and the issuing CA.
        """
        common = [name for name in names if len(name) <= MAX_COMMON_NAME][:1]
        start = now - BACKDATE
        usage = _usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPublicKey))
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        server_auth = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        leaf = (
            _builder(_name(*common), self._name, key, self._key, start, start + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(server_auth, critical=False)
            .add_extension(alternatives, critical=not common)
            .sign(self._key, hashes.SHA256())
        )
        chain = b"".join(cert.public_bytes(Encoding.PEM) for cert in (leaf, self._issuing))
        return leaf, chain


def _name(*common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in common])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), start, end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )


def _ca_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    path_length: int,
    now: datetime,
) -> x509.CertificateBuilder:
    basic = x509.BasicConstraints(ca=True, path_length=path_length)
    usage = _usage(key_cert_sign=True, crl_sign=True)
    start = now - BACKDATE
    return (
        _builder(subject, issuer, key, issuer_key, start, start + CA_LIFETIME)
        .add_extension(basic, critical=True)
        .add_extension(usage, critical=True)
    )


def _usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
