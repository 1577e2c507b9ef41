# SPDX-License-Identifier: Apache-2.0
"""The settings of one test CA. The package's docstring explains every key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tests.support.ca.jose import b64url_decode
from tests.support.ca.problem import Problem
from tests.support.ca.zone import check_zone

# What cannot change once the server listens.
FIXED = {
    "host",
    "hostname",
    "port",
    "control_port",
    "tls_certificate",
    "tls_key",
    "stall_limit",
    "issuer_root_file",
}


@dataclass(frozen=True)
class Config:
    """Checked settings."""

    tls_certificate: str
    tls_key: str
    host: str = "127.0.0.1"
    hostname: str = "localhost"
    port: int = 0
    control_port: int = 0
    issuer_root_file: str | None = None
    issuer_name: str = "ca.test"
    caa_identities: list[str] | None = None
    caa: bool = True
    resolver: str | None = None
    resolve_all_to: str | None = None
    zone: dict[str, dict[str, Any]] | None = None
    http_port: int = 80
    http_timeout: float = 5.0
    terms_of_service: bool = True
    external_account_required: bool = False
    eab_keys: dict[str, str] = field(default_factory=dict)
    reuse_authorizations: bool = False
    retry_after: int = 1
    lifetime_days: float = 90.0
    renew_after_days: float | None = None
    overrides: dict[str, str | None] = field(default_factory=dict)
    account_location_origin: str | None = None
    stall_limit: float = 120.0

    def __post_init__(self) -> None:
        """Refuse settings with which the CA could not do its work."""
        if self.resolver is None and self.resolve_all_to is None:
            raise ValueError("resolver or resolve_all_to expected, got neither")
        if self.caa and self.resolver is None and self.zone is None:
            raise ValueError("resolver or zone expected while caa is on, got neither")
        if self.resolver is not None and not self.resolver.rpartition(":")[2].isdigit():
            raise ValueError(f"resolver host:port expected, got {self.resolver}")
        if self.zone is not None:
            check_zone(self.zone)
        for kid in self.eab_keys:
            self.eab_key(kid)

    def eab_key(self, kid: str) -> bytes | None:
        """The HMAC key of an external account, or None if there is no such account."""
        if kid not in self.eab_keys:
            return None
        try:
            return b64url_decode(self.eab_keys[kid], "eab key")
        except Problem as e:
            raise ValueError(f"base64url key expected for {kid}") from e

    def change(self, changes: dict[str, Any]) -> Config:
        """The same settings with some values changed, as the control port does it.

        Raises:
            ValueError: A key is not known or cannot change, or its value is not acceptable.
        """
        wrong = set(changes) - ({f.name for f in fields(self)} - FIXED)
        if wrong:
            raise ValueError(f"changeable settings expected, got {sorted(wrong)}")
        return replace(self, **changes)


def load(path: Path) -> Config:
    """Read a JSON file.

    Raises:
        ValueError: It is not JSON, or has unknown keys or unacceptable values.
    """
    values = json.loads(path.read_text())
    unknown = set(values) - {f.name for f in fields(Config)}
    if unknown:
        raise ValueError(f"known settings expected, got {sorted(unknown)}")
    return Config(**values)
