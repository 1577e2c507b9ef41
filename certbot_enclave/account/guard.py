# SPDX-License-Identifier: Apache-2.0
"""The signing rules of the guarded account key: an allow-list, default deny (docs/guard.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from certbot_enclave import errors
from certbot_enclave.account import jws

# Printable ASCII without the characters that URL parsers read differently.
_URL = re.compile(r"https://[!-~]+")
_ODD = set('\\#@"<>^`{|}')
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,512}")
_PROFILE = re.compile(r"[A-Za-z0-9._-]{0,64}")


class Gate(Protocol):
    """What the guard asks before an order."""

    def require(self, names: frozenset[str]) -> None:
        """Return if the gate is open for exactly these names; raise `GateError` otherwise."""

    def require_reserved(self, names: frozenset[str]) -> None:
        """Return when an order for exactly these names stands in the ledger, and in the store.

        Raises:
            ThriftError: The CA is not asked now.
            SealError, EnclaveError, TransportError: The ledger cannot be stored.
        """

    def check_again(self, names: frozenset[str]) -> None:
        """Check CAA now, then as `require`."""


class Capability:
    """Held by our own commands; lets the guard sign one kind of request that certbot never may.

    Args:
        kind: ``only-return-existing`` (RFC 8555 §7.3.1); nothing else is granted yet.
    """

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        if kind != "only-return-existing":
            raise ValueError(f"no such capability: {kind}")
        self.kind = kind


@dataclass(frozen=True)
class Binding:
    """What the key is bound to.

    Attributes:
        origin: ``https://host[:port]`` of the one ACME directory.
        jwk: The public JWK: crv, kty, x, y.
        account_uri: From the CA's own answer in this boot; None before there was one.
        gate: None while nothing may be ordered.
        capability: None unless one of our own commands is at work.
    """

    origin: str
    jwk: Mapping[str, str]
    account_uri: str | None = None
    gate: Gate | None = None
    capability: Capability | None = None


def _refuse(message: str, code: str, hint: str | None = None) -> errors.GuardError:
    return errors.GuardError(f"account key refuses to sign: {message}", code=code, hint=hint)


def _check_header(header: Mapping[str, Any], binding: Binding) -> tuple[str, bool]:
    """Return the URL, and whether the request carries the key instead of the account URI."""
    by_key = "jwk" in header
    if header.keys() != {"alg", "nonce", "url", "jwk" if by_key else "kid"}:
        raise _refuse(
            f"protected header has {', '.join(sorted(header))}, "
            "expected exactly alg, nonce, url and kid",
            "jws-header",
        )
    if header["alg"] != "ES256":
        raise _refuse(f"alg is {header['alg']!r}, expected ES256", "jws-alg")
    nonce, url = header["nonce"], header["url"]
    if not isinstance(nonce, str) or _NONCE.fullmatch(nonce) is None:
        raise _refuse("nonce is no base64url text", "jws-nonce")
    if not isinstance(url, str) or _URL.fullmatch(url) is None or _ODD & set(url):
        raise _refuse(f"url {url!r} is no plain https URL", "jws-url")
    if not url.startswith(binding.origin + "/"):
        raise _refuse(
            f"url {url} is not at {binding.origin}, the origin of the account's directory",
            "jws-origin",
        )
    if by_key and header["jwk"] != dict(binding.jwk):
        raise _refuse("jwk in the header is not the account key", "jws-jwk")
    if not by_key and (binding.account_uri is None or header["kid"] != binding.account_uri):
        raise _refuse(
            f"kid is {header['kid']!r}, expected {binding.account_uri or 'no account yet'}",
            "jws-kid",
        )
    return url, by_key


def _new_account(payload: Mapping[str, Any], binding: Binding) -> None:
    if "onlyReturnExisting" in payload:
        if binding.capability is None or binding.capability.kind != "only-return-existing":
            raise _refuse("onlyReturnExisting is for certbot-enclave only", "capability-missing")
        if payload != {"onlyReturnExisting": True}:
            raise _refuse("onlyReturnExisting stands with other members", "payload-new-account")
        return
    allowed = {"termsOfServiceAgreed", "contact", "externalAccountBinding"}
    if not payload.keys() <= allowed or payload.get("termsOfServiceAgreed") is not True:
        raise _refuse(
            f"newAccount with {', '.join(sorted(payload)) or 'nothing'}, expected "
            "termsOfServiceAgreed: true and at most contact and externalAccountBinding",
            "payload-new-account",
        )


def _new_order(payload: Mapping[str, Any]) -> frozenset[str]:
    identifiers, profile = payload["identifiers"], payload.get("profile", "")
    if not payload.keys() <= {"identifiers", "profile"}:
        raise _refuse(
            f"newOrder with {', '.join(sorted(payload))}, expected identifiers and profile",
            "payload-new-order",
        )
    if not isinstance(profile, str) or _PROFILE.fullmatch(profile) is None:
        raise _refuse("profile of newOrder is no name", "payload-profile")
    if not isinstance(identifiers, list) or not 1 <= len(identifiers) <= 100:
        raise _refuse("newOrder expects 1 to 100 identifiers", "payload-identifiers")
    names = []
    for identifier in identifiers:
        if (
            not isinstance(identifier, dict)
            or identifier.keys() != {"type", "value"}
            or identifier["type"] != "dns"
            or not isinstance(identifier["value"], str)
        ):
            raise _refuse(
                f"identifier {identifier!r} is no DNS name; CAA cannot bind anything else",
                "payload-identifiers",
            )
        names.append(identifier["value"])
    return frozenset(names)


def _csr_names(payload: Mapping[str, Any], binding: Binding) -> frozenset[str]:
    """Return the names that a finalize request asks for (RFC 8555 §7.4)."""
    try:
        csr = x509.load_der_x509_csr(jws.decode(payload["csr"]))
        common = [item.value for item in csr.subject]
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(name.value for name in san if isinstance(name, x509.DNSName))
        others = [name for name in san if not isinstance(name, x509.DNSName)]
        public = csr.public_key()
        signed = csr.is_signature_valid
    except (
        ValueError,
        TypeError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        InvalidSignature,
        UnsupportedAlgorithm,
    ) as error:
        raise _refuse("csr of finalize cannot be read", "payload-csr") from error
    if not signed:
        raise _refuse("csr of finalize is not signed by its own key", "csr-signature")
    if others:
        raise _refuse("csr names something that is no DNS name", "csr-names")
    if not set(common) <= names:
        raise _refuse("subject of the csr names something that its SAN does not", "csr-subject")
    if _is_account_key(public, binding.jwk):
        raise _refuse("csr is for the account key itself", "csr-account-key")
    return names


def _is_account_key(public: Any, jwk: Mapping[str, str]) -> bool:
    numbers = public.public_numbers() if hasattr(public, "public_numbers") else None
    x = getattr(numbers, "x", None)
    return x is not None and x == int.from_bytes(jws.decode(jwk["x"]), "big")


def _revoke(payload: Mapping[str, Any]) -> None:
    reason = payload.get("reason", 0)
    if not payload.keys() <= {"certificate", "reason"} or type(reason) is not int:
        raise _refuse("revokeCert expects certificate and reason", "payload-revoke")
    if not isinstance(payload["certificate"], str):
        raise _refuse("certificate of revokeCert is no text", "payload-revoke")


def check(signing_input: bytes, binding: Binding) -> None:
    """Decide whether the account key may sign this request.

    Args:
        signing_input: ``BASE64URL(protected) . BASE64URL(payload)``.
        binding: What the key is bound to, and what is open now.

    Raises:
        GuardError: It may not.
        GateError: It asks for a certificate, and the gate is closed.
        ThriftError, SealError, EnclaveError: It orders one, and that cannot be written down first.
        TransportError: It asks for a certificate, and CAA cannot be looked up.
    """
    request = jws.parse(signing_input)
    url, by_key = _check_header(request.header, binding)
    payload = request.payload
    if by_key:
        # RFC 8555 §6.2: jwk is for newAccount, and for revokeCert by a certificate key, never ours.
        if payload is None:
            raise _refuse("jwk is for newAccount only", "jws-jwk-use")
        _new_account(payload, binding)
    elif payload is None:
        return  # POST-as-GET, RFC 8555 §6.3
    elif payload == {}:
        # Answers a challenge, RFC 8555 §7.5.1; to the account itself it would be an update.
        if url == binding.account_uri:
            raise _refuse("an account update is for certbot-enclave only", "account-update")
    elif "identifiers" in payload:
        names = _new_order(payload)
        _gate(binding).require(names)
        _gate(binding).require_reserved(names)
    elif payload.keys() == {"csr"}:
        _gate(binding).check_again(_csr_names(payload, binding))
    elif "certificate" in payload:
        _revoke(payload)
    elif payload == {"status": "deactivated"}:
        # An authorization, RFC 8555 §7.5.2; the account itself would be §7.3.6.
        if url == binding.account_uri:
            raise _refuse("the account is not deactivated by certbot", "account-deactivation")
    else:
        raise _refuse(
            f"a request with {', '.join(sorted(payload))} is not on the list", "payload-unknown"
        )


def _gate(binding: Binding) -> Gate:
    if binding.gate is None:
        raise _refuse(
            "no gate is attached",
            "gate-missing",
            hint="order certificates with --authenticator enclave",
        )
    return binding.gate
