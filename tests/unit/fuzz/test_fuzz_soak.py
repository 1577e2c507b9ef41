# SPDX-License-Identifier: Apache-2.0
"""Twice ten million inputs, none of which crashes, hangs, or is read in two ways."""

import time

import pytest

from tests.fuzz import engine, guided
from tests.fuzz.__main__ import closing_line
from tests.fuzz.targets import GUIDED, SEED, SOAK, TARGETS

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("name", SOAK)
def test_nothing_crashes_or_hangs(name, capsys):
    start = time.monotonic()
    reached = ()
    if name in GUIDED and guided.WHEEL:
        tally, reached = guided.run(name, count=SOAK[name], seed=SEED, jobs=2)
    else:
        tally = engine.run(name, TARGETS[name], count=SOAK[name], seed=SEED, jobs=2)
    seconds = time.monotonic() - start
    with capsys.disabled():
        print("", *reached, closing_line(name, tally, seed=SEED, seconds=seconds), sep="\n")
    assert tally.failures == []
    assert (tally.inputs, tally.crashes, tally.hangs) == (SOAK[name], 0, 0)
