# SPDX-License-Identifier: Apache-2.0
"""Policies: what a verifier demands of measurements, freshness, CA, sealing and settings.

A policy is what people already have: an enclave image file, the JSON that ``nitro-cli
build-enclave`` prints, or an Oyster image id is one as it is. Ours is TOML (docs/policy.md):
several named measurement sets, and by name every value that weakens the claim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BufferedReader
from types import MappingProxyType
from typing import Any, NamedTuple

from certbot_enclave import errors, fields
from certbot_enclave.attestation import measurements

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
MAX_POLICY = 256 * 1024  # bytes
_EIF_MAGIC = b".eif"  # that of `eif`, which is imported only where there is one
_FORMS = "give an .eif file, the JSON of `nitro-cli build-enclave`, or TOML as in docs/policy.md"
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

    One of `sets` or one of `images` must match; there is one at least.

    Attributes:
        sets: Name -> PCR index -> digest, each with PCR0-2.
        max_age: Greatest age in seconds of evidence without a nonce.
        authorities: CAs beyond the public ones.
        staging: Accept staging directories.
        conditions: Conditions accepted by name.
        sealing: Accepted ``scheme:key`` or ``scheme``; empty accepts ``oysterkms:image`` alone.
        settings: Name -> accepted value that is not the default.
        images: Name -> Oyster image id, 32 bytes: PCR0-2 and PCR16 in one digest.
    """

    sets: Mapping[str, Mapping[int, bytes]]
    max_age: int = DAY
    authorities: tuple[Authority, ...] = ()
    staging: bool = False
    conditions: frozenset[str] = frozenset()
    sealing: frozenset[str] = frozenset()
    settings: Mapping[str, Value] = MappingProxyType({})
    images: Mapping[str, bytes] = MappingProxyType({})


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
        raise _invalid(source, f"{directory!r} and its account_prefix need one https origin")
    return Authority(
        directory, prefix, frozenset(_texts(item["issuers"], source, f"issuers of {directory!r}"))
    )


def _setting(name: str, value: Any, source: str) -> Value:
    if isinstance(value, list):
        return _texts(value, source, f"accept.settings.{name!r}")
    if not isinstance(value, (str, bool)):
        raise _invalid(source, f"accept.settings.{name!r} is no text, switch or list")
    return value


def _measurements(
    sets: Mapping[str, Any], source: str
) -> tuple[Mapping[str, Mapping[int, bytes]], Mapping[str, bytes]]:
    pcrs, images = {}, {}
    for name, item in sets.items():
        if _NAME.fullmatch(name) is None:
            raise _invalid(
                source, f"measurements.{name!r} has a name of other signs than A-z, 0-9, ._-"
            )
        where = f"{source}: measurements.{name}"
        if isinstance(item, Mapping) and "image_id" in item:
            if item.keys() != {"image_id"}:
                raise _invalid(source, f"measurements.{name} has image_id and something beside it")
            images[name] = measurements.read_image_id(str(item["image_id"]), where)
        else:
            pcrs[name] = MappingProxyType(measurements.read_table(item, where))
    return MappingProxyType(pcrs), MappingProxyType(images)


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
    pcrs, images = _measurements(sets, source)
    return Policy(
        sets=pcrs,
        images=images,
        max_age=max_age,
        staging=staging,
        authorities=tuple(_authority(url, item, source) for url, item in directories.items()),
        conditions=frozenset(_texts(accept.get("conditions", []), source, "accept.conditions")),
        sealing=frozenset(_texts(accept.get("sealing", []), source, "accept.sealing")),
        settings=MappingProxyType(
            {name: _setting(name, value, source) for name, value in settings.items()}
        ),
    )


def of_image_id(text: str, source: str) -> Policy:
    """Make the policy that demands one Oyster image id, and accepts nothing by name.

    Raises:
        PolicyError: It is no image id (``image-id-invalid``, ``measurements-debug``).
    """
    return Policy(sets={}, images={source: measurements.read_image_id(text, source)})


def parse(data: bytes, source: str) -> Policy:
    """Read a policy that is text.

    Args:
        data: nitro-cli's JSON or our TOML, at most `MAX_POLICY` bytes.
        source: Its name, for errors.

    Raises:
        PolicyError: Neither (``policy-format``), something in it is wrong (``policy-invalid``), or
            its measurements are not enough (``measurements-…``, ``image-id-invalid``).
    """
    if len(data) > MAX_POLICY:
        raise errors.PolicyError(
            f"{source} is too long, at most {MAX_POLICY} bytes are allowed",
            code="policy-format",
            hint=_FORMS,
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
            hint=_FORMS,
        ) from error
    found = measurements.read_table(table.get("Measurements"), source)
    return Policy(sets=MappingProxyType({source: MappingProxyType(found)}))


def load(file: BufferedReader, source: str) -> Policy:
    """Read a policy: text as in `parse`, or an enclave image file, which is measured.

    Args:
        file: From its first byte; an image may have any size, and costs little memory.
        source: Its name, for errors.

    Raises:
        PolicyError: As `parse` does; or it is an image file, and not a right one (``eif-…``).
        OSError: It cannot be read.
    """
    if not file.peek(len(_EIF_MAGIC)).startswith(_EIF_MAGIC):
        return parse(file.read(MAX_POLICY + 1), source)
    from certbot_enclave.attestation import eif

    try:
        found = eif.measure(file)
    except (errors.FormatError, errors.VerificationError) as error:
        raise errors.PolicyError(f"{source}: {error}", code=error.code, hint=error.hint) from error
    return Policy(sets=MappingProxyType({source: MappingProxyType(found)}))
