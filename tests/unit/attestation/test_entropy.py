# SPDX-License-Identifier: Apache-2.0
"""Random bytes of the hardware reach the kernel whole, and count at once, or it is an error."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import entropy

DATA = bytes(range(256))


class Reseed:
    """The kernel's answer to a reseed; sees what was written before."""

    def __init__(self, path, code=None):
        self._path, self._code, self.seen = path, code, []

    def __call__(self, file, number):
        assert number == entropy.RESEED == 0x5207
        self.seen.append(self._path.read_bytes())
        if self._code is not None:
            raise OSError(self._code, os.strerror(self._code))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "urandom"
    path.touch()
    return path


def _refused(data=DATA, **where):
    with pytest.raises(errors.EnclaveError) as caught:
        entropy.mix(data, **where)
    return caught.value


def _mixed_in_a_process(*wrapper):
    """Mix into the real device in another process, and return what came of it."""
    code = (
        "from certbot_enclave import errors\n"
        "from certbot_enclave.attestation import entropy\n"
        "try:\n    print(entropy.mix(bytes(64)))\n"
        "except errors.EnclaveError as error:\n    print(error.code)"
    )
    command = [*wrapper, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_everything_is_written_before_the_reseed(file):
    reseed = Reseed(file)
    entropy.mix(DATA, path=str(file), ioctl=reseed)
    assert reseed.seen == [DATA]


def test_nothing_stays_open(file):
    before = len(os.listdir("/proc/self/fd"))
    entropy.mix(DATA, path=str(file), ioctl=Reseed(file))
    _refused(path=str(file), ioctl=Reseed(file, errno.EPERM))
    assert len(os.listdir("/proc/self/fd")) == before


def test_kernel_that_has_no_seed_yet_will_use_it(file):
    reseed = Reseed(file, errno.ENODATA)
    entropy.mix(DATA, path=str(file), ioctl=reseed)
    assert reseed.seen == [DATA]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOTTY])
def test_kernel_that_does_not_reseed_is_an_error(file, code):
    error = _refused(path=str(file), ioctl=Reseed(file, code))
    assert error.code == "entropy-reseed"
    assert "CAP_SYS_ADMIN" in error.hint
    assert os.strerror(code) in str(error)


def test_plain_file_in_the_devices_place_is_noticed(file):
    assert _refused(path=str(file)).code == "entropy-reseed"


def test_no_bytes_are_an_error(file):
    reseed = Reseed(file)
    assert _refused(b"", path=str(file), ioctl=reseed).code == "entropy"
    assert reseed.seen == []


def test_missing_device_is_an_error_and_made_by_nobody(tmp_path):
    assert _refused(path=str(tmp_path / "urandom")).code == "entropy"
    assert list(tmp_path.iterdir()) == []


def test_device_that_takes_no_bytes_is_an_error():
    assert _refused(path="/dev/full").code == "entropy"


def test_device_that_takes_some_bytes_only_is_an_error(file):
    """The first write is short, and what is left does not fit."""
    code = (
        "import resource, sys\n"
        "from certbot_enclave import errors\n"
        "from certbot_enclave.attestation import entropy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n    entropy.mix(bytes(256), path=sys.argv[1], ioctl=lambda file, number: None)\n"
        "except errors.EnclaveError as error:\n    print(error.code)"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, file.stat().st_size) == ("entropy\n", 100)


def _is_admin():
    """Return True if this process has CAP_SYS_ADMIN, capability 21."""
    status = Path("/proc/self/status").read_text()
    return bool(int(re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)[1], 16) >> 21 & 1)


def test_kernel_itself_takes_it_from_an_administrator():
    assert _mixed_in_a_process() == ("None" if _is_admin() else "entropy-reseed")


def test_without_the_capability_it_is_an_error():
    drop = ("/usr/bin/setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert _mixed_in_a_process(*(drop if _is_admin() else ())) == "entropy-reseed"
