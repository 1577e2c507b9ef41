# SPDX-License-Identifier: Apache-2.0
"""What has to be rehearsed, and which accounts stand beside each other."""

import json
from dataclasses import replace

import pytest

from certbot_enclave import errors, rehearsal, rehearsed
from certbot_enclave.account import key as account_key
from certbot_enclave.runtime import start
from certbot_enclave.settings import Settings
from tests.support.components import MemorySealer

SERVER, STAGING = "https://ca.test/directory", "https://staging.test/directory"
OURS, THEIRS = "https://ca.test/account/1", "https://staging.test/account/7"
NAMES = frozenset({"a.test", "b.test"})


def _account(config, directory, uri):
    folder = config / "accounts" / directory.split("/")[2] / "id"
    folder.mkdir(parents=True)
    key = account_key.generate(directory, MemorySealer())
    (folder / "private_key.json").write_text(json.dumps(key.to_json()))
    (folder / "regr.json").write_text(json.dumps({"body": {}, "uri": uri}))


@pytest.fixture
def runtime(options, directories):
    """A run with both accounts on file."""
    found = start({**options, "server": SERVER, "staging_rehearsal": STAGING}, directories)
    _account(directories.config, SERVER, OURS)
    _account(directories.config, STAGING, THEIRS)
    return found


def _code(call, *arguments):
    with pytest.raises(errors.Error) as caught:
        call(*arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("staging", "code"),
    [
        ("http://staging.test/directory", "directory-url"),
        ("staging", "directory-url"),
        ("https://ca.test/staging", "rehearsal-origin"),
        ("https://CA.test:443/staging", "rehearsal-origin"),
    ],
)
def test_setting_that_cannot_work(staging, code):
    given = {"server": SERVER, "staging_rehearsal": staging}
    assert _code(rehearsal.check, Settings(given)) == code
    if code == "directory-url":
        assert _code(rehearsal.check, Settings({"staging_rehearsal": staging})) == code


def test_setting_that_works():
    assert rehearsal.check(Settings({})) is None
    assert rehearsal.check(Settings({"server": SERVER, "staging_rehearsal": STAGING})) is None


def test_each_account_stands_beside_the_other(runtime):
    assert rehearsal.held_beside(runtime, SERVER) == {THEIRS}
    assert rehearsal.held_beside(runtime, STAGING) == {OURS}
    assert rehearsal.held_beside(runtime, "https://third.test/directory") == frozenset()


def test_nothing_stands_beside_without_the_setting(runtime):
    plain = replace(runtime, settings=Settings({**runtime.settings, "staging_rehearsal": ""}))
    assert rehearsal.held_beside(plain, SERVER) == frozenset()
    assert rehearsal.held_beside(plain, "") == frozenset()


def test_nothing_stands_beside_before_it_is_registered(options, directories):
    found = start({**options, "server": SERVER, "staging_rehearsal": STAGING}, directories)
    assert rehearsal.held_beside(found, SERVER) == frozenset()


def test_names_are_rehearsed_once(runtime):
    other = frozenset({"c.test"})
    assert rehearsal.missing(runtime, [NAMES, other]) == [NAMES, other]
    assert _code(rehearsal.require, runtime, SERVER, NAMES) == "rehearsal-missing"
    rehearsal.remember(runtime, [NAMES])
    assert rehearsal.missing(runtime, [NAMES, other]) == [other]
    assert rehearsal.require(runtime, SERVER, NAMES) is None
    assert _code(rehearsal.require, runtime, SERVER, other) == "rehearsal-missing"
    rehearsal.remember(runtime, [other])
    assert rehearsal.missing(runtime, [NAMES, other]) == []
    path = runtime.directories.config / rehearsed.PATH
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"{")
    assert rehearsal.missing(runtime, [NAMES]) == [NAMES]


def test_staging_itself_needs_no_rehearsal(runtime):
    assert rehearsal.require(runtime, STAGING, NAMES) is None


def test_without_the_setting_nothing_is_missing(runtime):
    plain = replace(runtime, settings=Settings({**runtime.settings, "staging_rehearsal": ""}))
    assert rehearsal.missing(plain, [NAMES]) == []
    assert rehearsal.require(plain, SERVER, NAMES) is None
