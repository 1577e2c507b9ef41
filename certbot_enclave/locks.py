# SPDX-License-Identifier: Apache-2.0
"""Who may work on certbot's files now: one command of ours that changes them, and certbot itself.

Both locks end with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.sealing import tree

WAIT = 150.0  # seconds; whoever deploys runs two commands of at most 60
_LOOK = 0.2  # seconds between tries
_OURS = "enclave/run.lock"


def _until(
    attempt: Callable[[], bool],
    wait: float,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> None:
    deadline = monotonic() + wait
    while not attempt():
        if monotonic() >= deadline:
            raise errors.TransportError(
                "certbot is at work in this config directory",
                code="certbot-running",
                hint="try again when it is done",
            )
        sleep(_LOOK)


@contextmanager
def ours(
    config_dir: Path,
    *,
    wait: float = WAIT,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Be the one command of ours that lets certbot work, or changes what certbot has.

    Args:
        config_dir: certbot's config directory; it and ``enclave`` below are made if missing.
        wait: Seconds to wait for another one.
        sleep: Waits for so many seconds.
        monotonic: Seconds that never go back.

    Raises:
        TransportError: Another one is not done in time (``certbot-running``), or the lock cannot
            be opened (``state-unwritable``).
    """
    tree.restore(config_dir, [tree.Folder("enclave", 0o700)])
    with tree.opened_lock(config_dir / _OURS) as lock:

        def attempt() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _until(attempt, wait, sleep, monotonic)
        yield


@contextmanager
def certbots(
    config_dir: Path,
    *,
    wait: float = WAIT,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Hold the lock without which no certbot touches its config directory; as `ours` otherwise."""
    from certbot import errors as certbot_errors
    from certbot._internal import lock as certbot_lock

    held: list[certbot_lock.LockFile] = []

    def attempt() -> bool:
        try:
            held.append(certbot_lock.lock_dir(os.fspath(config_dir)))
        except certbot_errors.LockError:
            return False
        except OSError as error:
            raise errors.TransportError(
                f"cannot lock {config_dir}: {error.strerror}", code="state-unwritable"
            ) from error
        return True

    _until(attempt, wait, sleep, monotonic)
    try:
        yield
    finally:
        held[0].release()
