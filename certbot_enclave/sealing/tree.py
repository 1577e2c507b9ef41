# SPDX-License-Identifier: Apache-2.0
"""The files of certbot's config directory that a bundle carries."""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certbot_enclave import errors

# What is carried, relative to the config directory.
CARRIED = ("accounts", "enclave/looks.json", "enclave/pending.json", "enclave/settings.json")
MAX_FILES = 4096
MAX_FILE = 1024 * 1024  # bytes
_MODES = {0o400, 0o600, 0o644}
_TEMPORARY = re.compile(r"\..+\.new")  # of `write`; one that was killed leaves it behind


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


def _carried(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in CARRIED)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts) or not path.isprintable():
        raise ValueError(f"path {path!r} is not allowed")
    if not _carried(path):
        raise ValueError(f"path {path!r} does not belong into a bundle")


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
        _check_path(path)
        if mode not in _MODES:
            raise ValueError(f"mode {mode:#o} is not allowed")
        data = base64.b64decode(item["data"], validate=True)
    except (ValueError, TypeError, binascii.Error) as error:
        raise errors.FormatError(f"bundled file: {error}", code="bundle-file") from error
    return File(path, mode, data)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise errors.SealError(
            f"{path} is a symbolic link, expected a file or directory of the enclave's own",
            code="bundle-link",
            hint="somebody planted it; start with an empty config directory",
        )


def _walk(config_dir: Path, above: str = "") -> Iterator[str]:
    """Yield the paths of the files to carry; a link that leads to one would hide it."""
    for name in sorted(os.listdir(config_dir / above)):
        path = above + name
        leads = any(root.startswith(path + "/") for root in CARRIED)
        if not (leads or _carried(path)) or _TEMPORARY.fullmatch(name):
            continue
        _refuse_link(config_dir / path)
        if (config_dir / path).is_dir():
            yield from _walk(config_dir, path + "/")
        elif _carried(path) and (config_dir / path).is_file():
            yield path


def _collected(config_dir: Path, path: str) -> File:
    try:
        _check_path(path)
    except ValueError as error:
        raise errors.SealError(
            f"{config_dir} holds a file that no bundle can bring back: {error}", code="bundle-path"
        ) from error
    with (config_dir / path).open("rb") as file:
        status = os.fstat(file.fileno())
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise errors.SealError(
            f"{config_dir / path} is larger than {MAX_FILE} bytes", code="bundle-too-large"
        )
    mode = stat.S_IMODE(status.st_mode)
    # certbot may make its public files a little more or less readable; keys are 0400.
    return File(path, mode if mode in _MODES else 0o600, data)


def collect(config_dir: Path) -> tuple[File, ...]:
    """Read the files to carry.

    Args:
        config_dir: certbot's config directory.

    Raises:
        SealError: There are too many, one is too large (``bundle-too-large``), a symbolic link
            stands among them (``bundle-link``), or a name could not be restored (``bundle-path``).
        TransportError: One cannot be read (``state-unreadable``).
    """
    if not config_dir.exists():
        return ()
    try:
        paths = list(_walk(config_dir))
        if len(paths) > MAX_FILES:
            raise errors.SealError(
                f"{config_dir} holds {len(paths)} files, at most {MAX_FILES} fit into a bundle",
                code="bundle-too-large",
            )
        return tuple(_collected(config_dir, path) for path in paths)
    except OSError as error:
        raise errors.TransportError(
            f"cannot read {error.filename}: {error.strerror}", code="state-unreadable"
        ) from error


def restore(config_dir: Path, files: Iterable[File]) -> None:
    """Write files of our own, or those of a bundle that was authenticated.

    Args:
        config_dir: certbot's config directory; made with mode 0755 if missing, as certbot does.
        files: Each replaces what is there.

    Raises:
        SealError: A symbolic link stands where a file or directory should (``bundle-link``).
        TransportError: One cannot be written (``state-unwritable``).
    """
    try:
        config_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        for file in files:
            path = config_dir / file.path
            parents = [config_dir / parent for parent in path.relative_to(config_dir).parents]
            for parent in reversed(parents[:-1]):
                _refuse_link(parent)
                parent.mkdir(mode=0o700, exist_ok=True)
            _refuse_link(path)
            write(path, file.data, file.mode)
    except OSError as error:
        raise errors.TransportError(
            f"cannot write below {config_dir}: {error.strerror}", code="state-unwritable"
        ) from error


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace one file atomically; of two that write at once, one wins whole.

    Args:
        path: Its directory exists.
        data: The new content.
        mode: Permission bits; nobody else can read it before it has them.

    Raises:
        OSError: It cannot be written; nothing is left.
    """
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # A hook of certbot's may write evidence while certbot does. A kill ends the lock.
        fcntl.flock(folder, fcntl.LOCK_EX)
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)
