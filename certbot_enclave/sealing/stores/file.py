# SPDX-License-Identifier: Apache-2.0
"""The store ``file:PATH``: one file that the host keeps, and beside it the one before."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.interfaces import IStateStore, Stored
from certbot_enclave.sealing.envelope import MAX_ENVELOPE

# An envelope and the attestation document beside it (16 KiB at most), with room for the frame.
MAX_FILE = MAX_ENVELOPE + 64 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


def _unreachable(path: Path, error: OSError) -> errors.TransportError:
    if error.errno in _FULL:
        return errors.TransportError(
            f"store {path} is full: {error.strerror}",
            code="store-full",
            hint="make room, or raise its quota; the old bundle is still there",
        )
    return errors.TransportError(
        f"store {path} cannot be used: {error.strerror}",
        code="store-unreachable",
        hint="is the directory mounted, and may this user write to it?",
    )


@implementer(IStateStore)
class FileStore:
    """Keeps the bundle in one file; its version is the SHA-256 of what is there.

    Args:
        argument: Absolute path of the file; its directory must exist. The bundle before is kept
            beside it, as ``PATH.previous``.

    Raises:
        PolicyError: The path is not absolute (``store-path``).
    """

    def __init__(self, argument: str) -> None:
        self._path = Path(argument)
        self._known: tuple[tuple[int, ...], str] | None = None
        if not self._path.is_absolute():
            raise errors.PolicyError(
                f"expected file: and an absolute path, got file:{argument}", code="store-path"
            )

    def _target(self) -> Path:
        # Where a symbolic link leads is the store: reads and writes must agree about that.
        return Path(os.path.realpath(self._path))

    def read(self) -> Stored | None:
        """See `IStateStore.read`."""
        target = self._target()
        try:
            # A store that is not mounted must not look like a store with nothing in it.
            os.stat(target.parent)
            with target.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError as error:
            if error.filename != os.fspath(target):
                raise _unreachable(self._path, error) from error
            return None
        except OSError as error:
            raise _unreachable(self._path, error) from error
        if len(data) > MAX_FILE:
            raise errors.FormatError(
                f"{self._path} is larger than {MAX_FILE} bytes", code="bundle-size"
            )
        return Stored(data, hashlib.sha256(data).hexdigest())

    def version(self) -> str | None:
        """See `IStateStore.version`: the file is read anew only if the system says it changed."""
        target = self._target()
        try:
            found = os.stat(target)
        except OSError:
            found = None  # whether it is missing or out of reach, `read` tells
        seen = found and (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if seen and self._known and self._known[0] == seen:
            return self._known[1]
        stored = self.read()
        self._known = (seen, stored.version) if seen and stored else None
        return stored.version if stored else None

    def write(self, data: bytes, *, generation: int, replaces: str) -> str:
        """See `IStateStore.write`."""
        target = self._target()
        try:
            with _locked(target.parent) as folder:
                present = self.read()
                if (present.version if present else "") != replaces:
                    raise errors.SealError(
                        f"{self._path} holds another bundle than generation {generation - 1}, "
                        "which this one would replace",
                        code="store-conflict",
                        hint="take what another enclave wrote, with "
                        "`certbot-enclave follow --once`, and try again",
                    )
                self._replace(target, data)
                # The new name too must outlive a power failure: the CA is told of a key right
                # after.
                os.fsync(folder)
        except OSError as error:
            raise _unreachable(self._path, error) from error
        return hashlib.sha256(data).hexdigest()

    def _replace(self, target: Path, data: bytes) -> None:
        # Names of their own under the lock: what a killed write left is overwritten by the next.
        fresh, kept = (target.with_name(f".{target.name}.{end}") for end in ("new", "old"))
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            kept.unlink(missing_ok=True)
            os.link(target, kept)
            os.replace(kept, target.with_name(f"{target.name}.previous"))
        os.replace(fresh, target)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the lock of the store's directory; a kill ends it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield opened
    finally:
        os.close(opened)
