# SPDX-License-Identifier: Apache-2.0
"""Enclave image files (EIF), and the measurements of what is in them.

A header of 548 bytes, then one section behind the other to the end of the file; all numbers are
big-endian. Rules and their sources (spec: AWS, aws-nitro-enclaves-image-format, README.md,
2024-06-21; build: what ``eif_build`` and ``nitro-cli`` write, src/utils there; QEMU:
hw/core/eif.c):

================  =======  ==========================================================  ===========
header            bytes    rule                                                        source
================  =======  ==========================================================  ===========
magic             4        ``.eif``                                                    spec
version           2        2, 3 or 4; earlier ones were never published, later ones    spec
                           are undefined
flags             2        bit 0 (aarch64) or none                                     spec
default_mem       8        any; unused                                                 spec
default_cpus      8        any; unused                                                 spec
reserved          2        0                                                           build
num_sections      2        2 to 32                                                     spec
section_offsets   32 × 8   each section right behind what is before it                 build
section_sizes     32 × 8   without the section's own header                            spec
unused            4        0, and so are offsets and sizes that stand for no section   build
crc32             4        CRC-32 (that of zlib) of every other byte of the file       spec
================  =======  ==========================================================  ===========

================  =======  ==========================================================  ===========
section           bytes    rule                                                        source
================  =======  ==========================================================  ===========
type              2        1 kernel, 2 command line: exactly one of each;              spec
                           3 ramdisk: at least one, behind the kernel;                 build, QEMU
                           4 signature: at most one, and it holds;                     spec
                           5 metadata: exactly one in version 4, none before           spec
flags             2        0                                                           build, QEMU
size              8        as in the header                                            spec
data              size     at most `MAX_CMDLINE`, `MAX_SIGNATURE`, `MAX_METADATA`        there
================  =======  ==========================================================  ===========

Nitro goes by the header's offsets, nitro-cli from section to section (issue 25 there): a file with
gaps, overlaps or something behind its last section is another image for each, so it is refused. So
are flags and reserved fields that are not known: Bottlerocket's PCIe flags are counted into PCR0
(twoliter, pull request 731). Metadata is measured nowhere; it is skipped and never shown.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from certbot_enclave import errors
from certbot_enclave.attestation import measurements

MAGIC = b".eif"
VERSIONS = range(2, 5)
SECTIONS = range(2, 33)
MAX_IMAGE = 64 << 30  # bytes; nitro-cli wants four times as much memory for the enclave
MAX_CMDLINE = 4096  # bytes; Linux keeps 2048 of them (COMMAND_LINE_SIZE) on both architectures
MAX_SIGNATURE = 32 * 1024  # bytes; the specification's SIGNATURE_MAX_SIZE
MAX_METADATA = 1 << 20  # bytes; the specification sets no limit, some KiB are usual

_HEADER = struct.Struct(">HHQQHH32Q32QI")  # what is between magic and CRC-32
_CRC = struct.Struct(">I")
_SECTION = struct.Struct(">HHQ")
_AARCH64 = 1
_KERNEL, _CMDLINE, _RAMDISK, _SIGNATURE, _METADATA = range(1, 6)
_NAMES = ("", "kernel", "command line", "ramdisk", "signature", "metadata")
# aws-nitro-enclaves-image-format, issue 54
_SIGNED_AGAIN = "nitro-cli leaves such files when it signs again; sign the unsigned image instead"
_LIMITS = {_CMDLINE: MAX_CMDLINE, _SIGNATURE: MAX_SIGNATURE, _METADATA: MAX_METADATA}


def _malformed(message: str, code: str, hint: str | None = None) -> NoReturn:
    raise errors.FormatError(f"EIF: {message}", code=code, hint=hint)


class _Stream:
    """A file, read once and in pieces, and the CRC-32 of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc = 0

    def pieces(self, count: int) -> Iterator[bytes]:
        while piece := self._file.read(min(count, measurements.PIECE)):
            count -= len(piece)
            self.crc = zlib.crc32(piece, self.crc)
            yield piece
        if count:
            _malformed(f"the file ends where {count} bytes more are expected", "eif-truncated")

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))

    def done(self) -> bool:
        return not self._file.read(1)


def _header(stream: _Stream) -> tuple[int, tuple[int, ...]]:
    """Read all of the header but its CRC-32; return the version and the sections' sizes."""
    magic = stream.take(len(MAGIC))
    if magic != MAGIC:
        _malformed(f"begins with {magic!r}, expected {MAGIC!r}", "eif-magic")
    fields = _HEADER.unpack(stream.take(_HEADER.size))
    version, flags, _memory, _cpus, reserved, count, *table, unused = fields
    if version not in VERSIONS:
        _malformed(f"version is {version}, expected 2, 3 or 4", "eif-version")
    if flags & ~_AARCH64:
        _malformed(
            f"flags are {flags:#06x}, expected 0x0000 (x86_64) or 0x0001 (aarch64)",
            "eif-flags",
            hint="other flags may be measured; take what the tool that built it prints",
        )
    if count not in SECTIONS:
        _malformed(f"{count} sections, expected 2 to 32", "eif-sections")
    half = len(table) // 2
    offsets, sizes = table[:half], table[half:]
    if reserved or unused or any(offsets[count:]) or any(sizes[count:]):
        _malformed("a reserved or unused field of the header is not zero", "eif-reserved")
    at = len(MAGIC) + _HEADER.size + _CRC.size
    for offset, size in zip(offsets[:count], sizes[:count], strict=True):
        if offset != at:
            _malformed(f"a section is at {offset}, expected at {at}", "eif-layout")
        at += _SECTION.size + size
    if at > MAX_IMAGE:
        _malformed(f"{at} bytes, at most {MAX_IMAGE} are allowed", "eif-size")
    return version, tuple(sizes[:count])


def _section(stream: _Stream, size: int, seen: list[int]) -> int:
    """Read a section's header and return its type, after the sections of the types seen."""
    kind: int
    kind, flags, stated = _SECTION.unpack(stream.take(_SECTION.size))
    if not _KERNEL <= kind <= _METADATA:
        _malformed(f"section of the unknown type {kind}", "eif-section-type")
    name = _NAMES[kind]
    if flags:
        _malformed(f"flags of the {name} are {flags:#06x}, expected none", "eif-section-flags")
    if stated != size:
        _malformed(
            f"the {name} has {stated} bytes, but {size} by the header",
            "eif-section-size",
            hint=_SIGNED_AGAIN if kind == _SIGNATURE else None,
        )
    if size > _LIMITS.get(kind, size):
        _malformed(f"{name} of {size} bytes, at most {_LIMITS[kind]} are allowed", "eif-size")
    if kind in seen and kind != _RAMDISK:
        _malformed(f"a second {name}", "eif-section-twice")
    if kind == _RAMDISK and _KERNEL not in seen:
        _malformed("a ramdisk with no kernel before it", "eif-section-order")
    return kind


def measure(file: BinaryIO) -> dict[int, bytes]:
    """Read an image and compute the PCRs that an enclave started from it has.

    It is read once, in pieces of 1 MiB, so that it may be a pipe. Whether the signing certificate
    is valid today is not asked: ``nitro-cli run-enclave`` asks that, and PCR8 is the same then.

    Args:
        file: At its first byte. It must end with the image, after at most 64 GiB.

    Returns:
        PCR index -> 48 bytes: 0, 1 and 2 by `measurements.Image`, and if the image is signed 8,
        SHA384(0^48 ‖ SHA384(signing certificate, DER)).

    Raises:
        FormatError: It is no such file; ``eif-…``, and ``cbor-…`` within a signature.
        SignatureError: Its signature does not hold (``eif-signature``, ``eif-signature-pcr``).
        OSError: It cannot be read.
    """
    stream = _Stream(file)
    version, sizes = _header(stream)
    crc = stream.crc  # of everything but its own field
    (stated,) = _CRC.unpack(stream.take(_CRC.size))
    stream.crc = crc
    image, signature = measurements.Image(), b""
    seen: list[int] = []
    for size in sizes:
        kind = _section(stream, size, seen)
        for piece in stream.pieces(size):
            if kind == _SIGNATURE:
                signature += piece
            elif kind != _METADATA:
                image.update(piece, application=kind == _RAMDISK and _RAMDISK in seen)
        seen.append(kind)
    for kind in (_CMDLINE, _RAMDISK):  # and no ramdisk is without a kernel
        if kind not in seen:
            _malformed(f"there is no {_NAMES[kind]}", "eif-section-missing")
    if (_METADATA in seen) != (version >= 4):
        _malformed("metadata is in version 4 and in no other", "eif-metadata")
    if not stream.done():
        _malformed("bytes behind the last section", "eif-trailing")
    if stream.crc != stated:
        _malformed(f"CRC-32 is {stream.crc:08x}, but {stated:08x} by the header", "eif-crc")
    pcrs = image.pcrs()
    if _SIGNATURE in seen:
        # Only a signed image needs the libraries for certificates.
        from certbot_enclave.attestation import eif_signature

        der = eif_signature.certificate(signature, pcrs[0])
        pcrs[8] = measurements.extended(hashlib.sha384(der).digest())
    return pcrs
