# SPDX-License-Identifier: Apache-2.0
"""A second enclave of the same image: same paths, same settings, same store, and RAM of its own.

A bundle belongs to one absolute config directory, so a replica lives in a mount namespace in which
its own directories lie over those of the first (this needs root).
"""

from __future__ import annotations

from dataclasses import replace

from tests.support.world.enclave import Enclave

_RAM = ("config", "work", "logs", "tls")
_MOUNTED = """
until [ "$1" = -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"
"""


def replica(first: Enclave, name: str) -> Enclave:
    """Make a replica that has not booted yet.

    Args:
        first: The other one; its certificates go to ``tls`` in its directory, if anywhere.
        name: Of the new one, for its directory beside that of the first.

    Returns:
        Like any enclave, except that `reboot` and `sibling` are not for it.
    """
    ram = first.state.parent / name
    words = []
    for folder in _RAM:
        for path in (ram / folder, first.state / folder):
            path.mkdir(parents=True, exist_ok=True)
            words.append(str(path))
    inside = ("unshare", "--mount", "sh", "-ec", _MOUNTED, "sh", *words, "--")
    other = replace(first, wrapper=inside, extra=dict(first.extra))
    other.config = ram / "config"
    other.evidence = other.config / "enclave" / "evidence.json"
    return other
