# SPDX-License-Identifier: Apache-2.0
"""Directories that hold keys must be in RAM (docs/operator.md)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import tempfile
from collections.abc import Iterable
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.sealing import mounts
from certbot_enclave.sealing.mounts import Mount

# statfs(2), f_type. A Nitro enclave's root file system is an initramfs: one of these two.
_RAM = {0x01021994: "tmpfs", 0x858458F6: "ramfs"}


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _unreadable(path: Path, error: OSError) -> errors.TransportError:
    return errors.TransportError(
        f"cannot look at {path}: {error.strerror}", code="directory-unreadable"
    )


def _filesystem_type(descriptor: int, path: Path) -> int:
    # struct statfs starts with f_type, a long; 512 bytes are more than any ABI's struct.
    buffer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, buffer) != 0:
        number = ctypes.get_errno()
        raise _unreadable(path, OSError(number, os.strerror(number)))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def _require_ram(path: Path, existing: Path, table: Iterable[Mount]) -> None:
    """Check one path.

    Args:
        path: What is to be named.
        existing: What is looked at.
        table: All mounts.
    """
    # The mount that is named is the one that was looked at, whatever is mounted meanwhile.
    descriptor = os.open(existing, os.O_PATH | os.O_CLOEXEC)
    try:
        kind = _filesystem_type(descriptor, existing)
        if kind in _RAM:
            return
        number = mounts.number_of(descriptor)
    finally:
        os.close(descriptor)
    point, name = next(
        ((mount.point, mount.kind) for mount in table if mount.number == number),
        (existing, f"{kind:#x}"),  # mounted meanwhile, or outside of our root directory
    )
    raise errors.PolicyError(
        f"{path} is on {point}, file system type {name}, expected tmpfs or ramfs",
        code="directory-on-disk",
        hint="keys must never reach a disk: use a directory on tmpfs, such as /run",
    )


def require(paths: Iterable[Path], *, below: bool = True) -> None:
    """Check that all paths, or the nearest directories above them that exist, are in RAM.

    Args:
        paths: Absolute paths.
        below: Check what is mounted below them, too.

    Raises:
        PolicyError: One is not (``directory-on-disk``); the mount is named.
        TransportError: One cannot be looked at.
    """
    table = mounts.read()
    for path in paths:
        try:
            real = Path(os.path.realpath(path))
            _require_ram(path, _existing(real), table)
            for mount in table if below else ():
                # What another mount hides is not there, or is that other mount.
                if mount.point != real and mount.point.is_relative_to(real):
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        _require_ram(mount.point, mount.point, table)
        except OSError as error:  # such as a name that is too long
            raise _unreadable(path, error) from error


def temporary() -> Path:
    """Return the directory for temporary files: that of ``TMPDIR``, if it can be written.

    Raises:
        PolicyError: There is none (``directory-temporary``).
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise errors.PolicyError(
            "no directory for temporary files can be written",
            code="directory-temporary",
            hint="mount a tmpfs on /tmp, or name one in TMPDIR",
        ) from error


def require_writable(paths: Iterable[Path]) -> None:
    """Check that all paths, or the nearest directories above them, can be written.

    Raises:
        PolicyError: One cannot (``directory-unwritable``).
        TransportError: One cannot be looked at.
    """
    for path in paths:
        try:
            existing = _existing(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise errors.PolicyError(
                f"{path} cannot be written", code="directory-unwritable", hint="run as its owner"
            )


_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_core_dumps() -> None:
    """Switch core dumps of this process off (docs/operator.md).

    The limit alone is not enough: a ``core_pattern`` that pipes to a program ignores it (core(5)).

    Raises:
        EnclaveError: The kernel refused (``core-dumps``).
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        failed = ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    except (OSError, ValueError) as error:
        raise errors.EnclaveError(
            f"core dumps cannot be switched off: {error}", code="core-dumps"
        ) from error
    if failed:
        raise errors.EnclaveError("core dumps cannot be switched off", code="core-dumps")
