# SPDX-License-Identifier: Apache-2.0
"""Components are found by name and refused unless they keep their interface."""

from importlib import metadata

import pytest
from zope.interface import implementer

from certbot_enclave import errors, registry
from certbot_enclave.interfaces import IAttestedSealer, IDerivingSealer, ISealer, IStateStore
from certbot_enclave.sealing.stores.file import FileStore
from tests.support.components import MemorySealer


@implementer(IStateStore)
class NoWrite:  # type: ignore[misc]  # that is the point
    def __init__(self, argument):
        pass

    def read(self):
        return None

    def version(self):
        return None


@implementer(IStateStore)
class WrongArity(NoWrite):
    def write(self):  # type: ignore[override]  # that is the point
        pass


class Undeclared(NoWrite):
    def write(self, data):
        pass


class Points:
    """Stands for importlib.metadata.entry_points."""

    def __init__(self, *values, group="certbot_enclave.stores"):
        self._points = [metadata.EntryPoint("ours", value, group) for value in values]

    def __call__(self, *, group, name=None):
        return [p for p in self._points if p.group == group and name in (None, p.name)]


BAD = {
    "missing method": ("NoWrite", "component-invalid"),
    "wrong arity": ("WrongArity", "component-invalid"),
    "missing class": ("Nothing", "component-broken"),
}


@pytest.mark.parametrize(("name", "code"), BAD.values(), ids=BAD)
def test_misfits_are_refused(monkeypatch, name, code):
    monkeypatch.setattr(registry, "entry_points", Points(f"{__name__}:{name}"))
    with pytest.raises(errors.ExtensionError) as caught:
        registry.load_store("ours:x")
    assert caught.value.code == code


def test_offending_method_is_named(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", Points(f"{__name__}:WrongArity"))
    with pytest.raises(errors.ExtensionError, match="write"):
        registry.load_store("ours:x")


@implementer(ISealer, IAttestedSealer)
class Attested(MemorySealer):  # type: ignore[misc]  # that is the point
    def __init__(self, argument):
        super().__init__()


@implementer(ISealer, IDerivingSealer)
class Deriving(Attested):
    def derive(self):  # type: ignore[override]  # that is the point
        return b""


@pytest.mark.parametrize(("name", "word"), [("Attested", "attach"), ("Deriving", "derive")])
def test_what_a_sealer_offers_beside_is_a_promise_too(monkeypatch, name, word):
    points = Points(f"{__name__}:{name}", group="certbot_enclave.sealers")
    monkeypatch.setattr(registry, "entry_points", points)
    with pytest.raises(errors.ExtensionError, match=word) as caught:
        registry.load_sealer("ours:x")
    assert caught.value.code == "component-invalid"


def test_two_offers_of_one_name_are_refused(monkeypatch):
    offers = Points(f"{__name__}:NoWrite", f"{__name__}:Undeclared")
    monkeypatch.setattr(registry, "entry_points", offers)
    with pytest.raises(errors.ExtensionError) as caught:
        registry.load_store("ours:x")
    assert caught.value.code == "component-ambiguous"


def test_argument_is_what_follows_the_colon():
    store = registry.load_store("file:/dev/null/nowhere")
    assert isinstance(store, FileStore)


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (registry.load_attester, "attester"),
        (registry.load_sealer, "sealer"),
        (registry.load_store, "store"),
    ],
)
def test_unknown_names_say_what_is_installed(load, kind):
    with pytest.raises(errors.PolicyError, match="installed: ") as caught:
        load("nonsense:x")
    assert caught.value.code == f"{kind}-unknown"
