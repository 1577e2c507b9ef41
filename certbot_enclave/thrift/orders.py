# SPDX-License-Identifier: Apache-2.0
"""The orders of one run: one entry for each, and what became of it."""

from __future__ import annotations

from collections.abc import Callable

from certbot_enclave.thrift import ledger
from certbot_enclave.thrift.book import Book
from certbot_enclave.thrift.ledger import Entry

SIGNATURES = 2  # acme asks once more if the CA refused the nonce (RFC 8555 §6.5)


class Orders:
    """Stands between the gate and the ledger, in one run of certbot at one CA.

    Args:
        book: The ledger.
        directory: URL of the ACME directory.
        account: URI of the account.
        held: Returns what stands for each certificate for exactly these names that is here now.
    """

    def __init__(
        self,
        book: Book,
        *,
        directory: str,
        account: str,
        held: Callable[[frozenset[str]], frozenset[int]],
    ) -> None:
        self._book = book
        self._directory = directory
        self._account = account
        self._held = held
        self._entry: Entry | None = None
        self._names: frozenset[str] = frozenset()
        self._before: frozenset[int] = frozenset()
        self._signed = 0
        self._validated = self._finalized = False

    def reserve(self, names: frozenset[str]) -> None:
        """Return when one order for exactly these names is in the ledger, and in the store.

        Raises:
            ThriftError, SealError, EnclaveError, TransportError: As `Book.reserve`.
        """
        again = self._names == names and not (self._validated or self._finalized)
        if self._entry is not None and again and self._signed < SIGNATURES:
            self._signed += 1
            return
        self.conclude()
        before = self._held(names)
        self._entry = self._book.reserve(
            ledger.ORDER, self._directory, account=self._account, names=names
        )
        self._names, self._before, self._signed = names, before, 1
        self._validated = self._finalized = False

    def validating(self) -> None:
        """Note that the CA is about to be asked to validate."""
        self._validated = True

    def finalizing(self) -> None:
        """Note that the CA is about to be asked to issue."""
        self._finalized = True

    def conclude(self) -> None:
        """Write down what became of the order, if there is one without an outcome.

        Raises:
            ThriftError: The ledger cannot be read.
            TransportError: It cannot be written.
        """
        entry, self._entry = self._entry, None
        if entry is None:
            return
        if self._held(self._names) - self._before:
            outcome = ledger.ISSUED
        elif self._finalized:
            outcome = ledger.LOST
        else:
            outcome = ledger.FAILED if self._validated else ledger.VOID
        self._book.conclude(entry, outcome)
