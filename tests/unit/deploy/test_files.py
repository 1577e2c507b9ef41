# SPDX-License-Identifier: Apache-2.0
"""Key and chain change together, and a failed check keeps the old pair."""

import contextlib
import os
import select
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
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
        ({"check": " "}, "deploy-check"),
        ({"reload": "a\0b"}, "deploy-reload"),
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


def test_command_has_a_session_of_its_own(tmp_path):
    """So that a kill reaches its children, and never us."""
    script = "read -r pid name state parent group session rest < /proc/$$/stat; test $session = $$"
    _deploy(tmp_path, 1, check=f"/bin/sh -c '{script}'")
    assert _pair(tmp_path) == (b"key1", b"chain1")


def test_command_that_hangs_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; wait"
    with pytest.raises(errors.DeployError, match="timed out"):
        _deploy(tmp_path / "tls", 1, check=f"/bin/sh -c '{script}'", timeout=1.0)
    # The kernel ends it when it next has a turn; init reaps it whenever it likes.
    with contextlib.suppress(ProcessLookupError):
        child = os.pidfd_open(int(pids.read_text()))
        ended, _, _ = select.select([child], [], [], 30)
        os.close(child)
        assert ended == [child]


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


def _versions(where):
    return os.listdir(where / ".versions" / "example.test")


def test_interrupted_command_is_killed_and_the_old_pair_is_back(tmp_path, monkeypatch):
    _deploy(tmp_path, 1)
    started = []

    def interrupted(process, _timeout=None):
        if not started:  # the first wait is ours, the second follows the kill
            started.append(process.pid)
            raise KeyboardInterrupt
        return waited(process)

    waited = files.subprocess.Popen.wait
    monkeypatch.setattr(files.subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _deploy(tmp_path, 2, check="sleep 600")
    assert not Path("/proc", str(started[0])).exists()
    assert _pair(tmp_path) == (b"key1", b"chain1")
    assert len(_versions(tmp_path)) == 1


def test_interrupt_stays_one_although_the_command_has_just_ended(tmp_path, monkeypatch):
    """Popen.wait may reap the command before it raises; then there is no group to kill."""
    _deploy(tmp_path, 1)
    waited = files.subprocess.Popen.wait

    def interrupted(process, timeout=None):
        code = waited(process)
        if timeout is not None:
            raise KeyboardInterrupt
        return code

    with monkeypatch.context() as patch:
        patch.setattr(files.subprocess.Popen, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _deploy(tmp_path, 2, check=TRUE)
    assert _pair(tmp_path) == (b"key1", b"chain1")
    assert len(_versions(tmp_path)) == 1


def test_no_room_for_output_is_a_failed_check(tmp_path, monkeypatch):
    _deploy(tmp_path, 1)

    def full(*_arguments, **_options):
        raise FULL

    monkeypatch.setattr(files.tempfile, "TemporaryFile", full)
    with pytest.raises(errors.DeployError, match=r"No space left.*; the old certificate stays"):
        _deploy(tmp_path, 2, check=TRUE)
    assert _pair(tmp_path) == (b"key1", b"chain1")


def test_command_runs_in_the_root_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _deploy(tmp_path, 1, check="/bin/sh -c 'test $(pwd) = /'")
    assert _pair(tmp_path) == (b"key1", b"chain1")


@pytest.mark.parametrize("place", [".versions", ".versions/example.test"])
def test_link_in_place_of_our_directory_is_refused(tmp_path, place):
    """The directory was checked to be RAM; what the link leads to was not."""
    outside, where = tmp_path / "disk", tmp_path / "tls"
    outside.mkdir()
    (where / place).parent.mkdir(parents=True)
    (where / place).symlink_to(outside)
    with pytest.raises(errors.DeployError, match="is a symbolic link") as caught:
        _deploy(where, 1)
    assert caught.value.code == "deploy-write"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_in_the_way_is_not_replaced(tmp_path, make):
    make(tmp_path / "example.test")
    with pytest.raises(errors.DeployError, match="it is in the way") as caught:
        _deploy(tmp_path, 1)
    assert caught.value.code == "deploy-write"
    assert not (tmp_path / "example.test").is_symlink()
    assert _versions(tmp_path) == []


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["privkey.pem", "fullchain.pem"])
def test_full_disk_keeps_the_old_pair_and_no_key(tmp_path, monkeypatch, name):
    _deploy(tmp_path, 1)
    write = files._write

    def full(path, data, mode):
        write(path, data[:1], mode)
        if path.name == name:
            raise FULL

    monkeypatch.setattr(files, "_write", full)
    assert _code(_deploy, tmp_path, 2) == "deploy-write"
    assert _pair(tmp_path) == (b"key1", b"chain1")
    assert len(_versions(tmp_path)) == 1


@pytest.mark.parametrize("call", ["_write", "_point", "_run"])
def test_killed_at_any_step_a_whole_pair_is_served(tmp_path, monkeypatch, call):
    _deploy(tmp_path, 1)
    done = getattr(files, call)

    class Killed(BaseException):
        pass

    def cleanup(*_arguments, **_options):
        raise Killed

    for after in (False, True):

        def killed(*arguments, after=after):
            if after:
                done(*arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(files, call, killed)
            patch.setattr(files, "_go_back", cleanup)  # who is killed does not clean up
            with pytest.raises(Killed):
                _deploy(tmp_path, 2, check=TRUE)
        assert _pair(tmp_path) in ((b"key1", b"chain1"), (b"key2", b"chain2"))
    _deploy(tmp_path, 3, check=TRUE)
    assert _pair(tmp_path) == (b"key3", b"chain3")
    assert len(_versions(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == [".versions", "example.test"]


def test_rollback_that_fails_says_what_is_in_place(tmp_path, monkeypatch):
    _deploy(tmp_path, 1)
    point, calls = files._point, []

    def once(link, target):
        calls.append(target)
        if len(calls) > 1:
            raise FULL
        point(link, target)

    monkeypatch.setattr(files, "_point", once)
    with pytest.raises(errors.DeployError, match="the new certificate stays in place: No space"):
        _deploy(tmp_path, 2, check=FALSE)
    assert _pair(tmp_path) == (b"key2", b"chain2")


def test_link_that_leads_nowhere_is_put_back(tmp_path):
    (tmp_path / "example.test").symlink_to("gone")
    assert _code(_deploy, tmp_path, 1, check=FALSE) == "deploy-check"
    assert os.readlink(tmp_path / "example.test") == "gone"


def test_link_to_elsewhere_is_replaced_and_what_it_leads_to_stays(tmp_path):
    elsewhere, where = tmp_path / "elsewhere", tmp_path / "tls"
    elsewhere.mkdir()
    where.mkdir()
    (elsewhere / "privkey.pem").write_bytes(b"self-made")
    (where / "example.test").symlink_to(elsewhere)
    _deploy(where, 1)
    assert _pair(where) == (b"key1", b"chain1")
    assert (elsewhere / "privkey.pem").read_bytes() == b"self-made"


def test_old_version_that_cannot_be_removed_is_no_failure(tmp_path, monkeypatch):
    _deploy(tmp_path, 1)
    removed = shutil.rmtree

    def stuck(path, ignore_errors=False):
        if not ignore_errors:
            raise FULL

    monkeypatch.setattr(files.shutil, "rmtree", stuck)
    _deploy(tmp_path, 2)
    monkeypatch.setattr(files.shutil, "rmtree", removed)
    assert _pair(tmp_path) == (b"key2", b"chain2")
    _deploy(tmp_path, 3)
    assert len(_versions(tmp_path)) == 1


def test_nobody_else_can_read_the_key_at_any_moment(tmp_path, monkeypatch):
    seen = []
    opened = os.open

    def watched(path, flags, mode=0o777, **options):
        descriptor = opened(path, flags, mode, **options)
        if Path(path).name == "privkey.pem":
            folders = (Path(path).parent, tmp_path / "tls")
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            seen.extend(stat.S_IMODE(folder.stat().st_mode) for folder in folders)
        return descriptor

    old = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", watched)
            _deploy(tmp_path / "tls", 1)
    finally:
        os.umask(old)
    assert seen == [0o600, 0o700, 0o700]


def _holds(where, number, name="example.test"):
    return files.holds(where, name, key=b"key%d" % number, chain=b"chain%d" % number)


def test_what_is_in_place_is_known(tmp_path):
    assert not _holds(tmp_path, 1)
    _deploy(tmp_path, 1, reload=TRUE)
    assert _holds(tmp_path, 1)
    assert not _holds(tmp_path, 2)
    assert not files.holds(tmp_path, "example.test", key=b"key1", chain=b"chain2")
    assert not files.holds(tmp_path, "example.test", key=b"key2", chain=b"chain1")
    assert _code(_deploy, tmp_path, 2, check=FALSE) == "deploy-check"
    assert _holds(tmp_path, 1)


def test_pair_that_the_server_was_not_told_of_is_not_in_place(tmp_path):
    """Killed between the link and the reload."""
    _deploy(tmp_path, 1)
    pid = os.fork()
    if pid == 0:
        _deploy(tmp_path, 2, reload=f"/bin/sh -c 'kill -9 {os.getpid()}; sleep 5'")
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == 9
    assert _pair(tmp_path) == (b"key2", b"chain2")
    assert not _holds(tmp_path, 2)
    _deploy(tmp_path, 2)
    assert _holds(tmp_path, 2)


def test_deployments_come_one_after_the_other(tmp_path):
    seen = tmp_path / "seen"
    command = f"/bin/sh -c 'echo in >> {seen}; sleep 0.2; echo out >> {seen}'"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: _deploy(tmp_path / "tls", n, check=command), range(3)))
    assert seen.read_text().split() == ["in", "out"] * 3


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert _code(_deploy, tmp_path / "file" / "tls", 1) == "deploy-write"
