# SPDX-License-Identifier: Apache-2.0
"""One command of ours at a time, and none beside a certbot that is at work."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from certbot_enclave import errors, locks

# Holds a lock as certbot does, in a process of its own: locks of one process do not exclude itself.
CERTBOT = """
import sys
from certbot._internal import lock
held = lock.lock_dir(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
OURS = """
import sys
from pathlib import Path
from certbot_enclave import locks
with locks.ours(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Time:
    """A clock that only sleeping moves; something may happen meanwhile."""

    def __init__(self, then=lambda: None):
        self.now, self._then = 100.0, then

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < 200, "it waits for ever"
        if self.now > 105:
            self._then()


@contextmanager
def _holding(script, config):
    with subprocess.Popen(
        [sys.executable, "-c", script, config],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config").mkdir()
    return tmp_path / "config"


LOCKS = {"ours": (locks.ours, OURS), "certbot's": (locks.certbots, CERTBOT)}


@pytest.mark.parametrize(("take", "script"), LOCKS.values(), ids=LOCKS)
def test_who_holds_it_is_waited_for_and_not_for_ever(config, take, script):
    time = Time()
    with _holding(script, config):
        with pytest.raises(errors.TransportError) as caught:
            take(config, wait=10, sleep=time.sleep, monotonic=time.monotonic).__enter__()
        assert caught.value.code == "certbot-running"
        assert time.now >= 110
    with take(config, wait=0):
        pass


@pytest.mark.parametrize(("take", "script"), LOCKS.values(), ids=LOCKS)
def test_it_is_taken_when_it_is_free(config, take, script):
    with _holding(script, config) as process:

        def end():
            process.kill()
            process.wait()

        time = Time(end)
        with take(config, wait=10, sleep=time.sleep, monotonic=time.monotonic):
            assert 105 < time.now < 110


def test_certbot_is_kept_out_and_let_in_again(config):
    words = [sys.executable, "-c", CERTBOT, config]
    with locks.certbots(config):
        done = subprocess.run(words, input=b"", capture_output=True)
        assert b"Another instance of Certbot is already running" in done.stderr
    assert subprocess.run(words, input=b"", capture_output=True, check=True).stdout == b"held\n"


def test_directory_that_cannot_be_locked(config):
    (config / ".certbot.lock").mkdir()
    with pytest.raises(errors.TransportError) as caught:
        locks.certbots(config, wait=0).__enter__()
    assert caught.value.code == "state-unwritable"
