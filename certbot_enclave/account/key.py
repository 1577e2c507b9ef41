# SPDX-License-Identifier: Apache-2.0
"""The account key: sealed at rest, a josepy JWK to certbot, and signing by rule only.

certbot loads ``private_key.json`` through josepy's registry of JWK types; `EnclaveJWK` is the type
``certbot-enclave`` there. Loading reads public numbers and keeps the sealed ones as they are: it
does no I/O and never raises OSError, which certbot would take for "no account" and register a new,
plaintext one. The private numbers are unsealed at the first signature and live in one local object.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from certbot import errors as certbot_errors
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import DeserializationError
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from certbot_enclave import errors
from certbot_enclave.account import guard, jws
from certbot_enclave.sealing import envelope

if TYPE_CHECKING:
    from certbot_enclave.interfaces import ISealer

TYPE = "certbot-enclave"
KIND = "account-key"
MAX_SEALED = 32 * 1024  # characters


class Refused(errors.GuardError, certbot_errors.Error):
    """The key refuses, or cannot sign; certbot prints it in one line and exits 1."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nhint: {self.hint}" if self.hint else text


class Attached:
    """What stands between one account key and the world: its sealer and its binding.

    Args:
        sealer: Unseals the key at the first signature.
        binding: What the guard checks against; replaced as the account becomes known.
    """

    def __init__(self, sealer: ISealer, binding: guard.Binding) -> None:
        self.binding = binding
        self._sealer = sealer
        self._private: ec.EllipticCurvePrivateKey | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("holds an account key")

    def bind(self, **changes: Any) -> None:
        """Replace members of the binding."""
        self.binding = replace(self.binding, **changes)

    def sign(self, key: GuardedKey, signing_input: bytes, algorithm: Any) -> bytes:
        """Sign if the guard allows it.

        Raises:
            GuardError, GateError, TransportError: The guard refuses.
            SealError: The key cannot be unsealed here.
        """
        guard.check(signing_input, self.binding)
        if self._private is None:
            self._private = _unsealed(key, self._sealer)
        return self._private.sign(signing_input, algorithm)


# josepy gives a loaded key no way to learn who loaded it, so a process has one slot for each key,
# by thumbprint. Only our own `prepare()` and our own commands fill it.
_attached: dict[str, Attached] = {}


def attach(key: EnclaveJWK, sealer: ISealer, binding: guard.Binding) -> Attached:
    """Let this key sign in this process, under the guard's rules.

    Args:
        key: The account key.
        sealer: Unseals it.
        binding: What the guard checks against.

    Returns:
        The handle that changes the binding later.
    """
    handle = Attached(sealer, binding)
    _attached[key.key.print] = handle
    return handle


class GuardedKey(ComparableECKey):
    """Looks like an EC private key to josepy; holds public numbers and a sealed envelope.

    Args:
        public: The account's public key, on P-256.
        sealed: The private number, sealed: base64url of an envelope.
        directory: URL of the ACME directory that the key is for.
    """

    def __init__(self, public: ec.EllipticCurvePublicKey, sealed: str, directory: str) -> None:
        super().__init__(public)
        self.public = public
        self.sealed = sealed
        self.directory = directory
        self.print = thumbprint(public)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GuardedKey) and self.print == other.print

    def __hash__(self) -> int:
        return hash(self.print)

    def __repr__(self) -> str:
        return f"<GuardedKey {self.print}>"

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve, as of cryptography's keys."""
        return self.public.curve

    @property
    def key_size(self) -> int:
        """256."""
        return self.public.key_size

    def public_key(self) -> ComparableECKey:
        """Return the public half."""
        return ComparableECKey(self.public)

    def sign(self, data: bytes, signature_algorithm: Any) -> bytes:
        """Sign an ACME request if the rules allow it.

        Raises:
            Refused: They do not, or the key cannot be unsealed in this enclave.
        """
        handle = _attached.get(self.print)
        try:
            if handle is None:
                raise errors.GuardError(
                    "account key refuses to sign: certbot was not started with the plugin enclave",
                    code="key-detached",
                    hint="this account belongs to the enclave: use --authenticator enclave",
                )
            return handle.sign(self, data, signature_algorithm)
        except errors.Error as error:
            raise Refused(str(error), code=error.code, hint=error.hint) from error


class EnclaveJWK(JWKEC):
    """A JWK that certbot stores and loads like any other, and that holds no secret."""

    typ = "EC"  # acme picks ES256 by it
    __slots__ = ("key",)
    key: GuardedKey

    def to_partial_json(self) -> dict[str, Any]:
        """Return what goes to ``private_key.json``: public and sealed members only."""
        return {
            **public_jwk(self.key.public),
            "kty": TYPE,
            "directory": self.key.directory,
            "sealed": self.key.sealed,
        }

    @classmethod
    def fields_from_json(cls, jobj: Mapping[str, Any]) -> EnclaveJWK:
        """Read ``private_key.json``.

        Raises:
            DeserializationError: It is not what `to_partial_json` writes.
        """
        try:
            if jobj["crv"] != "P-256":
                raise ValueError("curve is not P-256")
            x, y = (int.from_bytes(jws.decode(jobj[name]), "big") for name in ("x", "y"))
            public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            sealed, directory = jobj["sealed"], jobj["directory"]
            if not (isinstance(sealed, str) and isinstance(directory, str)):
                raise TypeError("a member is no text")
            if len(sealed) > MAX_SEALED:
                raise ValueError("sealed key is too long")
        except (KeyError, TypeError, ValueError) as error:
            raise DeserializationError(f"sealed account key: {error}") from error
        return cls(key=GuardedKey(public, sealed, directory))

    def thumbprint(self, hash_function: Callable[[], Any] | None = None) -> bytes:
        """Return the RFC 7638 thumbprint (SHA-256 unless told otherwise) of the public key."""
        public: JWKEC = self.public_key()
        digest: bytes = public.thumbprint(hash_function) if hash_function else public.thumbprint()
        return digest

    def public_key(self) -> JWKEC:
        """Return the public JWK, of the ordinary type."""
        return JWKEC(key=self.key.public_key())


JWK.register(EnclaveJWK, TYPE)


def public_jwk(public: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the public JWK: crv, kty, x, y (RFC 7518 §6.2)."""
    numbers = public.public_numbers()

    def number(value: int) -> str:
        return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()

    return {"crv": "P-256", "kty": "EC", "x": number(numbers.x), "y": number(numbers.y)}


def thumbprint(public: ec.EllipticCurvePublicKey) -> str:
    """Return the RFC 7638 thumbprint, base64url SHA-256."""
    text = json.dumps(public_jwk(public), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def generate(directory: str, sealer: ISealer, *, source: str = "random") -> EnclaveJWK:
    """Make an account key and seal it at once.

    Args:
        directory: URL of the ACME directory that the key is for.
        sealer: Wraps it.
        source: ``random``, or ``derived``: from the sealer's secret, the same at every call.

    Returns:
        The sealed key; the plain one is gone.

    Raises:
        PolicyError: It should be derived, and the sealer cannot (``account-key-underivable``).
        SealError, TransportError: From the sealer.
    """
    if source == "derived":
        from certbot_enclave.account import derived  # whoever only loads a key needs none of it

        private = derived.private_key(directory, sealer)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key()
    sealed = envelope.seal(
        private.private_numbers().private_value.to_bytes(32, "big"),
        kind=KIND,
        fields={"directory": directory, "thumbprint": thumbprint(public)},
        sealer=sealer,
    )
    text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
    return EnclaveJWK(key=GuardedKey(public, text, directory))


def _unsealed(key: GuardedKey, sealer: ISealer) -> ec.EllipticCurvePrivateKey:
    try:
        opened = envelope.parse(jws.decode(key.sealed))
        expected = {"directory": key.directory, "thumbprint": key.print}
        if opened.fields != expected:
            raise ValueError("it was sealed for another directory or another public key")
        plain = envelope.unseal(opened, kind=KIND, sealer=sealer)
        private = ec.derive_private_key(int.from_bytes(plain, "big"), ec.SECP256R1())
    except ValueError as error:
        raise errors.SealError(
            f"sealed account key cannot be used: {error}", code="account-key-damaged"
        ) from error
    if thumbprint(private.public_key()) != key.print:
        raise errors.SealError(
            "sealed account key does not belong to its public key", code="account-key-foreign"
        )
    return private
