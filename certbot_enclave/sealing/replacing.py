# SPDX-License-Identifier: Apache-2.0
"""A tree that is in use, replaced by what a newer bundle holds.

Whoever calls holds certbot's lock, so only a crash shows what happens in between. certbot knows a
lineage by its renewal file: that of a lineage that changes goes first and comes back last, so at
any instant certbot sees a lineage as it was, as it is to be, or not at all. In between, files of
the new generation are written before the links in ``live/`` lead to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.sealing import carried, tree
from certbot_enclave.sealing.tree import Entry, Folder


def _changed(present: Iterable[Entry], wanted: Iterable[Entry]) -> set[str]:
    """Return the lineages of which anything differs."""
    names = (carried.lineage_of(entry.path) for entry in {*present} ^ {*wanted})
    return {name for name in names if name is not None}


def _clear(folder: Path, wanted: set[Path]) -> None:
    """Remove the files and links of a directory that are not wanted, and itself if it is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path not in wanted and (path.is_symlink() or path.is_file()):
            path.unlink()
    if folder not in wanted and not any(folder.iterdir()):
        folder.rmdir()


def replace(config_dir: Path, present: tuple[Entry, ...], wanted: tuple[Entry, ...]) -> None:
    """Make the tree hold what is wanted, and of what a bundle carries nothing else.

    Args:
        config_dir: certbot's config directory, locked.
        present: What `tree.collect` finds there.
        wanted: What is to be there, in the order in which it is to be written.

    Raises:
        SealError: A symbolic link stands where a file or directory should (``bundle-link``).
        TransportError: Something cannot be written (``state-unwritable``).
    """
    changed = _changed(present, wanted)
    missing = [entry for entry in wanted if entry not in {*present}]
    paths = {config_dir / entry.path for entry in wanted}
    try:
        for name in sorted(changed):
            (config_dir / "renewal" / f"{name}.conf").unlink(missing_ok=True)
        tree.restore(config_dir, [entry for entry in missing if not _known_by(entry)])
        for name in sorted(changed):
            # Generations that no link leads to count for certbot too: it renews the latest.
            for folder in ("live", "archive"):
                _clear(config_dir / folder / name, paths)
        for entry in reversed(present):
            path = config_dir / entry.path
            if path not in paths and carried.lineage_of(entry.path) is None:
                if not isinstance(entry, Folder):
                    path.unlink(missing_ok=True)
                elif path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
    except OSError as error:
        raise errors.TransportError(
            f"cannot write below {config_dir}: {error.strerror}", code="state-unwritable"
        ) from error
    conf = [e for e in wanted if _known_by(e) and carried.lineage_of(e.path) in changed]
    tree.restore(config_dir, conf)


def _known_by(entry: Entry) -> bool:
    return not isinstance(entry, Folder) and entry.path.startswith("renewal/")
