# SPDX-License-Identifier: Apache-2.0
"""What an account keeps: the sealed state that its key speaks for, and the ledger in it."""

from __future__ import annotations

import json
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.account.ca import origin
from certbot_enclave.account.key import EnclaveJWK
from certbot_enclave.runtime import Runtime, spki
from certbot_enclave.thrift.book import Book


def seal(runtime: Runtime, key: EnclaveJWK) -> None:
    """Seal the state, with the accounts that are in it, and this key to speak for it.

    Raises:
        AccountError: As `registered_uris`.
        SealError, EnclaveError, TransportError: As `State.save`.
    """
    accounts = registered_uris(runtime.directories.config)
    names = _names(runtime.own_server or key.key.directory, accounts)
    runtime.state.save(accounts, spki(key.key.public), names=names)


def _names(directory: str, accounts: tuple[str, ...]) -> dict[str, str]:
    """Return whose a bundle is: the enclave's own directory, and its account there.

    The account has no name before it is registered. A CA's account URIs have the origin of its
    directory, which `CA` holds.
    """
    own = [uri for uri in accounts if uri.startswith(f"{origin(directory)}/")]
    return {"directory": directory, **({"account": own[0]} if len(own) == 1 else {})}


def book(runtime: Runtime, key: EnclaveJWK) -> Book:
    """Return the ledger, which is sealed with this key to speak for it; `restore` comes first.

    Raises:
        SealError: The state was not restored in this boot (``state-unrestored``).
    """
    return Book(
        runtime.directories.config,
        holder=runtime.state.holder,
        budget=runtime.settings.text("budget"),
        now=runtime.now,
        seal=lambda: seal(runtime, key),
    )


def registered_uris(config_dir: Path) -> tuple[str, ...]:
    """Return the URIs of all accounts below certbot's config directory, at any CA, sorted.

    Raises:
        AccountError: A file of an account cannot be read (``account-unreadable``).
    """
    uris = set()
    for path in config_dir.glob("accounts/**/regr.json"):
        try:
            uris.add(str(json.loads(path.read_bytes())["uri"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.AccountError(
                f"account file {path} cannot be read: {error}", code="account-unreadable"
            ) from error
    return tuple(sorted(uris))
