# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave verify``: check evidence against the measurements of the code."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from certbot_enclave import errors, fields, statement, verification
from certbot_enclave.cli import nonce as nonce_option
from certbot_enclave.cli import outside

if TYPE_CHECKING:
    from certbot_enclave.verification import Verified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("evidence", metavar="EVIDENCE", help="file with the evidence, - for stdin")
    parser.add_argument("--domain", metavar="NAME", required=True, help="what it must be about")
    outside.add_demanded(parser.add_mutually_exclusive_group(required=True))
    outside.add_root(parser)
    parser.add_argument("--nonce", metavar="HEX", help="nonce that was asked for, 16 to 64 bytes")
    parser.add_argument("--caa", action="store_true", help="print the CAA records to publish")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _domain(text: str) -> str:
    try:
        return fields.name(text.lower().removesuffix("."), "--domain")
    except errors.FormatError as error:
        raise errors.PolicyError(
            str(error),
            code="domain-invalid",
            hint="a name with other letters is written in its form xn--…",
        ) from error


def _records(name: str, verified: Verified) -> list[str]:
    from certbot_enclave.caa import formats, held
    from certbot_enclave.caa.publication import Account, records_of

    said = verified.statement
    uris = (said.account_uri, *held.uris(said.conditions))
    accounts = [Account(said.caa_identities[0], uri, said.validation_methods) for uri in uris]
    return list(formats.zone(name, records_of(accounts)))


def _table(verified: Verified, proved: list[str], records: list[str]) -> dict[str, Any]:
    said, since = verified.statement, verified.domain.since
    return {
        "verified": True,
        "simulated": verified.simulated,
        "format": verified.format,
        "domain": verified.domain.name,
        "verdict": verified.domain.verdict,
        "since": None if since is None else f"{since:%Y-%m-%dT%H:%M:%SZ}",
        "account": said.account_uri,
        "thumbprint": said.thumbprint,
        "directory": said.directory,
        "issuers": list(said.caa_identities),
        "methods": list(said.validation_methods),
        "conditions": list(said.conditions),
        "sealing": {"scheme": said.sealing_scheme, "key": said.sealing_key},
        "state": {"generation": said.generation, "restored_from": said.restored_from},
        "certificates": [
            {"names": list(item.names), "serial": item.serial, "spki_sha256": item.spki_sha256}
            for item in said.certificates
        ],
        "measurements": verified.matched,
        "module_id": verified.document.module_id,
        "document_time": f"{verified.document.time:%Y-%m-%dT%H:%M:%SZ}",
        "proved": proved,
        "not_checked": list(verified.not_checked),
        "not_understood": [*said.not_understood, *verified.document.not_understood],
        "records": records,
    }


def _print(table: dict[str, Any]) -> None:
    mark = "SIMULATED: this is no hardware's word, but that of the root you named"
    if table["simulated"]:
        print(mark)
    for line in table["proved"]:
        print(f"proved:      {line}")
    for line in table["conditions"]:
        print(f"condition:   {line}")
    for line in table["not_understood"]:
        print(f"not understood: {line}")
    for line in table["not_checked"]:
        print(f"not checked: {line}")
    for line in table["records"]:
        print(line)
    if table["simulated"]:
        print(mark)


def run(args: argparse.Namespace) -> int:
    """Verify, and print what was proved and what was not checked."""
    demanded = outside.demanded(args)
    root, nonce = outside.root(args.trust_root), nonce_option.parse(args.nonce)
    name = _domain(args.domain)
    evidence = outside.read(args.evidence, statement.MAX_EVIDENCE)
    proved: list[str] = []
    verified = verification.verify(
        evidence,
        demanded,
        domain=name,
        nonce=nonce,
        now=datetime.now(UTC),
        trust_root=root,
        progress=proved.append,
    )
    table = _table(verified, proved, _records(name, verified) if args.caa else [])
    if args.json:
        print(json.dumps(table, indent=2, sort_keys=True))
    else:
        _print(table)
    return 0
