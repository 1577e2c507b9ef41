# SPDX-License-Identifier: Apache-2.0
"""Measurements: PCR index -> SHA-384 digest, and how nitro-cli computes and prints them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from certbot_enclave import errors

SIZE = 48  # bytes of a SHA-384 digest
PIECE = 1 << 20  # bytes that are read at once
_NAME = re.compile(r"PCR(0|[1-9][0-9]?)")
_DIGEST = re.compile(r"[0-9a-fA-F]{96}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_IMAGE_ID_FLAGS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 16


def extended(data: bytes) -> bytes:
    """Return what a PCR holds after its first extension: SHA384(0^48 ‖ data)."""
    return hashlib.sha384(bytes(SIZE) + data).digest()


class Image:
    """PCR0 to PCR2 of an image, while its sections pass in the order in which it has them.

    With H(x) = SHA384(0^48 ‖ SHA384(x)): PCR0 = H(kernel ‖ cmdline ‖ all ramdisks), PCR1 =
    H(kernel ‖ cmdline ‖ first ramdisk), PCR2 = H(the other ramdisks). Source: AWS,
    aws-nitro-enclaves-image-format, and QEMU's independent implementation.
    """

    def __init__(self) -> None:
        self._all, self._boot, self._application = (hashlib.sha384() for _ in range(3))

    def update(self, piece: bytes, *, application: bool) -> None:
        """Measure the next bytes.

        Args:
            piece: Bytes of the kernel, the command line or a ramdisk.
            application: Whether they are of a ramdisk other than the first.
        """
        self._all.update(piece)
        (self._application if application else self._boot).update(piece)

    def pcrs(self) -> dict[int, bytes]:
        """Return PCR index -> 48 bytes, of what has passed."""
        found = (self._all, self._boot, self._application)
        return {index: extended(digest.digest()) for index, digest in enumerate(found)}


def of_files(kernel: Path, cmdline: Path | None, ramdisks: Iterable[Path]) -> dict[int, bytes]:
    """Compute PCR0 to PCR2 as for an EIF with these sections.

    Args:
        kernel: File with the kernel's bytes.
        cmdline: File with the command line, or None for an empty one.
        ramdisks: Files with the ramdisks, in order.

    Returns:
        PCR index -> 48 bytes. Files are read once, in pieces.

    Raises:
        OSError: A file cannot be read.
    """
    disks = list(ramdisks)
    boot = [kernel, *([cmdline] if cmdline else []), *disks[:1]]
    image = Image()
    for number, path in enumerate([*boot, *disks[1:]]):
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                image.update(piece, application=number >= len(boot))
    return image.pcrs()


def image_id(pcrs: Mapping[int, bytes]) -> bytes:
    """Compute the image id by which Marlin Oyster names an enclave image and its parameters.

    SHA256(flags ‖ PCR0 ‖ PCR1 ‖ PCR2 ‖ PCR16), where flags has 4 bytes, big-endian, with the bits
    of these four PCRs; a PCR16 that is not locked counts as zero. Source: Marlin, oyster-monorepo,
    attestation of the Rust SDK.

    Args:
        pcrs: PCR index -> 48 bytes; 0, 1 and 2 are there.

    Returns:
        32 bytes.
    """
    chosen = (pcrs[0], pcrs[1], pcrs[2], pcrs.get(16, bytes(SIZE)))
    return hashlib.sha256(_IMAGE_ID_FLAGS.to_bytes(4, "big") + b"".join(chosen)).digest()


def read_image_id(text: str, source: str) -> bytes:
    """Read an Oyster image id: 64 hex digits, with or without ``0x``.

    Args:
        text: What was given.
        source: Where it stands, for errors.

    Raises:
        PolicyError: It is none (``image-id-invalid``), or that of a debug enclave, whose PCRs are
            zero (``measurements-debug``).
    """
    digits = text.strip().lower().removeprefix("0x")
    if _IMAGE_ID.fullmatch(digits) is None:
        raise errors.PolicyError(
            f"{source}: an Oyster image id has 64 hex digits",
            code="image-id-invalid",
            hint="`oyster-cvm compute-image-id` prints it",
        )
    found = bytes.fromhex(digits)
    if found == image_id(dict.fromkeys(range(3), bytes(SIZE))):
        raise errors.PolicyError(
            f"{source}: this is the image id of debug enclaves", code="measurements-debug"
        )
    return found


def to_json(pcrs: Mapping[int, bytes]) -> str:
    """Print measurements as ``nitro-cli build-enclave`` does."""
    table = {"HashAlgorithm": "Sha384 { ... }"}
    table |= {f"PCR{index}": digest.hex() for index, digest in sorted(pcrs.items())}
    return json.dumps({"Measurements": table}, indent=2) + "\n"


def read_table(table: Any, source: str) -> dict[int, bytes]:
    """Read ``PCRn`` = hex members; a set needs PCR0, PCR1 and PCR2 (docs/policy.md).

    PCR1 alone is shared by every image that is built with stock parts, so a set without PCR0 would
    accept strangers' code; zero digests are those of a debug enclave.

    Args:
        table: Members other than ``PCRn`` and ``HashAlgorithm`` are an error.
        source: Where it stands, for errors.

    Raises:
        PolicyError: It names no measurements (``measurements-missing``), not all of PCR0-2
            (``measurements-incomplete``), zeros (``measurements-debug``), or something else
            (``measurements-invalid``).
    """
    if not isinstance(table, Mapping) or not any(str(name).startswith("PCR") for name in table):
        raise errors.PolicyError(
            f"{source} names no measurements",
            code="measurements-missing",
            hint="give the JSON that `nitro-cli build-enclave` prints, with PCR0, PCR1 and PCR2",
        )
    pcrs: dict[int, bytes] = {}
    for name, value in table.items():
        if name == "HashAlgorithm":
            continue
        match = _NAME.fullmatch(str(name))
        if match is None or int(match[1]) > 31:
            raise errors.PolicyError(
                f"{source}: {name!r} is no PCR name", code="measurements-invalid"
            )
        if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
            raise errors.PolicyError(
                f"{source}: {name} is not 96 hex digits", code="measurements-invalid"
            )
        pcrs[int(match[1])] = bytes.fromhex(value)
    if not {0, 1, 2} <= pcrs.keys():
        found = ", ".join(f"PCR{index}" for index in sorted(pcrs))
        raise errors.PolicyError(
            f"{source} has {found}; PCR0, PCR1 and PCR2 are needed together",
            code="measurements-incomplete",
            hint="add the others: PCR1 alone is that of every image built with stock parts",
        )
    if any(pcrs[index] == bytes(SIZE) for index in (0, 1, 2)):
        raise errors.PolicyError(
            f"{source} has a zero digest, as debug enclaves have", code="measurements-debug"
        )
    return pcrs
