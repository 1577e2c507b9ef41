# SPDX-License-Identifier: Apache-2.0
"""What the CA remembers, in memory only: the objects of RFC 8555 section 7.1."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509

from tests.support.ca.jose import Jwk, b64url

MAX_NONCES = 10_000


@dataclass
class Account:
    """An account; ``uri`` is the form that CAA records name."""

    id: int
    uri: str
    jwk: Jwk
    contact: list[str]
    binding: dict[str, Any] | None = None
    status: str = "valid"


@dataclass
class Challenge:
    """One way to prove control."""

    id: int
    authorization: int
    type: str
    token: str
    status: str = "pending"
    validated: datetime | None = None
    error: dict[str, Any] | None = None


@dataclass
class Authorization:
    """One account's right to one name."""

    id: int
    account: int
    name: str
    wildcard: bool
    expires: datetime
    challenges: list[int] = field(default_factory=list)
    status: str = "pending"
    method: str | None = None


@dataclass
class Order:
    """A request for one certificate. ``busy``: a finalize request is being worked on."""

    id: int
    account: int
    names: list[str]
    authorizations: list[int]
    expires: datetime
    certificate: int | None = None
    busy: bool = False


@dataclass
class Certificate:
    """An issued certificate."""

    id: int
    account: int
    names: list[str]
    leaf: x509.Certificate
    chain: bytes
    revoked: int | None = None


class State:
    """All objects, by number. Callers hold ``lock`` while they read or change them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[int, Account] = {}
        self.orders: dict[int, Order] = {}
        self.authorizations: dict[int, Authorization] = {}
        self.challenges: dict[int, Challenge] = {}
        self.certificates: dict[int, Certificate] = {}
        self._nonces: OrderedDict[str, None] = OrderedDict()

    def account_by_uri(self, uri: object) -> Account | None:
        """The account with this URI, whatever its status."""
        return next((a for a in self.accounts.values() if a.uri == uri), None)

    def account_by_key(self, thumbprint: str) -> Account | None:
        """The account with this key, whatever its status."""
        return next((a for a in self.accounts.values() if a.jwk.thumbprint == thumbprint), None)

    def order_status(self, order: Order, now: datetime) -> str:
        """The state machine of RFC 8555 section 7.1.6, computed when somebody looks."""
        if order.certificate is not None:
            return "valid"
        parts = {
            self.authorization_status(self.authorizations[i], now) for i in order.authorizations
        }
        if now >= order.expires or parts - {"valid", "pending"}:
            return "invalid"
        if "pending" in parts:
            return "pending"
        return "processing" if order.busy else "ready"

    @staticmethod
    def authorization_status(authorization: Authorization, now: datetime) -> str:
        """The stored status, unless its time has passed."""
        if authorization.status == "valid" and now >= authorization.expires:
            return "expired"
        if authorization.status == "pending" and now >= authorization.expires:
            return "invalid"
        return authorization.status

    def new_nonce(self) -> str:
        """A fresh nonce; the oldest is forgotten when there are too many."""
        nonce = b64url(secrets.token_bytes(16))
        with self.lock:
            self._nonces[nonce] = None
            if len(self._nonces) > MAX_NONCES:
                self._nonces.popitem(last=False)
        return nonce

    def use_nonce(self, nonce: object) -> bool:
        """Take a nonce; False if it was never given out or is used up."""
        with self.lock:
            if not isinstance(nonce, str) or nonce not in self._nonces:
                return False
            del self._nonces[nonce]
            return True
