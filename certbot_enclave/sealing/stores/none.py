# SPDX-License-Identifier: Apache-2.0
"""The store ``none:``: keeps nothing, for an account whose key is derived and never lost."""

from __future__ import annotations

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.interfaces import IStateStore, Stored


@implementer(IStateStore)
class NoStore:
    """Every boot begins with nothing: certificates are issued anew, within the CA's limits.

    Args:
        argument: Empty.

    Raises:
        PolicyError: There is an argument (``store-argument``).
    """

    def __init__(self, argument: str = "") -> None:
        if argument:
            raise errors.PolicyError(
                f"expected none: and nothing after it, got none:{argument}", code="store-argument"
            )

    def read(self) -> Stored | None:
        """See `IStateStore.read`: nothing was ever stored."""
        return None

    def version(self) -> str | None:
        """See `IStateStore.version`: nothing is ever there."""
        return None

    def write(self, data: bytes, *, generation: int, replaces: str) -> str:
        """See `IStateStore.write`: the bundle is dropped, so that nothing is there afterwards."""
        return ""
