# SPDX-License-Identifier: Apache-2.0
"""A newer bundle takes the place of what is here; what only this enclave has is not lost."""

from datetime import timedelta

import pytest

from certbot_enclave import errors, looks
from certbot_enclave.sealing import merging, replacing, tree
from tests.unit.sealing.lineage_trees import START, URI, account, days, lineage

OTHER = "https://ca.test/account/2"


@pytest.fixture
def ours(tmp_path):
    account(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def theirs(tmp_path):
    account(tmp_path / "theirs")
    return tmp_path / "theirs"


def _merged(ours, theirs, *, unsealed):
    return merging.merge(tree.collect(ours), tree.collect(theirs), unsealed=unsealed)


def _code(call, *args, **kwargs):
    with pytest.raises(errors.Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_what_was_sealed_gives_way_to_the_bundle_as_it_is(ours, theirs):
    lineage(ours, "a.test", 9)
    lineage(ours, "gone.test", 1)
    lineage(theirs, "a.test", 2)
    assert _merged(ours, theirs, unsealed=False) == tree.collect(theirs)


@pytest.mark.parametrize(("mine", "stays"), [(1, 2), (2, 2), (3, 3)])
def test_later_certificate_stays(ours, theirs, mine, stays):
    lineage(ours, "a.test", mine, generation=2)
    lineage(theirs, "a.test", 2, generation=2)
    lineage(theirs, "b.test", 5)
    wanted = _merged(ours, theirs, unsealed=True)
    replacing.replace(ours, tree.collect(ours), wanted)
    assert days(ours) == {"a.test": {str(stays)}, "b.test": {"5"}}
    assert {*tree.collect(ours)} == {*wanted}


def test_only_certificate_stays_beside_theirs(ours, theirs):
    lineage(ours, "a.test", 1)
    (theirs / "archive").mkdir(mode=0o700)
    for kept in (None, "b.test"):
        if kept:
            lineage(theirs, kept, 2)
        wanted = _merged(ours, theirs, unsealed=True)
        replacing.replace(ours, tree.collect(ours), wanted)
        assert days(ours) == {"a.test": {"1"}} | ({"b.test": {"2"}} if kept else {})
        assert {*tree.collect(ours)} == {*wanted}


def test_certificate_that_cannot_be_read_keeps_nothing(ours, theirs):
    lineage(ours, "a.test", 1)
    (ours / "archive/a.test/cert1.pem").write_text("none")
    lineage(theirs, "b.test", 2)
    assert _merged(ours, theirs, unsealed=True) == tree.collect(theirs)


def test_rest_is_theirs(ours, theirs):
    tree.restore(ours, [tree.File("enclave/pending.json", 0o600, b"never heard by the CA")])
    tree.restore(theirs, [tree.File("enclave/settings.json", 0o600, b"{}")])
    assert _merged(ours, theirs, unsealed=True) == tree.collect(theirs)


def _remember(config, **since):
    looks.remember(
        config,
        {
            f"{name}.test": looks.Seen("ab" * 32, 300, START + timedelta(days=day))
            for name, day in since.items()
        },
    )


def test_of_what_was_seen_the_later_stays(ours, theirs):
    _remember(ours, a=3, b=1, c=1)
    _remember(theirs, a=2, b=2)
    replacing.replace(ours, tree.collect(ours), _merged(ours, theirs, unsealed=True))
    assert {name: (item.since - START).days for name, item in looks.recall(ours).items()} == {
        "a.test": 3,
        "b.test": 2,
    }
    (ours / "enclave/looks.json").write_text("{")
    assert _merged(ours, theirs, unsealed=True) == tree.collect(theirs)


@pytest.mark.parametrize("unsealed", [False, True])
def test_account_never_moves(ours, tmp_path, unsealed):
    account(tmp_path / "other", OTHER, name="cd34")
    assert _code(_merged, ours, tmp_path / "other", unsealed=unsealed) == "bundle-account"


def test_account_is_never_dropped(ours, tmp_path):
    account(tmp_path / "other", OTHER, directory="staging.test/directory")
    assert _code(_merged, ours, tmp_path / "other", unsealed=False) == "bundle-account"


def test_account_that_is_in_no_bundle_yet_stays(ours, theirs):
    account(ours, OTHER, directory="staging.test/directory", name="cd34")
    wanted = _merged(ours, theirs, unsealed=True)
    assert sorted(merging.accounts(wanted).values()) == [URI, OTHER]
    replacing.replace(ours, tree.collect(ours), wanted)
    assert {*tree.collect(ours)} == {*wanted}


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100000])
def test_account_that_cannot_be_read(ours, theirs, text):
    next(ours.rglob("regr.json")).write_text(text)
    assert _code(_merged, ours, theirs, unsealed=True) == "account-unreadable"
