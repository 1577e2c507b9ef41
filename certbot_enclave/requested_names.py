# SPDX-License-Identifier: Apache-2.0
"""Which names this enclave may ask a certificate for."""

from __future__ import annotations

from collections.abc import Iterable

from certbot_enclave import errors
from certbot_enclave.caa.names import check_name
from certbot_enclave.settings import Settings


def check(requested: Iterable[str], settings: Settings, *, simulated: bool) -> frozenset[str]:
    """Check names that a certificate is wanted for.

    Args:
        requested: As somebody wrote them.
        settings: The effective settings.
        simulated: True in a simulated enclave.

    Returns:
        Lower-case A-labels.

    Raises:
        PolicyError: None is named (``names-missing``), one cannot be bound by CAA
            (``name-refused``), http-01 cannot validate it (``name-wildcard``), or the settings do
            not allow it (``name-unlisted``).
    """
    names = frozenset(check_name(name) for name in requested)
    if not names:
        raise errors.PolicyError(
            "no domain is named", code="names-missing", hint="name it: -d NAME"
        )
    allowed = frozenset(settings.list("domains"))
    # A real enclave's names are measured; without a list it may ask for nothing.
    limited = bool(allowed) or not simulated
    for name in sorted(names):
        if name.startswith("*."):
            raise errors.PolicyError(
                f"http-01 cannot validate the wildcard {name}",
                code="name-wildcard",
                hint="name each host",
            )
        if limited and name not in allowed:
            raise errors.PolicyError(
                f"{name} is not among the domains {', '.join(sorted(allowed)) or '(none)'}",
                code="name-unlisted",
                hint="add it to domains in the settings; in a simulated enclave: "
                "certbot-enclave register -d NAMES",
            )
    return names
