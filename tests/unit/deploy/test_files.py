# SPDX-License-Identifier: Apache-2.0
"""Key and chain change together, and a failed check keeps the old pair."""

import os
import stat
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.deploy import files

TRUE, FALSE = "/bin/true", "/bin/false"


def _pair(where, name="example.test"):
    return (
        (where / name / "privkey.pem").read_bytes(),
        (where / name / "fullchain.pem").read_bytes(),
    )


def _deploy(where, number, name="example.test", **commands):
    files.deploy(where, name, key=b"key%d" % number, chain=b"chain%d" % number, **commands)


def _code(call, *args, **kwargs):
    with pytest.raises(errors.Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_modes(tmp_path):
    where = tmp_path / "tls"
    _deploy(where, 1)
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert stat.S_IMODE((where / "example.test" / "privkey.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((where / "example.test" / "fullchain.pem").stat().st_mode) == 0o644


def test_new_pair_replaces_the_old_and_nothing_is_left(tmp_path):
    for number in (1, 2, 3):
        _deploy(tmp_path, number, check=TRUE, reload=TRUE)
    assert _pair(tmp_path) == (b"key3", b"chain3")
    assert len(os.listdir(tmp_path / ".versions" / "example.test")) == 1


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ({"check": FALSE}, "deploy-check"),
        ({"check": TRUE, "reload": FALSE}, "deploy-reload"),
        ({"check": "/no/such/command"}, "deploy-check"),
        ({"check": "'"}, "deploy-check"),
    ],
)
def test_failure_keeps_the_old_pair_and_says_so(tmp_path, commands, code):
    _deploy(tmp_path, 1)
    with pytest.raises(errors.DeployError, match="the old certificate stays in place") as caught:
        _deploy(tmp_path, 2, **commands)
    assert caught.value.code == code
    assert _pair(tmp_path) == (b"key1", b"chain1")
    assert len(os.listdir(tmp_path / ".versions" / "example.test")) == 1


def test_failure_of_the_first_leaves_nothing(tmp_path):
    with pytest.raises(errors.DeployError, match="nothing is in place"):
        _deploy(tmp_path, 1, check=FALSE)
    assert not (tmp_path / "example.test").is_symlink()


def test_check_sees_the_new_pair(tmp_path):
    _deploy(tmp_path, 1)
    seen = tmp_path / "example.test" / "privkey.pem"
    _deploy(tmp_path, 2, check=f"grep -qx key2 {seen}")
    assert _code(_deploy, tmp_path, 3, check=f"grep -qx key2 {seen}") == "deploy-check"


def test_last_line_of_the_command_is_told(tmp_path):
    with pytest.raises(errors.DeployError, match="exit code 3: second"):
        _deploy(tmp_path, 1, check="/bin/sh -c 'echo first >&2; echo second >&2; exit 3'")


def test_odd_output_is_told_in_one_printable_line(tmp_path):
    script = "head -c 100000 /dev/zero | tr '\\\\0' x; printf '\\\\n\\\\377\\\\033[31mred'; exit 1"
    with pytest.raises(errors.DeployError, match=r"exit code 1: \ufffd\[31mred"):
        _deploy(tmp_path, 1, check=f'/bin/sh -c "{script}"')


def test_command_that_hangs_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; wait"
    with pytest.raises(errors.DeployError, match="timed out"):
        _deploy(tmp_path / "tls", 1, check=f"/bin/sh -c '{script}'", timeout=1.0)
    child = Path("/proc", pids.read_text().strip(), "stat")
    # A killed child whose parent is gone is reaped by init, or still a zombie.
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_command_may_leave_a_server_running(tmp_path):
    _deploy(tmp_path, 1, reload="/bin/sh -c 'sleep 2 & exit 0'", timeout=1.0)
    assert _pair(tmp_path) == (b"key1", b"chain1")


def test_commands_get_no_environment_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAK", "1")
    _deploy(tmp_path, 1, check='/bin/sh -c \'test -z "$LEAK" -a -n "$PATH"\'')


def test_certificates_do_not_touch_each_other(tmp_path):
    _deploy(tmp_path, 1, name="a.test")
    _deploy(tmp_path, 2, name="a.test.b")
    _deploy(tmp_path, 3, name="a.test")
    assert _pair(tmp_path, "a.test.b") == (b"key2", b"chain2")


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b"])
def test_odd_names_are_refused(tmp_path, name):
    assert _code(_deploy, tmp_path, 1, name=name) == "deploy-name"


def test_unwritable_directory(tmp_path):
    (tmp_path / "file").touch()
    assert _code(_deploy, tmp_path / "file", 1) == "deploy-write"


@pytest.mark.parametrize("spec", ["nginx:/x", "files:", "files:relative", "/x", ""])
def test_specification(spec):
    assert _code(files.directory, spec) == "deploy-invalid"


def test_good_specification(tmp_path):
    assert files.directory(f"files:{tmp_path}") == tmp_path
