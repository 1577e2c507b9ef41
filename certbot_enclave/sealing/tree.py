# SPDX-License-Identifier: Apache-2.0
"""The files of certbot's config directory that a bundle carries."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from certbot_enclave import errors

# What is carried, relative to the config directory.
CARRIED = ("accounts", "enclave/settings.json", "enclave/pending.json")
MAX_FILES = 4096
MAX_FILE = 1024 * 1024  # bytes
_MODES = {0o400, 0o600, 0o644}


@dataclass(frozen=True)
class File:
    """One file.

    Attributes:
        path: Relative, with ``/``; no empty, ``.`` or ``..`` part.
        mode: Permission bits, one of 0400, 0600, 0644.
        data: Its content.
    """

    path: str
    mode: int
    data: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the file as a JSON object."""
        return {
            "path": self.path,
            "mode": self.mode,
            "data": base64.b64encode(self.data).decode(),
        }


def from_json(item: Any) -> File:
    """Read what `File.to_json` wrote.

    Raises:
        FormatError: It is not that, or its path or mode is not allowed (``bundle-file``).
    """
    try:
        if not isinstance(item, Mapping) or item.keys() != {"path", "mode", "data"}:
            raise ValueError("members are not path, mode and data")
        path, mode = item["path"], item["mode"]
        if not isinstance(path, str) or type(mode) is not int:
            raise ValueError("path or mode has the wrong type")
        parts = path.split("/")
        if not all(parts) or {".", ".."} & set(parts) or not path.isprintable():
            raise ValueError(f"path {path!r} is not allowed")
        if not any(path == root or path.startswith(root + "/") for root in CARRIED):
            raise ValueError(f"path {path!r} does not belong into a bundle")
        if mode not in _MODES:
            raise ValueError(f"mode {mode:#o} is not allowed")
        data = base64.b64decode(item["data"], validate=True)
    except (ValueError, TypeError, binascii.Error) as error:
        raise errors.FormatError(f"bundled file: {error}", code="bundle-file") from error
    return File(path, mode, data)


def _refuse_links(config_dir: Path, relative: str) -> None:
    """Refuse a symbolic link in the place of a directory or file that a bundle carries."""
    path = config_dir
    for part in relative.split("/"):
        path /= part
        if path.is_symlink():
            raise errors.SealError(
                f"{path} is a symbolic link, expected a file or directory of the enclave's own",
                code="bundle-link",
                hint="somebody planted it; start with an empty config directory",
            )


def _paths(config_dir: Path) -> Iterable[Path]:
    for root in CARRIED:
        _refuse_links(config_dir, root)
        top = config_dir / root
        yield from sorted(
            path for path in top.rglob("*") if path.is_file() and not path.is_symlink()
        )
        if top.is_file():
            yield top


def collect(config_dir: Path) -> tuple[File, ...]:
    """Read the files to carry.

    Args:
        config_dir: certbot's config directory.

    Raises:
        SealError: There are too many, one is too large (``bundle-too-large``), or a symbolic link
            stands in their place (``bundle-link``).
    """
    files: list[File] = []
    for path in _paths(config_dir):
        status = path.stat()
        if status.st_size > MAX_FILE or len(files) == MAX_FILES:
            raise errors.SealError(
                f"{path} does not fit into a bundle of {MAX_FILES} files of {MAX_FILE} bytes",
                code="bundle-too-large",
            )
        mode = status.st_mode & 0o777
        # certbot may make its public files a little more or less readable; keys are 0400.
        files.append(
            File(
                PurePosixPath(path.relative_to(config_dir)).as_posix(),
                mode if mode in _MODES else 0o600,
                path.read_bytes(),
            )
        )
    return tuple(files)


def restore(config_dir: Path, files: Iterable[File]) -> None:
    """Write the files of a bundle that was authenticated.

    Args:
        config_dir: certbot's config directory; made with mode 0755 if missing, as certbot does.
        files: Each replaces what is there.

    Raises:
        SealError: A symbolic link stands where a directory should (``bundle-link``).
    """
    config_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file in files:
        path = config_dir / file.path
        _refuse_links(config_dir, file.path)
        for parent in reversed(path.relative_to(config_dir).parents[:-1]):
            (config_dir / parent).mkdir(mode=0o700, exist_ok=True)
        write(path, file.data, file.mode)


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace one file atomically.

    Args:
        path: Its directory exists.
        data: The new content.
        mode: Permission bits, from the first moment on.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    os.replace(temporary, path)
