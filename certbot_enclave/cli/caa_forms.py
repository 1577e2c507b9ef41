# SPDX-License-Identifier: Apache-2.0
"""Record sets printed in the forms of `formats`, for the verbs that print them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from certbot_enclave import errors
from certbot_enclave.caa import formats, names, publication
from certbot_enclave.caa.formats import Format
from certbot_enclave.caa.publication import Publication


def add_ttl(parser: argparse._ActionsContainer) -> None:
    """Add the option for the TTL."""
    parser.add_argument(
        "--ttl", metavar="SECONDS", type=int, default=publication.TTL, help="default: 3600"
    )


def add_format(
    parser: argparse._ActionsContainer, words: str, forms: Iterable[str] = formats.FORMATS
) -> None:
    """Add the options that choose a form.

    Args:
        parser: Gets them.
        words: Help of ``--format`` before the list of forms.
        forms: That list.
    """
    parser.add_argument(
        "--format",
        choices=list(formats.FORMATS),
        metavar="FORMAT",
        help=f"{words} {', '.join(forms)}",
    )
    parser.add_argument("--zone", metavar="NAME", help="zone that holds the names")


def check_ttl(ttl: int) -> None:
    """Check a TTL.

    Raises:
        PolicyError: It is none that a record can have in use (``ttl-range``).
    """
    if not 1 <= ttl < 1 << 31:
        raise errors.PolicyError(
            f"TTL is {ttl}, expected 1 to 2147483647 seconds (RFC 2181 §8)", code="ttl-range"
        )


def zone_of(text: str | None) -> str | None:
    """Read the name of a zone, if there is one.

    Raises:
        PolicyError: It is no name (``name-refused``), or a wildcard (``zone-invalid``).
    """
    if text is None:
        return None
    zone = names.parse(text).ascii
    if zone.startswith("*."):
        raise errors.PolicyError(f"--zone {text} is no zone", code="zone-invalid")
    return zone


def note(line: str) -> None:
    """Print a remark."""
    print(f"certbot-enclave: note: {line}", file=sys.stderr)


def written(chosen: Format, found: Sequence[Publication]) -> str:
    """Return the sets in a form.

    Raises:
        PolicyError: A name is not in the zone that was named, or the form cannot hold a record
            (``zone-…``, ``caa-unwritable``, ``ttl-range``).
    """
    for item in found:
        if item.zone is not None:
            publication.inside(item)
    return chosen.write(found)


def show(chosen: Format, text: str) -> None:
    """Print what `written` returned, with what to do with it."""
    if chosen.warning:
        print(f"certbot-enclave: warning: {chosen.warning}", file=sys.stderr)
    note(chosen.use)
    print(text)
