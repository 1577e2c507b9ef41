# SPDX-License-Identifier: Apache-2.0
"""A PCR is bound to the account once in a boot, by the formula, or it is an error."""

import hashlib

import pytest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from certbot_enclave import errors
from certbot_enclave.account import pcr
from certbot_enclave.attestation import document
from certbot_enclave.attestation.simulated import SimulatedAttester, create
from certbot_enclave.interfaces import IAttester, ISecurityModule
from tests.support.components import BrokenAttester
from tests.support.forge import ACCOUNT, spki

URI = "https://ca.test/account/1"
KEY = spki(ACCOUNT)
ZERO = bytes(48)
BINDING = hashlib.sha384(b"certbot-enclave-account-v1:" + URI.encode() + b"\0" + KEY).digest()
BOUND = hashlib.sha384(ZERO + BINDING).digest()


@implementer(IAttester, ISecurityModule)
class Module(BrokenAttester):
    """Keeps one PCR, remembers what was done to it, and may be killed or lie."""

    def __init__(self, value=ZERO, *, locked=False, wrong=False, dies=""):
        super().__init__()
        self.value, self.locked = value, locked
        self.done = []
        self._wrong, self._dies = wrong, dies

    def random(self):
        return b""

    def pcr(self, index):
        self.done.append(("pcr", index))
        return self.locked, self.value

    def extend(self, index, data):
        self.done.append(("extend", index, data))
        self.value = hashlib.sha384(self.value + data).digest()
        self._die("extend")
        return ZERO if self._wrong else self.value

    def lock(self, index):
        self.done.append(("lock", index))
        self._die("lock")
        self.locked = True

    def _die(self, step):
        if self._dies == step:
            self._dies = ""
            raise KeyboardInterrupt


verifyObject(ISecurityModule, Module())


def _bind(module, index=17):
    pcr.bind(module, index, uri=URI, public_key=KEY)


def _refused(module):
    with pytest.raises(errors.EnclaveError) as caught:
        _bind(module)
    return caught.value


def test_it_is_extended_by_the_formula_and_locked():
    module = Module()
    _bind(module)
    assert module.done == [("pcr", 17), ("extend", 17, BINDING), ("lock", 17)]
    assert (module.value, module.locked) == (BOUND, True)


# What an earlier run of this boot left behind -> what is still to do.
LEFT = {
    "nothing done": ((ZERO, False), ["extend", "lock"]),
    "extended": ((BOUND, False), ["lock"]),
    "extended and locked": ((BOUND, True), []),
}


@pytest.mark.parametrize(("state", "rest"), LEFT.values(), ids=LEFT)
def test_it_goes_on_where_another_run_ended(state, rest):
    module = Module(state[0], locked=state[1])
    _bind(module)
    assert [step[0] for step in module.done] == ["pcr", *rest]
    assert (module.value, module.locked) == (BOUND, True)


@pytest.mark.parametrize("step", ["extend", "lock"])
def test_killed_run_is_found_again(step):
    module = Module(dies=step)
    with pytest.raises(KeyboardInterrupt):
        _bind(module)
    assert (module.value, module.locked) == (BOUND, False)
    _bind(module)
    assert [done[0] for done in module.done].count("extend") == 1
    assert (module.value, module.locked) == (BOUND, True)


OTHER = hashlib.sha384(b"something else in the image").digest()
TAKEN = {
    "extended with something else": (OTHER, False),
    "locked with something else": (OTHER, True),
    "locked before it was extended": (ZERO, True),
    "extended once too often": (hashlib.sha384(BOUND + BINDING).digest(), False),
    "with the binding itself": (BINDING, False),
}


@pytest.mark.parametrize(("value", "locked"), TAKEN.values(), ids=TAKEN)
def test_pcr_with_something_else_in_it_is_taken(value, locked):
    module = Module(value, locked=locked)
    refused = _refused(module)
    assert refused.code == "pcr-taken"
    assert f"PCR17 holds {value.hex()}" in str(refused)
    assert BOUND.hex() in str(refused)
    assert (module.value, module.locked) == (value, locked)
    assert module.done == [("pcr", 17)]


@pytest.mark.parametrize(
    "other",
    [{"uri": URI + "1", "public_key": KEY}, {"uri": URI, "public_key": KEY[:-1] + b"\0"}],
    ids=["account", "key"],
)
def test_other_account_or_key_is_not_bound_in_the_same_boot(other):
    module = Module()
    pcr.bind(module, 17, **other)
    assert _refused(module).code == "pcr-taken"


def test_device_that_extends_by_another_formula_is_not_locked():
    module = Module(wrong=True)
    assert _refused(module).code == "pcr-broken"
    assert module.locked is False


ACTS = {"bind": _bind, "require_free": lambda module: pcr.require_free(module, 17)}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_attester_without_pcrs(act):
    with pytest.raises(errors.EnclaveError) as caught:
        act(BrokenAttester())
    assert (caught.value.code, "bind_pcr" in caught.value.hint) == ("pcr-unsupported", True)


def test_pcr_that_is_free_before_there_is_an_account():
    module = Module()
    pcr.require_free(module, 17)
    assert module.done == [("pcr", 17)]


USED = {**TAKEN, "bound to an account": (BOUND, True), "bound and not locked": (BOUND, False)}


@pytest.mark.parametrize(("value", "locked"), USED.values(), ids=USED)
def test_pcr_that_is_used_before_there_is_an_account(value, locked):
    module = Module(value, locked=locked)
    with pytest.raises(errors.EnclaveError) as caught:
        pcr.require_free(module, 17)
    assert (caught.value.code, "PCR17" in str(caught.value)) == ("pcr-taken", True)
    assert module.done == [("pcr", 17)]


@pytest.mark.parametrize("index", [16, 17, 31])
def test_documents_carry_it_from_then_on(tmp_path, index):
    (tmp_path / "app.bin").write_bytes(b"code")
    create(tmp_path / "enclave", [tmp_path / "app.bin"])
    attester = SimulatedAttester(str(tmp_path / "enclave"))
    for _ in range(2):
        _bind(attester, index)
        raw = attester.attest(user_data=b"", public_key=KEY, nonce=None)
        found = document.authenticate(raw, trust_root=attester.trust_root)
        assert {at: value for at, value in found.pcrs.items() if at >= 16} == {index: BOUND}
