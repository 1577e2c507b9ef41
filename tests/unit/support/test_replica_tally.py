# SPDX-License-Identifier: Apache-2.0
"""How long a replica took is measured from the store to its TLS server, and never left out."""

import pytest

from tests.functional.replicas.tally import OPEN, Delays, Tally, closing_line, delays

RANK = {10: 0, 11: 1, 12: 2}
ARRIVALS = [(0.0, 10), (5.0, 11), (6.0, 12)]


def test_each_certificate_or_a_later_one_counts():
    served = {"a": [(1.0, 10), (36.0, 12)], "b": [(3.0, 10), (5.5, 11), (7.0, 12)]}
    assert delays(ARRIVALS, served, {}, rank=RANK) == Delays(6, 0, 31.0)


def test_what_was_served_before_it_was_sealed_took_no_time():
    assert delays([(5.0, 11)], {"a": [(4.0, 11)]}, {}, rank=RANK) == Delays(1, 0, 0.0)


def test_a_replica_that_was_killed_meanwhile_is_counted_apart():
    served = {"a": [(1.0, 10), (90.0, 12)]}
    found = delays(ARRIVALS, served, {"a": [5.5, 40.0]}, rank=RANK)
    assert found == Delays(1, 2, 1.0)


def test_one_that_never_served_it_is_a_failure():
    with pytest.raises(AssertionError, match="a never served c or a later one"):
        delays(ARRIVALS, {"a": [(1.0, 10), (7.0, 11)]}, {}, rank=RANK)


def test_closing_line_has_all_figures():
    tally = Tally(renewals=2, acknowledged=1, bystanders=3, lost=4, orders=5)
    tally.moments[OPEN] += 1
    tally.targets["run"] += 6
    line = closing_line(
        tally, Delays(7, 8, 9.96), machines=3, accounts=1, every="30s", ahead=5400.0, seed=2
    )
    assert line == (
        "replicas: machines=3 renewals=2 acknowledged=1 orders=5 accounts=1 kills=6 (6 run) "
        "renewals-killed=1 (0 nothing asked, 0 in the ledger, 1 order open, 0 result sealed) "
        "bystanders=3 lost-races=4 taken=7+8 largest-delay=10.0s every=30s clock=+1.5h seed=2"
    )
