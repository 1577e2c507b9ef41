# SPDX-License-Identifier: Apache-2.0
"""Two leaders: two replicas renew at the very same time, or one was frozen and comes back.

The store decides: one order, nothing of anybody's overwritten, and all agree again. How the one is
told that meets the other's lease is in tests/functional/enclave/test_thrift.py.
"""

import os
import signal
from contextlib import contextmanager

import pytest
from cryptography import x509

from certbot_enclave.thrift import ledger
from tests.support.world.barrier import FileBarrier, S3Barrier
from tests.support.world.clock import Clock
from tests.support.world.localstack import IDENTITY, SECRET
from tests.support.world.machine import Machine
from tests.support.world.process import eventually

SECONDS = 60
LEASE = ledger.LEASE.total_seconds()
RENEW = ("renew", "--force-renewal")
LOST = "holds another bundle than generation"


@pytest.fixture(
    params=[
        "file",
        pytest.param("s3", marks=[pytest.mark.xdist_group("localstack"), pytest.mark.soak]),
    ],
)
def store(request, enclave):
    """The store, which can hold those who write to it."""
    if request.param == "file":
        yield FileBarrier(enclave.bundle.parent)
        return
    localstack = request.getfixturevalue("localstack")
    with S3Barrier(localstack.url) as barrier:
        enclave.extra["store"] = localstack.store(barrier.url)
        enclave.environment |= {"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET}
        yield barrier


@pytest.fixture
def clock(shm):
    """What both replicas live by."""
    return Clock(shm / "clock")


@pytest.fixture
def pair(enclave, store, owner, clock):
    """Two replicas with the same certificate, each with a TLS server's directory."""
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    owner.publish(enclave.registered()["records"])
    enclave.let("certonly").ok()
    enclave.reboot()
    machines = [Machine(enclave, name, clock, every="30s") for name in ("one", "two")]
    for machine in machines:
        _follow(machine)
    yield machines
    for machine in machines:
        machine.kill(machine.processes)


def _follow(machine):
    machine.enclave.ours("follow", "--once").ok()


@contextmanager
def _renewing(machine):
    words = machine.enclave.letting(*RENEW)
    with machine.enclave.start("certbot-enclave", *words) as run:
        try:
            yield run
        finally:
            machine.kill(machine.processes)  # one that is stopped would be waited for


def _stopped(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(") ")[2].startswith("T")


def _freeze(machine):
    for pid in machine.processes():
        os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: all(map(_stopped, machine.processes())), SECONDS)


def _thaw(machine):
    for pid in machine.processes():
        os.kill(pid, signal.SIGCONT)


def _orders(ca):
    return ca.count("events", "orders_created")


def _issued(ca):
    """Return serial numbers in the order in which they were issued."""
    return [
        x509.load_pem_x509_certificate(item["pem"].encode()).serial_number
        for item in ca.certificates()
    ]


def _agree(machines, serial):
    """Have them look at the store twice, and require that all have this certificate."""
    for machine in [*machines, *machines]:
        _follow(machine)
    assert [(item.held(), item.served()) for item in machines] == [(serial, serial)] * 2
    assert len({item.generation for item in machines}) == 1


def test_two_leaders_at_the_very_same_time_place_one_order(pair, store, ca):
    """Both hold the generation before, both have a ledger with their own order, and both write."""
    asked, held = _orders(ca), pair[0].held()
    store.hold()
    with _renewing(pair[0]) as one, _renewing(pair[1]) as two:
        assert eventually(lambda: store.held() == 2, SECONDS)
        assert _orders(ca) == asked
        store.release()
        said = [run.communicate(timeout=SECONDS)[0] for run in (one, two)]
    codes = [one.returncode, two.returncode]
    assert sorted(codes) == [0, 1], said
    assert [LOST in text for text in said] == [code == 1 for code in codes], said
    assert _orders(ca) == asked + 1
    renewed = pair[codes.index(0)].held()
    assert renewed == _issued(ca)[-1]
    assert renewed != held
    _agree(pair, renewed)
    assert _orders(ca) == asked + 1
    assert len(ca.accounts()) == 1


def test_two_leaders_one_frozen_at_the_store_orders_nothing_when_it_comes_back(
    pair, store, ca, clock
):
    """It has decided to order, and is stopped in the middle of saying so."""
    first, second = pair
    asked = _orders(ca)
    store.hold()
    with _renewing(first) as run:
        assert eventually(lambda: store.held() == 1, SECONDS)
        _freeze(first)
        store.let_others()
        second.enclave.let(*RENEW).ok()
        renewed = second.held()
        clock.advance(LEASE + 1)
        _thaw(first)
        store.release()
        text, _ = run.communicate(timeout=SECONDS)
    assert (run.returncode, LOST in text) == (1, True), text
    assert _orders(ca) == asked + 1
    _agree(pair, renewed)


@pytest.mark.parametrize("resource", ["finalize", "certificate"])
def test_two_leaders_one_frozen_beyond_its_lease_overwrites_nothing(
    pair, store, ca, clock, resource
):
    """It is stopped with an order at the CA; what it gets in the end is the newer one, or not."""
    first, second = pair
    asked = _orders(ca)
    ca.stall(resource, "before")
    with _renewing(first) as run:
        ca.wait_stalled(SECONDS)
        _freeze(first)
        # Until the lease is over nobody else orders.
        assert "another enclave is renewing, until 20" in second.enclave.let(*RENEW).ok().out
        assert _orders(ca) == asked + 1
        clock.advance(LEASE + 1)
        second.enclave.let(*RENEW).ok()
        taken, generation = second.held(), second.generation
        assert taken == _issued(ca)[-1]
        _thaw(first)
        ca.release()
        text, _ = run.communicate(timeout=SECONDS)
    assert (run.returncode, LOST in text) == (1, True), text
    assert _orders(ca) == asked + 2
    # What the other one acknowledged is in the store as it was.
    assert "nothing newer" in second.enclave.ours("follow", "--once").ok().out
    assert (second.held(), second.generation) == (taken, generation)
    # The frozen one serves what it got; then both serve what was issued last.
    assert first.served() == first.held() != taken
    newest = _issued(ca)[-1]
    assert (newest == taken) == (resource == "certificate")
    _agree(pair, newest)
    assert _orders(ca) == asked + 2
    assert len(ca.accounts()) == 1
