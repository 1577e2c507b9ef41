# SPDX-License-Identifier: Apache-2.0
"""What a bundle carries of certbot's tree, and what it never writes."""

import base64
import os

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import tree

GOOD = {"path": "accounts/a/regr.json", "mode": 0o644, "data": "AA=="}


def _mode(path):
    return path.stat().st_mode & 0o777


def _fill(config):
    key = config / "accounts" / "ca" / "1" / "private_key.json"
    key.parent.mkdir(parents=True)
    tree.write(key, b"sealed", 0o400)
    (config / "enclave").mkdir()
    tree.write(config / "enclave" / "settings.json", b"{}", 0o600)
    tree.write(config / "enclave" / "boot.json", b"not carried", 0o600)
    (config / "archive").mkdir()
    tree.write(config / "archive" / "privkey1.pem", b"not carried yet", 0o600)
    (config / "accounts" / "link").symlink_to("/etc/passwd")


def test_round_trip(tmp_path):
    _fill(tmp_path / "a")
    files = tree.collect(tmp_path / "a")
    assert [file.path for file in files] == [
        "accounts/ca/1/private_key.json",
        "enclave/settings.json",
    ]
    again = [tree.from_json(file.to_json()) for file in files]
    tree.restore(tmp_path / "b", again)
    assert tree.collect(tmp_path / "b") == files
    assert _mode(tmp_path / "b" / files[0].path) == 0o400
    assert _mode(tmp_path / "b" / "accounts") == 0o700


def test_odd_modes_become_private(tmp_path):
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "x").touch(mode=0o777)
    os.chmod(tmp_path / "accounts" / "x", 0o777)
    assert tree.collect(tmp_path)[0].mode == 0o600


BAD = {
    "absolute": {**GOOD, "path": "/accounts/x"},
    "parent": {**GOOD, "path": "accounts/../../x"},
    "dot": {**GOOD, "path": "accounts/./x"},
    "empty part": {**GOOD, "path": "accounts//x"},
    "outside": {**GOOD, "path": "renewal-hooks/pre/x"},
    "lookalike": {**GOOD, "path": "accounts-x"},
    "control": {**GOOD, "path": "accounts/\n"},
    "executable": {**GOOD, "mode": 0o755},
    "setuid": {**GOOD, "mode": 0o4600},
    "mode text": {**GOOD, "mode": "0600"},
    "path number": {**GOOD, "path": 1},
    "data no base64": {**GOOD, "data": "!"},
    "data number": {**GOOD, "data": 1},
    "more": {**GOOD, "more": 1},
    "no object": [],
}


@pytest.mark.parametrize("item", BAD.values(), ids=BAD)
def test_bad_files_are_refused(item):
    with pytest.raises(errors.FormatError) as caught:
        tree.from_json(item)
    assert caught.value.code == "bundle-file"
    assert tree.from_json(GOOD).data == base64.b64decode("AA==")


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


@pytest.mark.parametrize("place", ["accounts", "enclave", "enclave/settings.json"])
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
