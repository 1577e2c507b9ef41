# SPDX-License-Identifier: Apache-2.0
"""The key service's client, against a key service that checks signatures, documents and PCRs."""

import json

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certbot_enclave import errors
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.aws import arn, cms, exchange, signing
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.aws.kms import DELAYS, Kms
from tests.support.world.kms import ACCESS_ID, ARN, SECRET, TOKEN, KmsFront

NOW = 1_800_000_000.0
CONTEXT = {"kind": "bundle", "account": "https://ca.test/acct/1"}
DATA_KEY = bytes(range(32))
ENVIRON = {
    "AWS_ACCESS_KEY_ID": ACCESS_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": TOKEN,
}


@pytest.fixture
def attester(tmp_path):
    image = tmp_path / "app.bin"
    image.write_bytes(b"code")
    start = simulated.datetime.fromtimestamp(NOW, simulated.UTC)
    simulated.create(tmp_path / "enclave", [image], now=start)
    return SimulatedAttester(str(tmp_path / "enclave"), lambda: NOW)


@pytest.fixture
def front(attester, tmp_path):
    pcrs = simulated.measure(tmp_path / "enclave")
    with KmsFront(attester.trust_root, pcrs, clock=lambda: NOW) as running:
        yield running


@pytest.fixture
def slept():
    return []


@pytest.fixture
def kms(front, slept):
    return _kms(front.url, slept)


def _kms(url, slept, clock=lambda: NOW, environ=ENVIRON, **other):
    chain = Chain(environ, clock)
    return Kms(arn.parse(ARN), chain, endpoint=url, clock=clock, sleep=slept.append, **other)


@pytest.fixture
def document(attester, recipient):
    public = recipient.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return attester.attest(user_data=b"", public_key=public, nonce=None)


def _refused(call, *args):
    with pytest.raises(errors.Error) as caught:
        call(*args)
    for secret in (SECRET, TOKEN):
        assert secret not in str(caught.value)
    return caught.value


def test_what_was_encrypted_comes_back_in_an_envelope(kms, front, recipient, document):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    assert DATA_KEY not in blob
    assert cms.decrypt(kms.decrypt(blob, CONTEXT, document), recipient) == DATA_KEY
    assert front.asked == ["Encrypt", "Decrypt"]
    assert [asked["KeyId"] for asked in front.requests] == [ARN, ARN]
    assert [asked["EncryptionContext"] for asked in front.requests] == [CONTEXT, CONTEXT]


def test_over_tls_with_these_roots_only(attester, tmp_path, slept):
    authority = trustme.CA()
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    with KmsFront(attester.trust_root, {}, authority, clock=lambda: NOW) as front:
        assert _kms(front.url, slept, roots=str(roots)).encrypt(DATA_KEY, CONTEXT)
        refused = _refused(_kms(front.url, slept).encrypt, DATA_KEY, CONTEXT)
    assert (refused.code, "SSLError" in str(refused)) == ("aws-unreachable", True)


def test_environment_changes_neither_roots_nor_way(front, kms, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert kms.encrypt(DATA_KEY, CONTEXT)


def test_without_session_token_none_is_sent(front, slept):
    environ = {**ENVIRON, "AWS_SESSION_TOKEN": ""}
    refused = _refused(_kms(front.url, slept, environ=environ).encrypt, DATA_KEY, CONTEXT)
    assert refused.code == "kms-credentials"


@pytest.mark.parametrize(
    "environ", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "AKIAWRONG"}]
)
def test_wrong_credentials(front, slept, environ):
    refused = _refused(_kms(front.url, slept, environ=ENVIRON | environ).encrypt, b"x", {})
    assert refused.code in ("kms-clock", "kms-credentials")


@pytest.mark.parametrize("apart", [-3600, 3600])
def test_clock_that_is_wrong(front, slept, apart):
    refused = _refused(_kms(front.url, slept, lambda: NOW + apart).encrypt, DATA_KEY, CONTEXT)
    assert (refused.code, "clock" in refused.hint) == ("kms-clock", True)
    assert slept == []


def test_other_measurements_are_denied(kms, front, document):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    front.pcrs = {**front.pcrs, 2: bytes(48)}
    refused = _refused(kms.decrypt, blob, CONTEXT, document)
    assert (type(refused), refused.code) == (errors.SealError, "kms-denied")
    assert "with an explicit deny in a resource-based policy" in str(refused)
    assert "PCR0" in refused.hint


def test_document_of_another_root(kms, front, document, tmp_path):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    image = tmp_path / "app.bin"
    simulated.create(tmp_path / "other", [image])
    front.root = SimulatedAttester(str(tmp_path / "other")).trust_root
    assert _refused(kms.decrypt, blob, CONTEXT, document).code == "kms-attestation"


def test_another_context_or_changed_bytes(kms, document):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    other = {**CONTEXT, "account": "https://ca.test/acct/2"}
    assert _refused(kms.decrypt, blob, other, document).code == "kms-ciphertext"
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    assert _refused(kms.decrypt, changed, CONTEXT, document).code == "kms-ciphertext"


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        ("AccessDeniedException", "kms-denied", errors.SealError),
        ("DisabledException", "kms-key-state", errors.SealError),
        ("KMSInvalidStateException", "kms-key-state", errors.SealError),
        ("KeyUnavailableException", "kms-key-state", errors.SealError),
        ("NotFoundException", "kms-key-missing", errors.SealError),
        ("InvalidArnException", "kms-key-missing", errors.SealError),
        ("IncorrectKeyException", "kms-ciphertext", errors.SealError),
        ("InvalidCiphertextException", "kms-ciphertext", errors.SealError),
        ("InvalidSignatureException", "kms-clock", errors.SealError),
        ("SignatureDoesNotMatch", "kms-clock", errors.SealError),
        ("RequestExpired", "kms-clock", errors.SealError),
        ("com.amazonaws.kms#DisabledException", "kms-key-state", errors.SealError),
        ("ValidationException", "kms-refused", errors.SealError),
        ("\x1b[31mNew", "kms-refused", errors.SealError),
        ("", "kms-refused", errors.SealError),
    ],
)
def test_each_refusal_has_its_code(kms, front, slept, kind, code, error):
    front.fault(kind=kind)
    refused = _refused(kms.encrypt, DATA_KEY, CONTEXT)
    assert (type(refused), refused.code, bool(refused.hint)) == (error, code, True)
    assert ARN in str(refused)
    assert str(refused).isprintable()
    assert slept == []


@pytest.mark.parametrize(
    ("kind", "message", "elsewhere"),
    [
        ("InvalidSignatureException", "Credential should be scoped to a valid region.", True),
        ("NotFoundException", "Invalid arn eu-west-1", True),
        ("NotFoundException", "Invalid arn", True),
        ("NotFoundException", f"Key '{ARN}' does not exist", False),
        ("InvalidSignatureException", "Signature expired: 20270115T080000Z is now earlier", False),
        ("AccessDeniedException", "Invalid arn eu-west-1", False),
    ],
)
def test_service_of_another_region_says_so(kms, front, slept, kind, message, elsewhere):
    front.fault(kind=kind, message=message)
    refused = _refused(kms.encrypt, DATA_KEY, CONTEXT)
    assert (refused.code == "kms-region", type(refused)) == (elsewhere, errors.SealError)
    assert ("aws_endpoint" in refused.hint) == elsewhere
    assert slept == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [("Because", True), ("Because\n\x1b[31m", False)],
)
def test_texts_of_the_service(kms, front, message, shown):
    front.fault(kind="ValidationException", message=message)
    refused = _refused(kms.encrypt, DATA_KEY, CONTEXT)
    assert ("Because" in str(refused)) == shown


def test_texts_of_the_service_are_cut(kms, front):
    front.fault(kind="ValidationException", message="x" * 5000)
    assert len(str(_refused(kms.encrypt, DATA_KEY, CONTEXT))) < 600


BUSY = [
    {"kind": "ThrottlingException"},
    {"kind": "LimitExceededException"},
    {"kind": "DependencyTimeoutException"},
    {"kind": "KMSInternalException", "status": 500},
    {"status": 503, "body": b"<html>"},
    {"raw": b""},
    {"raw": b"not HTTP\r\n\r\n"},
    {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"},
]


@pytest.mark.parametrize("fault", BUSY)
def test_busy_service_is_asked_again(kms, front, slept, fault):
    front.fault(count=len(DELAYS), **fault)
    assert kms.encrypt(DATA_KEY, CONTEXT)
    assert slept == list(DELAYS)


@pytest.mark.parametrize("fault", BUSY)
def test_service_that_stays_busy(kms, front, slept, fault):
    front.fault(count=len(DELAYS) + 1, **fault)
    refused = _refused(kms.encrypt, DATA_KEY, CONTEXT)
    assert type(refused) is errors.TransportError
    assert refused.code in ("kms-busy", "aws-unreachable")
    assert slept == list(DELAYS)


@pytest.mark.parametrize(
    "kind",
    [
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "MissingAuthenticationTokenException",
    ],
)
def test_refused_credentials_are_fetched_anew(front, slept, kind):
    class Counting(Chain):
        found = 0

        def _find(self):
            self.found += 1
            return super()._find()

    chain = Counting(ENVIRON, lambda: NOW)
    kms = Kms(arn.parse(ARN), chain, endpoint=front.url, clock=lambda: NOW, sleep=slept.append)
    front.fault(kind=kind)
    assert kms.encrypt(DATA_KEY, CONTEXT)
    assert chain.found == 2
    front.fault(count=4, kind=kind)
    refused = _refused(kms.encrypt, DATA_KEY, CONTEXT)
    assert (type(refused), refused.code) == (errors.TransportError, "kms-credentials")


def test_redirect_is_not_followed(kms, front):
    front.fault(status=307, headers={"Location": "/elsewhere"})
    assert _refused(kms.encrypt, DATA_KEY, CONTEXT).code == "kms-reply"
    assert front.asked == ["Encrypt"]


def _without(name):
    return lambda members: members.pop(name)


def _with(**given):
    return lambda members: members.update(given)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"body": b""}, "kms-reply"),
        ({"body": b"[]"}, "kms-reply"),
        ({"body": b"\xff"}, "kms-reply"),
        ({"body": b"[" * 60000}, "kms-reply"),
        (
            {"body": f'{{"KeyId": "x", "KeyId": "{ARN}", "CiphertextBlob": "AAAA"}}'.encode()},
            "kms-reply",
        ),
        ({"status": 400, "body": b"<html>"}, "kms-reply"),
        ({"change": _without("CiphertextBlob")}, "kms-reply"),
        ({"change": _with(CiphertextBlob="")}, "kms-reply"),
        ({"change": _with(CiphertextBlob="%%%%")}, "kms-reply"),
        ({"change": _with(CiphertextBlob=1)}, "kms-reply"),
        ({"change": _with(CiphertextBlob="AAAA" * 2049)}, "kms-reply"),
        ({"change": _without("KeyId")}, "kms-other-key"),
        ({"change": _with(KeyId=ARN[:-1] + "0")}, "kms-other-key"),
        ({"body": b" " * (exchange.MAX_REPLY + 1)}, "aws-reply-size"),
    ],
)
def test_hostile_replies(kms, front, fault, code):
    front.fault(**fault)
    assert _refused(kms.encrypt, DATA_KEY, CONTEXT).code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_with(Plaintext="AAAA"), "kms-unattested"),
        (_with(Plaintext=""), "kms-unattested"),
        (_without("CiphertextForRecipient"), "kms-reply"),
        (_with(KeyId=ARN[:-1] + "0"), "kms-other-key"),
    ],
)
def test_hostile_replies_to_decrypt(kms, front, document, change, code):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    front.fault(change=change)
    assert _refused(kms.decrypt, blob, CONTEXT, document).code == code


def test_plaintext_that_is_null_is_none(kms, front, document):
    blob = kms.encrypt(DATA_KEY, CONTEXT)
    front.fault(change=_with(Plaintext=None))
    assert kms.decrypt(blob, CONTEXT, document)


def test_endpoint_follows_from_the_key(monkeypatch):
    asked = []

    def send(method, url, **_):
        asked.append((method, url))
        return exchange.Reply(200, json.dumps({"KeyId": ARN, "CiphertextBlob": "AAAA"}).encode())

    monkeypatch.setattr(exchange, "send", send)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "https://evil.example")
    Kms(arn.parse(ARN), Chain(ENVIRON, lambda: NOW)).encrypt(b"x", {})
    assert asked == [("POST", "https://kms.eu-central-1.amazonaws.com/")]


def test_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "requests_aws4auth", None)
    with pytest.raises(errors.PolicyError) as caught:
        signing.require()
    assert caught.value.code == "aws-extra-missing"
    with pytest.raises(errors.PolicyError):
        Kms(arn.parse(ARN), Chain(ENVIRON, lambda: NOW))
