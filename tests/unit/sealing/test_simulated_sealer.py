# SPDX-License-Identifier: Apache-2.0
"""The simulated sealer is bound to the measurements and the purpose, as a real one."""

import pytest
from zope.interface.verify import verifyObject

from certbot_enclave import errors
from certbot_enclave.interfaces import ISealer
from certbot_enclave.sealing.simulated import SimulatedSealer

KEY = bytes(range(32))
CONTEXT = {"kind": "bundle", "generation": "1"}


def _refused(sealer, wrapped, context=CONTEXT):
    with pytest.raises(errors.SealError) as caught:
        sealer.unwrap(wrapped, context)
    return caught.value.code


def test_round_trip_over_processes(ours):
    wrapped = SimulatedSealer(str(ours)).wrap(KEY, CONTEXT)
    assert KEY not in wrapped
    assert SimulatedSealer(str(ours)).unwrap(wrapped, CONTEXT) == KEY
    assert SimulatedSealer(str(ours)).wrap(KEY, CONTEXT) != wrapped


def test_says_that_it_is_simulated(ours):
    sealer = SimulatedSealer(str(ours))
    assert verifyObject(ISealer, sealer)
    assert (sealer.simulated, sealer.scheme) == (True, "simulated")


def test_one_changed_byte_of_the_image_does_not_unseal(ours):
    wrapped = SimulatedSealer(str(ours)).wrap(KEY, CONTEXT)
    image = ours.parent / "app.bin"
    image.write_bytes(b"codE")
    assert _refused(SimulatedSealer(str(ours)), wrapped) == "sealed-elsewhere"
    image.write_bytes(b"code")
    assert SimulatedSealer(str(ours)).unwrap(wrapped, CONTEXT) == KEY


@pytest.mark.parametrize("context", [{}, {**CONTEXT, "generation": "2"}, {**CONTEXT, "more": "1"}])
def test_another_purpose_is_refused(ours, context):
    sealer = SimulatedSealer(str(ours))
    assert _refused(sealer, sealer.wrap(KEY, CONTEXT), context) == "sealed-elsewhere"


@pytest.mark.parametrize("size", [0, 11, 12, 27, 59])
def test_damaged_bytes_are_refused(ours, size):
    sealer = SimulatedSealer(str(ours))
    assert _refused(sealer, sealer.wrap(KEY, CONTEXT)[:size]) == "sealed-elsewhere"


def test_missing_enclave_is_said(ours, tmp_path):
    with pytest.raises(errors.EnclaveError) as caught:
        SimulatedSealer(str(tmp_path / "nowhere"))
    assert caught.value.code == "simulated-missing"
    (ours / "sealing.key").unlink()
    with pytest.raises(errors.EnclaveError) as caught:
        SimulatedSealer(str(ours))
    assert caught.value.code == "simulated-missing"
