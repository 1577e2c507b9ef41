# SPDX-License-Identifier: Apache-2.0
"""Directories that hold keys must be in RAM (docs/operator.md)."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from certbot_enclave import errors

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


def _filesystem_type(path: Path) -> int:
    # struct statfs starts with f_type, a long; 512 bytes are more than any ABI's struct.
    buffer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise _unreadable(path, OSError(number, os.strerror(number)))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def _mount_point(path: Path) -> Path:
    while not path.is_mount():
        path = path.parent
    return path


def require(paths: Iterable[Path]) -> None:
    """Check that all paths, or the nearest directories above them that exist, are in RAM.

    Args:
        paths: Absolute paths.

    Raises:
        PolicyError: One is not (``directory-on-disk``); the mount is named.
        TransportError: One cannot be looked at.
    """
    for path in paths:
        try:
            existing = _existing(Path(os.path.realpath(path)))
        except OSError as error:  # such as a name that is too long
            raise _unreadable(path, error) from error
        kind = _filesystem_type(existing)
        if kind not in _RAM:
            raise errors.PolicyError(
                f"{path} is on {_mount_point(existing)}, file system type {kind:#x}, "
                "expected tmpfs or ramfs",
                code="directory-on-disk",
                hint="keys must never reach a disk: use a directory on tmpfs, such as /run",
            )


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
