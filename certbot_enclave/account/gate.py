# SPDX-License-Identifier: Apache-2.0
"""The gate: open for exactly the names whose CAA was found exclusive a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable

from certbot_enclave import errors
from certbot_enclave.thrift.orders import Orders

OPEN_FOR = 300.0  # seconds of monotonic time after a passing check (docs/guard.md)


class Gate:
    """Stands between the account key and every order.

    Args:
        check: Looks up and judges CAA for the names; returns if it is exclusive for all of them,
            raises `GateError` or `TransportError` if not.
        monotonic: Clock in seconds that never goes back.
        orders: Writes each order down before it is placed; None for a trial, which leaves no trace.
    """

    def __init__(
        self,
        check: Callable[[frozenset[str]], None],
        monotonic: Callable[[], float] = time.monotonic,
        orders: Orders | None = None,
    ) -> None:
        self._check = check
        self._monotonic = monotonic
        self._orders = orders
        self._names: frozenset[str] = frozenset()
        self._passed = 0.0

    def open(self, names: frozenset[str]) -> None:
        """Check, and open for these names; whatever was open before is closed first.

        Raises:
            GateError: CAA is not exclusive for one of them.
            TransportError: CAA cannot be looked up.
        """
        self._names = frozenset()
        # The time before the lookups counts, so that slow resolvers cannot stretch the window.
        started = self._monotonic()
        self._check(names)
        self._names, self._passed = names, started

    def require(self, names: frozenset[str]) -> None:
        """Return if the gate is open for exactly these names.

        Raises:
            GateError: It is closed (``gate-closed``), open for other names (``gate-names``), or
                was opened too long ago (``gate-expired``).
        """
        if not self._names:
            raise errors.GateError("the gate is closed", code="gate-closed")
        if names != self._names:
            raise errors.GateError(
                f"order is for {_list(names)}, but CAA was checked for {_list(self._names)}",
                code="gate-names",
            )
        age = self._monotonic() - self._passed
        if not 0 <= age <= OPEN_FOR:
            raise errors.GateError(
                f"CAA was checked {age:.0f} seconds ago, at most {OPEN_FOR:.0f} are allowed",
                code="gate-expired",
                hint="run the command again",
            )

    def require_reserved(self, names: frozenset[str]) -> None:
        """Return when an order for exactly these names stands in the ledger, and in the store.

        Raises:
            ThriftError, SealError, EnclaveError, TransportError: As `Orders.reserve`.
        """
        if self._orders is not None:
            self._orders.reserve(names)

    def check_again(self, names: frozenset[str]) -> None:
        """Return if the gate was opened for exactly these names, and CAA is exclusive still.

        Raises:
            GateError: As `require`, and as `open`.
            TransportError: CAA cannot be looked up.
        """
        self.require(names)
        self.open(names)
        if self._orders is not None:
            self._orders.finalizing()


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
