# SPDX-License-Identifier: Apache-2.0
"""The Nitro Secure Module of this enclave, through Linux's device ``/dev/nsm``.

One ioctl carries a request in and a response out (uapi ``linux/nsm.h``)::

    struct nsm_raw { struct { u64 addr, len; } request, response; };   32 bytes
    NSM_IOCTL_RAW = _IOWR(0x0A, 0, struct nsm_raw)                     0xC0200A00

The driver takes requests one at a time and waits for the device up to two minutes, whatever signal
comes. It cuts a response to the size of the buffer without a word: only a response that is complete
CBOR is one.
"""

from __future__ import annotations

import errno
import fcntl
import os
from array import array
from collections.abc import Callable

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation import nsm_abi
from certbot_enclave.interfaces import IAttester, ISecurityModule

PATH = "/dev/nsm"
IOCTL = 0xC0200A00
MAX_REQUEST = 0x1000  # bytes; NSM_REQUEST_MAX_SIZE


def _failed(path: str, reason: str, code: str, hint: str) -> errors.EnclaveError:
    return errors.EnclaveError(f"the NSM at {path} does not answer: {reason}", code=code, hint=hint)


def _failure(path: str, error: OSError) -> errors.EnclaveError:
    """Say what a failure of the system call means."""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.EMSGSIZE:
            return _failed(path, reason, "nsm-request-size", "attest or extend by less")
        case errno.ETIMEDOUT:
            return _failed(
                path, reason, "nsm-timeout", "try again; if it stays so, start the enclave anew"
            )
        case errno.EINTR:
            return _failed(
                path, reason, "nsm-interrupted", "try again, but look first if a PCR was extended"
            )
        case errno.ENOSPC:
            return _failed(
                path, reason, "nsm-stuck", "an earlier request hangs; start the enclave anew"
            )
        case errno.ENOTTY | errno.EINVAL | errno.ENODEV | errno.ENXIO:
            return _failed(
                path, reason, "nsm-device", "name the device of Linux's driver nsm, or no path"
            )
        case _:
            return _failed(
                path, reason, "nsm-io", "look at the kernel's messages, and start the enclave anew"
            )


class Device:
    """Carries requests to the device file and responses back.

    The file is opened for each request: nothing is left open in programs that certbot starts, and
    there is nothing to close.

    Args:
        path: The device file.
        ioctl: The system call.
    """

    def __init__(
        self, path: str, ioctl: Callable[[int, int, array[int]], object] = fcntl.ioctl
    ) -> None:
        self._path, self._ioctl = path, ioctl

    def __call__(self, request: bytes) -> bytes:
        """Exchange one request for its response.

        Args:
            request: 1 to 4096 bytes. An empty one would hang the device for good.

        Returns:
            1 to 12288 bytes.

        Raises:
            EnclaveError: There is no such file (``attester-absent``), it cannot be opened
                (``nsm-open``) or is not the device (``nsm-device``); the request is too large or
                empty (``nsm-request-size``); the device did not answer in time (``nsm-timeout``) or
                answers no more (``nsm-stuck``); a signal came (``nsm-interrupted``); the response's
                size is impossible (``nsm-response``); or anything else (``nsm-io``).
        """
        if not 0 < len(request) <= MAX_REQUEST:
            raise errors.EnclaveError(
                f"a request to the NSM has 1 to {MAX_REQUEST} bytes, got {len(request)}",
                code="nsm-request-size",
            )
        given, answer = array("B", request), array("B", bytes(nsm_abi.MAX_RESPONSE))
        message = array("Q", [*given.buffer_info(), *answer.buffer_info()])
        file = self._open()
        try:
            self._ioctl(file, IOCTL, message)
        except OSError as error:
            raise _failure(self._path, error) from error
        finally:
            os.close(file)
        size = message[3]
        if not 0 < size <= nsm_abi.MAX_RESPONSE:
            raise errors.EnclaveError(
                f"a response of the NSM has 1 to {nsm_abi.MAX_RESPONSE} bytes, got {size}",
                code="nsm-response",
            )
        return answer[:size].tobytes()

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise errors.EnclaveError(
                f"this is no Nitro enclave: there is no {self._path}",
                code="attester-absent",
                hint="run inside the enclave, with the driver nsm in its kernel",
            ) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise errors.EnclaveError(
                f"cannot open the NSM at {self._path!r}: {reason}",
                code="nsm-open",
                hint="it must be a device that this user may read and write",
            ) from error


def _check_size(name: str, data: bytes, low: int, high: int) -> None:
    if not low <= len(data) <= high:
        raise errors.EnclaveError(
            f"{name} must be {low} to {high} bytes, got {len(data)}", code="attest-argument"
        )


def _check_index(index: int, low: int) -> None:
    if not low <= index <= 31:
        raise errors.EnclaveError(
            f"index of the PCR must be {low} to 31, got {index}", code="attest-argument"
        )


@implementer(IAttester, ISecurityModule)
class NsmAttester:
    """Makes documents with the enclave's own Nitro Secure Module.

    Args:
        argument: Path of the device; empty means ``/dev/nsm``.
        exchange: Bytes to bytes, in place of the device.

    Raises:
        EnclaveError: There is no device (``attester-absent``), or it is broken: it cannot be asked
            (codes of `Device` and `nsm_abi`), its PCRs are not of SHA-384 (``nsm-digest``), there
            are none to extend (``nsm-max-pcrs``), or its first 16 are not locked
            (``nsm-unlocked``), as in a real enclave they are from the start.
    """

    simulated = False
    format = "aws-nitro"
    trust_root: bytes | None = None

    def __init__(self, argument: str, exchange: nsm_abi.Exchange | None = None) -> None:
        self._exchange = exchange or Device(argument or PATH)
        found = nsm_abi.describe(self._exchange)
        if found.digest != "SHA384":
            raise errors.EnclaveError(
                f"the NSM's PCRs are of {found.digest[:32]!r}, expected 'SHA384'", code="nsm-digest"
            )
        if found.max_pcrs < 17:
            raise errors.EnclaveError(
                f"the NSM has {found.max_pcrs} PCRs, expected 17 at least", code="nsm-max-pcrs"
            )
        unlocked = sorted({*range(16)} - found.locked_pcrs)
        if unlocked:
            raise errors.EnclaveError(
                f"PCR {', '.join(map(str, unlocked))} of the NSM can still be changed, expected "
                "0 to 15 to be locked",
                code="nsm-unlocked",
                hint="this is an emulated device or a broken one; do not trust its measurements",
            )

    def attest(self, *, user_data: bytes, public_key: bytes, nonce: bytes | None) -> bytes:
        """See `IAttester.attest`; sizes beyond its limits are refused (``attest-argument``)."""
        _check_size("user_data", user_data, 0, 512)
        _check_size("public_key", public_key, 1, 1024)
        _check_size("nonce", nonce or b"", 0, 512)
        return nsm_abi.attest(
            self._exchange, user_data=user_data, nonce=nonce, public_key=public_key
        )

    def random(self) -> bytes:
        """See `ISecurityModule.random`."""
        return nsm_abi.random(self._exchange)

    def pcr(self, index: int) -> tuple[bool, bytes]:
        """See `ISecurityModule.pcr`; another index is refused (``attest-argument``)."""
        _check_index(index, 0)
        return nsm_abi.pcr(self._exchange, index)

    def extend(self, index: int, data: bytes) -> bytes:
        """See `ISecurityModule.extend`; other arguments are refused (``attest-argument``)."""
        _check_index(index, 16)
        _check_size("data", data, 1, 512)
        return nsm_abi.extend(self._exchange, index, data)

    def lock(self, index: int) -> None:
        """See `ISecurityModule.lock`; another index is refused (``attest-argument``)."""
        _check_index(index, 16)
        nsm_abi.lock(self._exchange, index)
