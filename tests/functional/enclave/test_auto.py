# SPDX-License-Identifier: Apache-2.0
"""Where there is a ``/dev/nsm``, that is the attester: broken or not, and whatever is named."""

import errno

import pytest

from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.nsm import Device
from tests.support.world.enclave import Enclave
from tests.support.world.nsm import Nsm


@pytest.fixture
def device(shm):
    with Nsm(shm / "nsm") as started:
        yield started


@pytest.fixture
def inside(shm, device):
    """Runs ``certbot-enclave attest`` where the device is."""
    machine = Enclave(shm / "machine", "", shm, "", 0)
    machine.wrapper = device.inside

    def run(*options):
        done = machine.run("certbot-enclave", "attest", *machine.directories, *options)
        assert "Traceback" not in done.text
        return done.code, done.err.splitlines()[0].removeprefix("certbot-enclave: error: ")

    return run


def test_device_is_found_by_itself(device, inside):
    """It is asked, its randomness is mixed in, and then a real enclave's settings are missing."""
    code, said = inside()
    assert (code, said.split(":")[0]) == (2, "no measured settings")
    asked = b"".join(device.requests)
    assert asked.index(b"DescribeNSM") < asked.index(b"GetRandom")


@pytest.mark.parametrize("options", [(), ("--attester=nsm",), ("--attester=auto",)])
def test_broken_device_is_told_and_no_other_attester_is_asked(device, inside, options):
    device.fault(errno=errno.ETIMEDOUT)
    code, said = inside(*options)
    assert (code, said.split(":")[0]) == (3, "the NSM at /dev/nsm does not answer")


def test_device_that_gives_no_randomness_is_told(device, inside):
    # From now on it answers everything as it answered the first question.
    device.fault(response=Device(str(device.path))(b"\x6bDescribeNSM"))
    code, said = inside()
    assert (code, said.split(" is not ")[0]) == (3, "the NSM's response to GetRandom")


def test_enclave_with_the_device_is_never_simulated(shm, inside):
    (shm / "app.bin").write_bytes(b"code")
    simulated.create(shm / "simulated", [shm / "app.bin"])
    code, said = inside(f"--attester=simulated:{shm / 'simulated'}")
    assert (code, said) == (2, "a real enclave is never simulated, and /dev/nsm is here")
