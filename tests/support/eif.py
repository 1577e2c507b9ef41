# SPDX-License-Identifier: Apache-2.0
"""Enclave image files, in which one thing at a time can be wrong.

Written from AWS's specification (aws-nitro-enclaves-image-format, README.md), with packing, CBOR
and hashing of its own: nothing here comes from the code that is tested.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

HEADER_SIZE = 548
SECTION_HEADER_SIZE = 12
CRC_AT = 544
TYPES = KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = range(1, 6)

ALGORITHMS: Mapping[str, tuple[bytes, HashAlgorithm, int]] = {
    "secp256r1": (b"\xa1\x01\x26", SHA256(), 32),
    "secp384r1": (b"\xa1\x01\x38\x22", SHA384(), 48),
    "secp521r1": (b"\xa1\x01\x38\x23", SHA512(), 66),
}


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        kind: Its type.
        data: What is in it.
        flags: As in its header.
        size: As in its header; None means what it has.
        gap: Bytes before it that belong to no section.
    """

    kind: int
    data: bytes
    flags: int = 0
    size: int | None = None
    gap: bytes = b""


_BUILD = ("BuildTime", "BuildTool", "BuildToolVersion", "OperatingSystem", "KernelVersion")
_SAID = {
    "ImageName": "told-by-nobody",
    "ImageVersion": "1",
    "BuildMetadata": dict.fromkeys(_BUILD, ""),
    "DockerInfo": {},
    "CustomMetadata": None,
}
UNSIGNED = (
    Section(KERNEL, b"a kernel" * 9),
    Section(CMDLINE, b"reboot=k panic=30 pci=off nomodules console=ttyS0"),
    Section(METADATA, json.dumps(_SAID).encode()),
    Section(RAMDISK, b"init and the driver"),
    Section(RAMDISK, b"the application, " * 3),
)


def crc(data: bytes) -> int:
    """The CRC-32 of an image, which leaves out its own field."""
    return zlib.crc32(data[:CRC_AT] + data[CRC_AT + 4 :])


def with_crc(data: bytes) -> bytes:
    """Put the right CRC-32 into an image that was changed."""
    return data[:CRC_AT] + struct.pack(">I", crc(data)) + data[CRC_AT + 4 :]


def header(
    sizes: Sequence[int],
    *,
    magic: bytes = b".eif",
    version: int = 4,
    flags: int = 0,
    memory: int = 1 << 30,
    cpus: int = 2,
    reserved: int = 0,
    count: int | None = None,
    offsets: Mapping[int, int] | None = None,
    stated: Mapping[int, int] | None = None,
    unused: int = 0,
) -> bytes:
    """Pack a header, but for its CRC-32.

    Args:
        sizes: Of the sections.
        magic: And the other fields, as they are called in the specification.
        version: See magic.
        flags: See magic.
        memory: See magic.
        cpus: See magic.
        reserved: See magic.
        count: Number of sections; None means as many as there are.
        offsets: Index -> what stands there instead of the right offset.
        stated: Index -> what stands there instead of the right size.
        unused: See magic.
    """
    places, at = [0] * 32, HEADER_SIZE
    for index, size in enumerate(sizes):
        places[index] = at
        at += SECTION_HEADER_SIZE + size
    table = [*sizes, *[0] * (32 - len(sizes))]
    for index, value in (offsets or {}).items():
        places[index] = value
    for index, value in (stated or {}).items():
        table[index] = value
    number = len(sizes) if count is None else count
    head = struct.pack(">4sHHQQHH", magic, version, flags, memory, cpus, reserved, number)
    return (
        head
        + struct.pack(">32Q", *places)
        + struct.pack(">32Q", *table)
        + struct.pack(">I", unused)
    )


def pack(sections: Sequence[Section] = UNSIGNED, *, behind: bytes = b"", **fields: Any) -> bytes:
    """Pack an image.

    Args:
        sections: What is in it.
        behind: Bytes behind the last section; the CRC-32 leaves them out.
        fields: For `header`.
    """
    moved, gap = {}, 0
    at = HEADER_SIZE
    body = b""
    for index, section in enumerate(sections):
        gap += len(section.gap)
        if gap:
            moved[index] = at + gap
        at += SECTION_HEADER_SIZE + len(section.data)
        size = len(section.data) if section.size is None else section.size
        body += section.gap + struct.pack(">HHQ", section.kind, section.flags, size) + section.data
    fields["offsets"] = {**moved, **fields.get("offsets", {})}
    head = header([len(section.data) for section in sections], **fields)
    return with_crc(head + bytes(4) + body) + behind


def sparse(path: Path, size: int) -> dict[int, bytes]:
    """Write an image whose second ramdisk is a hole of this size; return its PCRs."""
    small = UNSIGNED[:-1]
    body = pack(small)[HEADER_SIZE:] + struct.pack(">HHQ", RAMDISK, 0, size)
    head = header([*(len(section.data) for section in small), size])
    checked = zlib.crc32(head + body)
    everything = hashlib.sha384(b"".join(s.data for s in small if s.kind != METADATA))
    application = hashlib.sha384()
    for start in range(0, size, 1 << 16):
        zeros = bytes(min(1 << 16, size - start))
        checked = zlib.crc32(zeros, checked)
        everything.update(zeros)
        application.update(zeros)
    path.write_bytes(head + struct.pack(">I", checked) + body)
    os.truncate(path, HEADER_SIZE + len(body) + size)
    found = (everything, application)
    pcr0, pcr2 = (hashlib.sha384(bytes(48) + digest.digest()).digest() for digest in found)
    return {**pcrs(small), 0: pcr0, 2: pcr2}


def _h(data: bytes) -> bytes:
    return hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()


def pcrs(
    sections: Sequence[Section] = UNSIGNED, certificate: bytes | None = None
) -> dict[int, bytes]:
    """The PCRs of an image: the formulas of the specification, over the whole data at once."""
    boot = [section.data for section in sections if section.kind in (KERNEL, CMDLINE, RAMDISK)]
    disks = [section.data for section in sections if section.kind == RAMDISK]
    first = next((i for i, section in enumerate(sections) if section.kind == RAMDISK), 0)
    early = [
        section.data
        for index, section in enumerate(sections)
        if section.kind in (KERNEL, CMDLINE) or index == first
    ]
    found = {0: _h(b"".join(boot)), 1: _h(b"".join(early)), 2: _h(b"".join(disks[1:]))}
    return found if certificate is None else {**found, 8: _h(certificate)}


# --- signatures ---


@dataclass(frozen=True)
class Signer:
    """A key and the DER of a certificate, which is for this key unless a test wants otherwise."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)


def signer(
    curve: ec.EllipticCurve | None = None,
    *,
    subject: CertificatePublicKeyTypes | None = None,
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
) -> Signer:
    """Make a key and a certificate that it signs itself.

    Args:
        curve: Of the key; None means P-384.
        subject: Public key in the certificate; None means this key's.
        start: Start of the certificate's year.
    """
    key = ec.generate_private_key(curve or ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "image signing")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(subject or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .sign(key, SHA384())
    )
    return Signer(key, made.public_bytes(Encoding.DER))


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    if value < 256:
        return bytes([major << 5 | 24, value])
    return bytes([major << 5 | 25]) + value.to_bytes(2, "big")


def numbers(data: bytes) -> bytes:
    """CBOR: an array with one number for each byte."""
    return _head(4, len(data)) + b"".join(_head(0, value) for value in data)


def text(value: str) -> bytes:
    """CBOR: a short text."""
    return _head(3, len(value)) + value.encode()


def string(data: bytes) -> bytes:
    """CBOR: a byte string."""
    return _head(2, len(data)) + data


def payload(pcr0: bytes, index: int = 0) -> bytes:
    """What is signed."""
    register = text("register_index") + _head(0, index)
    return b"\xa2" + register + text("register_value") + numbers(pcr0)


def message(
    by: Signer,
    signed: bytes,
    *,
    head: bytes = b"\x84",
    protected: bytes | None = None,
    unprotected: bytes = b"\xa0",
    signature: bytes | None = None,
) -> bytes:
    """A COSE_Sign1.

    Args:
        by: Whose key signs.
        signed: The payload.
        head: Of the array.
        protected: Protected header; None means the algorithm of the key.
        unprotected: Unprotected header, as CBOR.
        signature: r ‖ s; None means a right one.
    """
    algorithm, digest, size = ALGORITHMS[by.key.curve.name]
    protected = algorithm if protected is None else protected
    if signature is None:
        structure = b"\x84" + text("Signature1") + string(protected) + b"\x40" + string(signed)
        r, s = decode_dss_signature(by.key.sign(structure, ec.ECDSA(digest)))
        signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return head + string(protected) + unprotected + string(signed) + string(signature)


def signature(pem: bytes, cose: bytes) -> bytes:
    """A signature section's data."""
    entry = text("signing_certificate") + numbers(pem) + text("signature") + numbers(cose)
    return b"\x81\xa2" + entry


def signed(by: Signer, sections: Sequence[Section] = UNSIGNED) -> tuple[Section, ...]:
    """The sections, and behind them the one that signs them."""
    cose = message(by, payload(pcrs(sections)[0]))
    return (*sections, Section(SIGNATURE, signature(by.pem, cose)))
