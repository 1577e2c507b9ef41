# SPDX-License-Identifier: Apache-2.0
"""The sealer ``awskms``: wrapped by anybody, unwrapped only by the measured image."""

import socket
import threading

import pytest
from zope.interface.verify import verifyObject

from certbot_enclave import errors, registry
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.interfaces import IAttestedSealer, ISealer
from certbot_enclave.runtime import Directories, start
from certbot_enclave.sealing import envelope
from certbot_enclave.sealing.awskms import KmsSealer
from certbot_enclave.settings import Settings
from tests.support.world.kms import ACCESS_ID, ARN, SECRET, TOKEN, KmsFront

CONTEXT = {"kind": "bundle"}
DATA_KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)


@pytest.fixture
def front(ours):
    with KmsFront(SimulatedAttester(str(ours)).trust_root, simulated.measure(ours)) as running:
        yield running


def _sealer(where, endpoint):
    sealer = KmsSealer(ARN)
    sealer.attach(SimulatedAttester(str(where)), Settings({"aws_endpoint": endpoint}))
    return sealer


def test_it_is_what_it_says():
    sealer = registry.load_sealer(f"awskms:{ARN}")
    assert verifyObject(ISealer, sealer)
    assert verifyObject(IAttestedSealer, sealer)
    assert (sealer.scheme, sealer.key, sealer.simulated) == ("awskms", ARN, False)


def test_alias_is_refused():
    alias = ARN.rpartition(":")[0] + ":alias/enclave"
    with pytest.raises(errors.PolicyError) as caught:
        registry.load_sealer(f"awskms:{alias}")
    assert caught.value.code == "sealer-arn"


def test_round_trip_with_a_key_for_each_call(ours, front):
    sealer = _sealer(ours, front.url)
    wrapped = sealer.wrap(DATA_KEY, CONTEXT)
    assert len(wrapped) <= 4096
    assert sealer.unwrap(wrapped, CONTEXT) == DATA_KEY
    assert sealer.unwrap(wrapped, CONTEXT) == DATA_KEY
    documents = [asked["Recipient"]["AttestationDocument"] for asked in front.requests[1:]]
    assert len(set(documents)) == 2


def test_another_boot_of_the_same_image_unwraps(ours, front):
    wrapped = _sealer(ours, front.url).wrap(DATA_KEY, CONTEXT)
    assert _sealer(ours, front.url).unwrap(wrapped, CONTEXT) == DATA_KEY


def test_another_image_wraps_but_never_unwraps(ours, theirs, front):
    other = _sealer(theirs, front.url)
    wrapped = other.wrap(DATA_KEY, CONTEXT)
    with pytest.raises(errors.SealError) as caught:
        other.unwrap(wrapped, CONTEXT)
    assert caught.value.code == "kms-denied"
    # Which is why what it opens has to be authenticated as well.
    assert _sealer(ours, front.url).unwrap(wrapped, CONTEXT) == DATA_KEY


def test_an_envelope_sealed_so_opens(ours, front):
    sealer = _sealer(ours, front.url)
    sealed = envelope.seal(b"state", kind="bundle", fields={"generation": 1}, sealer=sealer)
    assert envelope.unseal(envelope.parse(sealed), kind="bundle", sealer=sealer) == b"state"
    assert front.requests[0]["EncryptionContext"] == {"kind": "bundle", "generation": "1"}


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_other_sizes(ours, front, size):
    sealer = _sealer(ours, front.url)
    wrapped = sealer.wrap(bytes(size), CONTEXT)
    with pytest.raises(errors.SealError) as caught:
        sealer.unwrap(wrapped, CONTEXT)
    assert caught.value.code == "kms-data-key"


def test_reply_for_another_call(ours, front):
    sealer = _sealer(ours, front.url)
    wrapped = sealer.wrap(DATA_KEY, CONTEXT)
    kept = []
    front.fault(change=lambda members: kept.append(members["CiphertextForRecipient"]))
    sealer.unwrap(wrapped, CONTEXT)
    front.fault(change=lambda members: members.update(CiphertextForRecipient=kept[0]))
    with pytest.raises(errors.SealError) as caught:
        sealer.unwrap(wrapped, CONTEXT)
    assert caught.value.code == "kms-envelope"


@pytest.mark.parametrize(
    "use", [lambda s: s.wrap(DATA_KEY, CONTEXT), lambda s: s.unwrap(b"x", CONTEXT)]
)
def test_nothing_before_there_is_an_attester(use):
    with pytest.raises(errors.SealError) as caught:
        use(KmsSealer(ARN))
    assert caught.value.code == "sealer-unattached"


def test_documents_of_another_format(ours, front):
    attester = SimulatedAttester(str(ours))
    attester.format = "oyster-signed"
    with pytest.raises(errors.PolicyError) as caught:
        KmsSealer(ARN).attach(attester, Settings({}))
    assert caught.value.code == "sealer-attester"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://kms.example",
        "https://kms.example:8443/",
        "http://127.0.0.1:4566",
        "http://[::1]:4566/",
    ],
)
def test_endpoints(ours, url):
    sealer = KmsSealer(ARN)
    sealer.attach(SimulatedAttester(str(ours)), Settings({"aws_endpoint": url}))
    assert sealer._kms._url == (url.rstrip("/") or "https://kms.eu-central-1.amazonaws.com") + "/"


@pytest.mark.parametrize(
    "url",
    [
        "http://kms.example",
        "http://localhost:4566",
        "http://10.0.0.1",
        "https://",
        "https://kms.example/path",
        "https://kms.example?x",
        "https://kms.example#x",
        "https://user@kms.example",
        "https://kms.example:0",
        "https://kms.example:99999",
        "https://[kms.example",
        "ftp://127.0.0.1",
        "kms.example",
    ],
)
def test_everything_else_is_no_endpoint(ours, url):
    with pytest.raises(errors.PolicyError) as caught:
        _sealer(ours, url)
    assert caught.value.code == "aws-endpoint"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_tls_goes_through_the_proxy_of_the_host(ours, monkeypatch, name):
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def refuse():
        for _ in range(4):
            with listener.accept()[0] as stream:
                asked.append(stream.recv(4096).split(b" HTTP/")[0])
                stream.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    sealer = _sealer(ours, "")
    sealer._kms._sleep = lambda seconds: None
    with listener, pytest.raises(errors.TransportError) as caught:
        sealer.wrap(DATA_KEY, CONTEXT)
    thread.join(10)
    assert (caught.value.code, "ProxyError" in str(caught.value)) == ("aws-unreachable", True)
    assert set(asked) == {b"CONNECT kms.eu-central-1.amazonaws.com:443"}


def test_start_attaches_the_attester(ours, front, shm):
    options = {
        "attester": f"simulated:{ours}",
        "sealer": f"awskms:{ARN}",
        "store": "file:/nonexistent/bundle",
        "aws_endpoint": front.url,
    }
    found = start(options, Directories(shm / "config", shm / "work", shm / "logs"))
    assert found.sealer.unwrap(found.sealer.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
    assert found.settings.stated()["aws_endpoint"] == front.url
