# SPDX-License-Identifier: Apache-2.0
"""RFC 8555 section 7.3: accounts."""

import pytest

from tests.support.ca_client import algorithm, b64, binding, jwk, new_key, sign, thumbprint

MAC = b"a key of thirty-two octets, no less"


def eab(client, **change):
    given = {"kid": "kid-1", "mac_key": MAC, "url": client.directory["newAccount"]}
    return binding(**{**given, "account_key": client.key, **change})


def new_account(client, **members):
    return client.post(client.directory["newAccount"], {"termsOfServiceAgreed": True, **members})


def test_the_same_key_is_the_same_account(ca, new_client):
    client = new_client()
    created = ca.count("events", "accounts_created")
    first = new_account(client, contact=["mailto:ops@example.com"])
    again = new_account(client)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["location"] == again.headers["location"]
    assert again.json["contact"] == ["mailto:ops@example.com"]
    assert ca.count("events", "accounts_created") == created + 1
    listed = ca.accounts()[-1]
    assert (listed["uri"], listed["status"]) == (first.headers["location"], "valid")
    assert listed["thumbprint"] == thumbprint(client.key)


def test_only_return_existing_never_creates(new_client):
    client = new_client()
    answer = new_account(client, onlyReturnExisting=True)
    assert (answer.status, answer.problem) == (400, "accountDoesNotExist")
    uri = client.register()
    client.kid = None
    answer = client.post(client.directory["newAccount"], {"onlyReturnExisting": True})
    assert (answer.status, answer.headers["location"]) == (200, uri)


def test_the_terms_must_be_agreed_to(ca, new_client):
    client = new_client()
    url = client.directory["newAccount"]
    assert client.post(url, {}).problem == "userActionRequired"
    assert client.request("GET", client.directory["meta"]["termsOfService"]).status == 200
    ca.change(terms_of_service=False)
    assert client.post(url, {}).status == 201
    assert "termsOfService" not in new_client().directory["meta"]


@pytest.mark.parametrize(
    ("contact", "type_"),
    [
        ("mailto:a@example.com", "malformed"),
        (["tel:+1"], "unsupportedContact"),
        (["mailto:a@example.com,b@example.com"], "invalidContact"),
        (["mailto:a@example.com?subject=x"], "invalidContact"),
    ],
)
def test_contacts_are_checked(new_client, contact, type_):
    assert new_account(new_client(), contact=contact).problem == type_


def test_contacts_can_change(ca, client):
    contact = ["mailto:new@example.com"]
    assert client.ask(client.kid, {"contact": contact}).json["contact"] == contact
    assert client.ask(client.kid).json["contact"] == contact
    assert client.post(client.kid, {"status": "revoked"}).problem == "malformed"


def test_a_deactivated_account_is_shut_out(ca, client):
    assert client.ask(client.kid, {"status": "deactivated"}).json["status"] == "deactivated"
    answer = client.post(client.directory["newOrder"], {})
    assert (answer.status, answer.problem) == (403, "unauthorized")
    client.kid = None
    assert new_account(client).problem == "unauthorized"
    assert ca.accounts()[-1]["status"] == "deactivated"


def test_an_external_account_can_be_required(ca, new_client):
    ca.change(external_account_required=True, eab_keys={"kid-1": b64(MAC)})
    client = new_client()
    assert client.directory["meta"]["externalAccountRequired"] is True
    assert new_account(client).problem == "externalAccountRequired"
    answer = new_account(client, externalAccountBinding=eab(client))
    assert answer.status == 201
    assert ca.accounts()[-1]["bound"]


@pytest.mark.parametrize(
    ("change", "type_"),
    [
        ({"kid": "kid-2"}, "unauthorized"),
        ({"mac_key": b"another"}, "unauthorized"),
        ({"url": "https://localhost/new-account"}, "malformed"),
        ({"account_key": new_key()}, "malformed"),
    ],
)
def test_a_binding_of_something_else_is_refused(ca, new_client, change, type_):
    ca.change(external_account_required=True, eab_keys={"kid-1": b64(MAC)})
    client = new_client()
    created = ca.count("events", "accounts_created")
    refused = new_account(client, externalAccountBinding=eab(client, **change))
    assert refused.problem == type_
    assert ca.count("events", "accounts_created") == created


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bound: [{}],
        lambda bound: bound | {"protected": b64(b'{"alg":"HS256","kid":"k","url":"u","nonce":""}')},
        lambda bound: bound | {"protected": b64(b'{"alg":"HS256","url":"u"}')},
    ],
)
def test_a_binding_of_another_shape_is_refused(ca, new_client, spoil):
    ca.change(eab_keys={"kid-1": b64(MAC), "k": b64(MAC)})
    client = new_client()
    refused = new_account(client, externalAccountBinding=spoil(eab(client)))
    assert refused.problem == "malformed"


def rollover(client, new, *, account=None, old=None, url=None, signer=None, **extra):
    outer = client.directory["keyChange"]
    header = {"alg": algorithm(new), "jwk": jwk(new), "url": url or outer, **extra}
    old_key = jwk(old or client.key)
    text = f'{{"account": "{account or client.kid}", "oldKey": {old_key}}}'.replace("'", '"')
    return client.post(outer, sign(signer or new, header, text.encode()))


def test_the_key_can_change_and_the_uri_stays(ca, client):
    new = new_key()
    old, client_key = client.key, new
    assert rollover(client, new).status == 200
    assert client.post(client.kid, key=old).problem == "malformed"
    client.key = client_key
    assert client.ask(client.kid).status == 200
    assert ca.accounts()[-1]["thumbprint"] == thumbprint(new)
    assert ca.count("events", "keys_changed") == 1


@pytest.mark.parametrize(
    "spoil",
    [
        {"account": "https://localhost/account/1"},
        {"old": new_key()},
        {"url": "https://localhost/key-change"},
        {"signer": new_key()},
        {"nonce": "AAAA"},
    ],
)
def test_a_bad_rollover_is_refused(client, spoil):
    assert rollover(client, new_key(), **spoil).problem == "malformed"


def test_a_key_that_is_taken_is_refused(client, new_client):
    other = new_client()
    other.register()
    answer = rollover(client, other.key)
    assert (answer.status, answer.headers["location"]) == (409, other.kid)
