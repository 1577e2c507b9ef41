# SPDX-License-Identifier: Apache-2.0
"""RFC 8555 section 6: what a request must be before anybody looks at its payload."""

import http.client
import json
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.ca_client import Refused, jwk, new_key, sign

ORDER = {"identifiers": [{"type": "dns", "value": "jws.test"}]}
UNKNOWN = "https://localhost/account/999"


def origin(client):
    return client.kid.partition("/account")[0]


def test_a_signature_by_another_key_is_refused(client):
    answer = client.post(client.directory["newOrder"], {}, key=new_key())
    assert (answer.status, answer.problem) == (400, "malformed")
    assert "signature" in answer.json["detail"]


@pytest.mark.parametrize(
    ("change", "status", "type_"),
    [
        (lambda h: h.update(url=h["url"] + "x"), 403, "unauthorized"),
        (lambda h: h.pop("url"), 403, "unauthorized"),
        (lambda h: h.update(nonce="AAAA"), 400, "badNonce"),
        (lambda h: h.pop("nonce"), 400, "badNonce"),
        (lambda h: h.update(jwk=jwk(new_key())), 400, "malformed"),  # beside kid
        (lambda h: h.pop("kid"), 400, "malformed"),
        (lambda h: h.update(kid=UNKNOWN), 400, "accountDoesNotExist"),
        (lambda h: h.update(kid=["x"]), 400, "accountDoesNotExist"),
        (lambda h: h.update(alg="none"), 400, "badSignatureAlgorithm"),
        (lambda h: h.update(alg="HS256"), 400, "badSignatureAlgorithm"),
        (lambda h: h.update(alg=["ES256"]), 400, "badSignatureAlgorithm"),
        (lambda h: h.update(alg="ES384"), 400, "badSignatureAlgorithm"),
        (lambda h: h.update(crit=["exp"]), 400, "malformed"),
    ],
)
def test_a_broken_header_is_refused(client, change, status, type_):
    answer = client.post(client.directory["newOrder"], ORDER, change)
    assert (answer.status, answer.problem) == (status, type_)
    assert answer.headers["replay-nonce"]


def test_jwk_does_not_stand_in_for_kid(client):
    url = client.directory["newOrder"]
    client.kid = None
    answer = client.post(url, ORDER)
    assert (answer.status, answer.problem) == (400, "malformed")


def test_a_nonce_works_once(client):
    url = client.kid
    jws = sign(client.key, client.header(url), b"")
    assert client.send(url, jws).status == 200
    assert client.send(url, jws).problem == "badNonce"


def test_every_answer_brings_a_good_nonce(client):
    first = client.post(client.kid)
    nonce = first.headers["replay-nonce"]
    assert client.post(client.kid, None, lambda h: h.update(nonce=nonce)).status == 200
    answer = client.request("GET", client.directory["newNonce"])
    assert (answer.status, answer.headers["cache-control"]) == (204, "no-store")
    nonce = answer.headers["replay-nonce"]
    assert client.post(client.kid, None, lambda h: h.update(nonce=nonce)).status == 200


def test_new_account_needs_jwk(client):
    answer = client.post(client.directory["newAccount"], {"termsOfServiceAgreed": True})
    assert answer.problem == "malformed"


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_other_keys_work_too(new_client, make_key):
    other = new_client(key=make_key())
    assert "BEGIN" in (other.register() and other.issue(["keys.test"]))


def test_the_content_type_counts(client):
    jws = sign(client.key, client.header(client.kid), b"")
    assert client.send(client.kid, jws, "application/json").status == 415


def test_post_as_get_has_no_payload(client):
    url, _ = client.order(["payload.test"])
    for resource in (url, f"{client.kid}/orders"):
        assert client.post(resource, {}).problem == "malformed"


def test_objects_are_not_for_get(client):
    url, _ = client.order(["get.test"])
    assert client.request("GET", url).status == 405
    for path in ("/new-nonce", "/directory"):
        assert client.request("POST", f"{origin(client)}{path}", b"").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/order/0",
        "/order/99999",
        "/order/1/orders",
        "/account/1/finalize",
        "/order/x",
        "/challenge/99999",
    ],
)
def test_what_is_not_there(client, path):
    assert client.post(origin(client) + path).status == 404


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Length": str(65 * 1024)}, b"x" * 65 * 1024, 413),
        ({"Content-Length": "-1"}, b"", 400),
        ({"Content-Length": "1_0"}, b"", 400),
        ({"Transfer-Encoding": "chunked", "Content-Length": "0"}, b"", 411),
        ({}, b"", 411),
    ],
)
def test_bodies_are_small_and_counted(ca, headers, body, status):
    context = ssl.create_default_context(cafile=str(ca.tls_root))
    connection = http.client.HTTPSConnection("localhost", ca.port, timeout=10, context=context)
    try:
        connection.putrequest("POST", "/new-account")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body)
        response = connection.getresponse()
        document = json.loads(response.read())
    finally:
        connection.close()
    assert (response.status, document["status"]) == (status, status)
    assert response.getheader("Connection") == "close"


def test_refused_carries_the_problem(client):
    with pytest.raises(Refused) as caught:
        client.order([])
    assert caught.value.type == "malformed"
