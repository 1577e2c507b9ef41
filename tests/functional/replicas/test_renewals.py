# SPDX-License-Identifier: Apache-2.0
"""Replicas renew, anything of them is killed at any time, and the account and the thrift last.

`make soak` does 200 renewals on 8 replicas; `make test` a sample. What has to come out: no second
account; no more orders than renewals, and kills between the order and its sealed result; and all
replicas end on the newest certificate, which they had from the store within one look.
"""

import time
from typing import NamedTuple

import pytest

from certbot_enclave.aws.credentials import Chain
from certbot_enclave.sealing.stores.file import FileStore
from certbot_enclave.sealing.stores.s3 import S3Store
from tests.functional.replicas import tally as tallying
from tests.functional.replicas.scheduler import LEASE, SECONDS, Scheduler
from tests.functional.replicas.watch import Reader, Watcher
from tests.support.world.clock import Clock
from tests.support.world.machine import Machine
from tests.support.world.process import eventually


class Size(NamedTuple):
    """How much is done.

    Attributes:
        machines: Replicas.
        renewals: That are sealed.
        kills: At least; the seed decides.
        every: Between two looks of a replica.
        pause: Seconds between two looks from outside.
    """

    machines: int
    renewals: int
    kills: int
    every: str
    pause: float


def _run(enclave, ca, owner, store, size, seed, capsys):
    begun = time.monotonic()
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    account = enclave.registered()
    owner.publish(account["records"])
    enclave.let("certonly").ok()
    reader = Reader(enclave, store)
    clock = Clock(enclave.state / "clock")
    enclave.reboot()
    machines = [
        Machine(enclave, f"replica{number}", clock, every=size.every)
        for number in range(size.machines)
    ]
    scheduler = Scheduler(machines, ca, reader, clock, seed=seed)
    figures = scheduler.tally
    try:
        for machine in machines:
            machine.on()
        with Watcher(reader, machines, pause=size.pause) as watcher:
            assert eventually(lambda: all(watcher.served.values()), SECONDS)
            while figures.renewals < size.renewals or figures.kills < size.kills:
                scheduler.round()
                assert not figures.unexpected, "\n".join(figures.unexpected)
                assert watcher.broken == []
            _settle(machines, reader, clock)
            time.sleep(3 * size.pause)
        rank = {int(item["serial"], 16): place for place, item in enumerate(ca.certificates())}
        found = tallying.delays(watcher.arrivals, watcher.served, scheduler.disturbed, rank=rank)
        with capsys.disabled():
            print()
            print(
                tallying.closing_line(
                    figures,
                    found,
                    machines=size.machines,
                    accounts=ca.count("events", "accounts_created"),
                    every=size.every,
                    ahead=clock.ahead,
                    seconds=f"{time.monotonic() - begun:.0f}",
                    seed=seed,
                )
            )
        # No new account ever.
        assert ca.count("events", "accounts_created") == 1
        assert reader.read().accounts == (account["account"],)
        # Every order is accounted for, and only kills cost one.
        assert figures.orders == ca.count("events", "orders_created") - 1
        assert figures.orders == figures.renewals + figures.moments[tallying.OPEN]
        assert figures.renewals == figures.acknowledged + figures.moments[tallying.SEALED]
        # What is in the store never goes back.
        ranks = [rank[serial] for _, serial in watcher.arrivals]
        assert ranks == sorted(ranks)
        assert watcher.broken == []
    finally:
        for machine in machines:
            machine.kill(machine.processes)


def _settle(machines, reader, clock):
    """Let the timers of all replicas come once more, and then everybody look at the store."""
    clock.advance(LEASE + 1)
    for machine in machines:
        machine.enclave.let("renew").ok()
    newest = reader.read()

    def settled():
        return all(
            (item.generation, item.held(), item.served())
            == (newest.generation, newest.serial, newest.serial)
            for item in machines
        )

    assert eventually(settled, SECONDS), [
        (item.name, item.generation, item.held(), item.served(), newest) for item in machines
    ]
    assert reader.read() == newest


def test_sample(enclave, ca, owner, capsys):
    size = Size(machines=3, renewals=6, kills=2, every="2s", pause=0.1)
    _run(enclave, ca, owner, FileStore(str(enclave.bundle)), size, 1, capsys)


@pytest.mark.soak
def test_two_hundred_renewals_on_eight_replicas(enclave, ca, owner, capsys):
    size = Size(machines=8, renewals=200, kills=50, every="30s", pause=0.1)
    _run(enclave, ca, owner, FileStore(str(enclave.bundle)), size, 20261125, capsys)


@pytest.mark.soak
@pytest.mark.xdist_group("localstack")
def test_on_s3(enclave, ca, owner, localstack_bucket, capsys):
    credentials = Chain(enclave.environment, time.time)
    store = S3Store(localstack_bucket.removeprefix("s3:"), credentials)
    size = Size(machines=3, renewals=20, kills=5, every="5s", pause=0.5)
    _run(enclave, ca, owner, store, size, 1, capsys)
