# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave kms-policy``: the policy of the AWS key that seals for an image."""

from __future__ import annotations

import argparse
import sys

from certbot_enclave.cli import outside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = (
        "Prints a key policy for AWS KMS: decryption is denied to everybody, unless PCR0, PCR1 and "
        "PCR2 in the attestation document are those of the image. Whoever may change the policy "
        "may undo that, so the key belongs into the domain owner's AWS account."
    )
    parser.add_argument(
        "measurements",
        metavar="MEASUREMENTS",
        help="what `verify --policy` takes: nitro-cli's JSON, TOML or an EIF; - for stdin",
    )
    parser.add_argument(
        "--admin",
        metavar="ARN",
        action="append",
        required=True,
        help="role, user or account root that may change the policy; may be repeated",
    )
    parser.add_argument(
        "--role",
        metavar="ARN",
        action="append",
        required=True,
        help="role of the instances; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="the same; errors are JSON too")


def run(args: argparse.Namespace) -> int:
    """Print the policy, and who could change it."""
    import json

    from certbot_enclave import policy
    from certbot_enclave.aws import key_policy

    with outside.opened(args.measurements) as file:
        found = policy.load(file, args.measurements)
    made = key_policy.make(
        [] if found.images else found.sets.values(), admins=args.admin, roles=args.role
    )
    print(json.dumps(made, indent=2))
    for admin in args.admin:
        everybody = admin.endswith(":root")
        who = f"whoever has IAM rights in the account of {admin}" if everybody else admin
        print(
            f"certbot-enclave: note: {who} can change this policy, and so read what is sealed",
            file=sys.stderr,
        )
    return 0
