# SPDX-License-Identifier: Apache-2.0
"""The names that a ``caa`` verb is about: arguments, or a file that may have many thousands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import IO, NamedTuple

from certbot_enclave import errors
from certbot_enclave.cli import outside

LINE = 1024  # bytes of a line in a file of names; a name has 253, more if in U-labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="domain name, in any letters")
    parser.add_argument(
        "--file", metavar="FILE", help="names, one a line, # begins a comment; - for stdin"
    )


class Asked(NamedTuple):
    """One name, in both forms, or why it is none."""

    ascii: str
    shown: str | None
    error: errors.Error | None = None


def _escaped(text: bytes) -> str:
    from certbot_enclave.caa import grammar

    return grammar.escaped(text[:LINE])


def _file(path: str) -> Iterator[Asked]:
    with outside.opened(path) as file:
        yield from _lines(file)


def _lines(file: IO[bytes]) -> Iterator[Asked]:
    """Read a file of names; a line that is none is that line's result."""
    from certbot_enclave.caa import names

    while line := file.readline(LINE + 1):
        if len(line) > LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LINE)) and not rest.endswith(b"\n"):
                pass
            error = errors.PolicyError(
                f"line has more than {LINE} bytes, which no name has", code="name-refused"
            )
            yield Asked(_escaped(line)[:80], None, error)
            continue
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            yield Asked(*names.parse(text.decode("utf-8")))
        except UnicodeDecodeError:
            error = errors.PolicyError("name is no UTF-8", code="name-refused")
            yield Asked(_escaped(text), None, error)
        except errors.PolicyError as found:
            yield Asked(_escaped(text), None, found)


def chosen(args: argparse.Namespace) -> Iterator[Asked]:
    """Read the names; those of a file one by one.

    Raises:
        PolicyError: One on the command line is none (``name-refused``); there are none, or a file
            beside them (``names-missing``).
        TransportError: The file cannot be read, while it is read.
    """
    from certbot_enclave.caa import names

    given = [Asked(*names.parse(text)) for text in args.name]
    if bool(given) == (args.file is not None):
        raise errors.PolicyError(
            "expected names, or a file of names, and not both", code="names-missing"
        )
    return iter(given) if args.file is None else _file(args.file)
