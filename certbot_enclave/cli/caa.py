# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa``: the domain owner's side of the lock; one module for each verb."""

from __future__ import annotations

import argparse
from importlib import import_module

# Name -> one line of help. Each verb is the module ``caa_NAME`` beside this one, with
# `add_arguments(parser)` and `run(args) -> int`; what is slow to import it imports in `run`.
VERBS = {
    "emit": "print the CAA records that bind issuance to an account, for any DNS provider",
    "check": "find out whether anybody else could get a certificate",
    "diff": "show what has to change in DNS so that nobody else can",
    "apply": "make these changes, by a signed update at the zone's server",
    "watch": "repeat the check, tell what changes, and write metrics for a monitor",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, line in VERBS.items():
        chosen = verbs.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            formatter_class=parser.formatter_class,
        )
        import_module(f"certbot_enclave.cli.caa_{name}").add_arguments(chosen)


def run(args: argparse.Namespace) -> int:
    """Run one verb."""
    code: int = import_module(f"certbot_enclave.cli.caa_{args.verb}").run(args)
    return code
