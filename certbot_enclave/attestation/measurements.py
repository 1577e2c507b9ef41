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
_NAME = re.compile(r"PCR(0|[1-9][0-9]?)")
_DIGEST = re.compile(r"[0-9a-fA-F]{96}")
_PIECE = 1 << 20


def _digest(paths: Iterable[Path]) -> bytes:
    found = hashlib.sha384()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    return found.digest()


def _extended(digest: bytes) -> bytes:
    return hashlib.sha384(bytes(SIZE) + digest).digest()


def of_files(kernel: Path, cmdline: Path | None, ramdisks: Iterable[Path]) -> dict[int, bytes]:
    """Compute PCR0 to PCR2 as for an EIF with these sections.

    With H(x) = SHA384(0^48 ‖ SHA384(x)): PCR0 = H(kernel ‖ cmdline ‖ all ramdisks), PCR1 =
    H(kernel ‖ cmdline ‖ first ramdisk), PCR2 = H(the other ramdisks). Source: AWS,
    aws-nitro-enclaves-image-format, and QEMU's independent implementation.

    Args:
        kernel: File with the kernel's bytes.
        cmdline: File with the command line, or None for an empty one.
        ramdisks: Files with the ramdisks, in order.

    Returns:
        PCR index -> 48 bytes. Files are read in pieces.

    Raises:
        OSError: A file cannot be read.
    """
    head = [kernel, *([cmdline] if cmdline else [])]
    disks = list(ramdisks)
    return {
        0: _extended(_digest([*head, *disks])),
        1: _extended(_digest([*head, *disks[:1]])),
        2: _extended(_digest(disks[1:])),
    }


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
