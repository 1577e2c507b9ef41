# SPDX-License-Identifier: Apache-2.0
"""The file with the key that signs updates."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.cli import outside

if TYPE_CHECKING:
    from certbot_enclave.caa.tsig import TsigKey


def read(path: str, tell: Callable[[str], None]) -> TsigKey:
    """Read a key file.

    That others can read it is told and not refused: BIND's own key files belong to a group.

    Args:
        path: The file. It is not repeated in an error: somebody may give the key itself for it.
        tell: Called with one line if others than its owner can read the file.

    Raises:
        FormatError, PolicyError: As `tsig.parse`.
        TransportError: It cannot be read (``file-unreadable``).
    """
    from certbot_enclave.caa import tsig

    reason = None
    try:
        with outside.opened(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(tsig.LIMIT + 1)
    except errors.TransportError as error:
        reason = getattr(error.__cause__, "strerror", None) or "unknown reason"
    if reason is not None:
        raise errors.TransportError(
            f"cannot read the file of --key: {reason}",
            code="file-unreadable",
            hint="name a file: a key on the command line is there for everybody on this machine",
        )
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        who = "everybody on this machine" if mode & stat.S_IROTH else "its group"
        tell(f"the key file can be read by {who}; chmod 600 keeps it to its owner")
    return tsig.parse(data)
