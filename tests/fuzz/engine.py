# SPDX-License-Identifier: Apache-2.0
"""Feed a target with inputs and count what it does with them.

An input may be accepted, or refused by an error of `certbot_enclave.errors` whose message is one
printable line. Anything else is a crash, a warning too; more than `LIMIT` seconds for one input is
a hang.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from certbot_enclave import errors

LIMIT = 2.0  # seconds for one input
MEMORY = 1 << 30  # bytes of address space for a worker; what needs more crashes
KEPT = 20  # failures whose input is kept
_ALIKE = 85  # characters of a reason
_BATCH = 100  # inputs under one timer
_CHUNK = 5000  # inputs out of one generator
_CHUNK_LIMIT = 600  # seconds; only code that no signal interrupts gets there


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
        make: Makes one input out of random numbers.
        judge: Reads it: returns if it is accepted, raises what refuses it.
    """

    make: Callable[[Random], bytes]
    judge: Callable[[bytes], None]


class Failure(NamedTuple):
    """An input that was neither accepted nor refused in time, and why."""

    reason: str
    data: bytes


@dataclass
class Tally:
    """What came of the inputs.

    Attributes:
        inputs: How many there were.
        accepted: How many of them were accepted.
        codes: How often each code refused one.
        crashes: How many raised something else.
        hangs: How many took more than `LIMIT` seconds.
        failures: The first of each kind of these, at most `KEPT`.
        peak: Greatest resident size of a process that ran them, bytes.
    """

    inputs: int = 0
    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    hangs: int = 0
    failures: list[Failure] = field(default_factory=list)
    peak: int = 0

    def add(self, other: Tally) -> None:
        """Add what another process counted."""
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.codes += other.codes
        self.crashes += other.crashes
        self.hangs += other.hangs
        self.peak = max(self.peak, other.peak)
        for failure in other.failures:
            self.fail(*failure)

    def fail(self, reason: str, data: bytes) -> None:
        """Keep an input that failed, unless there is one whose reason begins likewise."""
        known = {failure.reason[:_ALIKE] for failure in self.failures}
        if len(known) < KEPT and reason[:_ALIKE] not in known:
            self.failures.append(Failure(reason, data))


class _Hang(BaseException):  # no handler of product code may take it for an error
    pass


def _ring(_number: int, _frame: object) -> None:
    raise _Hang


@contextmanager
def _timer() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_message(error: errors.Error) -> None:
    """Raise AssertionError unless the error can be shown to a reader as it is."""
    text = str(error)
    if not text or not text.isprintable():
        raise AssertionError(f"message is not one printable line: {text[:200]!r}")
    if not error.code or not error.hint:
        raise AssertionError(f"no code or no hint: {text}")


def judge(target: Target, data: bytes, tally: Tally) -> None:
    """Give the target one input and count what it does."""
    try:
        try:
            target.judge(data)
        except errors.Error as error:
            check_message(error)
            tally.codes[error.code] += 1
        else:
            tally.accepted += 1
    except Exception as error:
        tally.crashes += 1
        tally.fail(f"crash: {type(error).__name__}: {error}", data)


def _batch(target: Target, batch: Sequence[bytes], tally: Tally) -> None:
    """Run inputs under one timer; if it rings, the one it rang in has a timer of its own."""
    at = 0
    while at < len(batch):
        try:
            with _timer():
                while at < len(batch):
                    judge(target, batch[at], tally)
                    at += 1
        except _Hang:
            try:
                with _timer():
                    judge(target, batch[at], tally)
            except _Hang:
                tally.hangs += 1
                tally.fail(f"hang: more than {LIMIT:.0f} seconds", batch[at])
            at += 1
    tally.inputs += len(batch)


def run_chunk(name: str, target: Target, seed: int, number: int, count: int) -> Tally:
    """Run one chunk of inputs in this process."""
    random = Random(f"{name}:{seed}:{number}")
    tally = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while tally.inputs < count:
            size = min(_BATCH, count - tally.inputs)
            _batch(target, [target.make(random) for _ in range(size)], tally)
    tally.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return tally


def _start_worker() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _watched_chunk(name: str, target: Target, seed: int, number: int, count: int) -> Tally:
    faulthandler.dump_traceback_later(_CHUNK_LIMIT, exit=True)
    try:
        return run_chunk(name, target, seed, number, count)
    finally:
        faulthandler.cancel_dump_traceback_later()


def run(name: str, target: Target, *, count: int, seed: int, jobs: int) -> Tally:
    """Run `count` inputs.

    Args:
        name: Of the target; part of the seed.
        target: With functions that other processes can import.
        count: Number of inputs.
        seed: Seed of all random numbers.
        jobs: Number of processes; 1 is this one, without the limit of memory.
    """
    chunks = [(at // _CHUNK, min(_CHUNK, count - at)) for at in range(0, count, _CHUNK)]
    total = Tally()
    if jobs == 1:
        for number, size in chunks:
            total.add(run_chunk(name, target, seed, number, size))
        return total
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        running = [
            pool.submit(_watched_chunk, name, target, seed, number, size) for number, size in chunks
        ]
        for (number, _size), result in zip(chunks, running, strict=True):
            try:
                total.add(result.result())
            except BrokenProcessPool:
                total.crashes += 1
                total.fail(f"crash: a process died in chunk {number} or soon after it", b"")
                break
    return total
