# SPDX-License-Identifier: Apache-2.0
"""The client talks to a modelled Nitro Secure Module through the kernel, system calls and all."""

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import document, entropy
from certbot_enclave.attestation.nsm import IOCTL, Device, NsmAttester
from tests.support import forge
from tests.support.nsm_device import extended
from tests.support.world.nsm import Nsm

KEY = forge.spki(forge.ACCOUNT)
ZERO = bytes(48)


@pytest.fixture
def device(shm):
    with Nsm(shm / "nsm") as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for tests that leave it as it was."""
    with Nsm(tmp_path_factory.mktemp("nsm") / "nsm") as started:
        yield started


@pytest.fixture
def attester(device):
    return NsmAttester(str(device.path))


def _document(device, attester, user_data=b"said", nonce=None):
    raw = attester.attest(user_data=user_data, public_key=KEY, nonce=nonce)
    return document.authenticate(raw, trust_root=device.root)


def _code(act):
    with pytest.raises(errors.EnclaveError) as caught:
        act()
    return caught.value.code


@pytest.mark.parametrize("nonce", [None, b"", b"n" * 64], ids=["null", "empty", "64 bytes"])
def test_document(device, attester, nonce):
    found = _document(device, attester, bytes(range(64)), nonce)
    assert (found.user_data, found.public_key, found.nonce) == (bytes(range(64)), KEY, nonce)
    assert (found.module_id, found.debug, found.not_understood) == (forge.MODULE, False, ())
    instance = hashlib.sha384(ZERO + forge.INSTANCE.encode()).digest()
    measured = {**dict.fromkeys(range(16), ZERO), **forge.PCRS, 4: instance}
    assert dict(found.pcrs) == measured


def test_document_of_the_largest_request(device, attester):
    raw = attester.attest(user_data=bytes(512), public_key=bytes(1024), nonce=bytes(512))
    found = document.authenticate(raw, trust_root=device.root)
    assert (found.user_data, found.public_key, found.nonce) == (bytes(512), bytes(1024), bytes(512))


def test_document_of_another_module_is_not_trusted(device, attester, shm):
    raw = attester.attest(user_data=b"", public_key=KEY, nonce=None)
    with Nsm(shm / "other") as other, pytest.raises(errors.ChainError) as caught:
        document.authenticate(raw, trust_root=other.root)
    assert caught.value.code == "chain-root"


def test_random_bytes_are_fresh_and_can_be_mixed_in(attester):
    first, second = attester.random(), attester.random()
    assert (len(first), len(second), first == second) == (256, 256, False)
    entropy.mix(first)


def test_pcrs_from_the_start(attester):
    states = [attester.pcr(index) for index in range(32)]
    assert [locked for locked, _ in states] == [True] * 16 + [False] * 16
    assert {index: states[index][1] for index in (0, 1, 2)} == forge.PCRS
    assert all(value == ZERO for _, value in states[16:])


def test_extended_and_locked_pcr_is_in_documents_from_then_on(device, attester):
    expected = hashlib.sha384(ZERO + b"settings").digest()
    assert attester.extend(17, b"settings") == expected
    assert attester.pcr(17) == (False, expected)
    assert 17 not in _document(device, attester).pcrs
    attester.lock(17)
    assert attester.pcr(17) == (True, expected)
    assert _document(device, attester).pcrs[17] == expected
    assert _code(lambda: attester.extend(17, b"more")) == "nsm-read-only-index"
    assert _code(lambda: attester.lock(17)) == "nsm-read-only-index"
    assert attester.pcr(17) == (True, expected)
    # Another process, or another attester in this one, sees the same device.
    assert NsmAttester(str(device.path)).pcr(17) == (True, expected)


def test_extensions_add_up(attester):
    values = [attester.extend(16, data) for data in (b"one", b"two")]
    assert values == [extended(ZERO, b"one"), extended(extended(ZERO, b"one"), b"two")]


# What a real module says to requests that our client never makes.
RAW = {
    "no such PCR": (b"\xa1\x6bDescribePCR\xa1\x65index\x18\x20", b"InvalidIndex"),
    "no such PCR to extend": (
        b"\xa1\x69ExtendPCR\xa2\x65index\x18\x20\x64data\x41x",
        b"InvalidIndex",
    ),
    "no such PCR to lock": (b"\xa1\x67LockPCR\xa1\x65index\x18\x20", b"InvalidIndex"),
    "too many to lock": (b"\xa1\x68LockPCRs\xa1\x65range\x18\x21", b"InvalidIndex"),
    "measured PCR to extend": (
        b"\xa1\x69ExtendPCR\xa2\x65index\x00\x64data\x41x",
        b"ReadOnlyIndex",
    ),
    "measured PCR to lock": (b"\xa1\x67LockPCR\xa1\x65index\x0f", b"ReadOnlyIndex"),
    "unknown command": (b"\x67Nothing", b"InvalidOperation"),
    "number": (b"\x01", b"InvalidOperation"),
    "bad CBOR": (b"\xa1\x6bDescribePCR", b"InvalidOperation"),
    "byte behind": (b"\x69GetRandom\x00", b"InvalidOperation"),
    "no field": (b"\xa1\x6bDescribePCR\xa0", b"InvalidOperation"),
    "data in an array": (
        b"\xa1\x69ExtendPCR\xa2\x65index\x10\x64data\x81\x01",
        b"InvalidOperation",
    ),
    "index is true": (b"\xa1\x6bDescribePCR\xa1\x65index\xf5", b"InvalidOperation"),
    "index below 0": (b"\xa1\x6bDescribePCR\xa1\x65index\x20", b"InvalidOperation"),
}


@pytest.mark.parametrize(("request_", "name"), RAW.values(), ids=RAW)
def test_stand_in_refuses_as_the_module_does(shared, request_, name):
    response = Device(str(shared.path))(request_)
    assert response == b"\xa1\x65Error" + bytes([0x60 + len(name)]) + name


def test_stand_in_locks_as_the_module_does(device, attester):
    assert Device(str(device.path))(b"\xa1\x68LockPCRs\xa1\x65range\x18\x20") == b"\x68LockPCRs"
    assert sorted(_document(device, attester).pcrs) == list(range(32))
    assert _code(lambda: attester.extend(31, b"x")) == "nsm-read-only-index"


def _ioctl(device, request, room=0x3000, number=IOCTL):
    """Make the system call with any sizes, and return what was written."""
    given, answer = array("B", request), array("B", bytes(0x3000))
    message = array("Q", [given.buffer_info()[0], len(request), answer.buffer_info()[0], room])
    file = os.open(device.path, os.O_RDWR)
    try:
        fcntl.ioctl(file, number, message)
    finally:
        os.close(file)
    return answer.tobytes()[: message[3]]


def test_stand_in_cuts_what_does_not_fit_without_a_word(shared):
    whole = _ioctl(shared, b"\x6bDescribeNSM")
    assert _ioctl(shared, b"\x6bDescribeNSM", room=100) == whole[:100]
    assert len(whole) > 100


@pytest.mark.parametrize(
    ("request_", "number", "code"),
    [(bytes(0x1001), IOCTL, errno.EMSGSIZE), (b"\x69GetRandom", IOCTL + 1, errno.EINVAL)],
    ids=["too large", "another call"],
)
def test_stand_in_fails_as_the_driver_does(shared, request_, number, code):
    with pytest.raises(OSError) as caught:
        _ioctl(shared, request_, number=number)
    assert caught.value.errno == code


def test_empty_request_would_hang_the_device_and_is_never_made(device, attester):
    before = device.requests
    assert _code(lambda: Device(str(device.path))(b"")) == "nsm-request-size"
    assert _code(lambda: Device(str(device.path))(bytes(0x1001))) == "nsm-request-size"
    assert device.requests == before
    with pytest.raises(TimeoutError):
        _ioctl(device, b"")
    assert _code(attester.random) == "nsm-stuck"


FAULTS = {
    "no answer in time": ({"errno": errno.ETIMEDOUT}, "nsm-timeout"),
    "no room for requests": ({"errno": errno.ENOSPC}, "nsm-stuck"),
    "request too large": ({"errno": errno.EMSGSIZE}, "nsm-request-size"),
    "signal": ({"errno": errno.EINTR}, "nsm-interrupted"),
    "device is gone": ({"errno": errno.ENODEV}, "nsm-device"),
    "driver is confused": ({"errno": errno.ENODATA}, "nsm-io"),
    "first byte only": ({"cut": 1}, "nsm-response"),
    "half of it": ({"cut": 60}, "nsm-response"),
    "nothing": ({"cut": 0}, "nsm-response"),
    "a byte fewer than there are": ({"claim": 11}, "nsm-response"),
    "more than the buffer holds": ({"claim": 0x3001}, "nsm-response"),
    "zeros": ({"response": bytes(300)}, "nsm-response"),
    "text": ({"response": b"Internal Server Error"}, "nsm-response"),
    "response to something else": ({"response": b"\x67LockPCR"}, "nsm-response"),
    "refusal": ({"response": b"\xa1\x65Error\x6dInternalError"}, "nsm-internal-error"),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS)
def test_device_that_fails_is_told_and_used_again(shared, fault, code):
    attester = NsmAttester(str(shared.path))
    shared.fault(**fault)
    assert _code(lambda: _document(shared, attester)) == code
    assert _code(lambda: NsmAttester(str(shared.path))) == code
    shared.fault()
    assert _document(shared, attester).user_data == b"said"


def test_many_threads_get_their_own_answers(device, attester):
    texts = [b"%d" % number for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda text: _document(device, attester, text).user_data, texts)
        assert list(found) == texts


def test_nothing_stays_open(device, attester):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        attester.random()
        device.fault(errno=errno.EIO)
        assert _code(attester.random) == "nsm-io"
        device.fault()
    assert len(os.listdir("/proc/self/fd")) == before


ATTEST = """
import sys
from certbot_enclave.attestation.nsm import NsmAttester
document = NsmAttester("").attest(user_data=b"inside", public_key=b"key", nonce=None)
sys.stdout.buffer.write(document)
"""


def test_it_is_found_where_an_enclave_has_it(device):
    outside = Path("/dev/nsm").exists()
    done = subprocess.run(
        [*device.inside, sys.executable, "-c", ATTEST], capture_output=True, check=True
    )
    found = document.authenticate(done.stdout, trust_root=device.root)
    assert (found.user_data, found.public_key) == (b"inside", b"key")
    assert Path("/dev/nsm").exists() is outside


def test_outside_an_enclave_it_is_absent(device):
    without = [*device.inside, "/bin/sh", "-c", 'umount /dev/nsm && rm /dev/nsm && exec "$@"', "sh"]
    done = subprocess.run([*without, sys.executable, "-c", ATTEST], capture_output=True, text=True)
    assert "EnclaveError: this is no Nitro enclave: there is no /dev/nsm" in done.stderr


def test_nothing_stays_mounted_however_the_stand_in_ends(shm):
    with Nsm(shm / "nsm") as device:
        attester = NsmAttester(str(device.path))
        device.kill()
        assert _code(attester.random) == "attester-absent"
    assert str(shm) not in Path("/proc/self/mounts").read_text()
