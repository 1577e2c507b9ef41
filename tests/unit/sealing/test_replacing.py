# SPDX-License-Identifier: Apache-2.0
"""A tree in use is replaced; wherever that is cut off, certbot sees whole lineages."""

import os
import shutil
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import replacing, tree
from tests.unit.sealing.lineage_trees import account, days, lineage


class Cut(BaseException):
    """The process ends here."""


@pytest.fixture
def before(tmp_path):
    """What is here: a lineage that changes, one that goes, one that stays."""
    config = tmp_path / "before"
    account(config)
    account(config, directory="staging.test/directory", name="cd34")
    lineage(config, "changes.test", 1)
    lineage(config, "collides.test", 1)
    lineage(config, "collides.test", 4, generation=2)
    lineage(config, "goes.test", 1)
    lineage(config, "stays.test", 1)
    tree.restore(config, [tree.File("enclave/pending.json", 0o600, b"old")])
    return config


@pytest.fixture
def wanted(tmp_path):
    """What a newer bundle holds."""
    config = tmp_path / "wanted"
    account(config)
    lineage(config, "changes.test", 2, generation=2)
    lineage(config, "collides.test", 2, generation=2)
    lineage(config, "comes.test", 2)
    lineage(config, "stays.test", 1)
    tree.restore(config, [tree.File("enclave/settings.json", 0o600, b"{}")])
    return tree.collect(config)


DAYS = {"changes.test": {"2"}, "collides.test": {"2"}, "comes.test": {"2"}, "stays.test": {"1"}}


def test_tree_holds_what_is_wanted_and_nothing_else(before, wanted):
    replacing.replace(before, tree.collect(before), wanted)
    assert tree.collect(before) == wanted
    assert days(before) == DAYS
    # certbot renews the latest generation, whether a link leads to it or not.
    assert sorted(os.listdir(before / "archive" / "changes.test")) == [
        f"{kind}2.pem" for kind in ("cert", "chain", "fullchain", "privkey")
    ]
    assert not (before / "archive" / "goes.test").exists()
    assert not (before / "live" / "goes.test").exists()
    assert [path.name for path in (before / "accounts").iterdir()] == ["ca.test"]
    assert not (before / "enclave" / "pending.json").exists()


def test_what_certbot_began_does_not_turn_it_back(before, wanted):
    for kind in ("cert", "chain", "fullchain", "privkey"):
        link = before / "live" / "changes.test" / f"previous_{kind}.pem"
        link.symlink_to(f"../../archive/changes.test/{kind}1.pem")
    replacing.replace(before, tree.collect(before), wanted)
    assert list((before / "live" / "changes.test").glob("previous_*")) == []


def test_same_tree_is_not_touched(before):
    present = tree.collect(before)
    stamps = {path: path.lstat().st_mtime_ns for path in before.rglob("*")}
    replacing.replace(before, present, present)
    assert {path: path.lstat().st_mtime_ns for path in before.rglob("*")} == stamps


def _steps(monkeypatch, stop):
    """Let every change to the file system count, and end the process before that of a number."""
    count = 0

    def counted(call):
        def step(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == stop:
                raise Cut
            return call(*arguments, **keywords)

        return step

    monkeypatch.setattr(os, "replace", counted(os.replace))
    for name in ("unlink", "rmdir", "symlink_to", "mkdir", "chmod"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return lambda: count


def test_cut_off_anywhere_it_is_whole_to_certbot_and_is_done_again(
    monkeypatch, tmp_path, before, wanted
):
    old = days(before)
    for stop in range(1, 1000):
        config = tmp_path / f"cut{stop}"
        shutil.copytree(before, config, symlinks=True)
        with monkeypatch.context() as patch:
            _steps(patch, stop)
            try:
                replacing.replace(config, tree.collect(config), wanted)
                break
            except Cut:
                pass
        for name, parts in days(config).items():
            assert parts in (old.get(name), DAYS.get(name)), (stop, name)
        replacing.replace(config, tree.collect(config), wanted)
        assert (tree.collect(config), days(config)) == (wanted, DAYS)
        shutil.rmtree(config)
    assert stop > 60


def test_links_are_not_followed_out(before, wanted, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "cert1.pem").write_text("not ours")
    present = tree.collect(before)
    shutil.rmtree(before / "archive" / "goes.test")
    (before / "archive" / "goes.test").symlink_to(outside)
    replacing.replace(before, present, wanted)
    assert (outside / "cert1.pem").read_text() == "not ours"


def test_full_file_system_is_said(before, wanted, monkeypatch):
    def full(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    present = tree.collect(before)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", full)  # of a lineage that goes; all else is written
        with pytest.raises(errors.TransportError) as caught:
            replacing.replace(before, present, wanted)
    assert caught.value.code == "state-unwritable"
