# SPDX-License-Identifier: Apache-2.0
"""One option for each setting: ``--enclave-NAME`` of certbot, ``--NAME`` of ``certbot-enclave``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from certbot_enclave.settings import TABLE, Value, split

# certbot has options of its own for these.
OF_CERTBOT = ("server", "domains", "account")


def add(declare: Callable[..., object]) -> None:
    """Declare the options.

    Args:
        declare: Called as ``declare("name", ...)`` with the arguments of argparse.
    """
    for setting in TABLE:
        if setting.name in OF_CERTBOT:
            continue
        name = setting.name.replace("_", "-")
        if isinstance(setting.default, bool):
            declare(name, action="store_true", default=None, help=setting.help)
        else:
            declare(name, metavar=name.upper(), default=None, help=setting.help)
    declare("settings", metavar="PATH", help="another settings file; simulated enclaves only")


def read(get: Callable[[str], Any]) -> dict[str, Value]:
    """Collect the settings that a command line names; nothing is checked yet.

    Args:
        get: Returns the value of the option of a setting, or None if it was not given.

    Returns:
        Setting name -> value.
    """
    found: dict[str, Value] = {}
    for setting in TABLE:
        value = get(setting.name)
        if value is None or value is False:
            continue
        found[setting.name] = split(value) if isinstance(setting.default, tuple) else value
    return found
