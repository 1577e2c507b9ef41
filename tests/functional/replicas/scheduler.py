# SPDX-License-Identifier: Apache-2.0
"""Rounds of renewals on several replicas, with kills, all drawn from one seed."""

from __future__ import annotations

import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from certbot_enclave.thrift import ledger
from certbot_enclave.thrift.ledger import Entry
from tests.functional.replicas import tally as moments
from tests.functional.replicas.tally import Tally
from tests.functional.replicas.watch import Reader, Snapshot
from tests.support.ca.launcher import TestCA
from tests.support.world.clock import Clock
from tests.support.world.machine import Machine
from tests.support.world.process import eventually

LEASE = ledger.LEASE.total_seconds()
SECONDS = 300  # until a command is done, on a machine that has much else to do
KILLED = ("run", "certbot", "run and certbot", "replica")
_BESIDE = ("follow", "replica")
# Request at which a renewal is killed, and phase.
_AT_THE_CA = (
    ("newOrder", "before"),
    ("newOrder", "after"),
    ("challenge", "after"),
    ("finalize", "before"),
    ("finalize", "after"),
    ("certificate", "after"),
)
_RENEW = ("renew", "--force-renewal")


@dataclass
class Attempt:
    """One ``certbot-enclave run -- renew --force-renewal``.

    Attributes:
        machine: Where.
        process: Of ``run``.
        holder: The boot; None if the machine had not restored anything when it was killed.
        killed: Whether it, or its certbot, was killed while it was at work.
        text: What it printed.
        begun: When, in monotonic seconds.
    """

    machine: Machine
    process: subprocess.Popen[str]
    holder: str | None = None
    killed: bool = False
    text: str = ""
    begun: float = field(default_factory=time.monotonic)


def _new(before: Snapshot, after: Snapshot) -> list[Entry]:
    """Return what was entered in between; of the same second and boot, the last ones."""

    def key(entry: Entry) -> tuple[Any, ...]:
        return entry.holder, entry.at, entry.names

    known, found = Counter(map(key, before.orders)), []
    for entry in after.orders:
        if known[key(entry)]:
            known[key(entry)] -= 1
        else:
            found.append(entry)
    return found


class Scheduler:
    """Lets replicas renew, kills, and counts.

    Args:
        machines: They are on.
        ca: Where they order.
        reader: Reads the store.
        clock: Of all machines.
        seed: Decides who renews and what is killed when, in parts of how long a renewal takes.
    """

    def __init__(
        self, machines: Sequence[Machine], ca: TestCA, reader: Reader, clock: Clock, *, seed: int
    ) -> None:
        self._machines, self._ca, self._reader, self._clock = machines, ca, reader, clock
        self._random = random.Random(seed)
        self._durations = [3.0]
        self._next: Machine | None = None
        self.tally = Tally()
        self.disturbed: dict[str, list[float]] = {item.name: [] for item in machines}

    # --- one round ---

    def round(self) -> None:
        """Let one to three replicas renew, perhaps kill something, and count what came of it."""
        draw = self._random
        chosen = self._chosen()
        before, orders = self._reader.read(), self._orders()
        fate = draw.random()
        if fate < 0.15:
            attempts = [self._killed_at_the_ca(chosen[0])]
        else:
            attempts = self._renewing(chosen, kill=fate < 0.45)
        self._ended(attempts)
        after = self._reader.read()
        self._count(attempts, before, after, self._orders() - orders)
        for machine in self._machines:
            machine.on()
        self._wait_for_the_lease(after)

    def _orders(self) -> int:
        return self._ca.count("events", "orders_created")

    def _chosen(self) -> list[Machine]:
        draw, first = self._random, self._next
        self._next = None
        number = draw.choices((1, 2, 3), (6, 3, 1))[0]
        chosen = draw.sample(self._machines, number)
        return chosen if first is None else [first]

    def _start(self, machine: Machine) -> Attempt:
        words = machine.enclave.letting(*_RENEW, own=("--budget=none",))
        return Attempt(machine, machine.enclave.start("certbot-enclave", *words))

    def _renewing(self, chosen: Sequence[Machine], *, kill: bool) -> list[Attempt]:
        draw, attempts = self._random, []
        usual = statistics.median(self._durations[-9:])
        plan: list[tuple[float, Callable[[], None]]] = []
        for machine in chosen:
            at = draw.uniform(0, usual / 2) if plan else 0.0
            plan.append((at, lambda machine=machine: attempts.append(self._start(machine))))  # type: ignore[misc]
        if kill:
            at, beside = draw.uniform(0, 1.2 * usual), draw.random() < 0.25
            victim = draw.choice(self._machines if beside else chosen)
            target = draw.choice(_BESIDE if beside else KILLED)
            plan.append((at, lambda: self._kill(victim, target, attempts)))
        begun = time.monotonic()
        for at, act in sorted(plan, key=lambda item: item[0]):
            # A moment that the seed chose, not one at which something is hoped to be done.
            time.sleep(max(0.0, begun + at - time.monotonic()))
            act()
        return attempts

    def _killed_at_the_ca(self, machine: Machine) -> Attempt:
        """Kill a renewal while the CA holds its request."""
        target = self._random.choice(KILLED)
        self._ca.stall(*self._random.choice(_AT_THE_CA))
        attempt = self._start(machine)
        try:
            self._ca.wait_stalled(60)
        except TimeoutError:
            self._ca.clear()  # it had nothing to order
            return attempt
        self._kill(machine, target, [attempt])
        self._ca.release()
        self._ca.clear()
        return attempt

    def _kill(self, machine: Machine, target: str, attempts: Sequence[Attempt]) -> None:
        at_work = [item for item in attempts if item.machine is machine]
        for item in at_work:
            item.holder = machine.holder
        attempt = at_work[0] if at_work and at_work[0].process.poll() is None else None
        if attempt is None and target not in _BESIDE:
            return  # the renewal is done, or has not begun
        if attempt is not None:
            attempt.killed = target != "follow"
        self.tally.targets[target] += 1
        if target in _BESIDE:
            self.disturbed[machine.name].append(time.monotonic())
        if target == "replica":
            machine.off()
        elif target == "follow":
            machine.kill_follow()
        elif attempt is not None:
            _kill_renewal(machine, attempt.process, target)
        machine.on()
        if target in _BESIDE:
            self.disturbed[machine.name].append(time.monotonic())

    def _ended(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            attempt.text, _ = attempt.process.communicate(timeout=SECONDS)
            attempt.holder = attempt.holder or attempt.machine.holder
            if not attempt.killed and len(attempts) == 1:
                self._durations.append(time.monotonic() - attempt.begun)
            # A certbot whose parent was killed goes on.
            renewing = attempt.machine.renewing
            assert eventually(lambda: not (renewing() or renewing()), SECONDS)  # noqa: B023

    # --- what came of it ---

    def _count(
        self, attempts: Sequence[Attempt], before: Snapshot, after: Snapshot, orders: int
    ) -> None:
        tally, new = self.tally, _new(before, after)
        sealed = [entry for entry in new if entry.outcome == ledger.ISSUED]
        unknown = [entry for entry in new if entry.outcome != ledger.ISSUED]
        placed = orders - len(sealed)
        tally.orders += orders
        tally.renewals += len(sealed)
        if not 0 <= placed <= len(unknown) <= 1:
            tally.unexpected.append(
                f"{orders} orders, in the ledger {new} and before {before.orders[-3:]}"
            )
        for attempt in attempts:
            mine = [entry for entry in new if entry.holder == attempt.holder]
            outcome = mine[-1].outcome if mine else None
            if attempt.killed:
                if outcome is None:
                    moment = moments.EARLY
                elif outcome == ledger.ISSUED:
                    moment = moments.SEALED
                else:
                    moment = moments.OPEN if placed else moments.RESERVED
                tally.moments[moment] += 1
            else:
                self._judge(attempt, outcome)

    def _judge(self, attempt: Attempt, outcome: str | None) -> None:
        tally, code, text = self.tally, attempt.process.returncode, attempt.text
        if code == 0 and outcome == ledger.ISSUED:
            tally.acknowledged += 1
        elif code == 0 and outcome is None and "another enclave is renewing" in text:
            tally.bystanders += 1
        elif code == 1 and outcome is None and _lost_race(text):
            tally.lost += 1
        else:
            tally.unexpected.append(f"{attempt.machine.name}: exit {code}, {outcome}\n{text}")

    def _wait_for_the_lease(self, after: Snapshot) -> None:
        """If a lease is left, let its holder go on, or put the clock forward, or neither."""
        now = self._clock.now()
        left = [
            entry
            for entry in after.orders
            if entry.outcome == ledger.OPEN and now < entry.until.timestamp()
        ]
        if not left:
            return
        fate, holders = self._random.random(), {item.holder: item for item in self._machines}
        if fate < 0.4 and left[-1].holder in holders:
            self._next = holders[left[-1].holder]
        elif fate < 0.85:
            self._clock.advance(LEASE + 1)


def _lost_race(text: str) -> bool:
    return "holds another bundle than generation" in text or "another enclave is ordering" in text


def _kill_renewal(machine: Machine, process: subprocess.Popen[str], target: str) -> None:
    def certbot() -> list[int]:
        return [pid for pid in machine.renewing() if pid != process.pid]

    if target == "run":
        process.kill()
        process.wait()
    elif target == "certbot" and certbot():
        machine.kill(certbot)
    else:
        machine.kill(machine.renewing)
        process.wait()
