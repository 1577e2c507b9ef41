# SPDX-License-Identifier: Apache-2.0
"""One CA: its settings, memory, issuer and clock, and the questions every resource asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.support.ca import zone
from tests.support.ca.caa import Answer, check
from tests.support.ca.config import Config
from tests.support.ca.control import Control
from tests.support.ca.issuer import Issuer
from tests.support.ca.problem import Problem
from tests.support.ca.resolver import Resolver
from tests.support.ca.state import Account, State

STATIC_PATHS = {
    "newNonce": "/new-nonce",
    "newAccount": "/new-account",
    "newOrder": "/new-order",
    "revokeCert": "/revoke-cert",
    "keyChange": "/key-change",
}
DIRECTORY_PATH = "/directory"
TERMS_PATH = "/terms"
RENEWAL_INFO_PATH = "/renewal-info"


class Authority:
    """The CA behind the HTTP server.

    Args:
        config: Settings; ``config`` may be replaced by the control port at any time.
        base_url: Scheme and authority of every URL, without a trailing slash.
        control: Counts, stalls and faults.
        clock: Current time, with a time zone.
    """

    def __init__(
        self, config: Config, base_url: str, control: Control, clock: Callable[[], datetime]
    ) -> None:
        self.config = config
        self.base_url = base_url
        self.control = control
        self.now = clock
        self.state = State()
        self.issuer = Issuer(config.issuer_name, clock())

    def url(self, kind: str, number: int, suffix: str = "") -> str:
        """The URL of one object."""
        return f"{self.base_url}/{kind}/{number}{suffix}"

    def static_url(self, resource: str) -> str:
        """The real URL of a directory entry, whatever the directory says."""
        return self.base_url + STATIC_PATHS[resource]

    def directory(self) -> dict[str, Any]:
        """The directory object (RFC 8555 section 7.1.1), with the overrides applied."""
        config = self.config
        meta: dict[str, Any] = {"externalAccountRequired": config.external_account_required}
        if config.terms_of_service:
            meta["termsOfService"] = self.base_url + TERMS_PATH
        identities = config.caa_identities
        if identities is None or identities:
            meta["caaIdentities"] = identities or [config.issuer_name]
        entries: dict[str, Any] = {name: self.static_url(name) for name in STATIC_PATHS}
        if config.renew_after_days is not None:
            entries["renewalInfo"] = self.base_url + RENEWAL_INFO_PATH
        entries |= {"meta": meta} | config.overrides
        return {name: value for name, value in entries.items() if value is not None}

    def addresses(self, name: str) -> list[str]:
        """Where to look for a challenge response.

        Raises:
            Problem: ``dns``.
        """
        config = self.config
        if config.resolve_all_to is not None:
            return [config.resolve_all_to]
        return self._resolver().addresses(name)

    def require_caa(
        self, name: str, wildcard: bool, account: Account, method: str, phase: str
    ) -> None:
        """Pass only if CAA allows this account and method.

        Raises:
            Problem: ``caa`` if it is denied, ``dns`` if the records could not be read.
        """
        config = self.config
        if not config.caa:
            return
        verdict = check(
            name,
            wildcard,
            self._caa_lookup,
            issuer=config.issuer_name,
            account_uris=[account.uri],
            method=method,
        )
        self.control.caa_log.append(
            {
                "phase": phase,
                "name": name,
                "account": account.uri,
                "status": verdict.status,
                "found_at": verdict.found_at,
                "reason": verdict.reason,
            }
        )
        if verdict.status == "denied":
            raise Problem(
                "caa",
                f"CAA at {verdict.found_at} forbids {name} to account {account.uri} by {method}: "
                f"{verdict.reason}",
            )
        if verdict.status == "error":
            raise Problem("dns", verdict.reason)

    def _caa_lookup(self, name: str) -> Answer:
        if self.config.zone is not None:
            return zone.lookup(self.config.zone, name)
        return self._resolver().caa(name)

    def _resolver(self) -> Resolver:
        return Resolver(str(self.config.resolver))  # Config has one wherever this is asked
