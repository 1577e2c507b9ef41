# SPDX-License-Identifier: Apache-2.0
"""Random bytes of the hardware, mixed into the kernel's own.

A write to ``/dev/urandom`` is mixed into the kernel's pool and credited with nothing: it can only
add. What the pool gives out depends on it from the next reseed on, which is up to a minute away
(random(4); Linux ``drivers/char/random.c``), so a reseed is asked for at once. getrandom(2) gives
other bytes from then on, and OpenSSL, which seeds itself from there at its first use, too: mix
before the first key is made.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

from certbot_enclave import errors

RESEED = 0x5207  # RNDRESEEDCRNG = _IO('R', 7), uapi linux/random.h


def mix(
    data: bytes,
    *,
    path: str = "/dev/urandom",
    ioctl: Callable[[int, int], object] = fcntl.ioctl,
) -> None:
    """Make all random numbers from now on depend on `data` too.

    Args:
        data: Fresh random bytes of another source; at least one.
        path: The kernel's random number generator.
        ioctl: The system call.

    Raises:
        EnclaveError: It cannot be written, or there is nothing to write (``entropy``); or the
            kernel does not reseed (``entropy-reseed``): that needs CAP_SYS_ADMIN, and without it
            nobody could say when the bytes begin to count.
    """
    if not data:
        raise errors.EnclaveError("there are no random bytes to mix in", code="entropy")
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            _reseed(file, path, ioctl)
        finally:
            os.close(file)
    except OSError as error:
        raise errors.EnclaveError(
            f"cannot mix random bytes into {path}: {error.strerror}",
            code="entropy",
            hint="the enclave needs the kernel's own /dev (devtmpfs)",
        ) from error


def _reseed(file: int, path: str, ioctl: Callable[[int, int], object]) -> None:
    try:
        ioctl(file, RESEED)
    except OSError as error:
        # The kernel has no seed yet: it gives out nothing before it has, and ours is in it then.
        if error.errno == errno.ENODATA:
            return
        raise errors.EnclaveError(
            f"the kernel does not reseed from {path}: {error.strerror}",
            code="entropy-reseed",
            hint="run as root of the enclave (CAP_SYS_ADMIN), with the kernel's own /dev",
        ) from error
