# SPDX-License-Identifier: Apache-2.0
"""State is restored once a boot, sealed when it matters, and never silently begun anew."""

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation.simulated import SimulatedAttester, measure
from certbot_enclave.interfaces import IAttester, IStateStore
from certbot_enclave.sealing import tree
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.sealing.state import Mark, State
from tests.support.components import MemoryStore
from tests.unit.sealing import lineage_trees

URI = "https://ca.test/account/1"


class World:
    """One enclave with its store; `boot` makes the state of a run."""

    def __init__(self, ours, config):
        self.ours, self.config = ours, config
        self.store = MemoryStore()
        self.own = {index: bytes(48) for index in range(16)} | measure(ours)

    def state(self, config=None, beside=""):
        return State(
            config or self.config,
            store=self.store,
            sealer=SimulatedSealer(str(self.ours)),
            attester=SimulatedAttester(str(self.ours)),
            beside=beside,
        )

    def restore(self, config=None, **expected):
        return self.state(config).restore(self.own, **expected)

    def account(self, text=b"sealed key"):
        path = self.config / "accounts" / "ca" / "1" / "private_key.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        tree.write(path, text, 0o400)
        return path

    def reboot(self):
        shutil.rmtree(self.config, ignore_errors=True)


@implementer(IAttester)
class Broken:
    """An attester whose device is gone."""

    simulated, format, trust_root = True, "aws-nitro", None

    def attest(self, *, user_data, public_key, nonce):
        raise errors.EnclaveError("the device is gone", code="attester-gone")


@pytest.fixture
def world(ours, tmp_path):
    return World(ours, tmp_path / "config")


def _code(call, *args, **kwargs):
    with pytest.raises(errors.Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def _numbers(mark):
    return mark.bundle_id, mark.generation, mark.restored_from


def test_only_what_matters_is_sealed_anew(world):
    world.restore()
    world.account()
    first = world.state().save([URI], b"key")
    assert world.state().save([URI], b"key") == first
    world.reboot()
    restored = world.restore()
    assert world.state().save([URI], b"key") == restored
    assert len(world.store.written) == 1
    assert world.state().save([URI, URI + "1"], b"key").generation == 2
    world.account(b"another")
    assert world.state().save([URI, URI + "1"], b"key").generation == 3


def test_what_another_enclave_wrote_is_not_overwritten(world, tmp_path):
    _saved(world)
    world.restore()
    world.account(b"ours")
    kept = world.state().mark()
    other = World(world.ours, world.config)
    world.store.written.append(world.store.written[-1])  # it wrote in between
    assert _code(world.state().save, [URI], b"key") == "store-conflict"
    assert _numbers(world.state().mark()) == _numbers(kept)
    assert other.store.written == []


def test_first_boot_begins_with_nothing(world):
    assert world.state().mark() is None
    mark = world.restore()
    assert (mark.generation, mark.restored_from) == (0, 0)
    assert len(bytes.fromhex(mark.bundle_id)) == 16
    assert world.restore() == mark  # once a boot
    assert world.store.written == []


def test_generations_count_over_boots(world):
    first = world.restore()
    path = world.account()
    assert _numbers(world.state().save([URI], b"key")) == (first.bundle_id, 1, 0)
    world.account(b"another")
    assert _numbers(world.state().save([URI], b"key")) == (first.bundle_id, 2, 0)
    world.reboot()
    assert _numbers(world.restore()) == (first.bundle_id, 2, 2)
    assert path.read_bytes() == b"another"
    assert path.stat().st_mode & 0o777 == 0o400
    world.account(b"a third")
    assert _numbers(world.state().save([URI], b"key")) == (first.bundle_id, 3, 2)
    assert (world.config / "enclave" / "boot.json").stat().st_mode & 0o777 == 0o600


def test_save_before_restore_is_refused(world):
    world.account()
    assert _code(world.state().save, [URI], b"key") == "state-unrestored"
    assert world.store.written == []


def test_unreachable_store_is_not_an_empty_one(world):
    world.store.down = True
    assert _code(world.restore) == "store-unreachable"
    assert world.state().mark() is None
    assert not world.config.exists()


def _saved(world):
    world.restore()
    world.account()
    world.state().save([URI], b"key")
    world.reboot()


def test_damaged_bundle_writes_nothing(world):
    _saved(world)
    world.store.written.append(world.store.written[-1][:-1])
    assert isinstance(_code(world.restore), str)
    assert not world.config.exists()


def test_other_directory_is_refused(world, tmp_path):
    _saved(world)
    assert _code(world.restore, tmp_path / "elsewhere") == "bundle-directory"
    assert not (tmp_path / "elsewhere").exists()


def test_expected_account_makes_any_other_an_error(world):
    _saved(world)
    assert _code(world.restore, expected_account=URI + "0") == "bundle-account"
    assert not world.config.exists()
    assert world.restore(expected_account=URI).generation == 1


@pytest.mark.parametrize(
    ("beside", "code"),
    [
        ("https://staging.test/directory", None),
        ("https://staging.test.evil/directory", "bundle-account"),
        ("https://staging.tes/directory", "bundle-account"),
        ("", "bundle-account"),
    ],
)
def test_account_of_a_rehearsal_may_stand_beside_an_expected_one(world, beside, code):
    world.restore()
    world.account()
    world.state().save([URI, "https://staging.test/account/7"], b"key")
    world.reboot()
    state = world.state(beside=beside)
    if code is None:
        assert state.restore(world.own, expected_account=URI).generation == 1
    else:
        with pytest.raises(errors.SealError) as caught:
            state.restore(world.own, expected_account=URI)
        assert caught.value.code == code


def test_accounts_that_no_bundle_holds_are_a_conflict(world):
    _saved(world)
    world.account(b"planted by the host")
    assert _code(world.restore) == "state-conflict"


def test_what_a_killed_restore_left_is_no_conflict(world):
    _saved(world)
    world.account()  # written before the kill, and the mark was not
    assert world.restore().generation == 1


@pytest.mark.parametrize("written", range(13))
def test_killed_restore_that_was_overtaken_is_replaced(world, monkeypatch, written):
    """Another enclave has sealed once more, and what is half here is of the bundle before."""
    world.restore()
    lineage_trees.account(world.config, URI)
    lineage_trees.lineage(world.config, "a.test", 1)
    world.state().save([URI], b"key")
    first = world.store.written[-1]
    lineage_trees.lineage(world.config, "a.test", 2, generation=2)
    lineage_trees.account(world.config, URI, name="cd34")
    world.state().save([URI], b"key")
    newest = tree.collect(world.config)
    second = world.store.written.pop()
    world.reboot()

    class Killed(BaseException):
        pass

    def restore(config, entries):
        entries = list(entries)
        whole(config, entries[:written] if len(entries) > 1 else entries)
        if len(entries) > 1:
            assert len(entries) > written
            raise Killed

    whole = tree.restore
    assert world.store.written == [first]
    monkeypatch.setattr(tree, "restore", restore)
    with pytest.raises(Killed):
        world.restore()
    monkeypatch.undo()
    world.store.written.append(second)
    assert _numbers(world.restore())[1:] == (2, 2)
    assert tree.collect(world.config) == newest
    assert lineage_trees.days(world.config) == {"a.test": {"2"}}


MARK = {
    "bundle_id": "ab" * 16,
    "generation": 1,
    "restored_from": 0,
    "version": "1",
    "sealed": "",
    "writing": "",
    "holder": "cd" * 16,
}
DAMAGED = [
    {**MARK, "bundle_id": 1},
    {**MARK, "generation": "1"},
    {**MARK, "restored_from": True},
    {**MARK, "more": 0},
    {**MARK, "version": None},
    {**MARK, "sealed": 1},
    {**MARK, "writing": []},
    # With these, `save` would replace a good bundle by one that never opens again.
    {**MARK, "bundle_id": "ab"},
    {**MARK, "bundle_id": "AB" * 16},
    {**MARK, "bundle_id": "ab" * 16 + "\n"},
    {**MARK, "generation": -5, "restored_from": -5},
    {**MARK, "holder": ""},
    {**MARK, "holder": 1},
    {**MARK, "restored_from": -1},
    {**MARK, "restored_from": 2},
]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "\xff", "[" * 100000, *(json.dumps(table) for table in DAMAGED)]
)
def test_damaged_mark_is_said(world, text):
    world.restore()
    (world.config / "enclave" / "boot.json").write_text(text, encoding="latin-1")
    assert _code(world.restore) == "state-damaged"
    assert _code(world.state().save, [URI], b"key") == "state-damaged"
    assert world.store.written == []


def test_good_mark_is_read(world):
    world.restore()
    (world.config / "enclave" / "boot.json").write_text(json.dumps(MARK))
    assert world.restore() == Mark(**MARK)


def test_mark_that_cannot_be_read_is_said(world):
    (world.config / "enclave" / "boot.json").mkdir(parents=True)
    assert _code(world.restore) == "state-damaged"


def test_restore_without_room_can_be_repeated(world, monkeypatch):
    """The last write, that of the mark, finds the file system full."""
    _saved(world)
    replace = os.replace

    def full(source, target):
        if os.fspath(target).endswith("boot.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert _code(world.restore) == "state-unwritable"
    assert world.state().mark() is None
    assert world.restore().generation == 1


def test_restore_that_was_killed_while_writing_can_be_repeated(world):
    _saved(world)
    half = world.account().with_name(".private_key.json.new")  # as `tree.write` names it
    half.write_bytes(b"sea")
    assert world.restore().generation == 1
    world.state().save([URI], b"key")
    world.reboot()
    world.restore()
    assert not half.exists()


def test_attester_that_fails_loses_nothing(world):
    _saved(world)
    world.restore()
    before, kept = world.state().mark(), list(world.store.written)
    state = State(
        world.config,
        store=world.store,
        sealer=SimulatedSealer(str(world.ours)),
        attester=Broken(),
    )
    world.account(b"changed")
    assert _code(state.save, [URI], b"key") == "attester-gone"
    assert (world.state().mark(), world.store.written) == (before, kept)
    world.account(b"another")
    assert world.state().save([URI], b"key").generation == before.generation + 1


def test_modes_survive(world):
    world.restore()
    world.account()
    other = world.config / "accounts" / "ca" / "1" / "regr.json"
    tree.write(other, b"{}", 0o644)
    for path, mode in (("accounts", 0o700), ("accounts/ca", 0o755), ("accounts/ca/1", 0o700)):
        (world.config / path).chmod(mode)
    world.state().save([URI], b"key")
    world.reboot()
    world.restore()
    modes = {
        path.relative_to(world.config).as_posix(): path.stat().st_mode & 0o777
        for path in world.config.rglob("*")
    }
    assert modes == {
        "accounts": 0o700,
        "accounts/ca": 0o755,
        "accounts/ca/1": 0o700,
        "accounts/ca/1/private_key.json": 0o400,
        "accounts/ca/1/regr.json": 0o644,
        "enclave": 0o700,
        "enclave/boot.json": 0o600,
        "enclave/boot.lock": 0o600,
    }


def test_failed_write_loses_nothing(world):
    _saved(world)
    world.restore()
    before = world.state().mark()
    world.account(b"changed")
    world.store.down = True
    assert _code(world.state().save, [URI], b"key") == "store-unreachable"
    assert _numbers(world.state().mark()) == _numbers(before)
    world.store.down = False
    assert world.state().save([URI], b"key").generation == before.generation + 1


@implementer(IStateStore)
class Mute(MemoryStore):
    """Keeps the bundle, and its answer is lost."""

    def write(self, data, *, generation, replaces):
        super().write(data, generation=generation, replaces=replaces)
        raise errors.TransportError("no answer", code="store-unreachable")


def test_write_that_arrived_but_failed_is_found_again(world):
    first = world.restore()
    world.account()
    world.store = Mute()
    assert _code(world.state().save, [URI], b"key") == "store-unreachable"
    assert _numbers(world.state().mark()) == _numbers(first)
    arrived, world.store = world.store.written, MemoryStore()
    world.store.written = arrived
    assert world.state().save([URI], b"key").generation == 2
    world.reboot()
    assert _numbers(world.restore()) == (first.bundle_id, 2, 2)


def test_write_that_did_not_arrive_is_repeated(world):
    first = world.restore()
    world.account()
    world.store.down = True
    assert _code(world.state().save, [URI], b"key") == "store-unreachable"
    world.store.down = False
    assert world.state().save([URI], b"key").generation == first.generation + 1
    assert world.state().mark().writing == ""


def test_killed_between_store_and_mark_goes_on(world, monkeypatch):
    _saved(world)
    world.restore()
    world.account(b"changed")
    replace, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) == 2:  # after the mark that says what is on its way
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            world.state().save([URI], b"key")
    assert len(world.store.written) == 2
    assert world.state().save([URI], b"key").generation == 3
    world.reboot()
    assert world.restore().generation == 3


class Replica(World):
    """Another enclave of the same image, whose config directory has the same name."""

    def __init__(self, world, folder):
        super().__init__(world.ours, world.config)
        self.store, self._folder = world.store, folder
        folder.mkdir()

    @contextmanager
    def here(self):
        """Have its config directory in place of the first one's."""
        away = self._folder / "first"
        self.config.rename(away)
        if (self._folder / "own").exists():
            (self._folder / "own").rename(self.config)
        yield self
        if self.config.exists():
            self.config.rename(self._folder / "own")
        away.rename(self.config)


@pytest.fixture
def other(world, tmp_path):
    return Replica(world, tmp_path / "replica")


def _refresh(world, **expected):
    return world.state().refresh(world.own, **expected)


def _lineages(world):
    return lineage_trees.days(world.config)


def _begin(world, other):
    """Both have generation 1, with an account and a certificate."""
    world.restore()
    lineage_trees.account(world.config)
    lineage_trees.lineage(world.config, "a.test", 1)
    world.state().save([URI], b"key")
    with other.here():
        other.restore()


def test_newer_generation_is_taken(world, other):
    _begin(world, other)
    assert not world.state().behind()
    with other.here():
        lineage_trees.lineage(other.config, "a.test", 2, generation=2)
        newer = other.state().save([URI], b"key")
    assert world.state().behind()
    after = _refresh(world)
    assert _numbers(after) == (newer.bundle_id, 2, 0)
    assert world.state().mark() == after
    assert _lineages(world) == {"a.test": {"2"}}
    assert not world.state().behind()
    # What was taken is nothing new to seal, and the next generation follows it.
    assert world.state().save([URI], b"key") == after
    lineage_trees.lineage(world.config, "a.test", 3, generation=3)
    assert world.state().save([URI], b"key").generation == 3


def test_nothing_newer(world, other):
    _begin(world, other)
    mark = world.state().mark()
    assert _refresh(world) == mark


def test_lost_race_keeps_the_later_certificate_and_seals_it(world, other):
    _begin(world, other)
    with other.here():
        lineage_trees.lineage(other.config, "b.test", 2)
        other.state().save([URI], b"key")
    lineage_trees.lineage(world.config, "a.test", 3, generation=2)
    assert _code(world.state().save, [URI], b"key") == "store-conflict"
    _refresh(world)
    assert _lineages(world) == {"a.test": {"3"}, "b.test": {"2"}}
    assert world.state().save([URI], b"key").generation == 3
    with other.here():
        assert _refresh(other).generation == 3
        assert _lineages(other) == {"a.test": {"3"}, "b.test": {"2"}}


def test_first_boot_takes_what_another_enclave_began(world, other):
    world.restore()
    with other.here():
        assert other.restore().generation == 0
    lineage_trees.account(world.config)
    sealed = world.state().save([URI], b"key")
    with other.here():
        assert _numbers(_refresh(other)) == (sealed.bundle_id, 1, 1)
        assert other.state().save([URI], b"key").generation == 1


def test_enclave_that_began_something_itself_takes_no_other_origin(world, other):
    world.restore()
    with other.here():
        other.restore()
        lineage_trees.account(other.config)
    lineage_trees.account(world.config)
    world.state().save([URI], b"key")
    with other.here():
        before = tree.collect(other.config)
        assert _code(_refresh, other) == "bundle-other"
        assert tree.collect(other.config) == before


def test_older_or_the_same_generation_is_never_taken(world, other):
    _begin(world, other)
    old = world.store.written[-1]
    lineage_trees.lineage(world.config, "a.test", 2, generation=2)
    mark = world.state().save([URI], b"key")
    for again in (old, world.store.written[-1]):
        world.store.written.append(again)
        assert _code(_refresh, world) == "bundle-older"
        assert world.state().mark() == mark
        assert _lineages(world) == {"a.test": {"2"}}


def test_emptied_store_is_said(world, other):
    _begin(world, other)
    world.store.written.clear()
    assert _code(_refresh, world) == "bundle-missing"
    assert _lineages(world) == {"a.test": {"1"}}


def test_another_account_is_never_taken(world, other):
    _begin(world, other)
    with other.here():
        shutil.rmtree(other.config / "accounts")
        lineage_trees.account(other.config, URI + "0")
        other.state().save([URI + "0"], b"key")
    before = tree.collect(world.config)
    assert _code(_refresh, world) == "bundle-account"
    assert _code(_refresh, world, expected_account=URI) == "bundle-account"
    assert tree.collect(world.config) == before


def test_refresh_before_restore_is_refused(world):
    assert _code(_refresh, world) == "state-unrestored"
    assert _code(world.state().behind) == "state-unrestored"


def test_newer_bundle_is_verified_first(world, other, theirs):
    _begin(world, other)
    foreign = World(theirs, world.config)
    foreign.store = world.store
    lineage_trees.lineage(world.config, "a.test", 2, generation=2)
    foreign.state().save([URI], b"key")
    mark = (world.config / "enclave" / "boot.json").read_text()
    world.store.written.append(world.store.written[-1])
    before = tree.collect(world.config)
    assert _code(_refresh, world) == "bundle-foreign"
    world.store.written.append(world.store.written[0][:-1])
    assert isinstance(_code(_refresh, world), str)
    assert (world.config / "enclave" / "boot.json").read_text() == mark
    assert tree.collect(world.config) == before


def test_own_write_that_arrived_unheard_is_no_newer_generation(world):
    world.restore()
    lineage_trees.account(world.config)
    world.store = Mute()
    assert _code(world.state().save, [URI], b"key") == "store-unreachable"
    arrived, world.store = world.store.written, MemoryStore()
    world.store.written = arrived
    assert world.state().behind()
    assert _refresh(world).generation == 1
    assert not world.state().behind()


def test_killed_refresh_seals_nothing_and_is_repeated(world, other, monkeypatch):
    _begin(world, other)
    with other.here():
        lineage_trees.lineage(other.config, "a.test", 2, generation=2)
        other.state().save([URI], b"key")

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", killed)
        with pytest.raises(KeyboardInterrupt):
            _refresh(world)
    assert _lineages(world) == {}
    assert _code(world.state().save, [URI], b"key") == "store-conflict"
    _refresh(world)
    assert _lineages(world) == {"a.test": {"2"}}


def test_commands_of_one_boot_seal_one_after_the_other(world):
    """Each goes on from the mark that the one before left; neither loses what it had."""
    world.restore()
    lineage_trees.account(world.config)

    def seal(_number):
        return world.state().save([URI], b"key").generation

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(seal, range(16))) == {1}
    assert len(world.store.written) == 1


def test_two_restores_at_once_begin_one_boot(world):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _number: world.restore(), range(8)))) == 1


def test_lock_that_is_a_link_is_refused(world, tmp_path):
    world.restore()
    (world.config / "enclave" / "boot.lock").unlink()
    (world.config / "enclave" / "boot.lock").symlink_to(tmp_path / "elsewhere")
    assert _code(world.state().save, [URI], b"key") == "state-unwritable"
    assert not (tmp_path / "elsewhere").exists()
