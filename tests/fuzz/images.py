# SPDX-License-Identifier: Apache-2.0
"""Enclave image files, signed and unsigned, mostly with a CRC-32 that is right again."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from random import Random
from typing import Any

from certbot_enclave.attestation import eif
from tests.fuzz import changes, items, seeds
from tests.fuzz.changes import below
from tests.support import eif as support
from tests.support.eif import CMDLINE, KERNEL, METADATA, RAMDISK, SIGNATURE, UNSIGNED, Section

SMALL = (
    Section(KERNEL, b"k"),
    Section(CMDLINE, b""),
    Section(METADATA, b"{}"),
    Section(RAMDISK, b"r"),
)
PEM, MESSAGE = seeds.read("eif-signer"), seeds.read("eif-message")  # they sign UNSIGNED
SIGNED = (*UNSIGNED, Section(SIGNATURE, support.signature(PEM, MESSAGE)))
_BASES = (*[SMALL] * 3, *[UNSIGNED] * 4, SIGNED)  # signatures take most of the time
_IMAGES = tuple(map(support.pack, _BASES))
_FIELDS = ("version", "flags", "memory", "cpus", "reserved", "count", "unused")
_SIZES = (0, 1, 12, 547, 548, 4096, 4097, 32768, 32769, 1 << 20, 1 << 32, 1 << 36, 1 << 63)
_EDGES = (0, 1, 2, 3, 4, 5, 31, 32, 33, 0x100, 0xFFFF)
_PIECES = (
    *changes.CBOR,
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END",
    b"\n",
    b"\x18\x18",
    b".eif",
)


def _edge(random: Random) -> int:
    return _EDGES[below(random, len(_EDGES))]


def _change_sections(random: Random, sections: list[Section]) -> None:
    at, choice = below(random, len(sections)), random.random()
    section = sections[at]
    if choice < 0.15 and len(sections) > 1:
        del sections[at]
    elif choice < 0.3:
        sections.insert(below(random, len(sections) + 1), section)
    elif choice < 0.45:
        other = below(random, len(sections))
        sections[at], sections[other] = sections[other], section
    elif choice < 0.55:
        sections[at] = replace(section, kind=_edge(random))
    elif choice < 0.65:
        sections[at] = replace(section, flags=_edge(random))
    elif choice < 0.75:
        sections[at] = replace(section, size=_SIZES[below(random, len(_SIZES))])
    elif choice < 0.8:
        sections[at] = replace(section, gap=bytes(1 + below(random, 20)))
    elif choice < 0.82:
        sections[at] = replace(section, data=bytes(random.choice((4096, 4097, 32769))))
    else:
        sections[at] = replace(section, data=changes.change(random, section.data, _PIECES))


def _from_sections(random: Random) -> bytes:
    sections = list(_BASES[below(random, len(_BASES))])
    for _ in range(below(random, 4)):
        _change_sections(random, sections)
    fields: dict[str, Any] = {}
    if random.random() < 0.3:
        fields[_FIELDS[below(random, len(_FIELDS))]] = _edge(random)
    if random.random() < 0.1:
        index, size = below(random, 32), _SIZES[below(random, len(_SIZES))]
        fields["offsets" if random.random() < 0.5 else "stated"] = {index: size}
    if random.random() < 0.2:  # as before metadata came
        sections = [section for section in sections if section.kind != METADATA]
        fields["version"] = 3
    behind = bytes(below(random, 3)) if random.random() < 0.1 else b""
    return support.pack(sections[:32], behind=behind, **fields)


def _changed_message(random: Random) -> bytes:
    parts = [b"\x44\xa1\x01\x38\x22", b"\xa0", b"\x41\x00", b"\x58\x60" + random.randbytes(96)]
    parts[2] = support.string(support.payload(support.pcrs()[0], below(random, 2)))
    if random.random() < 0.5:
        parts[below(random, 4)] = items.item(random, 1)
    return b"\x84" + b"".join(parts)


def _from_signature(random: Random) -> bytes:
    pem, message, choice = PEM, MESSAGE, random.random()
    if choice < 0.3:
        pem = changes.change(random, PEM, _PIECES)
    elif choice < 0.5:
        message = changes.change(random, MESSAGE, _PIECES)
    elif choice < 0.7:
        message = _changed_message(random)
    data = support.signature(pem, message)
    if choice >= 0.7:
        data = changes.change(random, data, _PIECES)
    return support.pack((*UNSIGNED, Section(SIGNATURE, data)))


def make(random: Random) -> bytes:
    """Make an image with changes to its bytes, its sections or its signature."""
    choice = random.random()
    if choice < 0.5:
        return _from_sections(random)
    if choice < 0.65:
        return _from_signature(random)
    made = changes.change(random, _IMAGES[below(random, len(_IMAGES))], _PIECES)
    if len(made) > support.HEADER_SIZE and random.random() < 0.9:
        return support.with_crc(made)
    return made


def _as_nitro_cli(data: bytes) -> list[tuple[int, bytes]]:
    """Go from section to section."""
    found, at = [], support.HEADER_SIZE
    while at < len(data):
        kind, _flags, size = struct.unpack_from(">HHQ", data, at)
        at += support.SECTION_HEADER_SIZE
        found.append((kind, data[at : at + size]))
        at += size
    return found


def _as_nitro(data: bytes) -> list[tuple[int, bytes]]:
    """Go by the header's offsets and sizes."""
    (count,) = struct.unpack_from(">H", data, 26)
    offsets, sizes = struct.unpack_from(">32Q", data, 28), struct.unpack_from(">32Q", data, 284)
    found = []
    for at, size in zip(offsets[:count], sizes[:count], strict=True):
        (kind,) = struct.unpack_from(">H", data, at)
        begin = at + support.SECTION_HEADER_SIZE
        found.append((kind, data[begin : begin + size]))
    return found


def judge(data: bytes) -> None:
    """Measure an image.

    Raises:
        FormatError: It is refused.
        SignatureError: Likewise.
        AssertionError: It was measured, and not everybody would measure the same.
    """
    found = eif.measure(io.BytesIO(data))
    parts = _as_nitro_cli(data)
    if parts != _as_nitro(data):
        raise AssertionError("measured, though Nitro and nitro-cli take it for different images")
    sections = [Section(kind, content) for kind, content in parts]
    signed = any(section.kind == SIGNATURE for section in sections)
    pcr8 = {8: found[8]} if signed else {}
    if found != {**support.pcrs(sections), **pcr8}:
        raise AssertionError("measured otherwise than by the specification's formulas")
    if signed and support.pcrs(sections)[0] != support.pcrs()[0]:
        raise AssertionError("measured, but nobody signed it")
