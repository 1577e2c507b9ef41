# SPDX-License-Identifier: Apache-2.0
"""The ledger of this enclave: a file in RAM that is in the store before a CA is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.sealing import tree
from certbot_enclave.thrift import budgets, ledger
from certbot_enclave.thrift.ledger import Entry


def recall(config_dir: Path) -> tuple[Entry, ...]:
    """Return what was asked so far; nothing if there is no ledger yet.

    Raises:
        ThriftError: It cannot be read (``ledger-damaged``). It came from an authenticated bundle,
            or was written in this boot: what it would have forbidden nobody knows.
    """
    path = config_dir / ledger.PATH
    try:
        with path.open("rb") as file:
            return ledger.parse(file.read(ledger.MAX_FILE + 1))
    except FileNotFoundError:
        return ()
    except (OSError, errors.FormatError) as error:
        raise errors.ThriftError(
            f"{path} cannot be read: {error}",
            code="ledger-damaged",
            hint="no budget is known; delete it only if you know that the CA was asked little",
        ) from error


def in_progress(config_dir: Path, holder: str, now: datetime) -> datetime | None:
    """Return until when another enclave may be ordering, or None if none is.

    Args:
        config_dir: certbot's config directory, brought up to date from the store a moment ago.
        holder: This boot (`certbot_enclave.sealing.state.Mark.holder`).
        now: Aware.

    Raises:
        ThriftError: As `recall`.
    """
    return ledger.in_progress(recall(config_dir), holder, now)


class Book:
    """Makes entries, and gives them their outcome.

    Args:
        config_dir: certbot's config directory.
        holder: This boot.
        budget: The setting.
        now: Returns the time, aware, in whole seconds; the hardware agrees with it.
        seal: Seals the state; raises if it is not in the store afterwards.
    """

    def __init__(
        self,
        config_dir: Path,
        *,
        holder: str,
        budget: str,
        now: Callable[[], datetime],
        seal: Callable[[], None],
    ) -> None:
        self._config_dir = config_dir
        self._holder = holder
        self._budget = budget
        self._now = now
        self._seal = seal

    def reserve(
        self, kind: str, directory: str, *, account: str = "", names: Iterable[str] = ()
    ) -> Entry:
        """Make an entry, and return when it is in the store.

        Raises:
            ThriftError: It is one too many, or another enclave is ordering.
            SealError, EnclaveError, TransportError: It could not be stored; then nothing may be
                asked, and the ledger is as it was.
        """
        now, before = self._now(), recall(self._config_dir)
        entry = ledger.entry(
            kind, directory, account=account, names=names, holder=self._holder, now=now
        )
        after = ledger.reserve(before, entry, now, counting=self._budget != budgets.NONE)
        self._write(after)
        try:
            self._seal()
        except BaseException:
            # Nothing is asked now, so nothing was: a store that is down must not use up a budget.
            self._write(before)
            raise
        return entry

    def conclude(self, entry: Entry, outcome: str) -> None:
        """Write down an outcome; whoever seals next stores it."""
        entries = recall(self._config_dir)
        self._write(ledger.conclude(entries, entry, outcome, self._now()))

    def _write(self, entries: Iterable[Entry]) -> None:
        file = tree.File(ledger.PATH, 0o600, ledger.build(entries))
        tree.restore(self._config_dir, [file])
