# SPDX-License-Identifier: Apache-2.0
"""Every rule by which an account is found, recovered, registered or refused, in this process."""

import json
import shutil

import pytest
import trustme
from acme import messages
from certbot import errors as certbot_errors
from certbot._internal.account import Account, AccountFileStorage
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from certbot_enclave import errors
from certbot_enclave.account import key as account_key
from certbot_enclave.account.ca import CA, ExternalAccount, origin
from certbot_enclave.account.keeping import registered_uris
from certbot_enclave.account.registration import Registration, Request
from certbot_enclave.attestation import simulated
from certbot_enclave.runtime import Directories, start
from tests.support.world import derive
from tests.support.world.derive import DeriveServer

AGREED = Request(agree_tos=True)
EAB = ExternalAccount("shop-1", "c2VjcmV0LW9mLXRoZS1zaG9wLWFjY291bnQtMzItYnl0ZXM")


class Inside:
    """A simulated enclave, driven in this process."""

    def __init__(self, folder, ca):
        self.folder, self.ca = folder, ca
        image = folder / "app.bin"
        image.write_bytes(b"code")
        simulated.create(folder / "enclave", [image])
        self.places = Directories(*(folder / name for name in ("config", "work", "logs")))
        self.pending = folder / "config" / "enclave" / "pending.json"

    def registration(self, server=None, **options):
        where = f"simulated:{self.folder / 'enclave'}"
        given = {"attester": where, "sealer": where, "store": f"file:{self.folder / 'bundle'}"}
        runtime = start({**given, **options}, self.places)
        return Registration(runtime, server or self.ca.directory_url)

    def ensure(self, request=AGREED, server=None, **options):
        return self.registration(server, **options).ensure(request)

    def code(self, request=AGREED, server=None, **options):
        with pytest.raises(errors.Error) as caught:
            self.ensure(request, server, **options)
        return caught.value.code

    def file(self, name):
        return next((self.folder / "config" / "accounts").rglob(name))


@pytest.fixture
def inside(shm, ca, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.tls_root))
    return Inside(shm, ca)


def _left_pending(inside, **fault):
    """Begin a registration that the CA cuts off; the key is pending then."""
    inside.ca.fault("newAccount", **fault)
    with pytest.raises(errors.Error):
        inside.ensure()
    inside.ca.clear()
    assert inside.pending.exists()


def test_registered_once_and_found_again(inside):
    first = inside.ensure()
    again = inside.ensure(Request())
    assert (first.uri, first.new, again.uri, again.new) == (first.uri, True, first.uri, False)
    assert not inside.pending.exists()


def test_no_agreement_no_account(inside):
    assert inside.code(Request()) == "account-missing"
    assert inside.ca.accounts() == []
    assert not inside.pending.exists()
    assert inside.ca.count("requests", "directory") == 0  # nobody needs to be asked for that


def test_expected_account_is_never_made(inside):
    assert inside.code(account=f"{inside.ca.directory_url}/7") == "account-lost"
    assert inside.ca.accounts() == []


def test_unexpected_account_is_refused(inside):
    uri = inside.ensure().uri
    assert inside.code(account=f"{uri}0") == "account-unexpected"
    assert inside.ensure(account=uri).uri == uri


def test_pending_key_is_used_and_needs_agreement_still(inside):
    _left_pending(inside, status=500)
    thumbprint = json.loads(inside.pending.read_text())["key"]["x"]
    assert inside.code(Request()) == "account-missing"
    assert account_key.public_jwk(inside.ensure().key.key.public)["x"] == thumbprint


def test_pending_key_that_the_ca_knows_needs_no_agreement(inside):
    """The account was made, and its URI never reached us."""
    inside.ca.change(account_location_origin="https://host.test")
    assert inside.code() == "account-origin"
    inside.ca.change(account_location_origin=None)
    (account,) = inside.ca.accounts()
    assert inside.pending.exists()
    found = inside.ensure(Request())
    assert (found.uri, found.new) == (account["uri"], False)
    assert not inside.pending.exists()


def test_pending_key_with_an_unexpected_account_is_refused(inside):
    _left_pending(inside, status=500)
    assert inside.code(account=f"{inside.ca.directory_url}/7") == "account-lost"
    assert inside.ca.accounts() == []
    inside.ca.change(account_location_origin="https://host.test")
    assert inside.code() == "account-origin"  # made, and its URI never reached us
    inside.ca.change(account_location_origin=None)
    (account,) = inside.ca.accounts()
    assert inside.code(account=f"{account['uri']}0") == "account-unexpected"


def test_pending_at_another_directory_is_said(inside, new_ca):
    _left_pending(inside, status=500)
    other = new_ca()
    assert inside.code(server=other.directory_url) == "account-pending"


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_damaged_pending_key_is_never_replaced(inside, text):
    _left_pending(inside, status=500)
    inside.pending.write_text(text)
    assert inside.code() == "account-damaged"


def test_plain_pending_key_is_refused(inside):
    _left_pending(inside, status=500)
    table = json.loads(inside.pending.read_text())
    table["key"] = JWKEC(key=ec.generate_private_key(ec.SECP256R1())).to_json()
    inside.pending.write_text(json.dumps(table))
    assert inside.code() == "account-damaged"


def test_external_account_is_demanded_and_remembered(inside):
    inside.ca.change(external_account_required=True, eab_keys={EAB.kid: EAB.hmac_key})
    assert inside.code() == "external-account-missing"
    assert inside.ca.accounts() == []
    assert inside.ensure(Request(agree_tos=True, external_account=EAB)).external_account
    assert inside.ensure(Request()).external_account
    assert "c2Vj" not in repr(EAB)


def test_bad_external_account_key_is_a_refusal(inside):
    inside.ca.change(external_account_required=True, eab_keys={EAB.kid: EAB.hmac_key})
    wrong = ExternalAccount(EAB.kid, "d3Jvbmc")
    assert inside.code(Request(agree_tos=True, external_account=wrong)) == "ca-refused"


def test_account_that_the_ca_forgot_is_not_replaced(shm, new_ca, monkeypatch):
    authority = trustme.CA()
    first = new_ca(tls_authority=authority)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(first.tls_root))
    inside = Inside(shm, first)
    inside.ensure()
    port = first.port
    first.stop()
    inside.ca = new_ca(tls_authority=authority, port=port)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(inside.ca.tls_root))
    assert inside.code() == "account-unknown"
    assert inside.ca.accounts() == []


def test_doctored_account_file_is_noticed(inside):
    uri = inside.ensure().uri
    inside.file("regr.json").write_text(json.dumps({"body": {}, "uri": f"{uri}0"}))
    assert inside.code() == "account-mismatch"


@pytest.mark.parametrize("name", ["private_key.json", "regr.json", "meta.json"])
@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"kty": "certbot-enclave"}'])
def test_account_that_cannot_be_read_is_not_replaced(inside, name, text):
    inside.ensure()
    path = inside.file(name)
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert inside.code() == "account-unreadable"
    assert len(inside.ca.accounts()) == 1


def _save(inside, key, uri):
    config = inside.registration()._config
    account = Account(messages.RegistrationResource(body=messages.Registration(), uri=uri), key)
    AccountFileStorage(config).save(account, None)


def test_plain_account_is_foreign(inside):
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    _save(inside, key, "https://ca.test/account/1")
    assert inside.code() == "account-foreign"


def test_account_for_another_directory_is_foreign(inside):
    sealer = inside.registration()._runtime.sealer
    key = account_key.generate("https://other.test/directory", sealer)
    _save(inside, key, "https://ca.test/account/1")
    assert inside.code() == "account-foreign"


def test_two_accounts_are_ambiguous(inside):
    first = inside.ensure()
    sealer = inside.registration()._runtime.sealer
    _save(inside, account_key.generate(inside.ca.directory_url, sealer), first.uri + "0")
    assert inside.code() == "account-ambiguous"


def test_accounts_of_all_directories_are_listed(inside, new_ca, monkeypatch):
    config = inside.folder / "config"
    assert registered_uris(config) == ()
    first = inside.ensure().uri
    assert registered_uris(config) == (first,)
    inside.file("regr.json").write_text("[]")
    with pytest.raises(errors.AccountError) as caught:
        registered_uris(config)
    assert caught.value.code == "account-unreadable"


def test_unwritable_account_leaves_the_key_pending(inside, monkeypatch):
    def refused(*_arguments):
        raise certbot_errors.AccountStorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(AccountFileStorage, "save", refused)
        assert inside.code() == "account-unwritable"
    (account,) = inside.ca.accounts()
    assert inside.ensure(Request()).uri == account["uri"]


# --- a key that is derived ---


@pytest.fixture
def deriving():
    """Settings for an enclave in Oyster that derives its account key."""
    with DeriveServer(derive.image_seed(b"i" * 32)) as server:
        yield {"sealer": f"oysterkms:{server.address}", "account_key": "derived"}


def test_derived_key_is_found_without_bundle_and_agreement(inside, deriving):
    first = inside.ensure(**deriving)
    shutil.rmtree(inside.folder / "config")
    (inside.folder / "bundle").unlink()
    found = inside.ensure(Request(), **deriving)
    assert (first.new, found.new, found.uri) == (True, False, first.uri)
    assert not inside.pending.exists()


def test_derived_key_that_the_ca_does_not_know_leaves_nothing_behind(inside, deriving):
    assert inside.code(Request(), **deriving) == "account-missing"
    assert not inside.pending.exists()
    assert not (inside.folder / "bundle").exists()
    assert inside.code(account=f"{inside.ca.directory_url}/7", **deriving) == "account-lost"
    assert not inside.pending.exists()
    assert inside.ca.accounts() == []


def test_derived_key_of_another_account_than_expected(inside, deriving):
    uri = inside.ensure(**deriving).uri
    shutil.rmtree(inside.folder / "config")
    (inside.folder / "bundle").unlink()
    assert inside.code(account=f"{uri}0", **deriving) == "account-unexpected"


@pytest.mark.parametrize(("made", "later"), [("random", "derived"), ("derived", "random")])
def test_key_on_file_comes_from_where_the_settings_say(inside, deriving, made, later):
    # Pending, and then registered.
    inside.ca.change(account_location_origin="https://host.test")
    assert inside.code(**{**deriving, "account_key": made}) == "account-origin"
    inside.ca.change(account_location_origin=None)
    assert inside.pending.exists()
    for _ in range(2):
        assert inside.code(**{**deriving, "account_key": later}) == "account-key-source"
        assert inside.ensure(**{**deriving, "account_key": made})


# --- the CA itself ---


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ca.test/directory",
        "http://ca.test/directory",
        "https:///directory",
        "https://user@ca.test/directory",
        "https://ca.test/directory?x",
        "https://ca.test:port/directory",
        "https://[::1/directory",
    ],
)
def test_directory_must_be_an_https_url(url):
    with pytest.raises(errors.PolicyError) as caught:
        origin(url)
    assert caught.value.code == "directory-url"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://ca.test/directory", "https://ca.test"),
        ("https://ca.test:14000/dir", "https://ca.test:14000"),
        ("https://[::1]:8443/dir", "https://[::1]:8443"),
    ],
)
def test_origin(url, expected):
    assert origin(url) == expected


def test_unreachable_ca(inside):
    assert inside.code(server="https://127.0.0.1:1/directory") == "ca-unreachable"


@pytest.mark.parametrize("endpoint", ["newNonce", "newAccount", "newOrder", "revokeCert"])
def test_endpoint_elsewhere(inside, endpoint):
    inside.ca.change(overrides={endpoint: "https://ca.test.host.test/x"})
    assert inside.code() == "ca-origin"


@pytest.mark.parametrize("body", ["[]", "no JSON", "{"])
def test_directory_that_is_none(inside, body):
    inside.ca.fault("directory", times=9, status=200, body=body)
    assert inside.code() == "ca-broken"


@pytest.mark.parametrize("body", ["[]", "7", "no JSON"])
def test_account_that_is_none(inside, body):
    inside.ca.fault("newAccount", times=9, status=200, body=body)
    assert inside.code() == "ca-broken"


def test_account_at_another_origin(inside):
    inside.ca.change(account_location_origin="https://host.test")
    assert inside.code() == "account-origin"


def test_deactivated_account(inside):
    inside.ca.deactivate(inside.ensure().uri)
    assert inside.code() == "ca-refused"
    assert len(inside.ca.accounts()) == 1


def test_account_that_the_ca_calls_revoked(inside):
    uri = inside.ensure().uri
    body = json.dumps({"status": "revoked"})
    inside.ca.fault("newAccount", status=200, body=body, headers={"Location": uri})
    assert inside.code() == "account-status"


def test_what_the_directory_says(inside):
    found = CA(inside.ca.directory_url)
    assert found.caa_identities == ("ca.test",)
    assert found.external_account_required is False
    assert found.terms_of_service.startswith("https://")
