# SPDX-License-Identifier: Apache-2.0
"""The console script ``certbot-enclave``.

stdout carries the result only (text, or JSON with ``--json``, of a failure too: ``code``,
``error``, ``hint``, ``expected`` and ``actual``); stderr carries progress and
``certbot-enclave: error: …`` followed by ``certbot-enclave: hint: …``. No line starts with a
capital or ends with a full stop. Exit codes: 0 done or holds, 1 checked and it does not hold,
2 usage, policy or settings, 3 could not tell (network, unreadable file).
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from certbot_enclave import errors

# Name -> one line of help. Each command is the module of that name, with _ for -, in this package,
# with `add_arguments(parser)` and `run(args) -> int`; only the one that is asked for is imported.
COMMANDS = {
    "register": "make and register the account key; print what the domain owner needs",
    "restore": "after a restart: bring back account and certificates",
    "run": "restore, let certbot work in a clean environment, and seal",
    "seal": "seal what is in RAM now, if anything changed",
    "follow": "on a replica: take what another enclave has sealed",
    "attest": "make fresh evidence",
    "verify": "check evidence against the measurements of the code",
    "caa": "records, verdicts and changes for the domain owner",
    "inspect": "show an attestation document or evidence, if it is authentic",
    "pcrs": "compute the measurements of an enclave image file",
    "kms-policy": "print the policy of the AWS key that seals for an image",
    "simulate": "make a simulated enclave, for tests and demonstrations",
}

_USAGE_ERRORS = (errors.PolicyError, errors.ExtensionError)
_COULD_NOT_TELL = (errors.TransportError, errors.EnclaveError)


def exit_code(error: errors.Error) -> int:
    """Return the exit code that tells this kind of error to a monitor (docs/operator.md)."""
    if isinstance(error, _USAGE_ERRORS):
        return 2
    if isinstance(error, _COULD_NOT_TELL):
        return 3
    return 1


def complain(error: errors.Error, *, as_json: bool = False) -> None:
    """Print the error, and its hint if it has one, to stderr; and as JSON to stdout if wanted."""
    if as_json:
        import json

        names = ("code", "hint", "expected", "actual")
        table = {"error": str(error), **{name: getattr(error, name, None) for name in names}}
        print(json.dumps(table, indent=2, sort_keys=True))
    print(f"certbot-enclave: error: {error}", file=sys.stderr)
    if error.hint:
        print(f"certbot-enclave: hint: {error.hint}", file=sys.stderr)


class _Formatter(argparse.HelpFormatter):
    """Help of one width: finding the terminal's loads the compressors, for every command."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=96)


def _module(command: str) -> ModuleType:
    return import_module(f"certbot_enclave.cli.{command.replace('-', '_')}")


def _parser(command: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certbot-enclave",
        formatter_class=_Formatter,
        description="Certificates that only an attested enclave can get.",
        epilog="Exit codes: 0 done or holds, 1 does not hold, 2 usage, 3 could not tell.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        chosen = commands.add_parser(
            name, help=line, description=line.capitalize() + ".", formatter_class=_Formatter
        )
        if name == command:
            _module(name).add_arguments(chosen)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None means those of this process.

    Returns:
        The exit code.
    """
    if not sys.warnoptions:
        # Libraries warn of odd certificates, on lines of their own; what is wrong is an error here.
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name is shown with its letters too, and the terminal may not have them; as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Options come after the command, so the first word that names one is the command.
    command = next((word for word in arguments if word in COMMANDS), None)
    args = _parser(command).parse_args(arguments)
    try:
        code: int = _module(args.command).run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough; what is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except errors.Error as error:
        complain(error, as_json=getattr(args, "json", False))
        return exit_code(error)
    except KeyboardInterrupt:
        print("certbot-enclave: error: interrupted", file=sys.stderr)
        return 130
    return code
