# SPDX-License-Identifier: Apache-2.0
"""Which account keys are below certbot's config directory, without asking any CA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from josepy.errors import DeserializationError
from josepy.jwk import JWK

from certbot_enclave import errors
from certbot_enclave.account.ca import origin
from certbot_enclave.account.key import EnclaveJWK


def _key(path: Path, table: Any) -> EnclaveJWK:
    key = JWK.from_json(table)
    if not isinstance(key, EnclaveJWK):
        raise errors.AccountError(
            f"the account key in {path} was not made by this enclave",
            code="account-foreign",
            hint="its key is or was readable outside; use an empty --config-dir",
        )
    return key


def keys(config_dir: Path) -> list[EnclaveJWK]:
    """Return the keys of all accounts, and that of a registration that is not finished.

    Raises:
        AccountError: One cannot be read (``account-unreadable``), or is no key of an enclave
            (``account-foreign``): it would be sealed as if it were.
    """
    found = []
    pending = config_dir / "enclave" / "pending.json"
    for path in [*sorted(config_dir.glob("accounts/**/private_key.json")), pending]:
        try:
            table = json.loads(path.read_bytes())
            found.append(_key(path, table["key"] if path == pending else table))
        except FileNotFoundError:
            continue  # there is no unfinished registration
        except (OSError, ValueError, KeyError, TypeError, DeserializationError) as error:
            raise errors.AccountError(
                f"account key {path} cannot be read: {error}", code="account-unreadable"
            ) from error
    return found


def uri_at(config_dir: Path, directory: str) -> str | None:
    """Return the URI of this enclave's account at a directory, or None if there is none.

    Args:
        config_dir: certbot's config directory.
        directory: URL of the ACME directory.

    Raises:
        AccountError: A file of an account cannot be read (``account-unreadable``), is no enclave's
            (``account-foreign``), or the URI is at another origin (``account-origin``).
    """
    for path in sorted(config_dir.glob("accounts/**/private_key.json")):
        try:
            key = _key(path, json.loads(path.read_bytes()))
            if key.key.directory != directory:
                continue
            uri = str(json.loads(path.with_name("regr.json").read_bytes())["uri"])
        except (OSError, ValueError, KeyError, TypeError, DeserializationError) as error:
            raise errors.AccountError(
                f"account {path.parent} cannot be read: {error}", code="account-unreadable"
            ) from error
        if not uri.startswith(f"{origin(directory)}/"):
            raise errors.AccountError(
                f"the account at {directory} is {uri}, which is another CA's",
                code="account-origin",
            )
        return uri
    return None


def speaking(config_dir: Path, server: str) -> EnclaveJWK:
    """Return the key that speaks for the state: that of the enclave's own account, if there is one.

    Args:
        config_dir: certbot's config directory.
        server: URL of the enclave's own ACME directory; empty if it is not known.

    Raises:
        AccountError: As `keys`.
        PolicyError: There is none (``account-missing``).
    """
    found = keys(config_dir)
    if not found:
        raise errors.PolicyError(
            "this enclave has no account yet",
            code="account-missing",
            hint="make one: certbot-enclave register",
        )
    return next((key for key in found if key.key.directory == server), found[0])
