# SPDX-License-Identifier: Apache-2.0
"""What a Nitro Secure Module does, modelled: PCRs, their locks, documents under a throw-away root.

It reads and writes CBOR with cbor2, not with the package's own reader: two independent readings of
the interface. Rules and names of errors: aws-nitro-enclaves-nsm-api, and QEMU's virtio-nsm.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from tests.support import forge

PCRS = 32
BOOT = 16  # PCRs that are locked before any code runs
ZERO = bytes(48)
RANDOM = 256  # bytes at a time
_PROTECTED = b"\xa1\x01\x38\x22"  # {1: -35}
_TYPES: dict[str, dict[str, tuple[type, ...]]] = {
    "DescribePCR": {"index": (int,)},
    "ExtendPCR": {"index": (int,), "data": (bytes,)},
    "LockPCR": {"index": (int,)},
    "LockPCRs": {"range": (int,)},
    "Attestation": {name: (bytes, type(None)) for name in ("user_data", "nonce", "public_key")},
}


def extended(old: bytes, data: bytes) -> bytes:
    """Return what a PCR holds after it was extended."""
    return hashlib.sha384(old + data).digest()


class Refused(Exception):
    """The module's name for why it refuses."""


class NsmDevice:
    """One enclave's module. Its documents hold for two hours and a half.

    Args:
        pcrs: What PCR0 to PCR3 and PCR8 were measured to; the others are zero.
        clock: Seconds since 1970.

    Attributes:
        root: DER of the throw-away root.
    """

    def __init__(
        self, pcrs: Mapping[int, bytes] = forge.PCRS, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._values = [pcrs.get(index, ZERO) for index in range(PCRS)]
        self._values[4] = extended(ZERO, forge.INSTANCE.encode())
        self._locked = {*range(BOOT)}
        start = datetime.fromtimestamp(clock(), UTC).replace(microsecond=0) - timedelta(minutes=30)
        self._chain = forge.chain(**{role: {"start": start} for role in forge.GENUINE})
        self.root = self._chain.root

    def respond(self, request: bytes) -> bytes:
        """Answer one request, whatever its bytes are."""
        try:
            answer = self._answer(*_read(request))
        except Refused as refused:
            answer = {"Error": str(refused)}
        return cbor2.dumps(answer)

    def _answer(self, name: str, fields: dict[str, Any]) -> Any:
        if name == "DescribeNSM":
            return {name: self._description()}
        if name == "GetRandom":
            return {name: {"random": secrets.token_bytes(RANDOM)}}
        if name == "Attestation":
            return {name: {"document": self._document(fields)}}
        if name == "LockPCRs":
            if fields["range"] > PCRS:
                raise Refused("InvalidIndex")
            self._locked |= {*range(fields["range"])}
            return name
        index = fields["index"]
        if index >= PCRS:
            raise Refused("InvalidIndex")
        if name == "DescribePCR":
            return {name: {"lock": index in self._locked, "data": self._values[index]}}
        if index in self._locked:
            raise Refused("ReadOnlyIndex")
        if name == "LockPCR":
            self._locked.add(index)
            return name
        self._values[index] = extended(self._values[index], fields["data"])
        return {name: {"data": self._values[index]}}

    def _description(self) -> dict[str, Any]:
        return {
            "version_major": 1,
            "version_minor": 0,
            "version_patch": 0,
            "module_id": forge.MODULE,
            "max_pcrs": PCRS,
            "locked_pcrs": sorted(self._locked),
            "digest": "SHA384",
        }

    def _document(self, fields: Mapping[str, bytes | None]) -> bytes:
        content = {
            "module_id": forge.MODULE,
            "digest": "SHA384",
            "timestamp": int(self._clock() * 1000),
            "pcrs": {index: self._values[index] for index in sorted(self._locked)},
            "certificate": self._chain.leaf,
            "cabundle": self._chain.bundle,
            **{name: fields.get(name) for name in ("public_key", "user_data", "nonce")},
        }
        # A map of indefinite length around items of definite length, as the hardware has it.
        pairs = b"".join(cbor2.dumps(key) + cbor2.dumps(item) for key, item in content.items())
        payload = b"\xbf" + pairs + b"\xff"
        key = self._chain.keys[-1]
        signed = cbor2.dumps(["Signature1", _PROTECTED, b"", payload])
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA384())))
        signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
        return cbor2.dumps([_PROTECTED, {}, payload, signature])


def _read(request: bytes) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of a request."""
    stream = io.BytesIO(request)
    try:
        found = cbor2.load(stream)
    except cbor2.CBORDecodeError as error:
        raise Refused("InvalidOperation") from error
    if stream.tell() != len(request):
        raise Refused("InvalidOperation")
    if found in ("DescribeNSM", "GetRandom"):
        return found, {}
    if not isinstance(found, dict) or len(found) != 1:
        raise Refused("InvalidOperation")
    ((name, fields),) = found.items()
    types = _TYPES.get(name)
    if types is None or not isinstance(fields, dict) or fields.keys() != types.keys():
        raise Refused("InvalidOperation")
    for field, value in fields.items():
        if type(value) not in types[field] or (type(value) is int and not 0 <= value <= 0xFFFF):
            raise Refused("InvalidOperation")
    return name, fields
