# SPDX-License-Identifier: Apache-2.0
"""The gate opens for exactly the names that passed, and not for long."""

import pytest

from certbot_enclave import errors
from certbot_enclave.account.gate import OPEN_FOR, Gate

NAMES = frozenset({"a.test", "b.test"})


class World:
    """CAA and a clock, as the gate sees them."""

    def __init__(self):
        self.now = 1000.0
        self.closed = False
        self.checks = []
        self.lookup_takes = 0.0

    def check(self, names):
        self.checks.append(names)
        self.now += self.lookup_takes
        if self.closed:
            raise errors.GateError("somebody else could", code="caa-open")

    def gate(self):
        return Gate(self.check, lambda: self.now)


def _code(call, *args):
    with pytest.raises(errors.GateError) as caught:
        call(*args)
    return caught.value.code


def test_closed_until_opened():
    world = World()
    assert _code(world.gate().require, NAMES) == "gate-closed"
    assert world.checks == []


@pytest.mark.parametrize("names", [{"a.test"}, {"a.test", "b.test", "c.test"}, {"A.test"}, set()])
def test_open_for_exactly_these_names(names):
    gate = World().gate()
    gate.open(NAMES)
    gate.require(NAMES)
    assert _code(gate.require, frozenset(names)) == "gate-names"


@pytest.mark.parametrize(("later", "code"), [(OPEN_FOR, None), (OPEN_FOR + 1, "gate-expired")])
def test_open_for_five_minutes(later, code):
    world = World()
    gate = world.gate()
    gate.open(NAMES)
    world.now += later
    assert (code is None and gate.require(NAMES) is None) or _code(gate.require, NAMES) == code


def test_slow_lookups_do_not_stretch_the_window():
    world = World()
    world.lookup_takes = OPEN_FOR + 1
    gate = world.gate()
    gate.open(NAMES)
    assert _code(gate.require, NAMES) == "gate-expired"


def test_clock_that_goes_back_closes():
    world = World()
    gate = world.gate()
    gate.open(NAMES)
    world.now -= 1
    assert _code(gate.require, NAMES) == "gate-expired"


def test_failed_check_closes_what_was_open():
    world = World()
    gate = world.gate()
    gate.open(NAMES)
    world.closed = True
    assert _code(gate.open, NAMES) == "caa-open"
    assert _code(gate.require, NAMES) == "gate-closed"


def test_check_again_looks_again():
    world = World()
    gate = world.gate()
    gate.open(NAMES)
    gate.check_again(NAMES)
    assert world.checks == [NAMES, NAMES]
    world.closed = True
    assert _code(gate.check_again, NAMES) == "caa-open"


class Orders:
    """Implements what the gate tells of orders."""

    def __init__(self):
        self.told = []

    def reserve(self, names):
        self.told.append(names)

    def finalizing(self):
        self.told.append("finalizing")


def test_orders_are_told_what_is_signed():
    world, orders = World(), Orders()
    gate = Gate(world.check, lambda: world.now, orders)
    gate.open(NAMES)
    gate.require(NAMES)
    assert orders.told == []
    gate.require_reserved(NAMES)
    gate.check_again(NAMES)
    assert orders.told == [NAMES, "finalizing"]
    world.closed = True
    assert _code(gate.check_again, NAMES) == "caa-open"
    assert orders.told == [NAMES, "finalizing"]


def test_trial_is_not_written_down():
    gate = World().gate()
    gate.open(NAMES)
    assert gate.require_reserved(NAMES) is None


def test_check_again_does_not_open_for_other_names():
    world = World()
    gate = world.gate()
    gate.open(NAMES)
    assert _code(gate.check_again, frozenset({"c.test"})) == "gate-names"
    assert world.checks == [NAMES]
