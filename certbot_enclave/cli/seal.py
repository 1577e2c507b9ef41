# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave seal``: what is in RAM now goes to the store, if anything that matters changed.

``--json`` prints ``generation`` and ``written``: false if the store had it all.
"""

from __future__ import annotations

import argparse
import json

from certbot_enclave.cli import inside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--server", metavar="URL", help="ACME directory; as registered by default")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    inside.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Seal now; 0 too if there was nothing to do."""
    from certbot_enclave import continuity

    mark, written = continuity.seal(inside.start(args))
    if args.json:
        print(json.dumps({"generation": mark.generation, "written": written}, indent=2))
        return 0
    print(f"generation:  {mark.generation}")
    print(f"written:     {'yes' if written else 'no, the store has it all'}")
    return 0
