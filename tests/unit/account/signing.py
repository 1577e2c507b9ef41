# SPDX-License-Identifier: Apache-2.0
"""Signing inputs for the guard's tests, built from their parts."""

import base64
import json
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave.account.guard import Binding
from certbot_enclave.account.key import public_jwk

ORIGIN = "https://ca.test:14000"
ACCOUNT = f"{ORIGIN}/acct/7"
KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
CSR_KEY = ec.derive_private_key(0xC5B, ec.SECP256R1())


@dataclass
class RecordingGate:
    """Implements the guard's Gate: open for one set of names."""

    names: frozenset[str] = frozenset({"example.test"})
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def _ask(self, what: str, names: frozenset[str]) -> None:
        from certbot_enclave.errors import GateError

        self.asked.append((what, names))
        if names != self.names:
            raise GateError("closed for these", code="gate-names")

    def require(self, names: frozenset[str]) -> None:
        self._ask("require", names)

    def require_reserved(self, names: frozenset[str]) -> None:
        self._ask("require_reserved", names)

    def check_again(self, names: frozenset[str]) -> None:
        self._ask("check_again", names)


def binding(**changes) -> Binding:
    values = {"origin": ORIGIN, "jwk": JWK, "account_uri": ACCOUNT, "gate": RecordingGate()}
    return Binding(**{**values, **changes})


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header(**changes) -> dict:
    """The protected header that certbot sends; a value of None removes the member."""
    values = {"alg": "ES256", "nonce": "bm9uY2U", "url": f"{ORIGIN}/order", "kid": ACCOUNT}
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def signing_input(payload, head: dict | str | None = None) -> bytes:
    """`payload`: a JSON value, raw text, or None for POST-as-GET."""
    protected = head if isinstance(head, str) else json.dumps(head or header())
    body = payload if isinstance(payload, str) else json.dumps(payload)
    text = "" if payload is None else b64(body.encode())
    return f"{b64(protected.encode())}.{text}".encode()


def csr(names=("example.test",), *, common=None, key=CSR_KEY, extra=()) -> str:
    subject = [x509.NameAttribute(x509.NameOID.COMMON_NAME, common)] if common else []
    san = [*(x509.DNSName(name) for name in names), *extra]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    return b64(request.public_bytes(Encoding.DER))
