# SPDX-License-Identifier: Apache-2.0
"""What the Nitro Secure Module is asked and what it answers, as bytes.

Each is one CBOR item: a request's bare name, or a map from its name to its fields; the response
bears the same name, or is ``{"Error": NAME}``. Source: aws-nitro-enclaves-nsm-api,
``src/api/mod.rs``. That is written by Rust's serde, with definite lengths and in shortest form
(Linux's own driver compares such bytes literally, ``drivers/misc/nsm.c``), so the strict reader
fits. Fields come in any order, and ones that a later version adds are passed over.

Every function takes the way to the device, bytes to bytes, and raises EnclaveError:

* ``nsm-response``: the response is damaged, cut off, or not of the request's form.
* ``nsm-invalid-argument``, ``nsm-invalid-index``, ``nsm-invalid-response``,
  ``nsm-read-only-index``, ``nsm-invalid-operation``, ``nsm-buffer-too-small``,
  ``nsm-input-too-large``, ``nsm-internal-error``, ``nsm-success``: the device's own name for why
  it refused.
* ``nsm-unknown``: it refused by a name that the API does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, measurements

Exchange = Callable[[bytes], bytes]

MAX_RESPONSE = 0x3000  # bytes; NSM_RESPONSE_MAX_SIZE of uapi linux/nsm.h
MIN_RANDOM, MAX_RANDOM = 16, 4096  # bytes
_MAX_SHOWN = 64  # characters of a name that the device made up


class Description(NamedTuple):
    """What the device says of itself.

    Attributes:
        max_pcrs: How many PCRs it has.
        locked_pcrs: Those that change no more.
        digest: Hash of its PCRs: ``SHA384``, or another name.
    """

    max_pcrs: int
    locked_pcrs: frozenset[int]
    digest: str


def _wrong(asked: str, expected: str) -> errors.EnclaveError:
    return errors.EnclaveError(
        f"the NSM's response to {asked} is not {expected}", code="nsm-response"
    )


def _refused(asked: str, name: str, code: str, hint: str | None = None) -> errors.EnclaveError:
    return errors.EnclaveError(f"the NSM refused {asked}: {name}", code=code, hint=hint)


def _refusal(asked: str, name: str) -> errors.EnclaveError:
    """Say what the device's name for an error means (``ErrorCode`` of the API)."""
    match name:
        case "Success":
            return _refused(
                asked, "Success", "nsm-success", "the device is broken; start the enclave anew"
            )
        case "InvalidArgument":
            return _refused(
                asked, "InvalidArgument", "nsm-invalid-argument", "attest or extend by less"
            )
        case "InvalidIndex":
            return _refused(
                asked, "InvalidIndex", "nsm-invalid-index", "this device has fewer PCRs"
            )
        case "InvalidResponse":
            return _refused(
                asked,
                "InvalidResponse",
                "nsm-invalid-response",
                "try again; if it stays so, start the enclave anew",
            )
        case "ReadOnlyIndex":
            return _refused(
                asked,
                "ReadOnlyIndex",
                "nsm-read-only-index",
                "a locked PCR stays as it is until the enclave ends",
            )
        case "InvalidOperation":
            return _refused(
                asked,
                "InvalidOperation",
                "nsm-invalid-operation",
                "this device does not know the request; start the enclave on a newer host",
            )
        case "BufferTooSmall":
            return _refused(
                asked, "BufferTooSmall", "nsm-buffer-too-small", "ask for less in one document"
            )
        case "InputTooLarge":
            return _refused(
                asked, "InputTooLarge", "nsm-input-too-large", "attest or extend by less"
            )
        case "InternalError":
            return _refused(
                asked,
                "InternalError",
                "nsm-internal-error",
                "try again; if it stays so, start the enclave anew",
            )
        case _:
            return _refused(asked, repr(name[:_MAX_SHOWN]), "nsm-unknown")


def _ask(exchange: Exchange, asked: str, request: str | dict[str, Any]) -> Any:
    """Return the response, unless it is an error."""
    response = exchange(cbor.dumps(request))
    try:
        found = cbor.loads(response, booleans=True)
    except errors.FormatError as error:
        raise errors.EnclaveError(
            f"the NSM's response to {asked} is damaged or cut off: {error}", code="nsm-response"
        ) from error
    name = found.get("Error") if isinstance(found, dict) and len(found) == 1 else None
    if isinstance(name, str):
        raise _refusal(asked, name)
    return found


def _fields(exchange: Exchange, asked: str, name: str, request: Any = None) -> dict[Any, Any]:
    """Return the fields of a response that has some."""
    found = _ask(exchange, asked, name if request is None else {name: request})
    fields = found.get(name) if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(fields, dict):
        raise _wrong(asked, f"a map with {name} alone")
    return fields


def _bytes(fields: Mapping[Any, Any], name: str, low: int, high: int, asked: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or not low <= len(value) <= high:
        raise _wrong(asked, f"one with {low} to {high} bytes of {name}")
    return value


def describe(exchange: Exchange) -> Description:
    """Ask what the device is."""
    fields = _fields(exchange, "DescribeNSM", "DescribeNSM")
    max_pcrs, locked, digest = (fields.get(name) for name in ("max_pcrs", "locked_pcrs", "digest"))
    if type(max_pcrs) is not int:  # to Python, true is a number too
        raise _wrong("DescribeNSM", "one with a number as max_pcrs")
    if not isinstance(locked, list) or not all(type(item) is int for item in locked):
        raise _wrong("DescribeNSM", "one with an array of numbers as locked_pcrs")
    if not isinstance(digest, str):
        raise _wrong("DescribeNSM", "one with a digest's name")
    return Description(max_pcrs, frozenset(locked), digest)


def attest(
    exchange: Exchange, *, user_data: bytes | None, nonce: bytes | None, public_key: bytes | None
) -> bytes:
    """Ask for a document; what is None stands in it as null.

    Returns:
        The document, 1 to 12288 bytes, not looked into.
    """
    asked = "Attestation"
    given = {"user_data": user_data, "nonce": nonce, "public_key": public_key}
    fields = _fields(exchange, asked, "Attestation", given)
    return _bytes(fields, "document", 1, MAX_RESPONSE, asked)


def random(exchange: Exchange) -> bytes:
    """Ask for random bytes; the device says how many, 16 to 4096."""
    fields = _fields(exchange, "GetRandom", "GetRandom")
    return _bytes(fields, "random", MIN_RANDOM, MAX_RANDOM, "GetRandom")


def pcr(exchange: Exchange, index: int) -> tuple[bool, bytes]:
    """Ask whether a PCR is locked, and for its 48 bytes."""
    asked = f"DescribePCR of PCR{index}"
    fields = _fields(exchange, asked, "DescribePCR", {"index": index})
    locked = fields.get("lock")
    if not isinstance(locked, bool):
        raise _wrong(asked, "one with a lock that is true or false")
    return locked, _bytes(fields, "data", measurements.SIZE, measurements.SIZE, asked)


def extend(exchange: Exchange, index: int, data: bytes) -> bytes:
    """Extend a PCR, and return its new 48 bytes."""
    asked = f"ExtendPCR of PCR{index}"
    fields = _fields(exchange, asked, "ExtendPCR", {"index": index, "data": data})
    return _bytes(fields, "data", measurements.SIZE, measurements.SIZE, asked)


def lock(exchange: Exchange, index: int) -> None:
    """Lock a PCR."""
    asked = f"LockPCR of PCR{index}"
    if _ask(exchange, asked, {"LockPCR": {"index": index}}) != "LockPCR":
        raise _wrong(asked, "the bare name LockPCR")
