# SPDX-License-Identifier: Apache-2.0
"""What passes with time, and what is forgotten."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.ca.state import MAX_NONCES, Authorization, Order, State

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW


@pytest.mark.parametrize(
    ("status", "expires", "authorization_status", "order_status"),
    [
        ("pending", LATER, "pending", "pending"),
        ("pending", EARLIER, "invalid", "invalid"),
        ("valid", LATER, "valid", "ready"),
        ("valid", EARLIER, "expired", "invalid"),
        ("invalid", LATER, "invalid", "invalid"),
        ("deactivated", LATER, "deactivated", "invalid"),
    ],
)
def test_time_ends_an_authorization_and_its_order(
    status, expires, authorization_status, order_status
):
    state = State()
    made = Authorization(1, 1, "a.test", False, expires, status=status)
    state.authorizations[1] = made
    order = Order(1, 1, ["a.test"], [1], LATER)
    assert state.authorization_status(made, NOW) == authorization_status
    assert state.order_status(order, NOW) == order_status


def test_time_ends_an_order_unless_it_has_its_certificate():
    state = State()
    state.authorizations[1] = Authorization(1, 1, "a.test", False, LATER, status="valid")
    order = Order(1, 1, ["a.test"], [1], EARLIER)
    assert state.order_status(order, NOW) == "invalid"
    order.certificate = 1
    assert state.order_status(order, NOW) == "valid"


def test_an_order_that_is_being_finalized_is_processing():
    state = State()
    state.authorizations[1] = Authorization(1, 1, "a.test", False, LATER, status="valid")
    assert state.order_status(Order(1, 1, ["a.test"], [1], LATER, busy=True), NOW) == "processing"


def test_the_oldest_nonce_is_forgotten_when_there_are_too_many():
    state = State()
    first, second = state.new_nonce(), state.new_nonce()
    for _ in range(MAX_NONCES - 1):
        state.new_nonce()
    assert not state.use_nonce(first)
    assert state.use_nonce(second)
    assert not state.use_nonce(second)
