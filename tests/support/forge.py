# SPDX-License-Identifier: Apache-2.0
"""Genuine-looking chains, documents and evidence, in which one thing at a time can be wrong.

Certificates are built with cryptography directly, from `GENUINE`: the shape that the hardware's
chains have. A test names what differs: ``chain(leaf={"ca": True})``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes as SigningKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from certbot_enclave import statement as statement_module
from certbot_enclave.attestation import cbor
from certbot_enclave.attestation.simulated import sign
from certbot_enclave.policy import Policy
from certbot_enclave.statement import Certificate, Domain, Statement

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
INSTANCE = "i-0123456789abcdef0"
MODULE = f"{INSTANCE}-enc0123456789abcdef"
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


def usage(*allowed: str) -> x509.KeyUsage:
    """A keyUsage extension with these bits."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in allowed for bit in bits})


@dataclass(frozen=True)
class Spec:
    """How one certificate is made.

    Attributes:
        name: Common name of its subject; more than one if separated by a comma.
        life: How long it is valid.
        path_length: As in basicConstraints.
        ca: As in basicConstraints; None leaves the extension out.
        basic_critical: Whether it is critical.
        usage: keyUsage; None leaves the extension out.
        usage_critical: Whether it is critical.
        start: Start of its validity.
        more: Further extensions, with whether they are critical.
        key: Its key; None makes one on P-384.
        digest: Hash of its signature.
        issuer: Common name of its issuer; None means that of the certificate before.
        signer: Key that signs it; None means that of the certificate before.
        mangle: Changes its DER when it is done; the signature is then made anew.
    """

    name: str
    life: timedelta
    path_length: int | None = None
    ca: bool | None = True
    basic_critical: bool = True
    usage: x509.KeyUsage | None = usage("key_cert_sign")  # noqa: RUF009
    usage_critical: bool = True
    start: datetime = NOW - timedelta(hours=1)
    more: Extensions = ()
    key: SigningKey | None = None
    digest: type[SHA256 | SHA384 | SHA512] = SHA384
    issuer: str | None = None
    signer: SigningKey | None = None
    mangle: Callable[[bytes], bytes] | None = None


GENUINE = {
    "root": Spec("forged.nitro-enclaves", timedelta(days=30 * 365)),
    "regional": Spec("0.test-1.regional.nitro-enclaves", timedelta(days=20), path_length=2),
    "zonal": Spec("1.test-1.zonal.nitro-enclaves", timedelta(days=6), path_length=1),
    "instance": Spec(f"{INSTANCE}.test-1.aws.nitro-enclaves", timedelta(hours=24), path_length=0),
    "leaf": Spec(
        f"{MODULE}.test-1.aws",
        timedelta(hours=3, seconds=3),
        ca=False,
        usage=usage("digital_signature", "content_commitment"),
        usage_critical=False,
    ),
}


@dataclass(frozen=True)
class Chain:
    """A chain and its keys, root first, leaf last."""

    ders: tuple[bytes, ...]
    keys: tuple[Any, ...]

    @property
    def root(self) -> bytes:
        """DER of the root."""
        return self.ders[0]

    @property
    def bundle(self) -> list[bytes]:
        """DER of all but the leaf, root first."""
        return list(self.ders[:-1])

    @property
    def leaf(self) -> bytes:
        """DER of the leaf."""
        return self.ders[-1]


def _name(common: str) -> x509.Name:
    names = common.split(",")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def _sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    head = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return b"\x30" + head + body


def _resigned(der: bytes, tbs: bytes, signer: SigningKey) -> bytes:
    """Put other signed bytes into a certificate, and sign them."""
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    old = x509.load_der_x509_certificate(der)
    algorithm = der[der.index(old.tbs_certificate_bytes) + len(old.tbs_certificate_bytes) :]
    algorithm = algorithm[: 2 + algorithm[1]]
    signature = signer.sign(tbs, ec.ECDSA(SHA384()))
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
    return _sequence(tbs, algorithm, bits)


def certificate(spec: Spec, key: SigningKey, issuer: str, signer: SigningKey) -> bytes:
    """Make one certificate and return its DER."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(spec.name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(spec.start)
        .not_valid_after(spec.start + spec.life)
    )
    if spec.ca is not None:
        basic = x509.BasicConstraints(ca=spec.ca, path_length=spec.path_length)
        builder = builder.add_extension(basic, spec.basic_critical)
    if spec.usage is not None:
        builder = builder.add_extension(spec.usage, spec.usage_critical)
    for extension, critical in spec.more:
        builder = builder.add_extension(extension, critical)
    made = builder.sign(signer, spec.digest())
    der = made.public_bytes(Encoding.DER)
    if spec.mangle is None:
        return der
    return _resigned(der, spec.mangle(made.tbs_certificate_bytes), signer)


def chain(**changes: Mapping[str, Any]) -> Chain:
    """Make a chain as the hardware has it, but for what is named: role -> fields of `Spec`."""
    ders: list[bytes] = []
    keys: list[SigningKey] = []
    before: Spec | None = None
    for role, genuine in GENUINE.items():
        spec = replace(genuine, **changes.get(role, {}))
        key = spec.key or ec.generate_private_key(ec.SECP384R1())
        issuer = spec.issuer or (before or spec).name
        ders.append(certificate(spec, key, issuer, spec.signer or [*keys, key][-2 if keys else 0]))
        keys.append(key)
        before = spec
    return Chain(tuple(ders), tuple(keys))


CHAIN = chain()
ACCOUNT = ec.derive_private_key(0xACC0, ec.SECP256R1())
PCRS = {index: hashlib.sha384(b"measured %d" % index).digest() for index in (0, 1, 2)}
POLICY = Policy(sets={"image": PCRS})
# Oyster's own key of an enclave, and its name for this image: flags, PCR0-2, and no PCR16.
OYSTER = ec.derive_private_key(0x0E57, ec.SECP256K1())
IMAGE_ID = hashlib.sha256(b"\x00\x01\x00\x07" + b"".join(PCRS.values()) + bytes(48)).digest()
# All that a document carries: PCR4 is that of the instance, the others are zero.
BANK = {
    **dict.fromkeys(range(16), bytes(48)),
    **PCRS,
    4: hashlib.sha384(bytes(48) + INSTANCE.encode()).digest(),
}


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """DER SubjectPublicKeyInfo, by cryptography's own hand."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public JWK of a P-256 key."""
    numbers = key.public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
        for number in (numbers.x, numbers.y)
    )
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def content(made: Chain = CHAIN, **changes: Any) -> dict[str, Any]:
    """The fields of a document; a change to `...` leaves the field out."""
    table: dict[str, Any] = {
        "module_id": MODULE,
        "digest": "SHA384",
        "timestamp": int(NOW.timestamp() * 1000),
        "pcrs": dict(BANK),
        "certificate": made.leaf,
        "cabundle": made.bundle,
        "public_key": spki(ACCOUNT),
        "user_data": None,
        "nonce": None,
    }
    return {name: value for name, value in {**table, **changes}.items() if value is not ...}


def payload(made: Chain = CHAIN, **changes: Any) -> bytes:
    """The signed part of a document."""
    return cbor.dumps(content(made, **changes), indefinite_map=True)


def document(made: Chain = CHAIN, **changes: Any) -> bytes:
    """A document that the chain's leaf signed."""
    return sign(payload(made, **changes), made.keys[-1])


STATEMENT = Statement(
    issued_at=NOW,
    directory="https://acme-v02.api.letsencrypt.org/directory",
    account_uri="https://acme-v02.api.letsencrypt.org/acme/acct/1234567",
    thumbprint=statement_module.thumbprint(jwk(ACCOUNT)),
    account_key=jwk(ACCOUNT),
    external_account_binding=False,
    caa_identities=("letsencrypt.org",),
    validation_methods=("http-01",),
    domains=(Domain("example.com", "exclusive", None, NOW, ("tls://9.9.9.9#dns.quad9.net",)),),
    certificates=(Certificate(("example.com",), "1f", "ab" * 32, NOW, NOW + timedelta(days=90)),),
    conditions=(),
    sealing_scheme="oysterkms",
    sealing_key="image",
    generation=3,
    restored_from=2,
    settings={"challenge": "http-01", "allow_unsigned_zone": False},
    software={"certbot": "5.8.0"},
)


def evidence(
    made: Chain = CHAIN,
    *,
    text: str | None = None,
    fields: Mapping[str, Any] | None = None,
    **said: Any,
) -> bytes:
    """Evidence: a statement with changes, and a document that binds it.

    Args:
        made: The chain that signs.
        text: The statement's text instead of a built one.
        fields: Changes to the document.
        said: Changes to the statement.
    """
    text = statement_module.build(STATEMENT._replace(**said)) if text is None else text
    bound = {"user_data": hashlib.sha512(statement_module.TAG + text.encode()).digest()}
    return statement_module.build_evidence(text, document(made, **{**bound, **(fields or {})}))


def oyster_key(key: ec.EllipticCurvePrivateKey = OYSTER) -> bytes:
    """The public key as Oyster's documents carry it: x and y, 32 bytes each."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def oyster_signature(
    user_data: bytes, nonce: bytes = b"", key: ec.EllipticCurvePrivateKey = OYSTER
) -> bytes:
    """What ``oyster-signed`` adds to a document: r and s, 32 bytes each."""
    message = b"certbot-enclave-oyster-v1:" + bytes([len(nonce)]) + nonce + user_data
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def oyster_evidence(
    made: Chain = CHAIN,
    *,
    text: str | None = None,
    fields: Mapping[str, Any] | None = None,
    key: ec.EllipticCurvePrivateKey = OYSTER,
    nonce: bytes = b"",
    signed: str | None = None,
    signature: bytes | None = None,
    **said: Any,
) -> bytes:
    """Evidence of the format ``oyster-signed``.

    Args:
        made: The chain that signs the document.
        text: The statement's text instead of a built one.
        fields: Changes to the document.
        key: What signs the statement.
        nonce: What is signed with it.
        signed: Another text that is signed instead of the statement.
        signature: Instead of a right one.
        said: Changes to the statement.
    """
    text = statement_module.build(STATEMENT._replace(**said)) if text is None else text
    meant = text if signed is None else signed
    user_data = hashlib.sha512(statement_module.TAG + meant.encode()).digest()
    if signature is None:
        signature = oyster_signature(user_data, nonce, key)
    own = {"public_key": oyster_key(), "user_data": b"", **(fields or {})}
    return statement_module.build_evidence(text, document(made, **own), signature)
