# SPDX-License-Identifier: Apache-2.0
"""One run: what becomes of an order, from what was asked of the CA and what is here afterwards."""

import pytest

from certbot_enclave.thrift import ledger
from certbot_enclave.thrift.orders import Orders
from tests.unit.thrift.entries import ACCOUNT, DIRECTORY, NAME

NAMES = frozenset({NAME})
OTHER = frozenset({"other.test"})


class Recorder:
    """Implements the book: keeps what it is told."""

    def __init__(self):
        self.told = []

    def reserve(self, kind, directory, *, account, names):
        assert (kind, directory, account) == (ledger.ORDER, DIRECTORY, ACCOUNT)
        self.told.append(("reserve", names))
        return len(self.told)

    def conclude(self, entry, outcome):
        self.told.append((outcome, entry))


class World:
    def __init__(self):
        self.book, self.serials = Recorder(), {1}
        self.orders = Orders(
            self.book, directory=DIRECTORY, account=ACCOUNT, held=lambda _: frozenset(self.serials)
        )


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("asked", "new", "outcome"),
    [
        ([], False, "void"),
        (["validating"], False, "failed"),
        (["validating", "finalizing"], False, "lost"),
        (["finalizing"], False, "lost"),
        (["validating", "finalizing"], True, "issued"),
    ],
)
def test_outcome(world, asked, new, outcome):
    world.orders.reserve(NAMES)
    for step in asked:
        getattr(world.orders, step)()
    if new:
        world.serials.add(2)
    world.orders.conclude()
    world.orders.conclude()  # once
    assert world.book.told == [("reserve", NAMES), (outcome, 1)]


def test_without_an_order_there_is_no_outcome(world):
    world.orders.validating()
    world.orders.conclude()
    assert world.book.told == []


def test_refused_nonce_is_signed_once_more_and_not_twice(world):
    for _ in range(3):
        world.orders.reserve(NAMES)
    assert world.book.told == [("reserve", NAMES), ("void", 1), ("reserve", NAMES)]


@pytest.mark.parametrize("step", ["validating", "finalizing"])
def test_after_the_ca_took_the_order_the_next_is_another(world, step):
    world.orders.reserve(NAMES)
    getattr(world.orders, step)()
    world.orders.reserve(NAMES)
    world.orders.conclude()
    outcome = "failed" if step == "validating" else "lost"
    assert world.book.told == [("reserve", NAMES), (outcome, 1), ("reserve", NAMES), ("void", 3)]


def test_other_names_are_another_order(world):
    world.orders.reserve(NAMES)
    world.orders.reserve(OTHER)
    assert world.book.told == [("reserve", NAMES), ("void", 1), ("reserve", OTHER)]


def test_order_that_may_not_be_placed_has_no_outcome(world):
    def refuse(*_, **__):
        raise ValueError("full")

    world.book.reserve = refuse
    with pytest.raises(ValueError, match="full"):
        world.orders.reserve(NAMES)
    world.orders.conclude()
    assert world.book.told == []
