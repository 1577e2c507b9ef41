# SPDX-License-Identifier: Apache-2.0
"""From a component's name to a component that keeps its interface's promise."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, cast

from zope.interface import Invalid, providedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors
from certbot_enclave.interfaces import IAttester, ISealer, IStateStore

_GROUPS: dict[InterfaceClass, tuple[str, str]] = {
    IAttester: ("certbot_enclave.attesters", "attester"),
    ISealer: ("certbot_enclave.sealers", "sealer"),
    IStateStore: ("certbot_enclave.stores", "store"),
}


def _load(interface: InterfaceClass, spec: str) -> Any:
    group, kind = _GROUPS[interface]
    name, _, argument = spec.partition(":")
    found = list(entry_points(group=group, name=name))
    if not found:
        known = ", ".join(sorted(point.name for point in entry_points(group=group))) or "none"
        raise errors.PolicyError(
            f"no {kind} is named {name!r}; installed: {known}",
            code=f"{kind}-unknown",
            hint=f"name one as --enclave-{kind} NAME:ARGUMENT",
        )
    if len({point.value for point in found}) > 1:
        raise errors.ExtensionError(
            f"{kind} {name!r} is offered by {len(found)} installed packages, expected one",
            code="component-ambiguous",
        )
    try:
        factory = found[0].load()
    except (ImportError, AttributeError) as error:
        raise errors.ExtensionError(
            f"{kind} {name!r} cannot be loaded: {error}", code="component-broken"
        ) from error
    try:
        verifyClass(interface, factory)
        component = factory(argument)
        # What it offers beside, such as IDerivingSealer, is a promise too.
        for promised in (interface, *providedBy(component)):
            verifyObject(promised, component)
    except Invalid as error:
        raise errors.ExtensionError(
            f"{kind} {name!r} does not keep its interface: {' '.join(str(error).split())}",
            code="component-invalid",
        ) from error
    return component


def load_attester(spec: str) -> IAttester:
    """Make the attester named by `spec`, such as ``simulated:DIR``.

    Raises:
        PolicyError: Nothing of that name is installed (``attester-unknown``).
        ExtensionError: The component cannot be loaded or does not fit `IAttester`.
        EnclaveError: The component found its environment missing or broken.
    """
    return cast(IAttester, _load(IAttester, spec))


def load_sealer(spec: str) -> ISealer:
    """Make the sealer named by `spec`; errors as in `load_attester`."""
    return cast(ISealer, _load(ISealer, spec))


def load_store(spec: str) -> IStateStore:
    """Make the state store named by `spec`; errors as in `load_attester`."""
    return cast(IStateStore, _load(IStateStore, spec))
