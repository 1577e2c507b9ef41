# SPDX-License-Identifier: Apache-2.0
"""A tiny ACME client, for tests that need to say exactly what goes over the wire.

It also plays anybody who is not the enclave: the host with an account of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
POLL_SECONDS = 0.02
HASHES: dict[str, hashes.HashAlgorithm] = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384()}


class Refused(Exception):
    """The CA answered with a problem document.

    Attributes:
        type: Its type without the urn prefix.
        problem: The document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(json.dumps(problem))
        self.problem = problem
        self.type = str(problem.get("type")).rpartition(":")[2]


@dataclass(frozen=True)
class Answer:
    """An HTTP response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def problem(self) -> str:
        """The type of the problem document."""
        if self.headers["content-type"] != "application/problem+json":
            raise ValueError(f"problem document expected, got {self.headers['content-type']}")
        return str(self.json["type"]).removeprefix("urn:ietf:params:acme:error:")


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: Key) -> dict[str, str]:
    """The public key as a JWK."""

    def octets(number: int, size: int) -> str:
        return b64(number.to_bytes(size, "big"))

    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        rsa_numbers = public.public_numbers()
        return {"kty": "RSA", "n": octets(rsa_numbers.n, public.key_size // 8), "e": "AQAB"}
    numbers, size = public.public_numbers(), public.curve.key_size // 8
    curve = f"P-{public.curve.key_size}"
    return {"kty": "EC", "crv": curve, "x": octets(numbers.x, size), "y": octets(numbers.y, size)}


def thumbprint(key: Key) -> str:
    """RFC 7638."""
    text = json.dumps(jwk(key), sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


def algorithm(key: Key) -> str:
    """The JWS algorithm that goes with a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return f"ES{key.curve.key_size}"


def sign(key: Key, header: Mapping[str, Any], payload: bytes) -> dict[str, str]:
    """A flattened JWS."""
    protected, content = b64(json.dumps(dict(header)).encode()), b64(payload)
    signed = f"{protected}.{content}".encode()
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        size = key.curve.key_size // 8
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(HASHES[algorithm(key)])))
        signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return {"protected": protected, "payload": content, "signature": b64(signature)}


def binding(kid: str, mac_key: bytes, url: str, account_key: Key) -> dict[str, str]:
    """An external account binding (RFC 8555 section 7.3.4)."""
    header = {"alg": "HS256", "kid": kid, "url": url}
    protected, content = (b64(json.dumps(part).encode()) for part in (header, jwk(account_key)))
    mac = hmac.digest(mac_key, f"{protected}.{content}".encode(), "sha256")
    return {"protected": protected, "payload": content, "signature": b64(mac)}


def make_csr(names: list[str], key: Key, *others: x509.GeneralName) -> bytes:
    """A DER certificate signing request for DNS names, and for others of another type."""
    alternatives = x509.SubjectAlternativeName([*map(x509.DNSName, names), *others])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.add_extension(alternatives, critical=False).sign(key, hashes.SHA256())
    return csr.public_bytes(Encoding.DER)


class Client:
    """One account key at one CA.

    Args:
        directory_url: The ACME directory.
        tls_root: PEM file of the root that the CA's TLS certificate leads to.
        key: Account key; a new one unless given.
        responses: Where to put key authorizations, by token, for a web server to find.
    """

    def __init__(
        self,
        directory_url: str,
        tls_root: Path,
        key: Key | None = None,
        responses: MutableMapping[str, str] | None = None,
    ) -> None:
        self._tls = ssl.create_default_context(cafile=str(tls_root))
        self.key = key or new_key()
        self.responses: MutableMapping[str, str] = {} if responses is None else responses
        self.kid: str | None = None
        self.directory = self.request("GET", directory_url).json

    def request(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
        """One HTTP request on a connection of its own."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=20, context=self._tls
        )
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, parts.path, body, fields)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def nonce(self) -> str:
        """A fresh nonce."""
        return self.request("HEAD", self.directory["newNonce"]).headers["replay-nonce"]

    def header(self, url: str) -> dict[str, Any]:
        """The protected header of a good request, ``jwk`` before registration, then ``kid``."""
        who = {"jwk": jwk(self.key)} if self.kid is None else {"kid": self.kid}
        return {"alg": algorithm(self.key), "nonce": self.nonce(), "url": url, **who}

    def send(
        self, url: str, jws: Mapping[str, Any], content_type: str = "application/jose+json"
    ) -> Answer:
        """POST a JWS as it is."""
        return self.request("POST", url, json.dumps(jws).encode(), Content_Type=content_type)

    def post(
        self,
        url: str,
        payload: Mapping[str, Any] | None = None,
        change: Callable[[dict[str, Any]], None] = lambda header: None,
        key: Key | None = None,
    ) -> Answer:
        """POST, or POST-as-GET without a payload.

        Args:
            url: The resource.
            payload: JSON object.
            change: Spoils the protected header before it is signed.
            key: Signs in place of the account key.
        """
        header = self.header(url)
        change(header)
        content = b"" if payload is None else json.dumps(payload).encode()
        return self.send(url, sign(key or self.key, header, content))

    def ask(self, url: str, payload: Mapping[str, Any] | None = None) -> Answer:
        """Like post, but a problem document is an exception.

        Raises:
            Refused: The status is 400 or above.
        """
        answer = self.post(url, payload)
        if answer.status >= 400:
            raise Refused(answer.json)
        return answer

    def register(self, **members: Any) -> str:
        """newAccount; returns the account URI and uses it from now on."""
        payload = {"termsOfServiceAgreed": True, **members}
        self.kid = self.ask(self.directory["newAccount"], payload).headers["location"]
        return self.kid

    def order(self, names: list[str]) -> tuple[str, dict[str, Any]]:
        """newOrder; returns the order's URL and the order."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        answer = self.ask(self.directory["newOrder"], {"identifiers": identifiers})
        return answer.headers["location"], answer.json

    def prove(self, order: Mapping[str, Any]) -> None:
        """Answer the http-01 challenge of every pending authorization.

        Raises:
            Refused: An authorization became invalid.
        """
        for url in order["authorizations"]:
            authorization = self.ask(url).json
            if authorization["status"] != "pending":
                continue
            (challenge,) = authorization["challenges"]
            self.responses[challenge["token"]] = f"{challenge['token']}.{thumbprint(self.key)}"
            self.ask(challenge["url"], {})
            self.wait(url, "pending")
            challenge = self.ask(challenge["url"]).json
            if "error" in challenge:
                raise Refused(challenge["error"])

    def wait(self, url: str, status: str, timeout: float = 10.0) -> dict[str, Any]:
        """Poll while an object has a status.

        Raises:
            TimeoutError: It still has.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = self.ask(url).json
            if found["status"] != status:
                return found
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{url} is still {status}")

    def finalize(self, order: Mapping[str, Any], csr: bytes) -> str:
        """Finalize and download; returns the PEM chain."""
        done = self.ask(order["finalize"], {"csr": b64(csr)}).json
        return self.ask(done["certificate"]).body.decode()

    def issue(self, names: list[str]) -> str:
        """Order, prove, finalize with a new key, download; returns the PEM chain.

        Raises:
            Refused: The CA said no, at whatever step.
        """
        _, order = self.order(names)
        self.prove(order)
        return self.finalize(order, make_csr(names, new_key()))
