# SPDX-License-Identifier: Apache-2.0
"""What a bundle carries of certbot's tree, and what it never writes."""

import base64
import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import tree

GOOD = {"path": "accounts/a/regr.json", "mode": 0o644, "data": "AA=="}


def _mode(path):
    return path.stat().st_mode & 0o777


def _fill(config):
    key = config / "accounts" / "ca" / "1" / "private_key.json"
    key.parent.mkdir(parents=True)
    tree.write(key, b"sealed", 0o400)
    (config / "enclave").mkdir()
    tree.write(config / "enclave" / "settings.json", b"{}", 0o600)
    tree.write(config / "enclave" / "boot.json", b"not carried", 0o600)
    (config / "archive").mkdir()
    tree.write(config / "archive" / "privkey1.pem", b"not carried yet", 0o600)


def test_round_trip(tmp_path):
    _fill(tmp_path / "a")
    files = tree.collect(tmp_path / "a")
    assert [file.path for file in files] == [
        "accounts/ca/1/private_key.json",
        "enclave/settings.json",
    ]
    again = [tree.from_json(file.to_json()) for file in files]
    tree.restore(tmp_path / "b", again)
    assert tree.collect(tmp_path / "b") == files
    assert _mode(tmp_path / "b" / files[0].path) == 0o400
    assert _mode(tmp_path / "b" / "accounts") == 0o700


def test_odd_modes_become_private(tmp_path):
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "x").touch(mode=0o777)
    os.chmod(tmp_path / "accounts" / "x", 0o777)
    assert tree.collect(tmp_path)[0].mode == 0o600


BAD = {
    "absolute": {**GOOD, "path": "/accounts/x"},
    "parent": {**GOOD, "path": "accounts/../../x"},
    "dot": {**GOOD, "path": "accounts/./x"},
    "empty part": {**GOOD, "path": "accounts//x"},
    "outside": {**GOOD, "path": "renewal-hooks/pre/x"},
    "lookalike": {**GOOD, "path": "accounts-x"},
    "control": {**GOOD, "path": "accounts/\n"},
    "executable": {**GOOD, "mode": 0o755},
    "setuid": {**GOOD, "mode": 0o4600},
    "mode text": {**GOOD, "mode": "0600"},
    "path number": {**GOOD, "path": 1},
    "data no base64": {**GOOD, "data": "!"},
    "data number": {**GOOD, "data": 1},
    "more": {**GOOD, "more": 1},
    "no object": [],
}


@pytest.mark.parametrize("item", BAD.values(), ids=BAD)
def test_bad_files_are_refused(item):
    with pytest.raises(errors.FormatError) as caught:
        tree.from_json(item)
    assert caught.value.code == "bundle-file"
    assert tree.from_json(GOOD).data == base64.b64decode("AA==")


def test_too_large_is_refused(tmp_path):
    (tmp_path / "accounts").mkdir()
    with (tmp_path / "accounts" / "x").open("wb") as file:
        file.truncate(tree.MAX_FILE + 1)
    with pytest.raises(errors.SealError) as caught:
        tree.collect(tmp_path)
    assert caught.value.code == "bundle-too-large"


def test_write_replaces_and_does_not_follow(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    link = tmp_path / "file"
    link.symlink_to(target)
    tree.write(link, b"new", 0o600)
    assert target.read_bytes() == b"old"
    assert link.read_bytes() == b"new"
    assert _mode(link) == 0o600


@pytest.mark.parametrize(
    "place", ["accounts", "accounts/a", "accounts/a/regr.json", "enclave", "enclave/settings.json"]
)
def test_planted_links_are_refused(tmp_path, place):
    config, outside = tmp_path / "config", tmp_path / "outside"
    outside.mkdir()
    (config / place).parent.mkdir(parents=True, exist_ok=True)
    (config / place).symlink_to(outside)
    with pytest.raises(errors.SealError) as caught:
        tree.collect(config)
    assert caught.value.code == "bundle-link"
    path = "enclave/settings.json" if place.startswith("enclave") else "accounts/a/regr.json"
    with pytest.raises(errors.SealError) as caught:
        tree.restore(config, [tree.File(path, 0o600, b"{}")])
    assert caught.value.code == "bundle-link"
    assert list(outside.iterdir()) == []


def test_link_among_accounts_would_hide_one_and_is_refused(tmp_path):
    _fill(tmp_path / "config")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "config" / "accounts" / "other-ca").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.SealError, match="other-ca is a symbolic link") as caught:
        tree.collect(tmp_path / "config")
    assert caught.value.code == "bundle-link"


def test_what_is_no_file_is_left_out(tmp_path):
    _fill(tmp_path)
    before = tree.collect(tmp_path)
    os.mkfifo(tmp_path / "accounts" / "pipe")
    (tmp_path / "enclave" / "pending.json").mkdir()
    assert tree.collect(tmp_path) == before


def test_nothing_there_is_nothing(tmp_path):
    assert tree.collect(tmp_path / "missing") == ()


def test_name_that_could_not_be_restored_is_refused(tmp_path):
    _fill(tmp_path)
    (tmp_path / "accounts" / "a\nb").touch()
    with pytest.raises(errors.SealError) as caught:
        tree.collect(tmp_path)
    assert caught.value.code == "bundle-path"


def test_too_many_are_refused(tmp_path, monkeypatch):
    _fill(tmp_path)
    monkeypatch.setattr(tree, "MAX_FILES", 2)
    assert len(tree.collect(tmp_path)) == 2
    (tmp_path / "accounts" / "third").touch()
    with pytest.raises(errors.SealError) as caught:
        tree.collect(tmp_path)
    assert caught.value.code == "bundle-too-large"


def test_place_that_is_taken_is_an_error(tmp_path):
    files = [tree.File("accounts/a", 0o600, b""), tree.File("accounts/a/b", 0o600, b"")]
    with pytest.raises(errors.TransportError) as caught:
        tree.restore(tmp_path / "config", files)
    assert caught.value.code == "state-unwritable"


def test_directory_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.TransportError) as caught:
        tree.collect(tmp_path / "file")
    assert caught.value.code == "state-unreadable"


KILLED = """
import os, pathlib, signal, sys
from certbot_enclave.sealing import tree
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
tree.write(pathlib.Path(sys.argv[1]), b"new", 0o400)
"""


def test_killed_write_leaves_the_old_file_and_nothing_that_is_carried(tmp_path):
    _fill(tmp_path)
    before = tree.collect(tmp_path)
    key = tmp_path / "accounts" / "ca" / "1" / "private_key.json"
    done = subprocess.run([sys.executable, "-c", KILLED, key])
    assert done.returncode == -signal.SIGKILL
    assert sorted(os.listdir(key.parent)) == [".private_key.json.new", "private_key.json"]
    assert tree.collect(tmp_path) == before
    tree.write(key, b"new", 0o400)
    assert key.read_bytes() == b"new"
    assert os.listdir(key.parent) == ["private_key.json"]


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        tree.write(tmp_path / "file", b"", 0o600)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_nobody_else_can_read_a_file_at_any_moment(tmp_path, monkeypatch, mode):
    seen = []
    opened = os.open

    def watched(path, flags, mode=0o777, **options):
        descriptor = opened(path, flags, mode, **options)
        if flags & os.O_CREAT:
            seen.append(os.fstat(descriptor).st_mode & 0o077)
        return descriptor

    old = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", watched)
            tree.write(tmp_path / "file", b"secret", mode)
    finally:
        os.umask(old)
    assert seen == [0]
    assert _mode(tmp_path / "file") == mode


def test_of_two_that_write_at_once_one_waits(tmp_path, monkeypatch):
    replace, refused = os.replace, []

    def watched(source, target):
        folder = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # what a second writer would wait for
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused.append(folder)
        os.close(folder)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    tree.write(tmp_path / "file", b"first", 0o600)
    tree.write(tmp_path / "file", b"second", 0o600)
    assert len(refused) == 2
    assert (tmp_path / "file").read_bytes() == b"second"


def test_writers_at_once_never_mix(tmp_path):
    path = tmp_path / "file"
    texts = [bytes([number]) * 100_000 for number in range(4)]

    def write(text):
        for _ in range(20):
            tree.write(path, text, 0o600)
            assert path.read_bytes() in texts

    with ThreadPoolExecutor(len(texts)) as pool:
        assert list(pool.map(write, texts)) == [None] * len(texts)
    assert os.listdir(tmp_path) == ["file"]
