# SPDX-License-Identifier: Apache-2.0
"""What becomes of a tree when a newer bundle of the same origin arrives.

If everything here was sealed, the newer bundle descends from it, and takes its place as it is. If
not, another enclave was faster: what this one did since was acknowledged to nobody, but it may have
cost an order at the CA. So a certificate that only this enclave has, or that it got later than the
one in the bundle, stays and is sealed next; all else is the bundle's. An account never moves: at no
directory may the bundle hold another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePosixPath

from cryptography import x509

from certbot_enclave import errors, looks
from certbot_enclave.sealing import carried
from certbot_enclave.sealing.tree import Entry, File, Folder, Link

_ORDER = ("accounts", "archive", "enclave", "live", "renewal")


def accounts(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the accounts: directory of the account's files -> URI.

    Raises:
        AccountError: A file of one is malformed (``account-unreadable``).
    """
    found = {}
    for entry in entries:
        if isinstance(entry, File) and entry.path.endswith("/regr.json"):
            try:
                found[entry.path.rpartition("/")[0]] = str(json.loads(entry.data)["uri"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise errors.AccountError(
                    f"account file {entry.path} cannot be read: {error}", code="account-unreadable"
                ) from error
    return found


def _refuse_other_account(ours: Mapping[str, str], theirs: Mapping[str, str], lost: bool) -> None:
    # certbot's directory of an account is named after its key, the one above after the CA.
    at = {PurePosixPath(folder).parent: uri for folder, uri in theirs.items()}
    for folder, uri in sorted(ours.items()):
        found = at.get(PurePosixPath(folder).parent)
        if found != uri and (found is not None or not lost):
            raise errors.SealError(
                f"the bundle in the store holds {f'account {found}' if found else 'no account'} "
                f"where this enclave has account {uri}",
                code="bundle-account",
                hint="it is not taken; have the store's owner put the right bundle back",
            )


def _issued(entries: Iterable[Entry]) -> dict[str, datetime]:
    """Return when the certificate of each lineage was issued."""
    kept = tuple(entries)
    files = {entry.path: entry.data for entry in kept if isinstance(entry, File)}
    found = {}
    for entry in kept:
        lineage = carried.lineage_of(entry.path)
        if lineage and isinstance(entry, Link) and entry.path.endswith("/cert.pem"):
            inside = carried.target_of(entry.path, entry.target) or ""
            try:
                certificate = x509.load_pem_x509_certificate(files[inside])
            except ValueError:
                continue  # then it is no reason to keep anything
            found[lineage] = certificate.not_valid_before_utc
    return found


def _looks(ours: Iterable[Entry], theirs: Entry) -> Entry:
    """Return what was seen of CAA: of what both remember, the later, which claims less."""
    mine = next((entry for entry in ours if entry.path == looks.PATH), None)
    if not (isinstance(mine, File) and isinstance(theirs, File)):
        return theirs
    try:
        known, seen = looks.parse(theirs.data), looks.parse(mine.data)
    except errors.FormatError:
        return theirs
    later = {
        name: item
        for name, item in seen.items()
        if name in known and item.since > known[name].since
    }
    return File(theirs.path, theirs.mode, looks.build({**known, **later})) if later else theirs


def _rank(entry: Entry) -> int:
    return _ORDER.index(entry.path.split("/")[0])


def merge(
    ours: tuple[Entry, ...], theirs: tuple[Entry, ...], *, unsealed: bool
) -> tuple[Entry, ...]:
    """Return what the tree has to hold now, in the order in which it is to be written.

    Args:
        ours: What is here.
        theirs: What the newer bundle holds.
        unsealed: True if something of ours is in no bundle yet.

    Raises:
        SealError: The bundle holds another account than ours (``bundle-account``).
        AccountError: An account here cannot be read (``account-unreadable``).
    """
    mine, others = accounts(ours), accounts(theirs)
    _refuse_other_account(mine, others, lost=unsealed)
    if not unsealed:
        return theirs
    issued, known = _issued(ours), _issued(theirs)
    kept = {name for name, since in issued.items() if name not in known or since > known[name]}
    at = {PurePosixPath(folder).parent for folder in others}
    added = {folder for folder in mine if PurePosixPath(folder).parent not in at}
    left = [entry for entry in theirs if carried.lineage_of(entry.path) not in kept]
    there = {entry.path for entry in left}
    picked = {
        entry.path
        for entry in ours
        if not isinstance(entry, Folder)
        and (
            carried.lineage_of(entry.path) in kept
            or PurePosixPath(entry.path).parent.as_posix() in added
            or (kept and entry.path == "live/README")
        )
    }
    above = {parent.as_posix() for path in picked for parent in PurePosixPath(path).parents}
    more = [entry for entry in ours if entry.path in picked | above and entry.path not in there]
    left = [_looks(ours, entry) if entry.path == looks.PATH else entry for entry in left]
    return tuple(sorted([*left, *more], key=_rank))
