# SPDX-License-Identifier: Apache-2.0
"""What the commands that run inside the enclave share: directories, settings, the CA's roots."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_enclave import options

if TYPE_CHECKING:
    from certbot_enclave.issuance import Issuance
    from certbot_enclave.runtime import Directories


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add certbot's directories and one option for each setting."""
    place = parser.add_argument_group("certbot's directories")
    place.add_argument("--config-dir", metavar="DIR", default="/etc/letsencrypt")
    place.add_argument("--work-dir", metavar="DIR", default="/var/lib/letsencrypt")
    place.add_argument("--logs-dir", metavar="DIR", default="/var/log/letsencrypt")
    group = parser.add_argument_group(
        "settings", "each is also an --enclave-… option of certbot, and a name in the settings file"
    )
    options.add(lambda name, **arguments: group.add_argument(f"--{name}", **arguments))


def progress(message: str) -> None:
    """Report progress on stderr."""
    print(message, file=sys.stderr)


def directories(args: argparse.Namespace) -> Directories:
    """Return certbot's directories as the command line names them."""
    from certbot_enclave import runtime

    return runtime.Directories(
        *(Path(path).absolute() for path in (args.config_dir, args.work_dir, args.logs_dir))
    )


def start(args: argparse.Namespace) -> Issuance:
    """Start this run from the command line.

    Raises:
        PolicyError, EnclaveError, ExtensionError: As `certbot_enclave.runtime.start`.
    """
    from certbot_enclave import doors, runtime
    from certbot_enclave.issuance import Issuance

    started = runtime.start(
        options.read(lambda name: getattr(args, name, None)),
        directories(args),
        measured=args.settings,
    )
    doors.check_environment(os.environ, started.settings)
    return Issuance(started, report=progress)
