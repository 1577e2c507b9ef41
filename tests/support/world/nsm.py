# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``/dev/nsm``: a file whose ioctl goes through the kernel to a modelled module.

FUSE hands the ioctl's 32 bytes to the server, which moves request and response between its memory
and the caller's, as the driver does. So the client runs unchanged, system calls and all. What it
cannot show: the file is a regular one, no character device.

The file is mounted in the server's own mount namespace, which is reached through /proc: however the
server ends, nothing stays mounted. This needs root, ``/dev/fuse`` and Debian's package fuse3.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Any

from tests.support import forge
from tests.support.nsm_device import NsmDevice
from tests.support.world.process import Process, Server

IOCTL = 0xC0200A00
MAX_REQUEST, MAX_RESPONSE = 0x1000, 0x3000
TOP = Path(__file__).parents[3]
# In a mount namespace of its own: a /dev of the usual nodes, and the stand-in as nsm.
_INSIDE = """
set -e
mount --rbind /dev /mnt
mount -t tmpfs -o mode=755 tmpfs /dev
for node in null zero full random urandom tty; do
    if [ -e /mnt/$node ]; then : >/dev/$node; mount --bind /mnt/$node /dev/$node; fi
done
for folder in shm pts; do mkdir /dev/$folder; mount --rbind /mnt/$folder /dev/$folder; done
ln -s /proc/self/fd /dev/fd
: >/dev/nsm
mount --bind "$1" /dev/nsm
umount -l /mnt
shift
exec "$@"
"""


class Nsm(Server):
    """A running stand-in.

    Args:
        folder: Directory for its state, made if missing.
        pcrs: What PCR0 to PCR3 and PCR8 were measured to.

    Attributes:
        path: The device file.
        root: DER of the root of its documents.
    """

    def __init__(self, folder: Path, pcrs: Mapping[int, bytes] = forge.PCRS) -> None:
        self._folder, self._pcrs = folder.absolute(), pcrs
        self._file = self._folder / "mount" / "nsm"
        self.path = Path()

    def __enter__(self) -> Nsm:
        """Start, and wait until the file is there."""
        if find_library("fuse3") is None:
            raise FileNotFoundError(
                "libfuse is not installed: apt-get install --no-install-recommends fuse3"
            )
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise FileNotFoundError("/dev/fuse cannot be opened: run as root, after: modprobe fuse")
        self._file.parent.mkdir(parents=True)
        pcrs = {index: digest.hex() for index, digest in self._pcrs.items()}
        (self._folder / "pcrs.json").write_text(json.dumps(pcrs))
        server: list[str | Path] = [sys.executable, "-m", "tests.support.world.nsm", self._folder]
        self._process = Process(
            ["unshare", "--mount", *server],
            log=self._folder / "log",
            ready=self._is_there,
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FUSE_LIBRARY_NAME": "fuse3"},
            directory=TOP,
        )
        self.root = (self._folder / "root.der").read_bytes()
        return self

    def kill(self) -> None:
        """Kill the server; it cannot unmount any more."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.stop()

    def _is_there(self) -> bool:
        named = self._folder / "pid"
        self.path = Path(f"/proc/{named.read_text() if named.exists() else 0}/root{self._file}")
        return self.path.exists()

    @property
    def requests(self) -> list[bytes]:
        """Every request that the driver took, in order."""
        log = self._folder / "requests"
        return [bytes.fromhex(line) for line in log.read_text().split()] if log.exists() else []

    @property
    def inside(self) -> tuple[str, ...]:
        """Words before a command that finds the stand-in as ``/dev/nsm``; it starts in ``/``."""
        process = f"/proc/{self._process.pid}"
        # The root too: it may be another than the namespace's, in a chroot.
        place = (f"--root={process}/root", f"--wd={process}/root")
        enter = ("/usr/bin/nsenter", f"--mount={process}/ns/mnt", *place)
        alone = ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", _INSIDE, "sh")
        return (*enter, *alone, str(self._file))

    def fault(self, **fault: Any) -> None:
        """Do something wrong from now on, instead of what was told before; nothing if empty.

        Args:
            **fault: ``errno``: the ioctl fails. ``response``: bytes in place of the response.
                ``cut``: so many bytes of the response. ``claim``: a length of the response that it
                does not have.
        """
        table = {
            name: value.hex() if name == "response" else value for name, value in fault.items()
        }
        (self._folder / "fault.json").write_text(json.dumps(table))


# --- the server ---


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


_LIBC = ctypes.CDLL(None, use_errno=True)


def _move(
    call: Callable[..., int], pid: int, here: ctypes.Array[ctypes.c_char], there: int
) -> None:
    """Move as many bytes as `here` has, from or to an address in another process."""
    size = ctypes.sizeof(here)
    mine, other = _Piece(ctypes.addressof(here), size), _Piece(there, size)
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    if call(pid, ctypes.byref(mine), one, ctypes.byref(other), one, zero) != size:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


class _Files:
    """One directory with one file, as mfusepy calls it."""

    use_ns = True

    def __init__(self, folder: Path, device: NsmDevice, caller: Callable[[], int]) -> None:
        self._folder, self._device, self._caller = folder, device, caller
        self._stuck = False

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == "/nsm":
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1}
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def ioctl(
        self, path: str, command: int, _argument: Any, _handle: int, _flags: int, data: int | None
    ) -> int:
        if command != IOCTL or data is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        message = (ctypes.c_uint64 * 4).from_address(data)
        size, room = message[1], message[3]
        if size > MAX_REQUEST:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        request = ctypes.create_string_buffer(size)
        _move(_LIBC.process_vm_readv, self._caller(), request, message[0])
        response = self._responded(request.raw)[: min(room, MAX_RESPONSE)]
        answer = ctypes.create_string_buffer(response, len(response))
        _move(_LIBC.process_vm_writev, self._caller(), answer, message[2])
        message[3] = self._fault().get("claim", len(response))
        return 0

    def _fault(self) -> dict[str, Any]:
        path = self._folder / "fault.json"
        table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return table

    def _responded(self, request: bytes) -> bytes:
        with (self._folder / "requests").open("a") as log:
            log.write(f"{request.hex()}\n")
        fault = self._fault()
        if "errno" in fault:
            raise OSError(fault["errno"], os.strerror(fault["errno"]))
        # An empty request hangs the device for good: the first times out, later ones find no room.
        if self._stuck or not request:
            code = errno.ENOSPC if self._stuck else errno.ETIMEDOUT
            self._stuck = True
            raise OSError(code, os.strerror(code))
        response = self._device.respond(request)
        if "response" in fault:
            response = bytes.fromhex(fault["response"])
        return response[: fault.get("cut")]


def serve(folder: Path) -> None:
    """Mount, and serve until a signal comes."""
    import mfusepy  # type: ignore[import-untyped]

    pcrs = json.loads((folder / "pcrs.json").read_text())
    device = NsmDevice({int(index): bytes.fromhex(digest) for index, digest in pcrs.items()})
    (folder / "root.der").write_bytes(device.root)
    (folder / "pid").write_text(str(os.getpid()))
    mfusepy.FUSE(
        _Files(folder, device, lambda: int(mfusepy.fuse_get_context()[2])),
        str(folder / "mount"),
        foreground=True,
        nothreads=True,
        fsname="nsm-stand-in",
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
