# SPDX-License-Identifier: Apache-2.0
"""Each boot has a name of its own in the ledger, and keeps it."""

import pytest

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
