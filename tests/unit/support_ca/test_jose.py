# SPDX-License-Identifier: Apache-2.0
"""JWS, JWK and JSON: each refusal has an input that only it refuses."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support import ca_client
from tests.support.ca.jose import b64url_decode, json_object, parse_jwk, parse_jws, verify_mac
from tests.support.ca.problem import Problem

HEADER = {"alg": "ES256", "url": "https://localhost/x"}


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


def refused(call, *arguments) -> str:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.type


@pytest.mark.parametrize("text", ["QQ==", "QR", "A", "+/", "Q Q", "QQ\n", None, 5])
def test_base64url_is_strict(text):
    assert refused(b64url_decode, text, "field") == "malformed"


@pytest.mark.parametrize(
    "data", [b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"{", b'{"a":' * 20000]
)
def test_json_is_strict(data):
    assert refused(json_object, data, "payload") == "malformed"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_elliptic_signatures_verify(curve):
    key = ec.generate_private_key(curve)
    jws = parse_jws(ca_client.sign(key, HEADER, b"{}"))
    parsed = parse_jwk(ca_client.jwk(key))
    parsed.verify(ca_client.algorithm(key), jws.signed, jws.signature)
    assert parsed.thumbprint == ca_client.thumbprint(key)
    spoilt = jws.signature[:-1] + bytes([jws.signature[-1] ^ 1])
    assert refused(parsed.verify, ca_client.algorithm(key), jws.signed, spoilt) == "malformed"
    assert refused(parsed.verify, "RS256", jws.signed, jws.signature) == "badSignatureAlgorithm"
    half = len(jws.signature) // 2
    longer = jws.signature[:half] + b"\0" + jws.signature[half:]  # the same two numbers
    assert refused(parsed.verify, parsed.algorithm, jws.signed, longer) == "malformed"


def test_rsa_signatures_verify(rsa_key):
    jws = parse_jws(ca_client.sign(rsa_key, HEADER, b"{}"))
    parsed = parse_jwk(ca_client.jwk(rsa_key))
    parsed.verify("RS256", jws.signed, jws.signature)
    assert parsed.thumbprint == ca_client.thumbprint(rsa_key)
    assert refused(parsed.verify, "RS256", jws.signed + b" ", jws.signature) == "malformed"


GOOD = ca_client.jwk(ca_client.new_key())


@pytest.mark.parametrize(
    ("jwk", "type_"),
    [
        ("text", "malformed"),
        (GOOD | {"d": "AQ"}, "malformed"),
        (GOOD | {"x": "AQ"}, "malformed"),
        (GOOD | {"x": GOOD["y"], "y": GOOD["x"]}, "badPublicKey"),  # not on the curve
        (GOOD | {"crv": "P-521"}, "badPublicKey"),
        (GOOD | {"crv": ["P-256"]}, "badPublicKey"),
        ({"kty": "oct"}, "badPublicKey"),
        ({"kty": "RSA", "n": "", "e": ""}, "badPublicKey"),
        ({"kty": "RSA", "n": "_" * 171, "e": "AQAB"}, "malformed"),
        ({"kty": "RSA", "n": "_" * 170 + "8", "e": "AQAB"}, "badPublicKey"),  # 1024 bits
    ],
)
def test_bad_keys_are_refused(jwk, type_):
    assert refused(parse_jwk, jwk) == type_


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"kid": "x"}},
        {"signatures": []},
        {"protected": "e30"[:-1]},
        {"protected": ca_client.b64(json.dumps(HEADER | {"crit": ["b64"]}).encode())},
        {"protected": ca_client.b64(json.dumps(HEADER | {"b64": False}).encode())},
        {"payload": None},
        {"signature": "=="},
    ],
)
def test_bad_jws_are_refused(change):
    jws = {"protected": ca_client.b64(json.dumps(HEADER).encode()), "payload": "", "signature": ""}
    assert parse_jws(dict(jws)).payload == b""
    assert refused(parse_jws, jws | change) == "malformed"


@pytest.mark.parametrize(
    ("key", "header", "type_"),
    [
        (b"other", {"alg": "HS256"}, "unauthorized"),
        (b"secret", {"alg": "ES256"}, "badSignatureAlgorithm"),
    ],
)
def test_macs_are_verified(key, header, type_):
    good = ca_client.binding("k", b"secret", "u", ca_client.new_key())
    verify_mac(parse_jws(good), b"secret")
    protected = ca_client.b64(json.dumps({"kid": "k", "url": "u", **header}).encode())
    assert refused(verify_mac, parse_jws(good | {"protected": protected}), key) == type_
