# SPDX-License-Identifier: Apache-2.0
"""Base64url, strict JSON, JWK and flattened JWS, as RFC 8555 section 6.2 narrows them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.ca.problem import Problem, malformed

CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "P-256": ("ES256", ec.SECP256R1(), hashes.SHA256()),
    "P-384": ("ES384", ec.SECP384R1(), hashes.SHA384()),
}
ALGORITHMS = ["ES256", "ES384", "RS256"]
MIN_RSA_BITS = 2048
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_decode(text: object, what: str) -> bytes:
    """The octets of an unpadded, canonical base64url string.

    Raises:
        Problem: ``malformed``: anything else.
    """
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise malformed(f"{what} is not base64url without padding")
    if len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if b64url(data) == text:
            return data
    raise malformed(f"{what} is not canonical base64url")


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object without duplicate members.

    Raises:
        Problem: ``malformed``: anything else.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise malformed(f"{what} is not JSON: {e}") from e
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class Jwk:
    """A public key.

    Attributes:
        key: The key.
        algorithm: The one signature algorithm that goes with it here.
        members: The required members (RFC 7638 section 3.2).
        thumbprint: RFC 7638, SHA-256, base64url.
    """

    key: PublicKey
    algorithm: str
    members: dict[str, str]
    thumbprint: str

    def verify(self, algorithm: object, signed: bytes, signature: bytes) -> None:
        """Check one signature.

        Raises:
            Problem: The algorithm is not this key's, or the signature is not right.
        """
        if algorithm != self.algorithm:
            raise Problem(
                "badSignatureAlgorithm",
                f"alg {algorithm!r} does not go with this key",
                members={"algorithms": ALGORITHMS},
            )
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
                return
            size = (self.key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                raise malformed("the JWS signature has the wrong length")
            r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
            hash_ = CURVES[self.members["crv"]][2]
            self.key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hash_))
        except InvalidSignature as e:
            raise malformed("the JWS signature does not verify") from e


def parse_jwk(value: object) -> Jwk:
    """Read a public JWK: RSA, or EC on P-256 or P-384.

    Raises:
        Problem: ``badPublicKey`` or ``malformed``.
    """
    if not isinstance(value, dict):
        raise malformed("jwk is not a JSON object")
    if PRIVATE_MEMBERS & set(value):
        raise malformed("jwk holds private members")
    try:
        if value.get("kty") == "EC" and str(value.get("crv")) in CURVES:
            algorithm, curve, _ = CURVES[str(value["crv"])]
            size = (curve.key_size + 7) // 8
            x, y = (b64url_decode(value.get(m), f"jwk.{m}") for m in "xy")
            if (len(x), len(y)) != (size, size):
                raise malformed("jwk coordinates have the wrong length")
            numbers = (int.from_bytes(x, "big"), int.from_bytes(y, "big"))
            key: PublicKey = ec.EllipticCurvePublicNumbers(*numbers, curve).public_key()
            names = ["crv", "kty", "x", "y"]
        elif value.get("kty") == "RSA":
            n, e = (int.from_bytes(b64url_decode(value.get(m), f"jwk.{m}"), "big") for m in "ne")
            key = rsa.RSAPublicNumbers(e, n).public_key()
            algorithm, names = "RS256", ["e", "kty", "n"]
        else:
            raise Problem("badPublicKey", "RSA, or EC on P-256 or P-384, is expected")
    except ValueError as e:
        raise Problem("badPublicKey", f"jwk is not a key: {e}") from e
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise Problem("badPublicKey", f"RSA key of {key.key_size} bits is too short")
    members = {name: value[name] for name in names}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return Jwk(key, algorithm, members, b64url(hashlib.sha256(canonical).digest()))


@dataclass(frozen=True)
class Jws:
    """A flattened JWS whose signature has not been checked yet."""

    header: dict[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes


def parse_jws(value: dict[str, Any]) -> Jws:
    """Read a flattened JSON serialisation (RFC 7515 section 7.2.2).

    Raises:
        Problem: ``malformed``; unprotected headers and several signatures are not allowed.
    """
    if set(value) != {"protected", "payload", "signature"}:
        raise malformed(f"flattened JWS expected, got members {sorted(value)}")
    header = json_object(b64url_decode(value["protected"], "protected"), "protected header")
    payload = b64url_decode(value["payload"], "payload")
    signed = f"{value['protected']}.{value['payload']}".encode()
    if {"crit", "b64"} & set(header):
        raise malformed("protected header asks for an extension")
    return Jws(header, payload, signed, b64url_decode(value["signature"], "signature"))


def verify_mac(jws: Jws, key: bytes) -> None:
    """Check the MAC of an external account binding (RFC 8555 section 7.3.4).

    Raises:
        Problem: ``badSignatureAlgorithm`` or ``unauthorized``.
    """
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(
        str(jws.header.get("alg"))
    )
    if digest is None:
        raise Problem("badSignatureAlgorithm", "externalAccountBinding needs a MAC algorithm")
    if not hmac.compare_digest(hmac.digest(key, jws.signed, digest), jws.signature):
        raise Problem("unauthorized", "the MAC of externalAccountBinding does not verify")
