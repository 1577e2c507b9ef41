# SPDX-License-Identifier: Apache-2.0
"""The accounts in a configuration directory of certbot: ``accounts/SERVER/ID/regr.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, NoReturn

from certbot_enclave import errors

MAX_FILE = 64 * 1024  # bytes
MAX_FOLDERS = 10_000


class Stored(NamedTuple):
    """One account.

    Attributes:
        server: URL of the directory, from the folder's name.
        uri: Account URL.
    """

    server: str
    uri: str


def _unreadable(error: OSError) -> NoReturn:
    raise errors.TransportError(
        f"cannot read {error.filename}: {error.strerror}", code="file-unreadable"
    ) from error


def _uri(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        _unreadable(error)
    try:
        if len(data) > MAX_FILE:
            raise ValueError("too long")
        uri = json.loads(data)["uri"]
        if not isinstance(uri, str) or not f"{path}{uri}".isprintable():
            raise TypeError("uri is no printable text")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise errors.FormatError(
            f"{str(path)!r} is no account of certbot: expected JSON with a uri",
            code="account-file",
            hint="name the account with --account-uri",
        ) from error
    return uri


def find(config: str) -> tuple[Stored, ...]:
    """Read every account, sorted.

    Args:
        config: certbot's configuration directory, e.g. ``/etc/letsencrypt``.

    Raises:
        TransportError: It cannot be read (``file-unreadable``).
        FormatError: An account in it is damaged (``account-file``), or it is no such directory
            but a large tree (``accounts-too-many``).
    """
    top = Path(config, "accounts")
    found = set()
    # Links are not followed: certbot links the account folders of old directories to newer ones.
    for number, (folder, _folders, files) in enumerate(os.walk(top, onerror=_unreadable)):
        if number >= MAX_FOLDERS:
            raise errors.FormatError(
                f"{top} has more than {MAX_FOLDERS} folders", code="accounts-too-many"
            )
        if "regr.json" in files:
            path = Path(folder, "regr.json")
            server = path.parent.parent.relative_to(top)
            found.add(Stored(f"https://{server.as_posix()}", _uri(path)))
    return tuple(sorted(found))
