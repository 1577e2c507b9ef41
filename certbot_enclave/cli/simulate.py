# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave simulate``: make a simulated enclave, for tests and demonstrations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("directory", metavar="DIR", help="made if missing; must be empty")
    parser.add_argument(
        "--image",
        metavar="FILE",
        action="append",
        required=True,
        help="a file to measure, again at every use; may be repeated",
    )

    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Make it, and print where the verifier's files are."""
    from certbot_enclave.attestation import simulated

    directory = Path(args.directory)
    simulated.create(directory, [Path(name) for name in args.image])
    result = {
        "simulated": True,
        "trust_root": str(directory / "root.pem"),
        "measurements": str(directory / "measurements.json"),
    }
    if args.json:
        print(json.dumps(result, indent=2, sort_keys=True))
        return 0
    print("SIMULATED enclave: nothing it says is vouched for by hardware")
    print(f"trust root:   {result['trust_root']}")
    print(f"measurements: {result['measurements']}")
    return 0
