# SPDX-License-Identifier: Apache-2.0
"""Judge a directory of documents as its manifest says: ``python -m tests.replay_nitro DIR``.

``DIR/manifest.json`` has ``documents``, each with the ``name`` of its file in DIR, its ``sha256``
and its ``category``:

=================  ===============================================================================
category           expected, at the document's own time and under the AWS Nitro root
=================  ===============================================================================
``valid``          accepted, and with the measurements that stand there as ``pcrN``
``valid-debug``    authentic, but of an enclave in debug mode, with these measurements
any other          refused
=================  ===============================================================================

Exit code 0 if all are judged so, 1 if one is not, 2 if there is nothing to judge, or the directory
is not what its manifest says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from certbot_enclave import errors
from certbot_enclave.attestation import document

_PCR = re.compile(r"pcr([0-9]|[12][0-9]|3[01])")
_DIGEST = re.compile(r"[0-9a-f]{96}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # of a file in the directory, and nowhere else
_MAX_FILE = 1 << 20  # bytes; documents have up to 64 KiB
_GENUINE = {"valid": "accepted", "valid-debug": "debug"}


class BadFile(Exception):
    """The directory is not what its manifest says."""


class Case(NamedTuple):
    """A document, and what is to come of it: ``accepted``, ``debug`` or ``refused``."""

    name: str
    data: bytes
    expected: str
    pcrs: Mapping[int, bytes]


def _pcrs(item: Mapping[str, Any], name: str) -> dict[int, bytes]:
    found = {}
    for field, value in item.items():
        match = _PCR.fullmatch(field)
        if match is None:
            continue
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise BadFile(f"{field} of {name} is no digest")
        found[int(match[1])] = bytes.fromhex(value)
    if not {0, 1, 2} <= found.keys():
        raise BadFile(f"{name} lacks pcr0, pcr1 or pcr2")
    return found


def _case(folder: Path, item: Any) -> Case:
    texts = [item.get(field) for field in ("name", "category", "sha256")] if item else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadFile("manifest.json has a document without name, category or sha256")
    name, category, digest = texts
    if not _NAME.fullmatch(name):
        raise BadFile(f"manifest.json names {name!r}, which is no plain file name")
    path = folder / name
    if not path.is_file():
        raise BadFile(f"{name} is not there")
    if path.stat().st_size > _MAX_FILE:
        raise BadFile(f"{name} has more than {_MAX_FILE} bytes")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise BadFile(f"{name} does not have the SHA-256 that manifest.json says")
    genuine = category in _GENUINE
    return Case(name, data, _GENUINE.get(category, "refused"), _pcrs(item, name) if genuine else {})


def read(folder: Path) -> list[Case]:
    """Read a directory.

    Raises:
        BadFile: Its manifest is missing or malformed, names no documents, or one that is not there.
    """
    try:
        table = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{folder / 'manifest.json'} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"manifest.json is no JSON: {error}") from error
    documents = table.get("documents") if isinstance(table, dict) else None
    if not isinstance(documents, list) or not all(isinstance(item, dict) for item in documents):
        raise BadFile("manifest.json has no list of documents")
    if not documents:
        raise BadFile("manifest.json names no documents")
    return [_case(folder, item) for item in documents]


def judge(case: Case) -> str:
    """Return what comes of a document: ``accepted``, ``debug``, or ``refused`` and more."""
    try:
        found = document.authenticate(case.data, trust_root=None)
    except errors.Error as error:
        return f"refused: {error.code}"
    for index, digest in case.pcrs.items():
        if found.pcrs.get(index) != digest:
            return f"refused: PCR{index} is not that of the manifest"
    # The one check that `verification.verify` makes before it compares measurements.
    return "debug" if found.debug else "accepted"


def main(argv: Sequence[str] | None = None) -> int:
    """Judge every document; print those that are not judged as expected.

    Args:
        argv: Arguments without the program's name; None means those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.replay_nitro")
    parser.add_argument("folder", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        cases = read(args.folder)
    except (BadFile, OSError) as error:
        print(f"replay_nitro: error: {error}", file=sys.stderr)
        return 2
    mismatches = 0
    for case in cases:
        actual = judge(case)
        if actual.partition(":")[0] != case.expected:
            mismatches += 1
            print(f"{case.name}: expected {case.expected}, {actual}")
    print(f"cases={len(cases)} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
