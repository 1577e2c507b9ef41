# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave pcrs``: compute the measurements of an enclave image file."""

from __future__ import annotations

import argparse
import os
import sys

from certbot_enclave.cli import outside

LARGE = 64 << 20  # bytes; measuring more takes long enough to say so on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.epilog = (
        "Prints what `nitro-cli build-enclave` prints: PCR0, PCR1 and PCR2, and PCR8 if the image "
        "is signed. That is a policy for `certbot-enclave verify --policy` as it is. Metadata in "
        "the image is measured by nobody, so it is not shown."
    )
    parser.add_argument("file", metavar="FILE", help="enclave image file (EIF), - for stdin")
    parser.add_argument("--json", action="store_true", help="the same; errors are JSON too")


def run(args: argparse.Namespace) -> int:
    """Measure the image, and print its PCRs."""
    from certbot_enclave.attestation import eif, measurements

    with outside.opened(args.file) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGE and os.isatty(2):
            print(f"measuring {size >> 20} MiB", file=sys.stderr)
        pcrs = eif.measure(file)
    sys.stdout.write(measurements.to_json(pcrs))
    return 0
