# SPDX-License-Identifier: Apache-2.0
"""certbot's process: its environment, its time, its signals, and what it says to us."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from certbot_enclave import child, errors
from tests.support.world.process import eventually

SHELL = ("/bin/sh", "-c")
PATH = {"PATH": "/usr/bin:/bin"}


def _run(script, *arguments, timeout=30.0, grace=30.0, environ=PATH, program=SHELL):
    return child.run([script, *arguments], environ, timeout=timeout, grace=grace, program=program)


def test_only_what_is_listed_gets_in():
    host = {
        "PATH": "/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TMPDIR": "/run/tmp",
        "HTTPS_PROXY": "http://127.0.0.1:3128",
        "AWS_SESSION_TOKEN": "for the store",
    }
    shaped = dict.fromkeys(
        [
            "PYTHONPATH",
            "PYTHONUNBUFFERED",
            "CERTBOT_PLUGIN_PATH",
            "CERTBOT_SNAPPED",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_PROFILE",
            "LD_PRELOAD",
            "XDG_CONFIG_HOME",
            "SHELL",
        ],
        "shaped",
    )
    assert child.environment({**host, **shaped}, "") == host
    roots = child.environment({**host, **shaped}, "/etc/roots.pem")
    assert roots == {**host, "REQUESTS_CA_BUNDLE": "/etc/roots.pem"}


def test_child_has_this_environment_and_no_stdin(capfd):
    _run("cat; env", environ={**PATH, "A": "1"})
    seen = capfd.readouterr().out.splitlines()
    names = {line.split("=")[0] for line in seen}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "A", "CERTBOT_ENCLAVE_TOLD"}


def test_it_is_the_certbot_of_this_interpreter(capfd, tmp_path, monkeypatch):
    """Neither the working directory nor variables bring other code."""
    (tmp_path / "certbot.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    ended = child.run(["--version"], {**PATH, "PYTHONPATH": str(tmp_path)}, timeout=60)
    assert ended == child.Ended(0, False, None, frozenset())
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from certbot.main import main; main(['--version'])"],
        capture_output=True,
        text=True,
    )
    assert capfd.readouterr().out == done.stdout


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", -9), (":", 0)])
def test_exit_code(script, code):
    assert _run(script) == child.Ended(code, False, None, frozenset())


def test_program_that_is_missing():
    with pytest.raises(errors.TransportError) as caught:
        _run("", program=("/no/such/program",))
    assert caught.value.code == "certbot-missing"


def _gone(path):
    return not os.path.exists(f"/proc/{path.read_text().strip()}/cmdline")


def test_whole_group_is_ended_when_time_is_over(tmp_path):
    path = tmp_path / "pid"
    ended = _run(f"sleep 600 & echo $! > {path}; wait", timeout=0.5)
    assert ended == child.Ended(-signal.SIGTERM, True, None, frozenset())
    assert eventually(lambda: _gone(path))


def test_who_ignores_the_first_signal_is_killed(tmp_path):
    path = tmp_path / "pid"
    script = f"trap '' TERM; sleep 600 & echo $! > {path}; wait; wait"
    ended = _run(script, timeout=0.5, grace=0.5)
    assert (ended.code, ended.timed_out) == (-signal.SIGKILL, True)
    assert eventually(lambda: _gone(path))


def test_who_is_left_behind_by_a_polite_end_is_killed(tmp_path):
    path = tmp_path / "pid"
    script = f"(trap '' TERM; echo > {path}.set; sleep 600) & echo $! > {path}; wait"
    assert _run(script, timeout=1).code == -signal.SIGTERM
    assert eventually(lambda: _gone(path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on(tmp_path, number):
    path = tmp_path / "ready"
    handlers = [signal.getsignal(item) for item in (signal.SIGTERM, signal.SIGINT)]

    def send():
        assert eventually(path.exists)
        os.kill(os.getpid(), number)

    name = signal.Signals(number).name.removeprefix("SIG")
    sender = threading.Thread(target=send)
    sender.start()
    ended = _run(f"trap 'exit 7' {name}; : > {path}; while :; do sleep 0.1; done")
    sender.join()
    assert ended == child.Ended(7, False, number, frozenset())
    assert [signal.getsignal(item) for item in (signal.SIGTERM, signal.SIGINT)] == handlers


TELLS = """
from certbot_enclave import child, errors
child.tell(errors.SealError("it is", code="store-conflict"))
child.tell(errors.GateError("it is", code="caa-open"))
"""


def test_what_it_printed_is_known():
    ended = _run(TELLS, program=(sys.executable, "-I", "-c"))
    assert ended == child.Ended(0, False, None, frozenset({"store-conflict", "caa-open"}))


def test_who_keeps_the_channel_open_does_not_hold_us_up(tmp_path):
    path = tmp_path / "pid"
    ended = _run(f"echo one > /proc/self/fd/$CERTBOT_ENCLAVE_TOLD; sleep 600 & echo $! > {path}")
    assert ended.told == {"one"}
    os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("number", ["", "x", "-1", "999999"])
def test_without_a_channel_nothing_is_told(monkeypatch, number, capfd):
    monkeypatch.setenv("CERTBOT_ENCLAVE_TOLD", number)
    child.tell(errors.SealError("it is", code="store-conflict"))
    assert capfd.readouterr() == ("", "")
