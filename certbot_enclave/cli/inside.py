# SPDX-License-Identifier: Apache-2.0
"""What the commands that run inside the enclave share: directories, settings, the CA's roots."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_enclave import settings as settings_module

if TYPE_CHECKING:
    from certbot_enclave.issuance import Issuance

_OWN_OPTIONS = ("server", "domains", "account", "challenge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add certbot's directories and one option for each setting."""
    place = parser.add_argument_group("certbot's directories")
    place.add_argument("--config-dir", metavar="DIR", default="/etc/letsencrypt")
    place.add_argument("--work-dir", metavar="DIR", default="/var/lib/letsencrypt")
    place.add_argument("--logs-dir", metavar="DIR", default="/var/log/letsencrypt")
    group = parser.add_argument_group(
        "settings", "each is also an --enclave-… option of certbot, and a name in the settings file"
    )
    for setting in settings_module.TABLE:
        if setting.name in _OWN_OPTIONS:
            continue
        option = "--" + setting.name.replace("_", "-")
        if isinstance(setting.default, bool):
            group.add_argument(option, action="store_true", default=None, help=setting.help)
        else:
            group.add_argument(option, metavar="VALUE", default=None, help=setting.help)
    group.add_argument(
        "--settings", metavar="PATH", help="another settings file; simulated enclaves only"
    )


def _options(args: argparse.Namespace) -> dict[str, settings_module.Value]:
    found: dict[str, settings_module.Value] = {}
    for setting in settings_module.TABLE:
        value: Any = getattr(args, setting.name, None)
        if value is None or value is False:
            continue
        if isinstance(setting.default, tuple) and isinstance(value, str):
            value = settings_module.split(value)
        found[setting.name] = value
    return found


def progress(message: str) -> None:
    """Report progress on stderr."""
    print(message, file=sys.stderr)


def start(args: argparse.Namespace) -> Issuance:
    """Start this run from the command line.

    Raises:
        PolicyError, EnclaveError, ExtensionError: As `certbot_enclave.runtime.start`.
    """
    from certbot_enclave import doors, runtime
    from certbot_enclave.issuance import Issuance

    directories = runtime.Directories(
        *(Path(path).absolute() for path in (args.config_dir, args.work_dir, args.logs_dir))
    )
    started = runtime.start(_options(args), directories, measured=args.settings)
    doors.check_environment(os.environ, started.settings)
    return Issuance(started, report=progress)
