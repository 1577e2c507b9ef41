# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave follow``: keep this replica on the newest generation in the store.

``--json`` prints, for each generation that was taken, an object on a line with ``generation`` and
``before`` (what this boot had; 0 for nothing).
"""

from __future__ import annotations

import argparse
import json
import signal
import threading

from certbot_enclave import errors
from certbot_enclave.cli import inside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--server", metavar="URL", help="ACME directory; as registered by default")
    parser.add_argument("--account", metavar="URI", help="expected account; any other is an error")
    parser.add_argument(
        "--every", metavar="TIME", default="30s", help="time between two looks (default: 30s)"
    )
    parser.add_argument("--once", action="store_true", help="look once, and end")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    inside.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Follow until SIGTERM comes, which is no failure; with ``--once``, end after one look."""
    from certbot_enclave import following, settings

    pause = settings.seconds(args.every)
    if not pause:
        raise errors.PolicyError("--every needs a time, such as 30s", code="setting-invalid")

    def report(taken: following.Taken) -> None:
        if args.json:
            print(json.dumps(taken._asdict()), flush=True)
        elif taken.generation == taken.before:
            print(f"generation {taken.generation}: nothing newer in the store", flush=True)
        else:
            print(f"generation {taken.generation} taken, it was {taken.before}", flush=True)

    follower = following.Follower(lambda: inside.start(args))
    if args.once:
        report(follower.look())
        return 0
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    following.follow(
        lambda: follower.look(wait=0),
        pause=pause,
        wait=stop.wait,
        report=report,
        complain=inside.progress,
    )
    return 0
