# SPDX-License-Identifier: Apache-2.0
"""The store ``file:PATH``: one file that the host keeps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.interfaces import IStateStore
from certbot_enclave.sealing.envelope import MAX_ENVELOPE

# An envelope and the attestation document beside it (16 KiB at most), with room for the frame.
MAX_FILE = MAX_ENVELOPE + 64 * 1024


def _unreachable(path: Path, error: OSError) -> errors.TransportError:
    return errors.TransportError(
        f"store {path} cannot be used: {error.strerror}",
        code="store-unreachable",
        hint="is the directory mounted, and may this user write to it?",
    )


@implementer(IStateStore)
class FileStore:
    """Keeps the bundle in one file.

    Args:
        argument: Absolute path of the file; its directory must exist.

    Raises:
        PolicyError: The path is not absolute (``store-path``).
    """

    def __init__(self, argument: str) -> None:
        self._path = Path(argument)
        if not self._path.is_absolute():
            raise errors.PolicyError(
                f"expected file: and an absolute path, got file:{argument}", code="store-path"
            )

    def _target(self) -> Path:
        # Where a symbolic link leads is the store: reads and writes must agree about that.
        return Path(os.path.realpath(self._path))

    def read(self) -> bytes | None:
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
        return data

    def write(self, data: bytes) -> None:
        """See `IStateStore.write`."""
        temporary, target = None, self._target()
        try:
            with tempfile.NamedTemporaryFile(
                dir=target.parent, prefix=f".{target.name}.", delete=False
            ) as file:
                temporary = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            # The new name too must outlive a power failure: the CA is told of a key right after.
            directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            raise _unreachable(self._path, error) from error
