# SPDX-License-Identifier: Apache-2.0
"""One system call carries request and response; every way in which it can fail is told apart."""

import ctypes
import errno
import fcntl
import os
import socket

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation.nsm import IOCTL, Device, NsmAttester

RESPONSE = b"\x67LockPCR"


def _refused(act):
    with pytest.raises(errors.EnclaveError) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


class Kernel:
    """Does what the driver's ioctl does: reads the request and writes the response by address."""

    def __init__(self, response=RESPONSE, *, size=None, code=None):
        self._response, self._size, self._code = response, size, code
        self.request = self.flags = self.inherited = None

    def __call__(self, file, number, message):
        assert number == IOCTL == 0xC0200A00
        assert (message.itemsize * len(message), message[3]) == (32, 0x3000)
        self.request = ctypes.string_at(message[0], message[1])
        self.flags = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        self.inherited = not fcntl.fcntl(file, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        if self._code is not None:
            raise OSError(self._code, os.strerror(self._code))
        ctypes.memmove(message[2], self._response, len(self._response))
        message[3] = len(self._response) if self._size is None else self._size


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nsm"
    path.touch()
    return str(path)


def _files():
    return len(os.listdir("/proc/self/fd"))


def test_request_and_response_go_through_one_call(file):
    kernel, before = Kernel(), _files()
    assert Device(file, kernel)(b"\x69GetRandom") == RESPONSE
    assert (kernel.request, kernel.flags, kernel.inherited) == (b"\x69GetRandom", os.O_RDWR, False)
    assert _files() == before


@pytest.mark.parametrize("size", [1, 0x1000])
def test_request_may_fill_what_the_driver_takes(file, size):
    kernel = Kernel()
    Device(file, kernel)(bytes(size))
    assert kernel.request == bytes(size)


@pytest.mark.parametrize("size", [0, 0x1001])
def test_request_of_another_size_is_never_sent(file, size):
    kernel = Kernel()
    assert _refused(lambda: Device(file, kernel)(bytes(size))).code == "nsm-request-size"
    assert kernel.request is None


def test_response_may_fill_the_buffer(file):
    response = os.urandom(0x3000)
    assert Device(file, Kernel(response))(b"\x00") == response


@pytest.mark.parametrize("size", [0, 0x3001, 1 << 63])
def test_response_of_an_impossible_size_is_refused(file, size):
    assert _refused(lambda: Device(file, Kernel(size=size))(b"\x00")).code == "nsm-response"


CODES = {
    "EMSGSIZE": "nsm-request-size",
    "ETIMEDOUT": "nsm-timeout",
    "EINTR": "nsm-interrupted",
    "ENOSPC": "nsm-stuck",
    "ENOTTY": "nsm-device",
    "EINVAL": "nsm-device",
    "ENODEV": "nsm-device",
    "ENXIO": "nsm-device",
    "EIO": "nsm-io",
    "ENODATA": "nsm-io",
    "EFAULT": "nsm-io",
    "EPERM": "nsm-io",
}


@pytest.mark.parametrize("name", CODES)
def test_every_failure_of_the_call_is_told(file, name):
    code, before = getattr(errno, name), _files()
    error = _refused(lambda: Device(file, Kernel(code=code))(b"\x00"))
    assert error.code == CODES[name]
    assert os.strerror(code) in str(error)
    assert file in str(error)
    assert error.hint != errors.EnclaveError.advice
    assert _files() == before


def test_missing_device_means_that_this_is_no_enclave(tmp_path):
    error = _refused(lambda: NsmAttester(str(tmp_path / "nsm")))
    assert error.code == "attester-absent"


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


UNFIT = {
    "directory": (lambda path: path.mkdir(), "nsm-open"),
    "socket": (_socket, "nsm-open"),
    "link to itself": (lambda path: path.symlink_to(path), "nsm-open"),
    "regular file": (lambda path: path.touch(), "nsm-device"),
    "another device": (lambda path: path.symlink_to("/dev/null"), "nsm-device"),
}


@pytest.mark.parametrize(("make", "code"), UNFIT.values(), ids=UNFIT)
def test_what_is_no_such_device_is_refused(tmp_path, make, code):
    make(tmp_path / "nsm")
    assert _refused(lambda: NsmAttester(str(tmp_path / "nsm"))).code == code


def test_path_that_no_file_can_have_is_refused():
    assert _refused(lambda: NsmAttester("/dev/\0nsm")).code == "nsm-open"
