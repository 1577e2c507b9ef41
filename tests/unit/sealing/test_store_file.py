# SPDX-License-Identifier: Apache-2.0
"""The file store: atomic, and a store that is away is not an empty store."""

import errno
import os
import stat

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing.stores import file as store_file
from certbot_enclave.sealing.stores.file import FileStore


def _code(kind, call, *args):
    with pytest.raises(kind) as caught:
        call(*args)
    return caught.value.code


def test_nothing_stored_then_the_last_bytes(tmp_path):
    store = FileStore(str(tmp_path / "bundle"))
    assert store.read() is None
    store.write(b"one")
    store.write(b"two")
    assert store.read() == b"two"
    assert os.listdir(tmp_path) == ["bundle"]


def test_store_that_is_not_mounted_is_an_error(tmp_path):
    store = FileStore(str(tmp_path / "away" / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, store.write, b"") == "store-unreachable"


def test_link_into_a_store_that_is_not_mounted_is_an_error(tmp_path):
    """Taken for an empty store, it would let the enclave register a second account."""
    mounted = tmp_path / "mounted"
    (tmp_path / "bundle").symlink_to(mounted / "bundle")
    store = FileStore(str(tmp_path / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, store.write, b"lost") == "store-unreachable"
    mounted.mkdir()
    assert store.read() is None
    store.write(b"kept")
    assert (mounted / "bundle").read_bytes() == store.read() == b"kept"
    assert (tmp_path / "bundle").is_symlink()
    assert os.listdir(mounted) == ["bundle"]


def test_directory_in_its_place_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "bundle").mkdir()
    store = FileStore(str(tmp_path / "bundle"))
    assert _code(errors.TransportError, store.read) == "store-unreachable"
    assert _code(errors.TransportError, store.write, b"x") == "store-unreachable"
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
    FileStore(str(tmp_path / "bundle")).write(b"x")
    (kind, names), directory = synced
    assert (kind, "bundle" in names) == (stat.S_IFREG, False)
    assert directory == (stat.S_IFDIR, ["bundle"])


def test_write_that_fails_keeps_the_old_bytes(tmp_path, monkeypatch):
    store = FileStore(str(tmp_path / "bundle"))
    store.write(b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert _code(errors.TransportError, store.write, b"new") == "store-unreachable"
    assert store.read() == b"old"
    assert os.listdir(tmp_path) == ["bundle"]
