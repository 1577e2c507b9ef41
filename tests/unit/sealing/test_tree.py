# SPDX-License-Identifier: Apache-2.0
"""What a bundle carries of certbot's tree, and what it never writes."""

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import carried, tree


def _mode(path):
    return path.stat().st_mode & 0o777


def _lineage(config, name, generation=1, conf=b"version = 5.8\n"):
    """Make a lineage as certbot does."""
    archive, live = config / "archive" / name, config / "live" / name
    for folder in (archive, live, config / "renewal"):
        folder.mkdir(parents=True, exist_ok=True)
    for kind in carried.KINDS:
        path = archive / f"{kind}{generation}.pem"
        tree.write(path, f"{kind} {generation}".encode(), 0o600 if kind == "privkey" else 0o644)
        (live / f"{kind}.pem").unlink(missing_ok=True)
        (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}{generation}.pem")
    tree.write(live / "README", b"read me", 0o644)
    tree.write(config / "renewal" / f"{name}.conf", conf, 0o644)


def _fill(config):
    key = config / "accounts" / "ca" / "1" / "private_key.json"
    key.parent.mkdir(parents=True)
    tree.write(key, b"sealed", 0o400)
    (config / "enclave").mkdir()
    tree.write(config / "enclave" / "settings.json", b"{}", 0o600)
    tree.write(config / "enclave" / "boot.json", b"not carried", 0o600)
    for folder in ("csr", "keys", "renewal-hooks/pre"):
        (config / folder).mkdir(parents=True)
        tree.write(config / folder / "x", b"not carried", 0o600)


def _paths(entries):
    return [entry.path for entry in entries if not isinstance(entry, tree.Folder)]


def test_round_trip(tmp_path):
    _fill(tmp_path / "a")
    entries = tree.collect(tmp_path / "a")
    assert _paths(entries) == ["accounts/ca/1/private_key.json", "enclave/settings.json"]
    tree.restore(tmp_path / "b", entries)
    assert tree.collect(tmp_path / "b") == entries
    assert _mode(tmp_path / "b" / "accounts/ca/1/private_key.json") == 0o400


def test_lineages_come_back_as_certbot_made_them(tmp_path):
    config = tmp_path / "a"
    _fill(config)
    for generation in (1, 2):
        _lineage(config, "example.com", generation)
    (config / "live").chmod(0o700)
    (config / "archive").chmod(0o700)
    tree.restore(tmp_path / "b", tree.collect(config))
    lineage = [
        f"archive/example.com/{kind}2.pem" for kind in ("cert", "chain", "fullchain", "privkey")
    ]
    live = [f"live/example.com/{kind}.pem" for kind in ("cert", "chain", "fullchain", "privkey")]
    assert _paths(tree.collect(tmp_path / "b")) == [
        "accounts/ca/1/private_key.json",
        *lineage,
        "enclave/settings.json",
        "live/example.com/README",
        *live,
        "renewal/example.com.conf",
    ]
    for path in [*lineage, *live, "archive", "archive/example.com", "live", "live/example.com"]:
        assert _mode(tmp_path / "b" / path) == _mode(config / path), path
    link = tmp_path / "b" / "live" / "example.com" / "privkey.pem"
    assert os.readlink(link) == "../../archive/example.com/privkey2.pem"
    assert link.read_bytes() == b"privkey 2"


def test_restore_replaces_an_older_generation(tmp_path):
    for generation in (1, 2):
        _lineage(tmp_path / str(generation), "example.com", generation)
    tree.restore(tmp_path / "1", tree.collect(tmp_path / "2"))
    link = tmp_path / "1" / "live" / "example.com" / "privkey.pem"
    assert link.read_bytes() == b"privkey 2"
    assert tree.collect(tmp_path / "1") == tree.collect(tmp_path / "2")


def _cut_link(config):
    (config / "live" / "b.example" / "chain.pem").unlink()


def _cut_file(config):
    (config / "archive" / "b.example" / "privkey1.pem").unlink()


def _cut_conf(config):
    (config / "renewal" / "b.example.conf").unlink()


def _lead_away(config):
    link = config / "live" / "b.example" / "chain.pem"
    link.unlink()
    link.symlink_to("../../accounts/ca/1/private_key.json")


@pytest.mark.parametrize("cut", [_cut_link, _cut_file, _cut_conf, _lead_away])
def test_lineage_that_certbot_did_not_finish_is_left_out(tmp_path, cut):
    _fill(tmp_path)
    _lineage(tmp_path, "a.example")
    before = tree.collect(tmp_path)
    _lineage(tmp_path, "b.example")
    assert "b.example" in str(_paths(tree.collect(tmp_path)))
    cut(tmp_path)
    assert tree.collect(tmp_path) == before


def test_digest_is_of_what_matters(tmp_path):
    ari = b"[acme_renewal_info]\nari_retry_after = 2026-11-25T20:00:00\n"
    _lineage(tmp_path, "example.com", conf=b"account = 1\n[renewalparams]\nx = 1\n")
    before = tree.digest(tree.collect(tmp_path))
    conf = tmp_path / "renewal" / "example.com.conf"
    for text in (
        b"account = 1\n" + ari + b"[renewalparams]\nx = 1\n",
        b"account = 1\n[renewalparams]\nx = 1\n" + ari,
    ):
        tree.write(conf, text, 0o644)
        assert tree.digest(tree.collect(tmp_path)) == before
    seen = {before}
    for text in (b"account = 2\n[renewalparams]\nx = 1\n", b"account = 1\n[renewalparams]\n"):
        tree.write(conf, text, 0o644)
        seen.add(tree.digest(tree.collect(tmp_path)))
    conf.chmod(0o600)
    seen.add(tree.digest(tree.collect(tmp_path)))
    (tmp_path / "live").chmod(0o700)
    seen.add(tree.digest(tree.collect(tmp_path)))
    _lineage(tmp_path, "example.com", 2, conf=text)
    seen.add(tree.digest(tree.collect(tmp_path)))
    assert len(seen) == 6


def test_odd_modes_become_private(tmp_path):
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "x").touch(mode=0o777)
    os.chmod(tmp_path / "accounts" / "x", 0o777)
    os.chmod(tmp_path / "accounts", 0o777)
    folder, file = tree.collect(tmp_path)
    assert (folder.mode, file.mode) == (0o700, 0o600)


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


@pytest.mark.parametrize(
    "place",
    ["accounts/ca/1/private_key.json", "enclave/settings.json", "archive/a.example/privkey1.pem"],
)
def test_planted_links_to_files_are_refused(tmp_path, place):
    config, outside = tmp_path / "config", tmp_path / "outside"
    _fill(config)
    _lineage(config, "a.example")
    outside.write_bytes(b"not ours")
    (config / place).unlink()
    (config / place).symlink_to(outside)
    with pytest.raises(errors.SealError, match=f"{place} is a symbolic link") as caught:
        tree.collect(config)
    assert caught.value.code == "bundle-link"


@pytest.mark.parametrize("place", ["live", "archive", "renewal", "archive/a.example"])
def test_planted_links_to_directories_are_refused(tmp_path, place):
    config = tmp_path / "config"
    _lineage(config, "a.example")
    (config / place).rename(tmp_path / "outside")
    (config / place).symlink_to(tmp_path / "outside")
    with pytest.raises(errors.SealError, match=f"{place} is a symbolic link") as caught:
        tree.collect(config)
    assert caught.value.code == "bundle-link"


def test_planted_link_that_would_hide_all_certificates_is_refused(tmp_path):
    config = tmp_path / "config"
    _lineage(config, "a.example")
    (config / "live").rename(tmp_path / "live")
    (tmp_path / "empty").mkdir()
    (config / "live").symlink_to(tmp_path / "empty")
    with pytest.raises(errors.SealError, match="live is a symbolic link"):
        tree.collect(config)


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
    count = len(tree.collect(tmp_path))
    monkeypatch.setattr(tree, "MAX_ENTRIES", count)
    assert len(tree.collect(tmp_path)) == count
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
from certbot_enclave.sealing import carried, tree
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


def test_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.TransportError) as caught:
        tree.opened_lock(tmp_path / "lock").__enter__()
    assert caught.value.code == "state-unwritable"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("turned", range(5))
def test_half_turned_lineage_is_the_older_one_as_certbot_will_have_it(tmp_path, turned):
    config = tmp_path / "a"
    _fill(config)
    _lineage(config, "example.com", 9)
    older = {entry.path: entry for entry in tree.collect(config)}
    _lineage(config, "example.com", 10)
    newer = {entry.path: entry for entry in tree.collect(config)}
    for kind in carried.KINDS[turned:]:
        link = config / "live" / "example.com" / f"{kind}.pem"
        link.unlink()
        link.symlink_to(f"../../archive/example.com/{kind}9.pem")
    found = {entry.path: entry for entry in tree.collect(config)}
    assert found == (newer if turned == 4 else older)


def test_half_turned_lineage_without_the_older_one_is_not_carried(tmp_path):
    config = tmp_path / "a"
    _fill(config)
    _lineage(config, "example.com", 1)
    _lineage(config, "example.com", 2)
    link = config / "live" / "example.com" / "cert.pem"
    link.unlink()
    link.symlink_to("../../archive/example.com/cert1.pem")
    (config / "archive" / "example.com" / "privkey1.pem").unlink()
    assert "renewal/example.com.conf" not in _paths(tree.collect(config))


def _noted(config, generation, kinds=carried.KINDS):
    """Write what certbot notes before it turns links: where they led, by the whole path."""
    for kind in kinds:
        target = config / "archive" / "example.com" / f"{kind}{generation}.pem"
        (config / "live" / "example.com" / f"previous_{kind}.pem").symlink_to(target)


@pytest.fixture
def turning(tmp_path):
    """A lineage of which certbot has just turned all links; and what was carried before."""
    config = tmp_path / "a"
    _lineage(config, "example.com", 1)
    older = tree.collect(config)
    _lineage(config, "example.com", 2)
    return config, older


@pytest.mark.parametrize("kind", carried.KINDS)
def test_link_that_certbot_has_removed_and_not_made_again(turning, kind):
    config, older = turning
    _noted(config, 1)
    (config / "live" / "example.com" / f"{kind}.pem").unlink()
    assert tree.collect(config) == older


def test_links_that_certbot_turned_back_are_carried_as_it_makes_them(turning):
    config, older = turning
    _noted(config, 1)
    for kind in carried.KINDS:
        folder = config / "live" / "example.com"
        (folder / f"previous_{kind}.pem").rename(folder / f"{kind}.pem")
    assert tree.collect(config) == older
    tree.restore(config.with_name("b"), older)
    target = os.readlink(config.with_name("b") / "live" / "example.com" / "cert.pem")
    assert target == "../../archive/example.com/cert1.pem"


def test_links_to_another_tree_are_not_carried(turning):
    config, _ = turning
    link = config / "live" / "example.com" / "cert.pem"
    link.unlink()
    link.symlink_to(config.with_name("b") / "archive" / "example.com" / "cert1.pem")
    assert "renewal/example.com.conf" not in _paths(tree.collect(config))


def test_notes_that_certbot_is_about_to_remove_count_for_nothing(turning):
    config, _ = turning
    newer = tree.collect(config)
    _noted(config, 1, carried.KINDS[1:])
    assert tree.collect(config) == newer


def test_notes_about_files_that_are_gone_count_for_nothing(turning):
    config, _ = turning
    newer = tree.collect(config)
    _noted(config, 1)
    (config / "archive" / "example.com" / "chain1.pem").unlink()
    assert tree.collect(config) == newer


def test_lineage_whose_renewal_file_is_empty_is_not_carried(tmp_path):
    _lineage(tmp_path / "a", "example.com", conf=b"")
    _lineage(tmp_path / "a", "example.org")
    carried_by_name = [path for path in _paths(tree.collect(tmp_path / "a")) if ".conf" in path]
    assert carried_by_name == ["renewal/example.org.conf"]
