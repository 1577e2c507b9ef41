# SPDX-License-Identifier: Apache-2.0
"""Evidence is renewed before its certificate ends, and failures are tried again, not forgotten."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from certbot_enclave import errors, watch
from tests.support import forge
from tests.support.forge import NOW

START = NOW.timestamp()


class Enough(Exception):
    """Ends a watch, which never ends by itself."""


class Times:
    """A clock that only sleeping moves, a watch that it ends, and what was reported."""

    def __init__(self, *made):
        self.now = START
        self.slept, self.lines = [], []
        self._made = list(made)
        self.renewed = 0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        if self.renewed == len(self._made):
            raise Enough

    def renew(self):
        made = self._made[self.renewed]
        self.renewed += 1
        if isinstance(made, Exception):
            raise made
        return made

    def watch(self):
        watch.watch(self.renew, clock=self.clock, sleep=self.sleep, report=self.lines.append)


def _evidence(*, hours, oyster=False):
    """Evidence whose leaf ends so many hours after `NOW`; its issuers end as they like."""
    leaf = {"start": NOW - timedelta(hours=1), "life": timedelta(hours=hours + 1)}
    made = forge.oyster_evidence if oyster else forge.evidence
    return made(forge.chain(leaf=leaf))


DOWN = errors.EnclaveError("the device does not answer", code="nsm-timeout")
CLOSED = errors.TransportError("store is down", code="store-unreachable")


def _run(*made):
    times = Times(*made)
    with pytest.raises(Enough):
        times.watch()
    return times


@pytest.mark.parametrize("oyster", [False, True])
def test_end_is_that_of_the_leaf(oyster):
    assert watch.ends(_evidence(hours=2, oyster=oyster)) == START + 2 * 3600


def test_next_one_comes_a_quarter_of_an_hour_before_the_end():
    times = _run(_evidence(hours=3), _evidence(hours=6), _evidence(hours=9))
    assert times.slept == [2.75 * 3600, 3 * 3600, 3 * 3600]
    assert times.renewed == 3


def test_it_says_when_the_next_one_comes():
    times = _run(_evidence(hours=3))
    assert times.lines == ["evidence is renewed, the next one comes at 2026-03-04T14:45:00Z"]
    assert datetime.fromtimestamp(times.now, UTC).isoformat() == "2026-03-04T14:45:00+00:00"


SHORT = {"ends in 16 minutes": 16 / 60, "ends in 15": 0.25, "ends now": 0, "has ended": -0.5}


@pytest.mark.parametrize("hours", SHORT.values(), ids=SHORT)
def test_never_sooner_than_after_a_minute(hours):
    assert _run(_evidence(hours=hours)).slept == [60]


def test_a_little_more_than_a_minute():
    assert _run(_evidence(hours=17 / 60)).slept == [120]


@pytest.mark.parametrize("error", [DOWN, CLOSED])
def test_first_try_may_not_fail(error):
    times = Times(error)
    with pytest.raises(type(error)) as caught:
        times.watch()
    assert caught.value is error
    assert (times.slept, times.lines) == ([], [])


def test_failures_are_tried_again_after_more_and_more_time():
    times = _run(_evidence(hours=3), *[DOWN] * 6)
    assert times.slept[1:] == [60, 120, 240, 480, 900, 900]
    waits = [re.search("in ([0-9]+) seconds", line)[1] for line in times.lines[1:]]
    assert waits == ["60", "120", "240", "480", "900", "900"]
    assert all("the device does not answer" in line for line in times.lines[1:])


def test_after_a_success_it_begins_anew():
    later = _evidence(hours=6)
    times = _run(_evidence(hours=3), DOWN, CLOSED, later, DOWN, later)
    assert times.slept[1:3] == [60, 120]
    assert times.now - START == pytest.approx(5.75 * 3600 + 60 + 60)
    assert times.slept[4] == 60


def test_mistake_of_ours_is_not_tried_again():
    times = Times(_evidence(hours=3), ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        times.watch()
    assert times.renewed == 2
