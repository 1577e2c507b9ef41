# SPDX-License-Identifier: Apache-2.0
"""The client of the Nitro Secure Module: exact requests, strict responses, and errors that say why.

Requests and responses are written out here byte by byte, not made with the package's CBOR.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors
from certbot_enclave.attestation.nsm import NsmAttester
from certbot_enclave.interfaces import IAttester, ISecurityModule

DIGEST = bytes(range(48))
DOCUMENT = b"\x84\x44\xa1\x01\x38\x22\xa0\x59" + bytes(292)
HEAD = (
    b"\xa1\x6bDescribeNSM\xa7\x6dversion_major\x01\x6dversion_minor\x00\x6dversion_patch\x00"
    b"\x69module_id\x6di-0-enc123456\x68max_pcrs\x18\x20\x6blocked_pcrs"
)
BOOT = b"\x90\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
TAIL = b"\x66digest\x66SHA384"
DESCRIBED = HEAD + BOOT + TAIL

ATTESTED = b"\xa1\x6bAttestation\xa1\x68document\x59\x01\x2c" + DOCUMENT
RANDOM = b"\xa1\x69GetRandom\xa1\x66random\x59\x01\x00" + bytes(256)
PCR = b"\xa1\x6bDescribePCR\xa2\x64lock\xf5\x64data\x58\x30" + DIGEST
EXTENDED = b"\xa1\x69ExtendPCR\xa1\x64data\x58\x30" + DIGEST
LOCKED = b"\x67LockPCR"

CALLS = {
    "attest": lambda nsm: nsm.attest(user_data=b"said", public_key=b"key", nonce=None),
    "attest for a caller": lambda nsm: nsm.attest(
        user_data=b"", public_key=b"k" * 24, nonce=b"n" * 256
    ),
    "random": lambda nsm: nsm.random(),
    "pcr": lambda nsm: nsm.pcr(0),
    "extend": lambda nsm: nsm.extend(31, b"abc"),
    "lock": lambda nsm: nsm.lock(16),
}
# Call -> request, response, result.
EXCHANGED = {
    "attest": (
        b"\xa1\x6bAttestation\xa3\x69user_data\x44said\x65nonce\xf6\x6apublic_key\x43key",
        ATTESTED,
        DOCUMENT,
    ),
    "attest for a caller": (
        b"\xa1\x6bAttestation\xa3\x69user_data\x40\x65nonce\x59\x01\x00"
        + b"n" * 256
        + b"\x6apublic_key\x58\x18"
        + b"k" * 24,
        ATTESTED,
        DOCUMENT,
    ),
    "random": (b"\x69GetRandom", RANDOM, bytes(256)),
    "pcr": (b"\xa1\x6bDescribePCR\xa1\x65index\x00", PCR, (True, DIGEST)),
    "extend": (b"\xa1\x69ExtendPCR\xa2\x65index\x18\x1f\x64data\x43abc", EXTENDED, DIGEST),
    "lock": (b"\xa1\x67LockPCR\xa1\x65index\x10", LOCKED, None),
}


class Module:
    """Answers with given bytes, in order, and remembers what it was asked."""

    def __init__(self, *responses):
        self.requests, self._responses = [], list(responses)

    def __call__(self, request):
        self.requests.append(request)
        return self._responses.pop(0)


def _refused(act):
    with pytest.raises(errors.EnclaveError) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def _code(call, response):
    """Return the code of the error that a call ends in after this response."""
    attester = NsmAttester("", Module(DESCRIBED, response))
    return _refused(lambda: CALLS[call](attester)).code


def test_interfaces():
    for interface in (IAttester, ISecurityModule):
        assert verifyClass(interface, NsmAttester)
        assert verifyObject(interface, NsmAttester("", Module(DESCRIBED)))
    assert (NsmAttester.simulated, NsmAttester.trust_root) == (False, None)


def test_device_is_described_first():
    module = Module(DESCRIBED)
    NsmAttester("", module)
    assert module.requests == [b"\x6bDescribeNSM"]


@pytest.mark.parametrize("call", EXCHANGED)
def test_request_and_response(call):
    request, response, result = EXCHANGED[call]
    module = Module(DESCRIBED, response)
    assert CALLS[call](NsmAttester("", module)) == result
    assert module.requests[1:] == [request]


@pytest.mark.parametrize("call", EXCHANGED)
def test_response_that_is_cut_anywhere_is_refused(call):
    response = EXCHANGED[call][1]
    for size in range(len(response)):
        assert _code(call, response[:size]) == "nsm-response"


@pytest.mark.parametrize("call", EXCHANGED)
def test_response_with_a_byte_behind_is_refused(call):
    assert _code(call, EXCHANGED[call][1] + b"\x00") == "nsm-response"


def test_description_that_is_cut_anywhere_is_refused():
    for size in range(len(DESCRIBED)):
        module = Module(DESCRIBED[:size])
        assert _refused(lambda module=module: NsmAttester("", module)).code == "nsm-response"


SAME = {
    "fields in another order": (
        "pcr",
        b"\xa1\x6bDescribePCR\xa2\x64data\x58\x30" + DIGEST + b"\x64lock\xf5",
    ),
    "a field of a later version": (
        "pcr",
        b"\xa1\x6bDescribePCR\xa3\x64lock\xf5\x63new\xf6\x64data\x58\x30" + DIGEST,
    ),
    "least random bytes": ("random", b"\xa1\x69GetRandom\xa1\x66random\x50" + bytes(16)),
    "most random bytes": ("random", b"\xa1\x69GetRandom\xa1\x66random\x59\x10\x00" + bytes(4096)),
    "largest document": (
        "attest",
        b"\xa1\x6bAttestation\xa1\x68document\x59\x30\x00" + bytes(0x3000),
    ),
}


@pytest.mark.parametrize(("call", "response"), SAME.values(), ids=SAME)
def test_accepted_all_the_same(call, response):
    assert CALLS[call](NsmAttester("", Module(DESCRIBED, response))) is not None


def test_pcr_that_is_not_locked():
    response = PCR.replace(b"lock\xf5", b"lock\xf4")
    assert NsmAttester("", Module(DESCRIBED, response)).pcr(16) == (False, DIGEST)


SHAPES = {
    "another variant": ("random", EXTENDED),
    "bare name instead of fields": ("random", b"\x69GetRandom"),
    "fields in an array": ("random", b"\xa1\x69GetRandom\x81\x50" + bytes(16)),
    "two variants": ("random", b"\xa2" + RANDOM[1:] + PCR[1:]),
    "a variant and an error": ("random", b"\xa2" + RANDOM[1:] + b"\x65Error\x6cInvalidIndex"),
    "error that is a number": ("random", b"\xa1\x65Error\x02"),
    "error in a map": ("random", b"\xa1\x65Error\xa1\x6cInvalidIndex\xf6"),
    "null": ("random", b"\xf6"),
    "number": ("random", b"\x00"),
    "no field": ("random", b"\xa1\x69GetRandom\xa0"),
    "null in the field": ("random", b"\xa1\x69GetRandom\xa1\x66random\xf6"),
    "text in the field": ("random", b"\xa1\x69GetRandom\xa1\x66random\x70" + b"r" * 16),
    "array in the field": ("random", b"\xa1\x69GetRandom\xa1\x66random\x90" + bytes(16)),
    "15 random bytes": ("random", b"\xa1\x69GetRandom\xa1\x66random\x4f" + bytes(15)),
    "4097 random bytes": ("random", b"\xa1\x69GetRandom\xa1\x66random\x59\x10\x01" + bytes(4097)),
    "empty document": ("attest", b"\xa1\x6bAttestation\xa1\x68document\x40"),
    "null document": ("attest", b"\xa1\x6bAttestation\xa1\x68document\xf6"),
    "document beyond the buffer": (
        "attest",
        b"\xa1\x6bAttestation\xa1\x68document\x59\x30\x01" + bytes(0x3001),
    ),
    "PCR of 47 bytes": ("pcr", PCR[:-49] + b"\x2f" + bytes(47)),
    "PCR of 49 bytes": ("pcr", PCR[:-49] + b"\x31" + bytes(49)),
    "lock is a number": ("pcr", PCR.replace(b"lock\xf5", b"lock\x01")),
    "lock is null": ("pcr", PCR.replace(b"lock\xf5", b"lock\xf6")),
    "extended to 47 bytes": ("extend", EXTENDED[:-49] + b"\x2f" + bytes(47)),
    "extended to 49 bytes": ("extend", EXTENDED[:-49] + b"\x31" + bytes(49)),
    "locked all": ("lock", b"\x68LockPCRs"),
    "lock with fields": ("lock", b"\xa1\x67LockPCR\xa0"),
    "indefinite length": ("random", b"\xbf" + RANDOM[1:] + b"\xff"),
    "length not in its shortest form": (
        "random",
        b"\xa1\x69GetRandom\xa1\x66random\x59\x00\x20" + bytes(32),
    ),
    "key twice": ("random", b"\xa1\x69GetRandom\xa2" + RANDOM[12:] * 2),
    "tag": ("random", b"\xc0" + RANDOM),
    "JSON": ("random", b'{"GetRandom": {"random": "AAAA"}}'),
}


@pytest.mark.parametrize(("call", "response"), SHAPES.values(), ids=SHAPES)
def test_response_of_another_form_is_refused(call, response):
    assert _code(call, response) == "nsm-response"


@given(st.sampled_from(sorted(EXCHANGED)), st.data())
def test_any_bytes_are_a_response_or_an_error_of_ours(call, data):
    response = bytearray(EXCHANGED[call][1])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, min(60, len(response) - 1)))
        response[at] = data.draw(st.integers(0, 255))
    attester = NsmAttester("", Module(DESCRIBED, bytes(response)))
    try:
        CALLS[call](attester)
    except errors.EnclaveError as error:
        assert error.code.startswith("nsm-")  # noqa: PT017


NAMES = {
    "Success": "nsm-success",
    "InvalidArgument": "nsm-invalid-argument",
    "InvalidIndex": "nsm-invalid-index",
    "InvalidResponse": "nsm-invalid-response",
    "ReadOnlyIndex": "nsm-read-only-index",
    "InvalidOperation": "nsm-invalid-operation",
    "BufferTooSmall": "nsm-buffer-too-small",
    "InputTooLarge": "nsm-input-too-large",
    "InternalError": "nsm-internal-error",
}


def _error(name):
    text = name.encode()
    head = bytes([0x60 + len(text)]) if len(text) < 24 else bytes([0x78, len(text)])
    return b"\xa1\x65Error" + head + text


@pytest.mark.parametrize("call", EXCHANGED)
@pytest.mark.parametrize("name", NAMES)
def test_every_error_of_the_device_is_told(call, name):
    attester = NsmAttester("", Module(DESCRIBED, _error(name)))
    error = _refused(lambda: CALLS[call](attester))
    assert error.code == NAMES[name]
    asked = {
        "attest": "Attestation",
        "attest for a caller": "Attestation",
        "random": "GetRandom",
        "pcr": "DescribePCR of PCR0",
        "extend": "ExtendPCR of PCR31",
        "lock": "LockPCR of PCR16",
    }[call]
    assert str(error) == f"the NSM refused {asked}: {name}"
    assert error.hint != errors.EnclaveError.advice


@pytest.mark.parametrize("name", ["", "Busy", "invalidIndex", "Invalid\nIndex", "B" * 200])
def test_error_that_the_interface_does_not_know_is_told(name):
    attester = NsmAttester("", Module(DESCRIBED, _error(name)))
    error = _refused(attester.random)
    assert error.code == "nsm-unknown"
    assert repr(name[:64]) in str(error)
    assert len(str(error)) < 160


ALL_LOCKED = b"\x98\x20" + bytes(range(24)) + b"".join(b"\x18%c" % n for n in range(24, 32))
DESCRIPTIONS = {
    "as a real one": (DESCRIBED, None),
    "more PCRs locked": (HEAD + ALL_LOCKED + TAIL, None),
    "one PCR to extend": (DESCRIBED.replace(b"max_pcrs\x18\x20", b"max_pcrs\x11"), None),
    "another digest": (DESCRIBED.replace(b"SHA384", b"SHA512"), "nsm-digest"),
    "16 PCRs": (DESCRIBED.replace(b"max_pcrs\x18\x20", b"max_pcrs\x10"), "nsm-max-pcrs"),
    "none locked": (HEAD + b"\x80" + TAIL, "nsm-unlocked"),
    "PCR15 not locked": (HEAD + b"\x8f" + BOOT[1:-1] + TAIL, "nsm-unlocked"),
    "PCR0 not locked": (HEAD + b"\x90" + BOOT[2:] + b"\x10" + TAIL, "nsm-unlocked"),
    "error": (_error("InternalError"), "nsm-internal-error"),
    "another variant": (RANDOM, "nsm-response"),
    "bare name": (b"\x6bDescribeNSM", "nsm-response"),
    "max_pcrs is true": (DESCRIBED.replace(b"max_pcrs\x18\x20", b"max_pcrs\xf5"), "nsm-response"),
    "max_pcrs is text": (DESCRIBED.replace(b"max_pcrs\x18\x20", b"max_pcrs\x6232"), "nsm-response"),
    "no max_pcrs": (DESCRIBED.replace(b"max_pcrs", b"MAX_PCRS"), "nsm-response"),
    "locked_pcrs in bytes": (HEAD + b"\x50" + BOOT[1:] + TAIL, "nsm-response"),
    "locked_pcrs null": (HEAD + b"\xf6" + TAIL, "nsm-response"),
    "true among locked_pcrs": (HEAD + BOOT.replace(b"\x01", b"\xf5") + TAIL, "nsm-response"),
    "digest null": (DESCRIBED.replace(b"digest\x66SHA384", b"digest\xf6"), "nsm-response"),
    "no digest": (DESCRIBED.replace(b"digest", b"DIGEST"), "nsm-response"),
}


@pytest.mark.parametrize(("response", "code"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_device_must_be_that_of_an_enclave(response, code):
    if code is None:
        assert NsmAttester("", Module(response))
    else:
        assert _refused(lambda: NsmAttester("", Module(response))).code == code


ATTEST = {"user_data": b"u", "public_key": b"k", "nonce": b"n"}
ARGUMENTS = {
    "user_data of 513": lambda nsm: nsm.attest(**{**ATTEST, "user_data": bytes(513)}),
    "public_key empty": lambda nsm: nsm.attest(**{**ATTEST, "public_key": b""}),
    "public_key of 1025": lambda nsm: nsm.attest(**{**ATTEST, "public_key": bytes(1025)}),
    "nonce of 513": lambda nsm: nsm.attest(**{**ATTEST, "nonce": bytes(513)}),
    "pcr -1": lambda nsm: nsm.pcr(-1),
    "pcr 32": lambda nsm: nsm.pcr(32),
    "extend 15": lambda nsm: nsm.extend(15, b"d"),
    "extend 32": lambda nsm: nsm.extend(32, b"d"),
    "extend by nothing": lambda nsm: nsm.extend(16, b""),
    "extend by 513": lambda nsm: nsm.extend(16, bytes(513)),
    "lock 15": lambda nsm: nsm.lock(15),
    "lock 32": lambda nsm: nsm.lock(32),
}


@pytest.mark.parametrize("act", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_beyond_the_interface_are_refused_unasked(act):
    module = Module(DESCRIBED)
    attester = NsmAttester("", module)
    assert _refused(lambda: act(attester)).code == "attest-argument"
    assert len(module.requests) == 1


LIMITS = {
    "most in a document": (
        lambda nsm: nsm.attest(user_data=bytes(512), public_key=bytes(1024), nonce=bytes(512)),
        ATTESTED,
    ),
    "least in a document": (
        lambda nsm: nsm.attest(user_data=b"", public_key=b"k", nonce=b""),
        ATTESTED,
    ),
    "last PCR": (lambda nsm: nsm.pcr(31), PCR),
    "first PCR to extend": (lambda nsm: nsm.extend(16, bytes(512)), EXTENDED),
    "last PCR to lock": (lambda nsm: nsm.lock(31), LOCKED),
}


@pytest.mark.parametrize(("act", "response"), LIMITS.values(), ids=LIMITS)
def test_arguments_at_the_limit(act, response):
    module = Module(DESCRIBED, response)
    act(NsmAttester("", module))
    assert len(module.requests[1]) <= 0x1000


def test_empty_nonce_is_not_null():
    module = Module(DESCRIBED, ATTESTED)
    NsmAttester("", module).attest(user_data=b"", public_key=b"k", nonce=b"")
    assert b"nonce\x40" in module.requests[1]
