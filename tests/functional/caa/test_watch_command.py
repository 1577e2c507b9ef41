# SPDX-License-Identifier: Apache-2.0
"""``caa watch`` against real zones: what their owner changes is told, and so is what fails."""

import asyncio
import json
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certbot_enclave import cli, errors
from certbot_enclave.caa import formats
from certbot_enclave.cli import caa_metrics, caa_rounds, caa_scrape
from tests.functional.caa.asking import OTHER, PAIR, SUBJECT
from tests.functional.caa.test_check_command import proved  # noqa: F401
from tests.support import forge
from tests.support.world.dns import DnsWorld
from tests.support.world.process import Process, accepts, eventually, free_port

NAME = "www.example.test"
IODEF = '0 iodef "mailto:a@example.test"'
SECONDS = 60


@pytest.fixture(scope="module")
def started():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(Path(state, "dns"), signed=("example.test", "other.test")) as world,
    ):
        yield world


@pytest.fixture
def world(started):
    """The zones bind the account, before and after."""
    touched = ("example.test", NAME, "second.example.test")

    def clean():
        for name in touched:
            started.caa(name)
        started.update(NAME, "CNAME")
        started.caa("example.test", *PAIR)

    clean()
    yield started
    clean()


@pytest.fixture
def resolver(world):
    """A resolver that can be stopped, and started again at the same port."""

    class Stopping:
        def __init__(self):
            self.unbound = world.start_resolver()
            self.address = self.unbound.address

        def stop(self):
            self.unbound.stop()

        def start(self):
            (config,) = [
                path
                for path in world.state.glob("unbound-*/unbound.conf")
                if f"@{self.unbound.port}\n" in path.read_text()
            ]
            self.unbound = Process(
                ["unbound", "-d", "-c", config],
                log=config.parent / "log",
                ready=lambda: accepts(int(self.address.split(":")[1])),
            )

    found = Stopping()
    yield found
    found.stop()


def _samples(text):
    """Every sample of ours: (metric, labels) to value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix("certbot_enclave_caa_"), *labels] = sample.value
    return found


def _scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return _samples(answer.read().decode())


@pytest.fixture
def watching(world, tmp_path, capsys):
    """Start a watch whose rounds come when they are called for."""
    with ExitStack() as stack:

        class Watching:
            def __init__(self, *arguments, subject=SUBJECT, asked=None):
                asked = asked or world.resolver.address
                words = ["caa", "watch", "--resolver", asked, *subject, *map(str, arguments)]
                self.file, self.port = tmp_path / "caa.prom", free_port()
                publisher = caa_metrics.Publisher(str(self.file))
                address = ("127.0.0.1", self.port)
                stack.enter_context(caa_scrape.Scraped(address, publisher.registry))
                args = cli._parser("caa").parse_args(words)
                self.rounds = caa_rounds.Rounds(args, {}, publisher, time.monotonic)

            def round(self):
                """Its exit code, what is printed without the time, and the metrics by HTTP."""
                code = asyncio.run(self.rounds.look())
                out, self.err = capsys.readouterr()
                return code, [line.split(" ", 1)[1] for line in out.splitlines()], self.metrics()

            def next(self):
                """The first round that tells anything: Unbound keeps an alias for a second."""
                deadline = time.monotonic() + SECONDS
                while time.monotonic() < deadline:
                    code, lines, metrics = self.round()
                    if lines:
                        return code, lines, metrics
                raise AssertionError("nothing is told")

            def fail(self):
                with pytest.raises(errors.Error) as caught:
                    asyncio.run(self.rounds.look())
                return caught.value, self.metrics()

            def metrics(self):
                found = _scrape(self.port)
                assert _samples(self.file.read_text()) == found
                return found

        yield Watching


def test_nothing_but_the_first_round_is_told_while_nothing_changes(watching):
    watch = watching(NAME, "example.test")
    assert ("rounds_total",) in _scrape(watch.port)  # before the first round
    code, lines, metrics = watch.round()
    assert (code, lines) == (0, [f"{NAME} exclusive", "example.test exclusive"])
    assert (metrics["holds", NAME], metrics["told", NAME], metrics["names",]) == (1, 1, 2)
    assert metrics["window_end_timestamp_seconds", NAME] == pytest.approx(
        time.time() + 8 * 3600, abs=SECONDS
    )
    code, lines, again = watch.round()
    assert (code, lines) == (0, [])
    assert again["rounds_total",] == 2
    assert again["last_round_timestamp_seconds",] > metrics["last_round_timestamp_seconds",]
    moving = again["checked_timestamp_seconds", NAME] - metrics["checked_timestamp_seconds", NAME]
    assert 0 < moving < SECONDS
    fixed = ("window_end_timestamp_seconds", NAME)
    assert again[fixed] == metrics[fixed]


CHANGES = {
    "own records": (
        lambda world: world.caa(NAME, OTHER),
        "unbound-issuer",
        f"records changed: - {PAIR[0]} - {PAIR[1]} + {OTHER}; records are those of {NAME} now",
    ),
    "the parent's records": (
        lambda world: world.caa("example.test", *PAIR, OTHER),
        "unbound-issuer",
        f"records changed: + {OTHER}",
    ),
    "no records": (
        lambda world: world.caa("example.test"),
        "no-caa",
        f"records changed: - {PAIR[0]} - {PAIR[1]}; records are those of no name now",
    ),
    "an alias": (
        lambda world: world.update(NAME, "CNAME", "www.other.test."),
        "alias-target-controls-policy",
        None,
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_the_owner_changes_is_told_by_the_next_round_and_the_metrics(watching, world, what):
    change, finding, records = CHANGES[what]
    watch = watching(NAME)
    watch.round()
    change(world)
    code, (line,), metrics = watch.next()
    assert code == 1
    assert line.startswith(f"{NAME} exclusive -> open: {finding}: ")
    assert line.endswith(records or "")
    assert ("records changed" in line) == (records is not None)
    assert (metrics["holds", NAME], metrics["told", NAME]) == (0, 1)
    assert metrics["changes_total", NAME] == 1
    assert any(key[:2] == ("finding", finding) for key in metrics)
    assert watch.round()[1] == []
    world.update(NAME, "CNAME")
    world.caa(NAME)
    world.caa("example.test", *PAIR)
    code, (line,), metrics = watch.next()
    assert line.startswith(f"{NAME} open -> exclusive: findings changed: - ")
    assert (code, metrics["holds", NAME], metrics["changes_total", NAME]) == (0, 1, 2)
    assert not any(key[0] == "finding" for key in metrics)


def test_records_that_change_while_the_verdict_stays_are_told(watching, world):
    watch = watching(NAME)
    watch.round()
    world.caa("example.test", *PAIR, IODEF)
    assert watch.round()[:2] == (0, [f"{NAME} exclusive: records changed: + {IODEF}"])
    world.caa(NAME, *PAIR)
    code, lines, metrics = watch.round()
    assert (code, lines) == (
        0,
        [f"{NAME} exclusive: records changed: - {IODEF}; records are those of {NAME} now"],
    )
    assert (metrics["holds", NAME], metrics["changes_total", NAME]) == (1, 2)


def test_a_resolver_that_is_gone_ends_nothing_and_hides_nothing(watching, world, resolver):
    watch = watching(NAME, asked=resolver.address)
    watch.round()
    resolver.stop()
    code, (line,), metrics = watch.round()
    assert code == 3
    assert line.startswith(f"{NAME} exclusive -> could not tell: lookup-failed: ")
    assert (metrics["told", NAME], metrics["holds", NAME]) == (0, 0)
    assert metrics["finding", "lookup-failed", NAME, "medium"] == 1
    assert ("window_end_timestamp_seconds", NAME) not in metrics
    assert watch.round()[:2] == (3, [])
    world.caa("example.test", *PAIR, IODEF)
    resolver.start()
    code, (line,), metrics = watch.round()
    assert (code, metrics["told", NAME], metrics["holds", NAME]) == (0, 1, 1)
    assert line.startswith(f"{NAME} could not tell -> exclusive: ")
    assert line.endswith(f"; records changed: + {IODEF}")


def test_the_file_of_names_is_read_anew_and_its_loss_is_no_good_news(watching, tmp_path, capsys):
    names = tmp_path / "names"
    names.write_text(f"{NAME}\n")
    watch = watching("--file", names, "--json")
    watch.round()
    names.write_text(f"{NAME}\nsecond.example.test\n")
    assert watch.round()[2]["names",] == 2
    kept = names.read_text()
    for lose in (names.unlink, lambda: names.write_text("")):
        lose()
        error, metrics = watch.fail()
        assert error.code in ("file-unreadable", "names-missing")
        for name in (NAME, "second.example.test"):
            assert (metrics["holds", name], metrics["told", name]) == (0, 0)
        assert metrics["rounds_total",] == 2
    assert metrics["failures_total",] == 2
    watch.rounds.failed(error)
    out, err = capsys.readouterr()
    assert json.loads(out)["code"] == "names-missing"
    assert f"certbot-enclave: error: {names} has no names" in err
    names.write_text(kept)
    code, lines, metrics = watch.round()
    assert (code, lines) == (0, [])
    assert (metrics["holds", NAME], metrics["told", NAME], metrics["failures_total",]) == (1, 1, 2)
    names.write_text("second.example.test\n")
    asyncio.run(watch.rounds.look())
    (line,) = capsys.readouterr().out.splitlines()
    table = json.loads(line)
    assert (table["event"], table["name"], table["result"]) == ("dropped", NAME, None)
    assert ("holds", NAME) not in watch.metrics()


def test_a_metrics_file_that_cannot_be_written_is_a_failure_that_http_shows(watching):
    watch = watching(NAME)
    watch.round()
    watch.file.unlink()
    watch.file.mkdir()
    with pytest.raises(errors.TransportError) as caught:
        asyncio.run(watch.rounds.look())
    assert caught.value.code == "file-unwritable"
    found = _scrape(watch.port)
    assert (found["failures_total",], found["rounds_total",], found["holds", NAME]) == (1, 2, 1)
    watch.file.rmdir()
    assert watch.round()[2]["rounds_total",] == 3


@pytest.mark.usefixtures("world")
def test_evidence_is_verified_in_every_round_and_told_once(watching, world, proved):  # noqa: F811
    make, options = proved
    records = formats.records_for(
        issuer="letsencrypt.org", methods=["http-01"], account_uri=forge.STATEMENT.account_uri
    )
    world.caa(NAME, *(record.text() for record in records))
    evidence = make(NAME)
    watch = watching(NAME, subject=[*evidence, *options])
    code, lines, _ = watch.round()
    assert (code, lines) == (0, [f"{NAME} exclusive"])
    assert watch.err.count("note: proved: measurements match") == 1
    assert watch.round()[:2] == (0, [])
    assert watch.err == ""
    # The enclave made new evidence; then it stopped.
    make(NAME, age=60)
    assert watch.round()[:2] == (0, [])
    assert "note: proved: document of " in watch.err
    assert "measurements match" not in watch.err
    make(NAME, age=172_800)
    code, (line,), metrics = watch.round()
    assert (code, metrics["holds", NAME], metrics["told", NAME]) == (1, 0, 1)
    assert line.startswith(f"{NAME} exclusive -> refused: stale: document is 1728")
    Path(evidence[1]).unlink()
    error, metrics = watch.fail()
    assert error.code == "file-unreadable"
    assert (metrics["holds", NAME], metrics["told", NAME]) == (0, 0)
    make(NAME)
    code, (line,), _ = watch.round()
    assert (code, line) == (0, f"{NAME} refused -> exclusive: findings changed: - stale")


@pytest.fixture
def once(world, capsys, tmp_path):
    """Run ``--once``, with or without a memory."""

    def run(*arguments, asked=None, state=True):
        words = ["--once", "--resolver", asked or world.resolver.address, *SUBJECT]
        words += ["--state", str(tmp_path / "state")] if state else []
        code = cli.main(["caa", "watch", *words, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_once_has_the_exit_code_of_check(once, world):
    nobody = f"127.0.0.1:{free_port()}"
    world.caa("second.example.test", OTHER)
    assert once(NAME, state=False)[0] == 0
    assert once(NAME, "second.example.test", state=False)[0] == 1
    assert once(NAME, asked=nobody, state=False)[0] == 3


def test_a_memory_lets_later_runs_notice_drift(once, world, tmp_path):
    metrics = tmp_path / "caa.prom"
    code, out, err = once(NAME, "--metrics-file", metrics)
    assert (code, out.split(" ", 1)[1], err) == (0, f"{NAME} exclusive\n", "")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600
    end = _samples(metrics.read_text())["window_end_timestamp_seconds", NAME]
    assert once(NAME, "--metrics-file", metrics) == (0, "", "")
    found = _samples(metrics.read_text())
    assert found["window_end_timestamp_seconds", NAME] == int(end)
    world.caa(NAME, *PAIR, OTHER)
    code, out, _ = once(NAME, "--metrics-file", metrics, "--json")
    table = json.loads(out)
    assert (code, table["event"], table["was"], table["verdict"]) == (
        1,
        "changed",
        "exclusive",
        "open",
    )
    assert table["records"] == {"gone": [], "new": [OTHER]}
    assert "unbound-issuer" in table["findings"]["new"]
    assert table["result"]["name"] == NAME
    assert table["result"]["findings"][0]["severity"] == "critical"
    assert _samples(metrics.read_text())["changes_total", NAME] == 1
    assert once(NAME)[:2] == (1, "")
    # What is remembered of a run before does not hold when this one cannot even begin.
    world.caa(NAME, *PAIR)
    assert once(NAME)[0] == 0
    code, out, err = once("--file", tmp_path / "absent", "--metrics-file", metrics)
    assert (code, out) == (3, "")
    assert "cannot read" in err
    found = _samples(metrics.read_text())
    assert (found["holds", NAME], found["told", NAME], found["changes_total", NAME]) == (0, 0, 2)


def test_a_memory_that_cannot_be_written_is_told(once, tmp_path):
    code, out, err = once(NAME, "--state", tmp_path / "absent" / "state")
    assert (code, out.split(" ", 1)[1]) == (3, f"{NAME} exclusive\n")
    assert "error: cannot write " in err


@contextmanager
def _process(world, *arguments):
    words = ["caa", "watch", "--resolver", world.resolver.address, *SUBJECT, *map(str, arguments)]
    process = subprocess.Popen(
        [sys.executable, "-m", "certbot_enclave", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        # Whoever runs the tests in the background may have SIGINT ignored, and so would it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _line(stream):
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        assert selector.select(SECONDS), "nothing is printed"
    return stream.readline()


def test_a_running_watch_notices_within_the_interval_and_ends_when_it_is_told(world, tmp_path):
    port, file = free_port(), tmp_path / "caa.prom"
    options = ["--interval", "10s", "--metrics-listen", f"127.0.0.1:{port}"]
    with _process(world, NAME, *options, "--metrics-file", file) as process:
        assert _line(process.stdout).endswith(f"Z {NAME} exclusive\n")
        assert _line(process.stderr).endswith(f" metrics are at http://127.0.0.1:{port}/metrics\n")
        assert _line(process.stderr).endswith(" watching 1 names, every 10 seconds\n")
        assert _scrape(port)["holds", NAME] == 1
        world.caa(NAME, OTHER)
        changed = time.monotonic()
        assert f" {NAME} exclusive -> open: unbound-issuer: " in _line(process.stdout)
        assert time.monotonic() - changed < 10 + 5
        assert eventually(lambda: _scrape(port)["holds", NAME] == 0)
        assert eventually(lambda: _samples(file.read_text())["holds", NAME] == 0)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (0, "")
        assert err == "certbot-enclave: note: asked to end\n"
    # What is left tells its age.
    age = time.time() - _samples(file.read_text())["last_round_timestamp_seconds",]
    assert 0 <= age < SECONDS
    assert [path.name for path in tmp_path.iterdir()] == ["caa.prom"]
    assert not accepts(port)


def test_it_ends_in_the_middle_of_a_round(world):
    # A resolver that takes questions and never answers.
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        silent = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        silent.bind(("127.0.0.1", 0))
        asked = f"127.0.0.1:{silent.getsockname()[1]}"
        options = ["--resolver", asked, "--metrics-file", Path(folder, "caa.prom")]
        process = stack.enter_context(_process(world, NAME, *options))
        silent.settimeout(SECONDS)
        silent.recv(512)  # it is asking now
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (0, "")
        assert err == "certbot-enclave: note: asked to end\n"
        assert time.monotonic() - begun < 3
        assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_single_round_that_is_interrupted_says_nothing_of_the_names(world, number, code):
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        asked = f"127.0.0.1:{silent.getsockname()[1]}"
        with _process(world, NAME, "--once", "--resolver", asked) as process:
            silent.settimeout(SECONDS)
            silent.recv(512)
            process.send_signal(number)
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
