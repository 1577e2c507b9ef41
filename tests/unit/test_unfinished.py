# SPDX-License-Identifier: Apache-2.0
"""Of a certificate that certbot never finished nothing is left that stands in the way."""

import os

import pytest

from certbot_enclave import errors, unfinished
from tests.unit.sealing import lineage_trees


@pytest.fixture
def config(tmp_path):
    lineage_trees.lineage(tmp_path, "kept.test", 1)
    return tmp_path


def _begun(config, name):
    """What there is when certbot is killed before it has filled the renewal file."""
    lineage_trees.lineage(config, name, 1)
    conf = config / "renewal" / f"{name}.conf"
    conf.write_bytes(b"")
    return conf


def _everything(config):
    return sorted(path.relative_to(config).as_posix() for path in config.rglob("*"))


def test_it_is_removed_and_nothing_else(config):
    before = _everything(config)
    _begun(config, "a.test")
    assert unfinished.any_in(config)
    unfinished.clear(config)
    assert _everything(config) == before
    assert not unfinished.any_in(config)
    unfinished.clear(config)
    assert _everything(config) == before


def test_only_the_name_was_taken(config):
    before = _everything(config)
    (config / "renewal" / "a.test.conf").touch()
    unfinished.clear(config)
    assert _everything(config) == before


def test_nothing_is_there_at_all(tmp_path):
    assert not unfinished.any_in(tmp_path / "none")
    unfinished.clear(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_what_certbot_does_not_write_stays(config):
    _begun(config, "a.test")
    foreign = config / "live" / "a.test" / "folder"
    foreign.mkdir()
    (config / "archive" / "a.test").rename(config / "elsewhere")
    (config / "archive" / "a.test").symlink_to(config / "elsewhere")
    unfinished.clear(config)
    assert os.listdir(config / "live" / "a.test") == ["folder"]
    assert len(os.listdir(config / "elsewhere")) == 4


def test_renewal_file_that_is_a_link_is_none(config):
    (config / "empty").touch()
    (config / "renewal" / "a.test.conf").symlink_to(config / "empty")
    assert not unfinished.any_in(config)


def test_renewal_file_goes_last(config, monkeypatch):
    conf = _begun(config, "a.test")

    def refuse(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rmdir", refuse)
    monkeypatch.setattr("pathlib.Path.rmdir", refuse)
    with pytest.raises(errors.TransportError) as caught:
        unfinished.clear(config)
    assert caught.value.code == "state-unwritable"
    assert conf.exists()
    monkeypatch.undo()
    unfinished.clear(config)
    assert not conf.exists()
