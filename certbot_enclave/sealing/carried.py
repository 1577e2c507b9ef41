# SPDX-License-Identifier: Apache-2.0
"""Which paths of certbot's config directory a bundle may carry, and with which permissions.

Of each lineage only the current generation: the four files that its links in ``live/`` lead to.
Never carried: ``renewal-hooks`` (whoever writes there runs code), ``csr``, ``keys``, logs, locks.
"""

from __future__ import annotations

import re
from string import ascii_lowercase

# Names of our own files below ``enclave/`` that outlive a restart.
OWN = ("ledger.json", "looks.json", "pending.json", "rehearsed.json", "settings.json")
KINDS = ("cert", "chain", "fullchain", "privkey")

_KIND = f"(?:{'|'.join(KINDS)})"
_FILE = re.compile(
    rf"accounts/.+|enclave/(?:{'|'.join(map(re.escape, OWN))})|live/README|live/[^/]+/README"
    rf"|archive/[^/]+/{_KIND}[1-9][0-9]{{0,5}}\.pem|renewal/[^/]+\.conf"
)
_LINK = re.compile(rf"live/(?P<lineage>[^/]+)/(?P<kind>{_KIND})\.pem")
_TARGET = re.compile(
    rf"\.\./\.\./archive/(?P<lineage>[^/]+)/(?P<kind>{_KIND})[1-9][0-9]{{0,5}}\.pem"
)
_FOLDER = re.compile(r"accounts(?:/.+)?|enclave|(?:live|archive)(?:/[^/]+)?|renewal")


def _plain(path: str) -> bool:
    """Return whether a path is relative, has no part that leads elsewhere, and can be shown."""
    parts = path.split("/")
    return all(parts) and not {".", ".."} & set(parts) and path.isprintable()


def is_file(path: str) -> bool:
    """Return whether a bundle may hold a file there."""
    return _plain(path) and _FILE.fullmatch(path) is not None


def is_folder(path: str) -> bool:
    """Return whether a bundle may hold a directory there."""
    return _plain(path) and _FOLDER.fullmatch(path) is not None


def target_of(path: str, target: str, top: str = "") -> str | None:
    """Return the path, relative to the config directory, that a link leads to.

    Args:
        path: Of the link.
        target: What it says.
        top: certbot's config directory, absolute, if the link may also say its whole path: those
            do that certbot has turned back after it was killed.

    Returns:
        None if it is no link of certbot's, from ``live/NAME/KIND.pem`` to
        ``../../archive/NAME/KINDn.pem``.
    """
    if top and target.startswith(f"{top}/"):
        target = f"../../{target.removeprefix(f'{top}/')}"
    link, leads = _LINK.fullmatch(path), _TARGET.fullmatch(target)
    if not (_plain(path) and link and leads and link.groupdict() == leads.groupdict()):
        return None
    return target.removeprefix("../../")


def generation_of(target: str) -> int:
    """Return which of a lineage's generations a link of certbot's leads to, from 1."""
    return int(target.removesuffix(".pem").rpartition("/")[2].lstrip(ascii_lowercase))


def lineage_of(path: str) -> str | None:
    """Return the lineage that a path belongs to, or None if it belongs to none."""
    match path.split("/"):
        case ["archive" | "live", lineage, *_] if path != "live/README":
            return lineage
        case ["renewal", name]:
            return name.removesuffix(".conf")
    return None


def file_mode(mode: int) -> int:
    """Return the permission bits to carry for a file: none but readers beside the owner.

    certbot may make its public files, and by the operator's wish its keys, readable for a group;
    whatever goes beyond that becomes 0600.
    """
    return mode if mode & ~0o644 == 0 and mode & 0o400 else 0o600


def folder_mode(mode: int) -> int:
    """Return the permission bits to carry for a directory: nobody but the owner writes there."""
    return mode if mode & ~0o755 == 0 and mode & 0o700 == 0o700 else 0o700
