# SPDX-License-Identifier: Apache-2.0
"""What the commands of owners and auditors share: files, and the root to trust."""

from __future__ import annotations

import argparse
import binascii
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from certbot_enclave import errors

if TYPE_CHECKING:
    from certbot_enclave.policy import Policy


@contextmanager
def opened(path: str) -> Iterator[BufferedReader]:
    """Open a file, or stdin as ``-``.

    Raises:
        TransportError: It cannot be opened, or not be read while it is open (``file-unreadable``).
    """
    try:
        if path == "-":
            if sys.stdin is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            yield cast(BufferedReader, sys.stdin.buffer)
            return
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise errors.TransportError(
            f"cannot read {path}: {error.strerror}", code="file-unreadable"
        ) from error


def read(path: str, limit: int) -> bytes:
    """Read a file, or stdin as ``-``; of one that is too long, a byte more than `limit`.

    Raises:
        TransportError: As `opened`.
    """
    with opened(path) as file:
        return file.read(limit + 1)


def replace(path: str, data: bytes, *, mode: int) -> None:
    """Write a file whole: a reader sees the old one or the new one.

    Args:
        path: Its directory must exist.
        data: The content.
        mode: Permissions, whatever the umask is.

    Raises:
        TransportError: It cannot be written (``file-unwritable``).
    """
    import tempfile

    temporary, target = None, Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise errors.TransportError(
            f"cannot write {path}: {error.strerror}",
            code="file-unwritable",
            hint="is the directory there, and may this user write to it?",
        ) from error


def add_demanded(group: Any) -> None:
    """Add the two options that name the code to trust, to a group in which they exclude each other.

    Args:
        group: From ``add_mutually_exclusive_group``.
    """
    group.add_argument(
        "--policy",
        metavar="FILE",
        help="the image (.eif), its measurements as nitro-cli prints them, or a TOML policy",
    )
    group.add_argument("--image-id", metavar="HEX", help="Oyster image id, in place of a policy")


def demanded(args: argparse.Namespace) -> Policy:
    """Read the policy that was named by one of the options.

    Raises:
        PolicyError, FormatError, SignatureError: As `policy.load` and `policy.of_image_id`.
        TransportError: As `opened`.
    """
    from certbot_enclave import policy

    if args.image_id is not None:
        return policy.of_image_id(args.image_id, "--image-id")
    with opened(args.policy) as file:
        return policy.load(file, args.policy)


def add_root(parser: argparse._ActionsContainer) -> None:
    """Add the option that names another root than AWS's."""
    parser.add_argument(
        "--trust-root",
        metavar="FILE",
        help="root certificate (PEM) of a simulated enclave, in place of the AWS Nitro root",
    )


def root(path: str | None) -> bytes | None:
    """Read the root that was named.

    Returns:
        DER, or None if none was named.

    Raises:
        PolicyError: It is no certificate (``trust-root``).
        TransportError: As `opened`.
    """
    if path is None:
        return None
    from cryptography import x509

    pem = read(path, 64 * 1024)
    try:
        x509.load_pem_x509_certificate(pem)
        body = pem.split(b"-----BEGIN CERTIFICATE-----")[1].split(b"-----END CERTIFICATE-----")[0]
        return binascii.a2b_base64(body)
    except (ValueError, IndexError, x509.InvalidVersion) as error:
        raise errors.PolicyError(f"{path} is no PEM certificate", code="trust-root") from error
