# SPDX-License-Identifier: Apache-2.0
"""What is counted while replicas renew and are killed, and what has to come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# When a renewal was killed.
EARLY = "nothing asked"  # no order in the ledger
RESERVED = "in the ledger"  # and not at the CA
OPEN = "order open"  # at the CA, and its result not sealed: certbot has the key in memory only
SEALED = "result sealed"
MOMENTS = (EARLY, RESERVED, OPEN, SEALED)


@dataclass
class Tally:
    """Figures of one run.

    Attributes:
        renewals: Orders of which the result was sealed.
        acknowledged: Renewals whose command ended with 0.
        bystanders: Commands that ended with 0 because another enclave was renewing.
        lost: Commands that asked nothing because another one was faster at the store.
        orders: At the CA.
        moments: Killed renewals, by moment.
        targets: Kills, by what was killed.
        unexpected: What must not happen, and did.
    """

    renewals: int = 0
    acknowledged: int = 0
    bystanders: int = 0
    lost: int = 0
    orders: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How often something was killed."""
        return self.targets.total()


@dataclass(frozen=True)
class Delays:
    """How long others took to serve what one had sealed.

    Attributes:
        counted: Pairs of a certificate and a replica that followed undisturbed.
        disturbed: Pairs of which the replica's ``follow`` was killed meanwhile.
        largest: Seconds, of those counted.
    """

    counted: int
    disturbed: int
    largest: float


def delays(
    arrivals: Sequence[tuple[float, int]],
    served: Mapping[str, Sequence[tuple[float, int]]],
    disturbed: Mapping[str, Sequence[float]],
    *,
    rank: Mapping[int, int],
) -> Delays:
    """Find out how long each replica took to serve each certificate in the store, or a later one.

    Args:
        arrivals: When a certificate was in the store, and its serial number.
        served: Replica -> when it began to serve one.
        disturbed: Replica -> when its ``follow`` was killed.
        rank: Serial number -> place in the order in which the CA issued.

    Raises:
        AssertionError: One never did.
    """
    counted, waived, largest = 0, 0, 0.0
    for since, serial in arrivals:
        for name, seen in served.items():
            fitting = [at for at, other in seen if rank[other] >= rank[serial]]
            assert fitting, f"{name} never served {serial:x} or a later one"
            taken = max(since, min(fitting))
            if any(since <= at <= taken for at in disturbed.get(name, ())):
                waived += 1
            else:
                counted, largest = counted + 1, max(largest, taken - since)
    return Delays(counted, waived, largest)


def closing_line(
    tally: Tally,
    found: Delays,
    *,
    machines: int,
    accounts: int,
    every: str,
    ahead: float,
    **more: object,
) -> str:
    """Return all figures in one line."""
    moments = ", ".join(f"{tally.moments[name]} {name}" for name in MOMENTS)
    targets = ", ".join(f"{count} {name}" for name, count in sorted(tally.targets.items()))
    rest = " ".join(f"{name}={value}" for name, value in more.items())
    return (
        f"replicas: machines={machines} renewals={tally.renewals} "
        f"acknowledged={tally.acknowledged} orders={tally.orders} accounts={accounts} "
        f"kills={tally.kills} ({targets}) renewals-killed={tally.moments.total()} ({moments}) "
        f"bystanders={tally.bystanders} lost-races={tally.lost} "
        f"taken={found.counted}+{found.disturbed} largest-delay={found.largest:.1f}s "
        f"every={every} clock=+{ahead / 3600:.1f}h {rest}"
    )
