# SPDX-License-Identifier: Apache-2.0
"""``caa watch``: what it refuses before it asks, and when it looks again."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from certbot_enclave import cli, errors
from certbot_enclave.cli import caa_watch
from tests.support.world.process import free_port, listener

SECONDS = 20
URI = "https://ca.test/acct/1"
# Nobody listens there.
NOWHERE = ["--resolver", "127.0.0.1:1"]
SUBJECT = ["--account-uri", URI, "--issuer", "ca.test", "--method", "http-01"]
EVIDENCE = ["--policy", "absent", "--evidence"]


@pytest.fixture(autouse=True)
def _in_time(monkeypatch, tmp_path):
    """A watch never ends by itself: one that should have been refused fails its test."""
    monkeypatch.chdir(tmp_path)  # what it writes then is nobody's

    def end(*_):
        raise AssertionError("it goes on")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _run(capsys, *arguments):
    code = cli.main(["caa", "watch", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([*SUBJECT, "a.test", "--interval", "soon"], "setting-invalid", "expected a duration"),
        ([*SUBJECT, "a.test", "--interval", "9s"], "watch-interval", "is 9 seconds, expected 10"),
        ([*SUBJECT, "a.test", "--interval", ""], "watch-interval", "is 0 seconds"),
        ([*SUBJECT, "--file", "-"], "watch-stdin", "only the first round could read"),
        (["a.test", *EVIDENCE, "-"], "watch-stdin", "only the first round could read"),
        (["a.test", *EVIDENCE, "x", "--evidence", "-"], "watch-stdin", "only the first round"),
        (["a.test", "--evidence", "x", "--policy", "-"], "watch-stdin", "only the first round"),
        (["a.test", *EVIDENCE, "x", "--trust-root", "-"], "watch-stdin", "only the first round"),
        ([*SUBJECT, "a.test", "--state", "-"], "watch-file", "--state is -, expected a file"),
        ([*SUBJECT, "a.test", "--metrics-file", "-"], "watch-file", "--metrics-file is -"),
        ([*SUBJECT, "a.test", "--metrics-file", "caa.txt"], "metrics-file", "ends in .prom"),
        ([*SUBJECT, "a.test", "--metrics-listen", "x:1"], "metrics-address", "'x:1' is no address"),
        (
            [*SUBJECT, "a.test", "--once", "--metrics-listen", "127.0.0.1:1"],
            "watch-once",
            "before anybody asks",
        ),
        (["a.test"], "account-source", "whose account?"),
        (SUBJECT, "names-missing", "expected names, or a file of names"),
        ([*SUBJECT, "co.uk"], "name-refused", "'co.uk' is a public suffix"),
    ],
)
def test_usage_errors(capsys, arguments, code, told):
    status, out, err = _run(capsys, *arguments, *NOWHERE, "--json")
    assert status == 2
    assert told in err
    (line,) = out.splitlines()  # also of an error there is one object on one line
    table = json.loads(line)
    assert (table["event"], table["code"]) == ("failure", code)
    assert table["error"] in err
    status, out, _ = _run(capsys, *arguments, *NOWHERE)
    assert (status, out) == (2, "")


@pytest.mark.parametrize("option", ["--metrics-file=caa.prom", "--metrics-listen=127.0.0.1:1"])
def test_without_the_library_metrics_say_how_to_get_it(capsys, monkeypatch, option):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in ("caa_metrics", "caa_scrape"):
        monkeypatch.delitem(sys.modules, f"certbot_enclave.cli.{name}", raising=False)
        monkeypatch.delattr(f"certbot_enclave.cli.{name}", raising=False)
    status, out, err = _run(capsys, *SUBJECT, "a.test", *NOWHERE, option)
    assert (status, out) == (2, "")
    assert "certbot-enclave: error: metrics need the library prometheus_client" in err
    assert err.endswith("certbot-enclave: hint: pip install 'certbot-enclave[metrics]'\n")
    # Without metrics nobody needs it.
    assert _run(capsys, *SUBJECT, "a.test", *NOWHERE, "--once")[0] == 3


def test_the_library_is_not_loaded_unless_it_is_used():
    words = ["caa", "watch", "--once", "a.test", *SUBJECT, *NOWHERE]
    script = f"from certbot_enclave import cli; cli.main({words}); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "could not tell" in done.stdout
    assert "certbot_enclave.cli.caa_rounds" in done.stdout
    assert "prometheus_client" not in done.stdout


def test_a_port_in_use_is_told_before_anything_is_asked(capsys):
    port = free_port()
    with listener(port):
        status, out, err = _run(
            capsys, *SUBJECT, "a.test", *NOWHERE, "--metrics-listen", f"127.0.0.1:{port}"
        )
    assert (status, out) == (3, "")
    assert f"cannot listen for Prometheus on 127.0.0.1 port {port}: Address already in use" in err


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [(None, 3, "cannot read"), ("", 2, "has no names"), ("# none\n", 2, "has no names")],
)
@pytest.mark.parametrize("more", [["--once"], []])
def test_a_file_without_names_ends_the_first_round(capsys, tmp_path, content, code, told, more):
    if content is not None:
        (tmp_path / "names").write_text(content)
    metrics = tmp_path / "caa.prom"
    metrics.write_text('certbot_enclave_caa_holds{name="a.test"} 1\n')
    arguments = ["--file", tmp_path / "names", *SUBJECT, *NOWHERE, "--metrics-file", metrics]
    status, out, err = _run(capsys, *arguments, *more)
    assert (status, out) == (code, "")
    assert told in err
    # What was there of a run before must not go on saying that something holds.
    assert "_holds{" not in metrics.read_text()
    assert "certbot_enclave_caa_failures_total 1.0\n" in metrics.read_text()


def test_a_memory_that_is_none_ends_it_and_is_left_alone(capsys, tmp_path):
    state = tmp_path / "state"
    state.write_text("{}")
    status, out, err = _run(capsys, *SUBJECT, "a.test", *NOWHERE, "--once", "--state", state)
    assert (status, out) == (1, "")
    assert f"error: {state} is no memory of what was seen" in err
    assert state.read_text() == "{}"


def test_a_name_that_is_there_twice_is_told_once_and_as_the_worse_one(capsys, tmp_path):
    # A line that is too long is cut to what looks like the name above.
    name = f"{'a' * 60}.{'b' * 14}.test"
    (tmp_path / "names").write_text(f"{name}\n{name.upper()}\n{name}{'x' * 1024}\n")
    arguments = ["--file", tmp_path / "names", *SUBJECT, *NOWHERE, "--once"]
    status, out, _ = _run(capsys, *arguments, "--metrics-file", tmp_path / "caa.prom")
    (line,) = out.splitlines()
    assert len(name) == 80
    assert f" {name} refused: name-refused: line has more than 1024 bytes" in line
    assert status == 1
    assert (tmp_path / "caa.prom").read_text().count(f'_holds{{name="{name}"}} 0.0\n') == 1


def test_nobody_who_reads_stdout_is_the_end(tmp_path):
    words = ["caa", "watch", "a.test", *SUBJECT, *NOWHERE, "--state", str(tmp_path / "state")]
    for more in ([], ["--json"], ["--interval", "1s", "--json"]):
        with subprocess.Popen(
            [sys.executable, "-m", "certbot_enclave", *words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            process.stdout.close()
            try:
                err = process.stderr.read()
                assert process.wait(SECONDS) == 128 + signal.SIGPIPE
            finally:
                process.kill()
        assert "Traceback" not in err
        assert "Exception" not in err
    # What nobody was told is not remembered.
    assert not (tmp_path / "state").exists()


class Enough(Exception):
    """Ends a watch, which never ends by itself."""


class Times:
    """Rounds that take so many seconds, or fail, by a clock that only they and pauses move."""

    def __init__(self, *rounds):
        self.now, self.slept, self.begun, self.failures = 1000.0, [], [], []
        self._rounds = list(rounds)
        self.snapshot = SimpleNamespace(known={"a.test": None})

    def clock(self):
        return self.now

    async def pause(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    async def look(self):
        if not self._rounds:
            raise Enough
        self.begun.append(self.now)
        made = self._rounds.pop(0)
        if isinstance(made, Exception):
            self.now += 1
            raise made
        self.now += made
        return 0

    def failed(self, error):
        self.failures.append(error)

    def stay(self, interval=300):
        with pytest.raises(Enough):
            asyncio.run(caa_watch.stay(self, interval, clock=self.clock, pause=self.pause))
        return self


def test_rounds_begin_at_the_interval_whatever_they_take(capsys):
    times = Times(1, 100, 299).stay()
    assert times.begun == [1000, 1300, 1600]
    assert times.slept == [299, 200, 1]
    err = capsys.readouterr().err
    assert err == "certbot-enclave: note: watching 1 names, every 300 seconds\n"


def test_a_round_that_takes_longer_than_the_interval_is_not_overtaken():
    times = Times(301, 650, 300, 1).stay()
    assert times.begun == [1000, 1600, 2500, 3100]
    assert all(0 < pause <= 300 for pause in times.slept)


DOWN = errors.TransportError("cannot read names", code="file-unreadable")


def test_a_round_that_fails_is_told_and_the_next_one_comes():
    times = Times(1, DOWN, DOWN, 1).stay()
    assert times.begun == [1000, 1300, 1600, 1900]
    assert times.failures == [DOWN, DOWN]


def test_the_first_round_may_not_fail():
    times = Times(DOWN)
    with pytest.raises(errors.TransportError):
        asyncio.run(caa_watch.stay(times, 300, clock=times.clock, pause=times.pause))
    assert (times.slept, times.failures) == ([], [])


def test_a_mistake_of_ours_is_not_passed_over():
    times = Times(1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(caa_watch.stay(times, 300, clock=times.clock, pause=times.pause))


def test_help_shows_the_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["caa", "watch", "--help"])
    assert re.search(r"at least 10s\s+\(default:\s+5m\)", capsys.readouterr().out)
