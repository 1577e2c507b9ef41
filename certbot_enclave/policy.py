# SPDX-License-Identifier: Apache-2.0
"""Policies: what a verifier demands of measurements, freshness, CA, sealing and settings.

A policy is what people already have: the JSON that ``nitro-cli build-enclave`` prints is one as it
is. Ours is TOML (docs/policy.md): several named measurement sets, and by name every value that
weakens the claim.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from certbot_enclave import errors, fields
from certbot_enclave.attestation import measurements

MAX_POLICY = 256 * 1024  # bytes
DAY = 24 * 3600

Value = str | bool | tuple[str, ...]


class Authority(NamedTuple):
    """A CA that statements may name: its directory, its account URIs, its CAA issuer names."""

    directory: str
    account_prefix: str
    identities: frozenset[str]
    staging: bool = False


# Source: Let's Encrypt, "Certificate Authority Authorization" and "ACME Protocol" documentation,
# and both directories' meta.caaIdentities, 2026-11-23.
PUBLIC_AUTHORITIES = (
    Authority(
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://acme-v02.api.letsencrypt.org/acme/acct/",
        frozenset({"letsencrypt.org"}),
    ),
    Authority(
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        "https://acme-staging-v02.api.letsencrypt.org/acme/acct/",
        frozenset({"letsencrypt.org"}),
        staging=True,
    ),
)


class Policy(NamedTuple):
    """What a verifier demands.

    Attributes:
        sets: Name -> PCR index -> digest; one set must match. Never empty, each with PCR0-2.
        max_age: Greatest age in seconds of evidence without a nonce.
        authorities: CAs beyond the public ones.
        staging: Accept staging directories.
        conditions: Conditions accepted by name.
        sealing: Accepted ``scheme`` or ``scheme:key``; empty accepts any real scheme.
        settings: Name -> accepted value that is not the default.
    """

    sets: Mapping[str, Mapping[int, bytes]]
    max_age: int = DAY
    authorities: tuple[Authority, ...] = ()
    staging: bool = False
    conditions: frozenset[str] = frozenset()
    sealing: frozenset[str] = frozenset()
    settings: Mapping[str, Value] = MappingProxyType({})


def _invalid(source: str, message: str) -> errors.PolicyError:
    return errors.PolicyError(f"{source}: {message}", code="policy-invalid")


def _texts(value: Any, source: str, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(source, f"{name} is no list of texts")
    return tuple(value)


def _authority(directory: str, item: Any, source: str) -> Authority:
    if not isinstance(item, Mapping) or item.keys() != {"account_prefix", "issuers"}:
        raise _invalid(source, f"directories.{directory!r} needs account_prefix and issuers")
    prefix = item["account_prefix"]
    origin = "/".join(directory.split("/")[:3])
    if not directory.startswith("https://") or not str(prefix).startswith(origin + "/"):
        raise _invalid(source, f"{directory} and its account_prefix need one https origin")
    return Authority(
        directory, prefix, frozenset(_texts(item["issuers"], source, f"issuers of {directory}"))
    )


def _setting(name: str, value: Any, source: str) -> Value:
    if isinstance(value, list):
        return _texts(value, source, f"accept.settings.{name}")
    if not isinstance(value, (str, bool)):
        raise _invalid(source, f"accept.settings.{name} is no text, switch or list")
    return value


def _toml(table: Mapping[str, Any], source: str) -> Policy:
    known = {"measurements", "max_age", "staging", "accept", "directories"}
    unknown = sorted(table.keys() - known)
    if unknown:
        raise _invalid(source, f"unknown member {unknown[0]!r}; known: {', '.join(sorted(known))}")
    sets, accept = table.get("measurements"), table.get("accept", {})
    if not isinstance(sets, Mapping) or not sets:
        raise errors.PolicyError(
            f"{source} names no measurements",
            code="measurements-missing",
            hint="add [measurements.NAME] with PCR0, PCR1 and PCR2",
        )
    max_age, staging = table.get("max_age", DAY), table.get("staging", False)
    if type(max_age) is not int or not 1 <= max_age <= 366 * DAY:
        raise _invalid(source, "max_age is not a number of seconds from 1 to 366 days")
    if not isinstance(staging, bool):
        raise _invalid(source, "staging is not true or false")
    if not isinstance(accept, Mapping) or not accept.keys() <= {
        "conditions",
        "sealing",
        "settings",
    }:
        raise _invalid(source, "accept has other members than conditions, sealing and settings")
    settings, directories = accept.get("settings", {}), table.get("directories", {})
    if not isinstance(settings, Mapping) or not isinstance(directories, Mapping):
        raise _invalid(source, "accept.settings or directories is no table")
    return Policy(
        sets=MappingProxyType(
            {
                name: MappingProxyType(
                    measurements.read_table(item, f"{source}: measurements.{name}")
                )
                for name, item in sets.items()
            }
        ),
        max_age=max_age,
        staging=staging,
        authorities=tuple(_authority(url, item, source) for url, item in directories.items()),
        conditions=frozenset(_texts(accept.get("conditions", []), source, "accept.conditions")),
        sealing=frozenset(_texts(accept.get("sealing", []), source, "accept.sealing")),
        settings=MappingProxyType(
            {name: _setting(name, value, source) for name, value in settings.items()}
        ),
    )


def parse(data: bytes, source: str) -> Policy:
    """Read a policy.

    Args:
        data: nitro-cli's JSON or our TOML, at most `MAX_POLICY` bytes.
        source: Its name, for errors.

    Raises:
        PolicyError: Neither (``policy-format``), something in it is wrong (``policy-invalid``), or
            its measurements are not enough (``measurements-…``).
    """
    if len(data) > MAX_POLICY:
        raise errors.PolicyError(
            f"{source} has {len(data)} bytes, at most {MAX_POLICY} are allowed",
            code="policy-format",
        )
    try:
        text = data.decode("utf-8")
        if not text.lstrip().startswith("{"):
            import tomllib

            return _toml(tomllib.loads(text), source)
        table = json.loads(text, object_pairs_hook=fields.unique)
    except errors.Error:
        raise
    except (ValueError, RecursionError) as error:
        raise errors.PolicyError(
            f"{source} is neither nitro-cli's JSON nor our TOML: {error}",
            code="policy-format",
            hint="see docs/policy.md",
        ) from error
    found = measurements.read_table(table.get("Measurements"), source)
    return Policy(sets=MappingProxyType({source: MappingProxyType(found)}))
