# SPDX-License-Identifier: Apache-2.0
"""Oyster's key service seals for one seed only, and what is no secret of it is never used."""

import http.client

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors
from certbot_enclave.interfaces import IDerivingSealer, ISealer
from certbot_enclave.sealing import oyster
from certbot_enclave.sealing.oyster import OysterSealer
from tests.support.world import derive
from tests.support.world.derive import DeriveServer

KEY = bytes(range(32))
CONTEXT = {"kind": "bundle", "generation": "1"}
SEED = derive.image_seed(b"i" * 32)


@pytest.fixture
def server():
    with DeriveServer(SEED) as started:
        yield started


@pytest.fixture
def sealer(server):
    return OysterSealer(server.address)


def _refused(act, kind=errors.SealError):
    with pytest.raises(kind) as caught:
        act()
    assert "\n" not in str(caught.value)
    return caught.value


# --- the published derivation ---

PUBLISHED_ROOT = bytes.fromhex(
    "4090382ec7b7a00ee999a8da6f5d85e4159964c9f03448b3e3608e877a49cdf2"
    "031c4c25b95142cf02844a118bfafa2ad41aceda1191be332eee20b4bacd9be5"
)
PUBLISHED = (
    "77dd95c3ad1c4aec2370d79ad1cbab5399b0f893e203653c3a60a9a63f0c6f6d"
    "309cecab1007c4a893bc5e23180d5de25038420d70c309446c99581844f93fa0"
)
OF_MOCK = (
    "352dea401e3d5760155dafe1c9a9fdc4b781e8609ae6e46d21d47e86deed6d40"
    "a86ef77a3a88710383ae1ddbd6f3cc85a82f9b63196c87193c8f106e5c8d5834"
)


def test_derivation_is_as_published():
    assert derive.derive(PUBLISHED_ROOT, bytes.fromhex("0336b1a0838f0bd3")).hex() == PUBLISHED


def test_mock_derives_as_published(server):
    server.seed = derive.MOCK_SEED
    assert OysterSealer(f"mock@{server.address}").derive("oyster.init-params").hex() == OF_MOCK
    assert oyster._of_mock("oyster.init-params").hex() == OF_MOCK


def test_seeds_of_images_and_contracts_differ():
    prefixed, plain = (derive.contract_seed(42161, text) for text in ("0xABC", "ABC"))
    assert prefixed == derive.contract_seed(42161, "0xabc")
    assert len({SEED, derive.image_seed(b"j" * 32), prefixed, plain}) == 4


# --- sealing ---


def test_interfaces(sealer):
    for interface in (ISealer, IDerivingSealer):
        assert verifyClass(interface, OysterSealer)
        assert verifyObject(interface, sealer)
    assert (sealer.simulated, sealer.scheme) == (False, "oysterkms")


def test_round_trip_over_processes_and_one_request_each(server, sealer):
    assert server.asked == []
    wrapped, more = sealer.wrap(KEY, CONTEXT), sealer.wrap(KEY, CONTEXT)
    assert wrapped != more
    assert KEY not in wrapped
    again = OysterSealer(server.address)
    assert [again.unwrap(item, CONTEXT) for item in (wrapped, more)] == [KEY, KEY]
    assert server.asked == ["/derive?path=certbot-enclave%2Fseal%2Fv1"] * 2


def test_wrapped_key_is_as_documented(sealer):
    secret = derive.derive(SEED, b"certbot-enclave/seal/v1")
    info = b"certbot-enclave-oysterkms-sealer-v1"
    cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=info).derive(secret))
    wrapped = sealer.wrap(KEY, CONTEXT)
    said = b'{"generation": "1", "kind": "bundle"}'
    assert cipher.decrypt(wrapped[:12], wrapped[12:], said) == KEY


@pytest.mark.parametrize("seed", [derive.image_seed(b"j" * 32), derive.contract_seed(1, "0xa")])
def test_another_seed_does_not_unseal(server, sealer, seed):
    wrapped = sealer.wrap(KEY, CONTEXT)
    server.seed = seed
    other = OysterSealer(server.address)
    assert _refused(lambda: other.unwrap(wrapped, CONTEXT)).code == "sealed-elsewhere"


@pytest.mark.parametrize("context", [{}, {**CONTEXT, "generation": "2"}, {**CONTEXT, "more": "1"}])
def test_another_purpose_is_refused(sealer, context):
    wrapped = sealer.wrap(KEY, CONTEXT)
    assert _refused(lambda: sealer.unwrap(wrapped, context)).code == "sealed-elsewhere"


@pytest.mark.parametrize("size", [0, 11, 12, 27, 59])
def test_damaged_bytes_are_refused(sealer, size):
    wrapped = sealer.wrap(KEY, CONTEXT)[:size]
    assert _refused(lambda: sealer.unwrap(wrapped, CONTEXT)).code == "sealed-elsewhere"


@pytest.mark.parametrize("path", ["a b", "a+b", "a&path=b", "a%2Fb", "a?b#c", "ä", "a;b", "a=b"])
def test_path_arrives_as_it_is(server, sealer, path):
    assert sealer.derive(path) == derive.derive(SEED, path.encode())


# --- answers that are no secret ---

FAULTS = {
    "an error of 64 zeros": ({"status": 500, "body": bytes(64)}, "sealer-refused"),
    "an error of 64 others": ({"status": 401, "body": b"x" * 64}, "sealer-refused"),
    "a success that is none": ({"status": 204, "body": b""}, "sealer-refused"),
    "zeros": ({"body": bytes(64)}, "oyster-kms-answer"),
    "nothing": ({"body": b""}, "oyster-kms-answer"),
    "a byte short": ({"body": b"s" * 63}, "oyster-kms-answer"),
    "a byte long": ({"body": b"s" * 65}, "oyster-kms-answer"),
    "too much": ({"body": b"s" * 10_000_000}, "oyster-kms-answer"),
    "cut off": (
        {"raw": b"HTTP/1.0 200 OK\r\nContent-Length: 64\r\n\r\n" + b"s" * 32},
        "oyster-kms-answer",
    ),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS)
def test_answer_that_is_no_secret(server, sealer, fault, code):
    server.fault(**fault)
    refused = _refused(lambda: sealer.wrap(KEY, CONTEXT))
    assert (refused.code, "sss" in str(refused)) == (code, False)
    # And nothing of it is kept.
    server.fault()
    assert sealer.unwrap(sealer.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_redirect_is_not_followed(server, sealer):
    with DeriveServer(b"e" * 64) as elsewhere:
        server.fault(status=302, location=f"http://{elsewhere.address}/derive?path=x")
        assert _refused(lambda: sealer.derive("x")).code == "sealer-refused"
        assert elsewhere.asked == []


def test_proxies_of_the_environment_are_not_used(server, sealer, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    assert sealer.derive("x") == derive.derive(SEED, b"x")


def test_silent_server_is_given_up(server, sealer, monkeypatch):
    monkeypatch.setattr(oyster, "TIMEOUT", 0.2)
    server.fault(silent=True)
    refused = _refused(lambda: sealer.derive("x"), errors.TransportError)
    assert (refused.code, "TimeoutError" in str(refused)) == ("oyster-kms-unreachable", True)


def test_stopped_server_is_said():
    with DeriveServer(SEED) as started:
        sealer = OysterSealer(started.address)
    refused = _refused(lambda: sealer.wrap(KEY, CONTEXT), errors.TransportError)
    assert refused.code == "oyster-kms-unreachable"
    assert "ConnectionRefusedError" in str(refused)


def test_what_came_instead_of_http_is_never_shown(server, sealer):
    server.fault(raw=b"s" * 64)
    refused = _refused(lambda: sealer.derive("x"), errors.TransportError)
    assert "sss" not in f"{refused}{refused.hint}"
    assert (refused.code, refused.__suppress_context__) == ("oyster-kms-unreachable", True)
    assert isinstance(refused.__context__, http.client.HTTPException)


# --- the mock ---


def test_mock_is_used_only_if_it_is_named(server, sealer):
    server.seed = derive.MOCK_SEED
    for act in (lambda: sealer.wrap(KEY, CONTEXT), lambda: sealer.derive("certbot-enclave/x")):
        assert _refused(act).code == "oyster-kms-mock"
    named = OysterSealer(f"mock@{server.address}")
    assert (named.simulated, named.key) == (True, "mock")
    assert named.unwrap(named.wrap(KEY, CONTEXT), CONTEXT) == KEY


# --- where the server is ---

NAMES = {
    "": ("image", False),
    "127.0.0.1:1100": ("image", False),
    "127.0.0.1:1101": ("contract", False),
    "127.0.0.1:1102": ("127.0.0.1:1102", False),
    "127.0.0.2:1100": ("127.0.0.2:1100", False),
    "[::1]:1100": ("[::1]:1100", False),
    "mock": ("mock", True),
    "mock@127.0.0.1:1101": ("mock", True),
}


@pytest.mark.parametrize(("argument", "expected"), NAMES.items(), ids=lambda item: str(item))
def test_public_name_says_what_it_is_bound_to(argument, expected):
    sealer = OysterSealer(argument)
    assert (sealer.key, sealer.simulated) == expected


NOT_HERE = {
    "another host": "192.0.2.1:1100",
    "any address": "0.0.0.0:1100",
    "a name": "localhost:1100",
    "no host": ":1100",
    "no port": "127.0.0.1",
    "port zero": "127.0.0.1:0",
    "a port that is none": "127.0.0.1:x",
    "a port too high": "127.0.0.1:65536",
    "a URL": "http://127.0.0.1:1100",
    "a path": "127.0.0.1:1100/derive",
    "a query": "127.0.0.1:1100?path=x",
    "a user": "a@127.0.0.1:1100",
    "a user that looks alike": "127.0.0.1:1100@192.0.2.1:1100",
    "a line break": "127.0.0.1:1100\n",
    "half an address": "[::1",
    "a mock elsewhere": "mock@192.0.2.1:1100",
    "a mock behind no sign": "mock127.0.0.1:1100",
}


@pytest.mark.parametrize("argument", NOT_HERE.values(), ids=NOT_HERE)
def test_server_must_be_in_this_enclave(argument):
    refused = _refused(lambda: OysterSealer(argument), errors.PolicyError)
    assert refused.code == "oyster-kms-address"
