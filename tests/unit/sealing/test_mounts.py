# SPDX-License-Identifier: Apache-2.0
"""The kernel's mount table is read as proc(5) says."""

import os
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import mounts
from certbot_enclave.sealing.mounts import Mount

# The first is the example of proc(5).
TABLE = b"""36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 36 0:31 / /run rw - tmpfs tmpfs rw
41 36 0:32 / /a\\040b\\134c\\012d rw shared:1 master:2 - fuse.sshfs host:/\\040-\\040x rw
"""


def test_table():
    assert mounts.parse(TABLE) == (
        Mount(36, Path("/mnt2"), "ext3"),
        Mount(40, Path("/run"), "tmpfs"),
        Mount(41, Path("/a b\\c\nd"), "fuse.sshfs"),
    )
    assert mounts.parse(b"") == ()


@pytest.mark.parametrize(
    "line",
    [
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 ext3 /dev/root rw",
        b"36 35 98:0 /mnt1 - ext3 /dev/root rw",
        b"x 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw",
        b"",
    ],
)
def test_no_table(line):
    with pytest.raises(ValueError):
        mounts.parse(TABLE + line + b"\n")


def test_table_of_this_process():
    kinds = {mount.point: mount.kind for mount in mounts.read()}
    assert kinds[Path("/proc")] == "proc"
    assert kinds[Path("/dev/shm")] == "tmpfs"


def test_table_that_cannot_be_read_is_an_error(monkeypatch):
    def broken(_path):
        return b"?"

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(errors.TransportError) as caught:
        mounts.read()
    assert caught.value.code == "mounts-unreadable"


def test_mount_of_an_open_file():
    numbers = {mount.number: mount.point for mount in mounts.read()}
    descriptor = os.open("/proc/self", os.O_PATH)
    try:
        assert numbers[mounts.number_of(descriptor)] == Path("/proc")
    finally:
        os.close(descriptor)
    with pytest.raises(OSError, match=str(descriptor)):
        mounts.number_of(descriptor)


def test_kernel_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_kwargs: "pos:\t0\nflags:\t02\n")
    assert mounts.number_of(0) == -1
