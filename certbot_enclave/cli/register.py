# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave register``: make the account; print what the domain owner needs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.cli import inside

if TYPE_CHECKING:
    from certbot_enclave.issuance import Issuance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "-d",
        "--domains",
        metavar="NAMES",
        action="append",
        help="names the enclave will ask certificates for, comma-separated; may be repeated",
    )
    parser.add_argument("--server", metavar="URL", help="ACME directory")
    parser.add_argument("--account", metavar="URI", help="expected account; any other is an error")
    parser.add_argument(
        "--agree-tos", action="store_true", help="agree to the CA's terms of service"
    )
    parser.add_argument("-m", "--email", metavar="EMAIL", help="contact for the CA")
    parser.add_argument("--eab-kid", metavar="ID", help="external account key identifier")
    parser.add_argument(
        "--eab-hmac-file", metavar="FILE", help="file with the external account key, - for stdin"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    inside.add_arguments(parser)


def _hmac_key(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        text = sys.stdin.read(4096) if path == "-" else Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.PolicyError(
            f"cannot read the external account key from {path}", code="external-account-unreadable"
        ) from error
    return text.strip()


def _register_beside(issuance: Issuance, args: argparse.Namespace) -> str | None:
    """Find or make the account at the directory where this enclave rehearses; return its URI.

    Raises:
        PolicyError: Records that bind both accounts cannot be made (``rehearsal-issuer``).
        Error: As `Issuance.register`.
    """
    from certbot_enclave.issuance import Issuance as Again

    staging = issuance.runtime.settings.text("staging_rehearsal")
    if not staging or not issuance.own:
        return None
    runtime = replace(issuance.runtime, own_server=issuance.registered.ca.url)
    beside = Again(runtime, report=inside.progress, trial=True)
    found = beside.register(staging, agree_tos=args.agree_tos, email=args.email)
    ours, theirs = issuance.issuers()[0], beside.issuers()[0]
    if ours != theirs:
        raise errors.PolicyError(
            f"records for {ours} bind the account, but {staging} reads those for {theirs}",
            code="rehearsal-issuer",
            hint="rehearse at the staging directory of the same CA",
        )
    return found.uri


def run(args: argparse.Namespace) -> int:
    """Register, or find the account again, and print it; 0 even while the gate is closed."""
    if args.domains:
        args.domains = ",".join(args.domains)
    if (args.eab_kid is None) != (args.eab_hmac_file is None):
        raise errors.PolicyError(
            "--eab-kid and --eab-hmac-file go together", code="external-account-incomplete"
        )
    from certbot_enclave import continuity

    issuance = inside.start(args)
    settings = issuance.runtime.settings
    if not settings.text("server"):
        raise errors.PolicyError(
            "no ACME directory is named", code="directory-missing", hint="name it: --server URL"
        )
    names = issuance.names(settings.list("domains"))
    continuity.restore(issuance)
    registered = issuance.register(
        settings.text("server"),
        agree_tos=args.agree_tos,
        email=args.email,
        eab_kid=args.eab_kid,
        eab_hmac_key=_hmac_key(args.eab_hmac_file),
    )
    if issuance.own:
        issuance.runtime.save_settings()
    beside = _register_beside(issuance, args)
    issuance.save()
    verdicts = issuance.glance(names)
    if issuance.own:
        evidence = issuance.renew_evidence()
        inside.progress(f"evidence: {len(evidence)} bytes in {issuance.runtime.evidence_path}")
    else:
        inside.progress(f"a further account; evidence stays about {issuance.runtime.own_server}")
    result = {
        "account": registered.uri,
        "thumbprint": registered.key.key.print,
        "new": registered.new,
        "rehearsal_account": beside,
        "records": list(issuance.records(names)),
        "evidence": str(issuance.runtime.evidence_path) if issuance.own else None,
        "simulated": issuance.runtime.simulated,
        "domains": [{"name": verdict.name, "verdict": verdict.word} for verdict in verdicts],
    }
    if args.json:
        print(json.dumps(result, indent=2, sort_keys=True))
        return 0
    if result["simulated"]:
        print("SIMULATED enclave: nothing below is vouched for by hardware")
    print(f"account:    {registered.uri}")
    print(f"thumbprint: {registered.key.key.print}")
    if beside is not None:
        print(f"rehearsal:  {beside}")
    if issuance.own:
        print(f"evidence:   {result['evidence']}")
    for verdict in verdicts:
        print(f"CAA now:    {verdict.name}: {verdict.word}")
    whom = "this account" if beside is None else "these accounts"
    print(f"CAA records that bind issuance to {whom}; nothing else may allow anybody:")
    for record in issuance.records(names):
        print(f"  {record}")
    return 0
