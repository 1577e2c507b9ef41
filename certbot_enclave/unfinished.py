# SPDX-License-Identifier: Apache-2.0
"""What certbot left of a lineage that it was killed while it made it.

certbot takes a name for a new lineage with an empty renewal file, and fills that file last
(`certbot._internal.storage.RenewableCert.new_lineage`). If it is killed in between, every later
``certbot renew`` fails on the empty file until the enclave restarts, and the next certificate gets
another name (``NAME-0001``). No command ever said that such a lineage is there, and no bundle
carries it.
"""

from __future__ import annotations

from pathlib import Path

from certbot_enclave import errors


def any_in(config_dir: Path) -> bool:
    """Return whether there is anything to clear, unless certbot is making it now."""
    return bool(_unfinished(config_dir))


def _unfinished(config_dir: Path) -> list[Path]:
    """Return the renewal files that were never filled."""
    return [
        conf
        for conf in sorted((config_dir / "renewal").glob("*.conf"))
        if not conf.is_symlink() and conf.is_file() and conf.stat().st_size == 0
    ]


def clear(config_dir: Path) -> None:
    """Remove lineages that were never finished.

    Args:
        config_dir: certbot's config directory, locked.

    Raises:
        TransportError: Something cannot be removed (``state-unwritable``).
    """
    try:
        for conf in _unfinished(config_dir):
            for folder in ("live", "archive"):
                _clear(config_dir / folder / conf.stem)
            conf.unlink()  # last: whoever is killed before does it again
    except OSError as error:
        raise errors.TransportError(
            f"cannot clear {config_dir}: {error.strerror}", code="state-unwritable"
        ) from error


def _clear(folder: Path) -> None:
    """Remove the files and links of a lineage, and its directory if nothing else is in it."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
