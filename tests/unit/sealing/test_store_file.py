# SPDX-License-Identifier: Apache-2.0
"""The file store: atomic, and a store that is away is not an empty store."""

import errno
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from certbot_enclave import errors
from certbot_enclave.interfaces import Stored
from certbot_enclave.sealing.stores import file as store_file
from certbot_enclave.sealing.stores.file import FileStore


def _code(kind, call, *args):
    with pytest.raises(kind) as caught:
        call(*args)
    return caught.value.code


def _write(store, data):
    """Write over whatever is there."""
    present = store.read()
    return store.write(data, generation=1, replaces=present.version if present else "")


def _first(store, data=b"x"):
    return store.write(data, generation=1, replaces="")


def test_nothing_stored_then_the_last_bytes_and_those_before(tmp_path):
    store = FileStore(str(tmp_path / "bundle"))
    assert store.read() is None
    first = store.write(b"one", generation=1, replaces="")
    assert store.read() == Stored(b"one", first)
    second = store.write(b"two", generation=2, replaces=first)
    assert store.read() == Stored(b"two", second)
    assert (tmp_path / "bundle.previous").read_bytes() == b"one"
    store.write(b"three", generation=3, replaces=second)
    assert (tmp_path / "bundle.previous").read_bytes() == b"two"
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.previous"]


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path):
    store = FileStore(str(tmp_path / "bundle"))
    first = store.write(b"one", generation=1, replaces="")
    conflict = "store-conflict"
    assert _code(errors.SealError, _first, store) == conflict
    second = store.write(b"two", generation=2, replaces=first)
    with pytest.raises(errors.SealError, match="than generation 2, which") as caught:
        store.write(b"other", generation=3, replaces=first)
    assert caught.value.code == conflict
    assert store.read() == Stored(b"two", second)
    (tmp_path / "bundle").unlink()
    with pytest.raises(errors.SealError) as caught:
        store.write(b"three", generation=3, replaces=second)
    assert caught.value.code == conflict


def test_of_many_that_write_at_once_one_wins(tmp_path):
    def write(number):
        try:
            return _first(FileStore(str(tmp_path / "bundle")), b"%d" % number)
        except errors.SealError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(write, range(8)))
    assert said.count("store-conflict") == 7
    assert FileStore(str(tmp_path / "bundle")).read().version in said


KILLED = """
import os, signal, sys
from certbot_enclave.sealing.stores.file import FileStore
name = sys.argv[2]
setattr(os, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
store = FileStore(sys.argv[1])
store.write(b"two", generation=2, replaces=store.read().version)
"""


@pytest.mark.parametrize("step", ["fsync", "link", "replace"])
def test_killed_write_leaves_the_old_bundle_and_the_next_one_tidies(tmp_path, step):
    store = FileStore(str(tmp_path / "bundle"))
    first = _first(store, b"one")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "bundle", step])
    assert done.returncode == -signal.SIGKILL
    assert store.read() == Stored(b"one", first)
    store.write(b"three", generation=2, replaces=first)
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.previous"]
    assert (tmp_path / "bundle.previous").read_bytes() == b"one"


def test_store_that_is_not_mounted_is_an_error(tmp_path):
    store = FileStore(str(tmp_path / "away" / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, _first, store) == "store-unreachable"


def test_link_into_a_store_that_is_not_mounted_is_an_error(tmp_path):
    """Taken for an empty store, it would let the enclave register a second account."""
    mounted = tmp_path / "mounted"
    (tmp_path / "bundle").symlink_to(mounted / "bundle")
    store = FileStore(str(tmp_path / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, _first, store) == "store-unreachable"
    mounted.mkdir()
    assert store.read() is None
    _first(store, b"kept")
    assert (mounted / "bundle").read_bytes() == store.read().data == b"kept"
    assert (tmp_path / "bundle").is_symlink()
    assert os.listdir(mounted) == ["bundle"]


def test_directory_in_its_place_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "bundle").mkdir()
    store = FileStore(str(tmp_path / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, _first, store) == "store-unreachable"
    assert os.listdir(tmp_path) == ["bundle"]


def test_relative_path_is_refused():
    assert _code(errors.PolicyError, FileStore, "bundle") == "store-path"


def test_huge_bundle_is_refused(tmp_path):
    path = tmp_path / "bundle"
    with path.open("wb") as file:
        file.truncate(store_file.MAX_FILE + 1)
    assert _code(errors.FormatError, FileStore(str(path)).read) == "bundle-size"


def test_data_and_name_are_on_the_medium_before_write_returns(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        synced.append((stat.S_IFMT(os.fstat(descriptor).st_mode), os.listdir(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    _first(FileStore(str(tmp_path / "bundle")))
    (kind, names), directory = synced
    assert (kind, "bundle" in names) == (stat.S_IFREG, False)
    assert directory == (stat.S_IFDIR, ["bundle"])


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "store-full"),
        (errno.EDQUOT, "store-full"),
        (errno.EIO, "store-unreachable"),
        (errno.EROFS, "store-unreachable"),
    ],
)
def test_write_that_fails_keeps_the_old_bytes(tmp_path, monkeypatch, number, code):
    store = FileStore(str(tmp_path / "bundle"))
    _first(store, b"old")

    def fails(_descriptor):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        assert _code(errors.TransportError, _write, store, b"new") == code
    assert store.read().data == b"old"
    _write(store, b"new")
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.previous"]


def test_version_is_that_of_what_is_there(tmp_path):
    store = FileStore(str(tmp_path / "bundle"))
    assert store.version() is None
    first = _first(store, b"one")
    assert store.version() == first == store.read().version
    second = store.write(b"two", generation=2, replaces=first)
    assert store.version() == second
    # Somebody else writes, in place and with the same size.
    (tmp_path / "bundle").write_bytes(b"six")
    assert store.version() == store.read().version
    (tmp_path / "bundle").unlink()
    assert store.version() is None


def test_version_does_not_read_what_did_not_change(tmp_path, monkeypatch):
    store = FileStore(str(tmp_path / "bundle"))
    first = _first(store)
    assert store.version() == first
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "read", None)
        assert store.version() == first


def test_version_of_a_store_that_is_not_mounted_is_an_error(tmp_path):
    store = FileStore(str(tmp_path / "away" / "bundle"))
    assert _code(errors.TransportError, store.version) == "store-unreachable"
