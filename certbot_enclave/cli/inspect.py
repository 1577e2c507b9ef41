# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave inspect``: what is in a document or in evidence that is proven authentic."""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from certbot_enclave import errors, statement, verification
from certbot_enclave.attestation import chain, document, measurements
from certbot_enclave.attestation.document import Document
from certbot_enclave.cli import nonce as nonce_option
from certbot_enclave.cli import outside
from certbot_enclave.statement import Evidence

NOT_JUDGED = (
    "NO POLICY was applied: the hardware signed this; whether the measurements are those of code "
    "that you trust, and fresh enough, only `certbot-enclave verify` tells"
)
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2})+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = (
        "Exit codes: 0 authentic at its own time, 1 not, 2 usage, 3 unreadable. Nothing of what is "
        "not authentic is shown."
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="evidence, or a bare attestation document (raw, base64 or hex); - for stdin",
    )
    outside.add_root(parser)
    parser.add_argument("--nonce", metavar="HEX", help="nonce that was asked for, 16 to 64 bytes")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _taken(data: bytes) -> tuple[bytes, Evidence | None]:
    """Return the document, and the evidence around it if there is some.

    Raises:
        FormatError: It is neither (``inspect-format``), or evidence in a wrong form.
    """
    if data[:1] in (b"\x84", b"\xd2"):  # COSE_Sign1; a tagged one is refused by its own code
        return data, None
    text = data.strip()
    if text.startswith(b"{"):
        evidence = statement.parse_evidence(data)
        return evidence.document, evidence
    try:
        packed = b"".join(text.split())
        if _HEX.fullmatch(packed):
            return bytes.fromhex(packed.decode()), None
        return base64.b64decode(packed, validate=True), None
    except ValueError as error:
        raise errors.FormatError(
            "this is neither evidence nor an attestation document, raw, in base64 or in hex",
            code="inspect-format",
        ) from error


def _plain(text: str) -> str:
    """Keep a name on one line: a root that was named may vouch for anything."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _certificates(found: Document) -> list[dict[str, str]]:
    import hashlib

    from cryptography import x509

    ders = (*found.cabundle, found.certificate)
    loaded = [x509.load_der_x509_certificate(der) for der in ders]
    return [
        {
            "subject": _plain(certificate.subject.rfc4514_string()),
            "sha256": hashlib.sha256(der).hexdigest(),
            "not_before": _time(certificate.not_valid_before_utc),
            "not_after": _time(certificate.not_valid_after_utc),
        }
        for der, certificate in zip(ders, loaded, strict=True)
    ]


def _fields(found: Document) -> dict[str, str | None]:
    values = {name: getattr(found, name) for name in ("public_key", "user_data", "nonce")}
    return {name: None if value is None else value.hex() for name, value in values.items()}


def table_of(found: Document, evidence: Evidence | None, *, simulated: bool) -> dict[str, Any]:
    """Return what there is to say about an authentic document, ready for JSON."""
    return {
        "authentic": True,
        "simulated": simulated,
        "policy": None,
        "debug": found.debug,
        "module_id": found.module_id,
        "instance_id": found.instance_id,
        "time": _time(found.time),
        "timestamp_ms": found.timestamp_ms,
        "digest": "SHA384",
        "pcrs": {f"PCR{index}": digest.hex() for index, digest in sorted(found.pcrs.items())},
        "image_id": measurements.image_id(found.pcrs).hex(),
        **_fields(found),
        "absent": list(found.absent),
        "certificates": _certificates(found),
        "not_understood": [_plain(name) for name in found.not_understood],
        "format": None if evidence is None else evidence.format,
        "statement": None if evidence is None else json.loads(evidence.text),
    }


def _print(table: Mapping[str, Any]) -> None:
    root = "the root you named: SIMULATED" if table["simulated"] else "the AWS Nitro root"
    print(f"authentic:   at its own time, {table['time']}, under {root}")
    print(NOT_JUDGED)
    if table["debug"]:
        print("DEBUG:       this enclave's host can read its memory; no policy accepts it")
    print(f"module id:   {table['module_id']}")
    zero = "00" * measurements.SIZE
    for name, digest in table["pcrs"].items():
        print(f"{name + ':':12} {'zero' if digest == zero else digest}")
    print(f"image id:    {table['image_id']} (Oyster)")
    for name in ("public_key", "user_data", "nonce"):
        value = table[name]
        missing = "absent" if name in table["absent"] else "null"
        print(f"{name + ':':12} {missing if value is None else value or 'empty'}")
    for item in table["certificates"]:
        print(f"certificate: {item['subject']}")
        print(f"             {item['not_before']} to {item['not_after']}, sha256 {item['sha256']}")
    for name in table["not_understood"]:
        print(f"not understood: {name}")
    if table["statement"] is not None:
        print(f"statement:   bound to it, as {table['format']}")
        print(json.dumps(table["statement"], indent=1))


def run(args: argparse.Namespace) -> int:
    """Prove that the file is authentic, and only then show what is in it."""
    root, nonce = outside.root(args.trust_root), nonce_option.parse(args.nonce)
    data, evidence = _taken(outside.read(args.file, statement.MAX_EVIDENCE))
    said = None if evidence is None else statement.parse(evidence.text)
    found = document.authenticate(data, trust_root=root)
    if nonce is not None and (evidence is None or evidence.signature is None):
        verification.check_nonce(found, nonce)
    if evidence is not None and said is not None:
        verification.check_binding(found, evidence, said, nonce)
    simulated = root is not None and not chain.is_aws_root(root)
    table = table_of(found, evidence, simulated=simulated)
    if args.json:
        print(json.dumps(table, indent=2, sort_keys=True))
    else:
        _print(table)
    return 0
