# SPDX-License-Identifier: Apache-2.0
"""An entry is in the store before anything is asked, or nothing was written down."""

import pytest

from certbot_enclave import errors
from certbot_enclave.thrift import book, ledger
from certbot_enclave.thrift.book import Book
from tests.unit.thrift.entries import ACCOUNT, DIRECTORY, MINUTE, NAME, NOW, THEM, US, order


class World:
    """A config directory, a clock, and a store that may be down."""

    def __init__(self, config):
        self.config, self.now, self.fails = config, NOW, None
        self.sealed = []

    def seal(self):
        if self.fails is not None:
            raise self.fails
        self.sealed.append(book.recall(self.config))

    def book(self, budget="", holder=US):
        return Book(self.config, holder=holder, budget=budget, now=lambda: self.now, seal=self.seal)

    def reserve(self, **how):
        return self.book(**how).reserve(
            ledger.ORDER, DIRECTORY, account=ACCOUNT, names=frozenset({NAME})
        )


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "config")


def test_entry_is_sealed_when_reserve_returns(world):
    entry = world.reserve()
    assert world.sealed == [(entry,)]
    assert (entry.at, entry.names, entry.holder, entry.outcome) == (NOW, (NAME,), US, "open")


@pytest.mark.parametrize(
    "error", [errors.SealError("x", code="store-conflict"), KeyboardInterrupt()], ids=repr
)
def test_what_could_not_be_sealed_was_not_asked(world, error):
    world.book().conclude(world.reserve(), "issued")
    before = book.recall(world.config)
    world.fails = error
    with pytest.raises(type(error)):
        world.reserve()
    assert book.recall(world.config) == before


def test_refused_entry_is_not_written(world):
    for _ in range(4):
        world.book().conclude(world.reserve(), "issued")
    before = book.recall(world.config)
    with pytest.raises(errors.ThriftError):
        world.reserve()
    assert (book.recall(world.config), len(world.sealed)) == (before, 4)
    world.reserve(budget="none")


def test_outcome_is_written_for_the_next_seal(world):
    entry = world.reserve()
    world.now += MINUTE
    world.book().conclude(entry, "failed")
    assert book.recall(world.config) == (entry._replace(outcome="failed", until=world.now),)
    assert len(world.sealed) == 1


def test_who_else_is_ordering(world):
    assert book.in_progress(world.config, US, NOW) is None
    entry = world.reserve(holder=THEM)
    assert book.in_progress(world.config, US, NOW) == entry.until
    assert book.in_progress(world.config, THEM, NOW) is None
    assert book.in_progress(world.config, US, entry.until) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * (ledger.MAX_FILE + 1)], ids=["", "{}", "x"])
def test_damaged_ledger_is_said_and_nothing_asked(world, data):
    world.reserve()
    (world.config / ledger.PATH).write_bytes(data)
    with pytest.raises(errors.ThriftError) as caught:
        world.reserve()
    assert (caught.value.code, caught.value.retry_at) == ("ledger-damaged", None)
    assert len(world.sealed) == 1


def test_ledger_that_cannot_be_read_is_said(world):
    (world.config / ledger.PATH).mkdir(parents=True)
    with pytest.raises(errors.ThriftError):
        book.recall(world.config)


def test_no_ledger_is_an_empty_one(world):
    assert book.recall(world.config) == ()
    world.config.mkdir()
    assert book.recall(world.config) == ()


def test_ledger_as_large_as_may_be_is_read(world):
    data = ledger.build([order()])
    (world.config / "enclave").mkdir(parents=True)
    (world.config / ledger.PATH).write_bytes(data + b" " * (ledger.MAX_FILE - len(data)))
    assert book.recall(world.config) == (order(),)
