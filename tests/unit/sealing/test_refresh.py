# SPDX-License-Identifier: Apache-2.0
"""Two enclaves with one store: what one seals, the other takes over, forward only."""

import shutil

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import tree
from certbot_enclave.sealing.stores.none import NoStore
from tests.unit.sealing.test_state import URI, World, _code


class Pair(World):
    """Two boots of one image; bundles know one directory, so they take turns in it."""

    def __init__(self, ours, config):
        super().__init__(ours, config)
        self._away = {}
        self._here = "a"

    def turn(self, name):
        """Let the other enclave run, with a RAM of its own."""
        if name != self._here:
            aside = self.config.with_name(f"config-{self._here}")
            if self.config.exists():
                self.config.rename(aside)
            theirs = self.config.with_name(f"config-{name}")
            if theirs.exists():
                theirs.rename(self.config)
            self._here = name

    def refresh(self, **expected):
        return self.state().refresh(self.own, **expected)

    def save(self):
        return self.state().save([URI], b"key")


@pytest.fixture
def pair(ours, tmp_path):
    """`a` registered, and `b` began with that."""
    made = Pair(ours, tmp_path / "config")
    made.restore()
    made.account()
    made.save()
    made.turn("b")
    made.restore()
    return made


def _content(pair):
    return next(pair.config.glob("accounts/ca/*/private_key.json")).read_bytes()


def test_each_boot_has_a_name_of_its_own(pair):
    theirs = pair.state().holder
    pair.turn("a")
    ours = pair.state().holder
    assert ours != theirs
    assert len(bytes.fromhex(ours)) == len(bytes.fromhex(theirs)) == 16
    pair.account(b"more")
    pair.save()
    assert pair.state().holder == pair.refresh().holder == ours


def test_without_a_restore_there_is_no_name(world_of_nothing):
    for call in (lambda: world_of_nothing.state().holder, world_of_nothing.refresh):
        assert _code(call) == "state-unrestored"


@pytest.fixture
def world_of_nothing(ours, tmp_path):
    return Pair(ours, tmp_path / "config")


def test_what_the_other_sealed_is_taken_over(pair):
    pair.account(b"newer")
    pair.save()
    pair.turn("a")
    mark = pair.refresh()
    assert (_content(pair), mark.generation, mark.restored_from) == (b"newer", 2, 0)
    assert pair.save() == mark  # nothing to seal
    assert len(pair.store.written) == 2
    pair.account(b"newest")
    assert pair.save().generation == 3


def test_nothing_new_changes_nothing(pair):
    mark = pair.state().mark()
    pair.account(b"not sealed yet")
    assert pair.refresh() == mark
    assert _content(pair) == b"not sealed yet"
    assert pair.save().generation == 2


def test_who_comes_second_makes_way(pair):
    """It could not seal what it got; what the other one sealed is never overwritten."""
    pair.account(b"first")
    pair.save()
    pair.turn("a")
    pair.account(b"second")
    other = pair.config / "accounts" / "ca" / "2" / "private_key.json"
    other.parent.mkdir()
    tree.write(other, b"ours alone", 0o400)
    for _ in range(2):
        assert _code(pair.save) == "store-conflict"
    assert pair.refresh().generation == 2
    assert _content(pair) == b"first"
    assert not other.exists()
    pair.account(b"second again")
    assert pair.save().generation == 3


def test_own_write_that_nobody_confirmed_is_no_other_enclave(pair, monkeypatch):
    write = pair.store.write

    def lost(data, **how):
        write(data, **how)
        raise errors.TransportError("no answer", code="store-unreachable")

    monkeypatch.setattr(pair.store, "write", lost)
    pair.account(b"arrived")
    assert _code(pair.save) == "store-unreachable"
    monkeypatch.undo()
    pair.account(b"and changed since")
    mark = pair.refresh()
    assert (mark.generation, mark.writing, _content(pair)) == (2, "", b"and changed since")
    assert pair.state().mark() == mark
    assert pair.save().generation == 3


def test_store_that_goes_back_is_not_followed(pair):
    pair.account(b"newer")
    pair.save()
    pair.store.written.append(pair.store.written[0])
    assert _code(pair.refresh) == "bundle-older"
    assert _content(pair) == b"newer"
    pair.store.written.append(pair.store.written[1])  # the same generation under another version
    assert _code(pair.refresh) == "bundle-older"
    pair.store.written.clear()
    assert _code(pair.refresh) == "bundle-older"
    assert _content(pair) == b"newer"


def test_bundle_of_another_origin_is_not_mixed_in(pair, ours, tmp_path):
    pair.turn("c")
    store, pair.store.written = pair.store.written, []
    pair.restore()
    pair.account(b"begun anew")
    for text in (b"begun anew", b"and again"):
        pair.account(text)
        pair.save()
    pair.store.written = [*store, *pair.store.written]
    pair.turn("b")
    assert _code(pair.refresh) == "bundle-other"
    assert _content(pair) == b"sealed key"


def test_boot_that_began_with_nothing_takes_over_the_first_bundle(ours, tmp_path):
    pair = Pair(ours, tmp_path / "config")
    pair.restore()
    pair.turn("b")
    bundle_id = pair.restore().bundle_id
    pair.account()
    pair.save()
    pair.turn("a")
    mark = pair.refresh()
    assert (mark.bundle_id, mark.generation, _content(pair)) == (bundle_id, 1, b"sealed key")


def test_boot_that_began_with_nothing_and_has_an_account_is_a_conflict(ours, tmp_path):
    pair = Pair(ours, tmp_path / "config")
    pair.restore()
    pair.account(b"made here")
    pair.turn("b")
    pair.restore()
    pair.account()
    pair.save()
    pair.turn("a")
    assert _code(pair.refresh) == "state-conflict"
    assert _content(pair) == b"made here"


def test_newer_bundle_is_held_to_all_the_rules(pair, theirs):
    pair.account(b"newer")
    pair.save()
    pair.turn("a")
    assert _code(pair.refresh, expected_account=URI + "0") == "bundle-account"
    good = pair.store.written[-1]
    pair.store.written[-1] = good[:-1]
    with pytest.raises(errors.Error):
        pair.refresh()
    assert _content(pair) == b"sealed key"
    pair.store.written[-1] = good
    assert pair.refresh(expected_account=URI).generation == 2


def test_store_that_keeps_nothing_has_nothing_newer(world_of_nothing):
    world_of_nothing.store = NoStore()
    world_of_nothing.restore()
    world_of_nothing.account()
    mark = world_of_nothing.save()
    assert (mark.generation, world_of_nothing.refresh()) == (1, mark)


def test_refresh_that_was_killed_is_done_again(pair, monkeypatch):
    pair.account(b"newer")
    pair.save()
    pair.turn("a")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tree, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        pair.refresh()
    monkeypatch.undo()
    assert pair.refresh().generation == 2
    shutil.rmtree(pair.config)
    assert pair.restore().generation == 2
