# SPDX-License-Identifier: Apache-2.0
"""Fuzzing that coverage guides: it reaches what the maker's inputs do, and loses no failure."""

import json
from collections import Counter

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import guided
from tests.fuzz.engine import Tally
from tests.fuzz.targets import GUIDED, SEED

COUNT = 2500
CODES = {
    "caa": {"caa-foreign-account", "caa-malformed-tag", "caa-no-issue", "caa-unbound-issuer"},
    "answer": {"lookup-failed", "caa-no-caa", "caa-unbound-issuer"},
}


@pytest.mark.parametrize("name", GUIDED if guided.WHEEL else ())
def test_nothing_crashes_or_hangs(name):
    tally, reached = guided.run(name, count=COUNT, seed=SEED, jobs=2)
    assert tally.failures == []
    assert (tally.inputs, tally.crashes, tally.hangs) == (COUNT, 0, 0)
    assert tally.accepted + tally.codes.total() == COUNT
    assert tally.accepted > 0
    assert CODES[name] <= tally.codes.keys()
    assert len(reached) == 2
    # libFuzzer counts the places of the code that were reached: more than a parser's first check.
    assert all(int(line.split()[1]) > 100 for line in reached)


def _left(tmp_path, code, out="", said="", **files):
    for name, data in files.items():
        (tmp_path / name.replace("_", "-")).write_bytes(data)
    return guided._collect(code, tmp_path, out, said)


def test_counts_and_failures_are_taken_over(tmp_path):
    table = vars(Tally(inputs=9, accepted=4, codes=Counter(a=3), crashes=1, hangs=1, peak=5))
    out = json.dumps({**table, "failures": [("crash: KeyError: 'x'", "0aff")]})
    found = _left(tmp_path, 0, out, "#8\tNEW cov: 1\n#9\tDONE   cov: 7 ft: 8 corp: 2/9b lim: 4\n")
    assert (found.tally.inputs, found.tally.accepted, found.tally.codes) == (9, 4, {"a": 3})
    assert (found.tally.crashes, found.tally.hangs, found.tally.peak) == (1, 1, 5)
    assert found.tally.failures == [("crash: KeyError: 'x'", b"\x0a\xff")]
    assert found.reached == ("cov: 7 ft: 8 corp: 2/9b",)


@pytest.mark.parametrize(
    ("code", "crashes", "hangs", "reason"),
    [
        (70, 0, 1, "hang"),
        (71, 1, 0, "crash: out of memory"),
        (-11, 1, 0, "crash: exit code -11: last words"),
        (0, 1, 0, "crash: exit code 0: last words"),
    ],
)
def test_a_process_that_died_is_a_failure_with_its_input(tmp_path, code, crashes, hangs, reason):
    tally = _left(tmp_path, code, said="last words\n", err=b"e", timeout_1=b"in").tally
    assert (tally.inputs, tally.crashes, tally.hangs) == (0, crashes, hangs)
    assert tally.failures == [(reason, b"in")]


def test_only_targets_with_pieces_are_guided(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["cbor", "--guided"])
    assert "--guided is for caa, answer" in capsys.readouterr().err


def test_what_is_missing_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(guided, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[dev\]'"):
        guided.run("caa", count=1, seed=1, jobs=1)
