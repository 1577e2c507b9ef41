# SPDX-License-Identifier: Apache-2.0
"""Account keys are found in certbot's directory without any CA; one that is not ours is refused."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from josepy.jwk import JWKRSA

from certbot_enclave import errors
from certbot_enclave.account import key as account_key
from certbot_enclave.account import on_file
from tests.support.components import MemorySealer

PRODUCTION, STAGING = "https://ca.test/directory", "https://staging.test/directory"


def _write(config, key, name):
    path = config / "accounts" / name / "private_key.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(key.to_json()))
    return path


@pytest.fixture
def keys(tmp_path):
    """Two accounts; that of the staging directory is found first."""
    found = [account_key.generate(url, MemorySealer()) for url in (STAGING, PRODUCTION)]
    for number, key in enumerate(found):
        _write(tmp_path, key, f"ca/{number}")
    return found


def _code(call, *arguments):
    with pytest.raises(errors.Error) as caught:
        call(*arguments)
    return caught.value.code


def test_own_account_speaks(tmp_path, keys):
    assert on_file.keys(tmp_path) == keys
    assert on_file.speaking(tmp_path, PRODUCTION) == keys[1]
    assert on_file.speaking(tmp_path, STAGING) == keys[0]
    assert on_file.speaking(tmp_path, "") == keys[0]


def test_unfinished_registration_speaks_where_nobody_else_does(tmp_path):
    pending = account_key.generate(PRODUCTION, MemorySealer())
    (tmp_path / "enclave").mkdir()
    table = {"directory": PRODUCTION, "key": pending.to_partial_json(), "external_account": False}
    (tmp_path / "enclave" / "pending.json").write_text(json.dumps(table))
    assert on_file.speaking(tmp_path, PRODUCTION) == pending


def test_none(tmp_path):
    assert on_file.keys(tmp_path) == []
    assert _code(on_file.speaking, tmp_path, PRODUCTION) == "account-missing"


def test_plaintext_key_is_refused(tmp_path, keys):
    _write(tmp_path, JWKRSA(key=rsa.generate_private_key(65537, 2048)), "ca/2")
    assert _code(on_file.keys, tmp_path) == "account-foreign"


@pytest.mark.parametrize("text", ["", "[]", "1", '{"kty": "certbot-enclave"}', '{"kty": "none"}'])
def test_damaged_key_is_said(tmp_path, keys, text):
    (tmp_path / "accounts" / "ca" / "1" / "private_key.json").write_text(text)
    assert _code(on_file.keys, tmp_path) == "account-unreadable"


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_damaged_pending_key_is_said(tmp_path, text):
    (tmp_path / "enclave").mkdir()
    (tmp_path / "enclave" / "pending.json").write_text(text)
    assert _code(on_file.keys, tmp_path) == "account-unreadable"


def _uri(config, number, text):
    (config / "accounts" / "ca" / str(number) / "regr.json").write_text(text)


def test_uri_of_the_account_at_a_directory(tmp_path, keys):
    _uri(tmp_path, 0, '{"uri": "https://staging.test/account/7"}')
    _uri(tmp_path, 1, '{"uri": "https://ca.test/account/1"}')
    assert on_file.uri_at(tmp_path, STAGING) == "https://staging.test/account/7"
    assert on_file.uri_at(tmp_path, PRODUCTION) == "https://ca.test/account/1"
    assert on_file.uri_at(tmp_path, "https://third.test/directory") is None
    assert on_file.uri_at(tmp_path / "empty", STAGING) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # A record for it would let somebody else have certificates at our own directory.
        ('{"uri": "https://ca.test/account/9"}', "account-origin"),
        ('{"uri": "https://staging.test.evil/account/9"}', "account-origin"),
        ('{"uri": "https://staging.test"}', "account-origin"),
        ('{"uri": 1}', "account-origin"),
        ("{", "account-unreadable"),
        ("{}", "account-unreadable"),
        ("[]", "account-unreadable"),
    ],
)
def test_uri_that_is_doctored(tmp_path, keys, text, code):
    _uri(tmp_path, 0, text)
    assert _code(on_file.uri_at, tmp_path, STAGING) == code


def test_uri_of_a_plaintext_account_is_none_of_ours(tmp_path):
    _write(tmp_path, JWKRSA(key=rsa.generate_private_key(65537, 2048)), "ca/0")
    _uri(tmp_path, 0, '{"uri": "https://staging.test/account/7"}')
    assert _code(on_file.uri_at, tmp_path, STAGING) == "account-foreign"
