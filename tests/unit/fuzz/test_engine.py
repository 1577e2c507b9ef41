# SPDX-License-Identifier: Apache-2.0
"""The engine that fuzzes counts what is accepted and refused, and keeps whatever else happens."""

import os
import warnings

import pytest

from certbot_enclave import errors
from tests.fuzz import __main__ as command
from tests.fuzz import engine
from tests.fuzz.engine import Failure, Tally, Target


def _make(random):
    return bytes([random.randrange(256)])


def _refuse_odd(data):
    if data[0] % 2:
        raise errors.FormatError("number is odd, expected an even one", code="odd")


def _fail_on_seven(data):
    if data == b"\7":
        raise KeyError("seven")
    _refuse_odd(data)


def _hang_on_seven(data):
    while data == b"\7":
        pass


def _swallow_and_hang_on_seven(data):
    while data == b"\7":
        try:
            while True:
                pass
        except Exception:
            pass


def _warn_on_seven(data):
    if data == b"\7":
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)


def _take_memory_on_seven(data):
    if data == b"\7":
        bytearray(engine.MEMORY)


def _die_on_seven(data):
    if data == b"\7":
        os._exit(1)


def _run(judge, count=2000, jobs=1):
    return engine.run("test", Target(_make, judge), count=count, seed=1, jobs=jobs)


def test_counts_what_is_accepted_and_refused():
    tally = _run(_refuse_odd)
    assert (tally.inputs, tally.crashes, tally.hangs, tally.failures) == (2000, 0, 0, [])
    assert tally.codes.keys() == {"odd"}
    assert tally.accepted + tally.codes["odd"] == 2000
    assert 800 < tally.accepted < 1200
    assert tally.peak > 1 << 20


def test_count_need_not_be_whole_batches():
    assert _run(_refuse_odd, count=5123).inputs == 5123


def test_anything_else_is_a_crash_and_the_first_of_a_kind_is_kept():
    tally = _run(_fail_on_seven)
    assert tally.crashes > 1
    assert tally.failures == [Failure("crash: KeyError: 'seven'", b"\7")]
    assert tally.accepted + tally.codes.total() + tally.crashes == 2000


def test_warning_is_a_crash():
    tally = _run(_warn_on_seven)
    assert tally.failures == [Failure("crash: DeprecationWarning: deprecated", b"\7")]


@pytest.mark.parametrize("judge", [_hang_on_seven, _swallow_and_hang_on_seven])
def test_hang_is_found_and_the_others_are_run(monkeypatch, judge):
    monkeypatch.setattr(engine, "LIMIT", 0.1)
    tally = Tally()
    batch = [b"\1", b"\7", b"\2", b"\3"]
    engine._batch(Target(_make, judge), batch, tally)
    assert (tally.inputs, tally.accepted, tally.hangs, tally.crashes) == (4, 3, 1, 0)
    assert [failure.data for failure in tally.failures] == [b"\7"]


MESSAGES = {
    "none": "",
    "two lines": "one\ntwo",
    "control": "one \x1b[2J two",
    "direction": "one \u202e two",
    "lone surrogate": "one \ud800 two",
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_error_that_cannot_be_shown_is_a_crash(message):
    def judge(_data):
        raise errors.FormatError(message, code="code")

    tally = Tally()
    engine.judge(Target(_make, judge), b"", tally)
    assert (tally.crashes, tally.codes.total()) == (1, 0)
    assert "no message" in tally.failures[0].reason or "printable" in tally.failures[0].reason


@pytest.mark.parametrize(
    "error", [errors.Error("words", code="code"), errors.FormatError("words", code="")]
)
def test_error_without_code_or_hint_is_a_crash(error):
    def judge(_data):
        raise error

    tally = Tally()
    engine.judge(Target(_make, judge), b"", tally)
    assert tally.failures == [Failure("crash: AssertionError: no code or no hint: words", b"")]


def test_processes_together_count_the_same():
    alone, together = _run(_refuse_odd, count=12_000), _run(_refuse_odd, count=12_000, jobs=2)
    assert (alone.accepted, alone.codes) == (together.accepted, together.codes)
    assert together.inputs == 12_000


def test_memory_beyond_the_limit_is_a_crash():
    tally = _run(_take_memory_on_seven, jobs=2)
    assert tally.failures == [Failure("crash: MemoryError: ", b"\7")]


def test_process_that_dies_is_a_crash():
    tally = _run(_die_on_seven, jobs=2)
    assert (tally.crashes, tally.inputs) == (1, 0)
    assert "a process died in chunk 0" in tally.failures[0].reason


def test_failures_are_kept_up_to_a_number():
    tally = Tally()
    for number in range(2 * engine.KEPT):
        tally.fail(f"crash: {number}", b"")
        tally.fail(f"crash: {number}", b"again")
    assert [failure.data for failure in tally.failures] == [b""] * engine.KEPT


def test_command_saves_what_failed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "TARGETS", {"test": Target(_make, _fail_on_seven)})
    arguments = ["--count", "2000", "--jobs", "1", "--save", str(tmp_path)]
    assert command.main(["test", *arguments]) == 1
    (saved,) = tmp_path.iterdir()
    assert saved.read_text() == "07\n"
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["fuzz test: crash: KeyError: 'seven'", "  input 07"]
    assert said[2] == f"  again: python -m tests.fuzz test --input {saved}"
    assert said[3].startswith("fuzz test: inputs=2000 crashes=")
    with pytest.raises(KeyError):
        command.main(["test", "--input", str(saved)])


def test_command_fails_for_a_hang(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(engine, "LIMIT", 0.05)
    monkeypatch.setattr(command, "TARGETS", {"test": Target(_make, _hang_on_seven)})
    arguments = ["--count", "300", "--jobs", "1", "--save", str(tmp_path)]
    assert command.main(["test", *arguments]) == 1
    assert "crashes=0 hangs=" in capsys.readouterr().out
