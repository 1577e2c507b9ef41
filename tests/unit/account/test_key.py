# SPDX-License-Identifier: Apache-2.0
"""The account key to certbot's eyes: loads like any other, shows nothing, signs by rule."""

import json
import pickle

import pytest
from acme import jws as acme_jws
from certbot import errors as certbot_errors
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import DeserializationError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from certbot_enclave import errors
from certbot_enclave.account import key as account_key
from certbot_enclave.account.guard import Binding
from tests.support.components import MemorySealer
from tests.unit.account.signing import ACCOUNT, ORIGIN

DIRECTORY = f"{ORIGIN}/directory"


@pytest.fixture
def sealer():
    return MemorySealer()


@pytest.fixture
def key(sealer):
    return account_key.generate(DIRECTORY, sealer)


def _reloaded(key, **changes):
    return JWK.from_json({**key.to_json(), **changes})


def _sign(key, payload=b"", url=f"{ORIGIN}/order/1", kid=ACCOUNT):
    return acme_jws.JWS.sign(payload, key=key, alg=ES256, nonce=b"n", url=url, kid=kid)


def _attach(key, sealer):
    binding = Binding(ORIGIN, account_key.public_jwk(key.key.public), ACCOUNT)
    return account_key.attach(key, sealer, binding)


def test_file_holds_public_and_sealed_members_only(key):
    assert set(key.to_json()) == {"kty", "crv", "x", "y", "directory", "sealed"}
    assert key.to_json()["kty"] == "certbot-enclave"


def test_certbot_loads_it_through_the_registry(key):
    loaded = JWK.json_loads(key.json_dumps())
    assert type(loaded) is account_key.EnclaveJWK
    assert loaded == key
    assert hash(loaded) == hash(key)
    assert loaded.thumbprint() == key.public_key().thumbprint()


def test_signs_what_acme_asks_and_the_signature_holds(key, sealer):
    _attach(key, sealer)
    signed = _sign(_reloaded(key))
    assert signed.verify(key.public_key())


def test_new_account_carries_the_ordinary_public_jwk(key, sealer):
    _attach(key, sealer)
    signed = _sign(key, b'{"termsOfServiceAgreed": true}', f"{ORIGIN}/new-acct", kid=None)
    jwk = json.loads(signed.signature.protected)["jwk"]
    assert jwk == account_key.public_jwk(key.key.public)
    assert type(signed.signature.combined.jwk) is JWKEC


def test_refusal_is_an_error_of_certbot_with_our_code(key, sealer):
    _attach(key, sealer)
    with pytest.raises(certbot_errors.Error, match="origin") as caught:
        _sign(key, url="https://elsewhere.test/order")
    assert caught.value.code == "jws-origin"


def test_detached_key_signs_nothing(key):
    with pytest.raises(certbot_errors.Error, match="--authenticator enclave") as caught:
        _sign(key)
    assert caught.value.code == "key-detached"


def test_handle_of_one_key_does_not_serve_another(key, sealer):
    _attach(key, sealer)
    other = account_key.generate(DIRECTORY, sealer)
    with pytest.raises(account_key.Refused) as caught:
        _sign(other)
    assert caught.value.code == "key-detached"


def test_other_sealer_cannot_unseal(key):
    _attach(key, MemorySealer("other"))
    with pytest.raises(account_key.Refused) as caught:
        _sign(key)
    assert caught.value.code == "sealer-mismatch"


def test_key_sealed_for_another_directory_is_refused(key, sealer):
    moved = _reloaded(key, directory="https://ca.test:14000/other")
    _attach(moved, sealer)
    with pytest.raises(account_key.Refused) as caught:
        _sign(moved)
    assert caught.value.code == "account-key-damaged"


def test_sealed_number_of_another_key_is_refused(key, sealer):
    other = account_key.generate(DIRECTORY, sealer)
    swapped = _reloaded(key, sealed=other.to_json()["sealed"])
    _attach(swapped, sealer)
    with pytest.raises(account_key.Refused) as caught:
        _sign(swapped)
    assert caught.value.code == "account-key-damaged"


def test_number_that_does_not_fit_the_public_key_is_refused(key, sealer):
    from certbot_enclave.sealing import envelope
    from tests.unit.account.signing import b64

    forged = envelope.seal(
        (7).to_bytes(32, "big"),
        kind=account_key.KIND,
        fields={"directory": DIRECTORY, "thumbprint": key.key.print},
        sealer=sealer,
    )
    bad = _reloaded(key, sealed=b64(forged))
    _attach(bad, sealer)
    with pytest.raises(account_key.Refused) as caught:
        _sign(bad)
    assert caught.value.code == "account-key-foreign"


@pytest.mark.parametrize(
    "changes",
    [
        {"crv": "P-384"},
        {"x": "AA"},
        {"y": "*"},
        {"sealed": 7},
        {"sealed": "A" * (account_key.MAX_SEALED + 1)},
        {"directory": None},
    ],
)
def test_damaged_file_is_no_oserror_and_no_other_key(key, changes):
    with pytest.raises(DeserializationError):
        _reloaded(key, **changes)


def test_missing_member_is_refused(key):
    jobj = key.to_json()
    del jobj["sealed"]
    with pytest.raises(DeserializationError):
        JWK.from_json(jobj)


def test_nothing_shows_or_copies_the_private_number(key, sealer):
    handle = _attach(key, sealer)
    _sign(key)
    number = handle._private.private_numbers().private_value
    shown = " ".join(map(repr, (key, key.key, handle, vars(key.key)))) + key.json_dumps()
    assert str(number) not in shown
    assert f"{number:x}" not in shown
    for attempt in ("private_numbers", "private_bytes"):
        with pytest.raises(AttributeError):
            getattr(key.key, attempt)
    with pytest.raises(TypeError):
        pickle.dumps(handle)


def test_unsealed_once_and_only_when_needed(key, sealer):
    handle = _attach(key, sealer)
    assert handle._private is None
    _sign(key)
    first = handle._private
    _sign(key)
    assert handle._private is first


def test_sealed_context_names_directory_and_thumbprint(key, sealer):
    assert sealer.contexts[0] == {
        "kind": "account-key",
        "directory": DIRECTORY,
        "thumbprint": key.key.print,
    }


def test_errors_keep_their_hint(key):
    refused = account_key.Refused("no", code="x", hint="do this")
    assert str(refused) == "no\nhint: do this"
    assert isinstance(refused, errors.GuardError)
    assert isinstance(key.key.curve, ec.SECP256R1)
    assert key.key.key_size == 256
