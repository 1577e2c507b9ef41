# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave attest``: fresh evidence, for a caller's nonce or for the web server."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.cli import inside
from certbot_enclave.cli import nonce as nonce_option

if TYPE_CHECKING:
    from certbot_enclave.issuance import Issuance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--server", metavar="URL", help="ACME directory; as registered by default")
    parser.add_argument("--account", metavar="URI", help="expected account; any other is an error")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--watch",
        action="store_true",
        help="stay, and renew the stored evidence before the certificate behind it ends",
    )
    how.add_argument(
        "--nonce",
        metavar="HEX",
        help="16 to 64 bytes of the verifier's choice; the evidence goes to stdout only",
    )
    inside.add_arguments(parser)


def _renewed(issuance: Issuance, names: frozenset[str]) -> bytes:
    issuance.glance(names)
    return issuance.renew_evidence()


def run(args: argparse.Namespace) -> int:
    """Make evidence; without a nonce it also replaces the stored one. Watching never returns."""
    nonce = nonce_option.parse(args.nonce)
    issuance = inside.start(args)
    server = issuance.runtime.settings.text("server")
    if not server:
        raise errors.PolicyError(
            "this enclave has no account yet",
            code="account-missing",
            hint="make one: certbot-enclave register",
        )
    issuance.register(server, agree_tos=False)
    names = issuance.names(issuance.runtime.settings.list("domains"))
    if args.watch:
        from certbot_enclave import watch

        watch.watch(
            lambda: _renewed(issuance, names),
            clock=time.time,
            sleep=time.sleep,
            report=inside.progress,
        )
    issuance.glance(names)
    # A hook of certbot runs while certbot holds its files, but after the new certificate is there.
    evidence = issuance.renew_evidence() if nonce is None else issuance.evidence(nonce)
    sys.stdout.write(evidence.decode())
    return 0
