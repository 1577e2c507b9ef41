# SPDX-License-Identifier: Apache-2.0
"""Keys go to RAM only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import ram


def test_tmpfs_passes_even_where_nothing_exists_yet():
    assert ram.require([Path("/dev/shm"), Path("/dev/shm/not/yet")]) is None


@pytest.mark.parametrize("path", ["/proc", "/proc/self/not-there", "/sys"])
def test_other_file_systems_are_refused_by_name(path):
    with pytest.raises(
        errors.PolicyError, match=r"is on /(proc|sys), file system type (proc|sysfs),"
    ) as caught:
        ram.require([Path("/dev/shm"), Path(path)])
    assert caught.value.code == "directory-on-disk"


def test_symbolic_link_out_of_ram_is_followed(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/proc")
    with pytest.raises(errors.PolicyError) as caught:
        ram.require([link])
    assert caught.value.code == "directory-on-disk"


def test_unwritable_is_refused(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(errors.PolicyError) as caught:
        ram.require_writable([tmp_path, blocked / "below"])
    assert caught.value.code == "directory-unwritable"
    assert ram.require_writable([tmp_path / "not" / "yet"]) is None


def test_what_cannot_be_looked_at_is_an_error():
    with pytest.raises(errors.TransportError) as caught:
        ram._filesystem_type(-1, Path("/no/such/path"))
    assert caught.value.code == "directory-unreadable"


def test_mount_that_is_not_in_the_table_is_named_by_its_directory(monkeypatch):
    monkeypatch.setattr(ram.mounts, "read", tuple)
    with pytest.raises(errors.PolicyError) as caught:
        ram.require([Path("/proc/self")])
    # PROC_SUPER_MAGIC
    assert re.fullmatch(
        r"/proc/self is on /proc/\d+, file system type 0x9fa0, expected tmpfs or ramfs",
        str(caught.value),
    )


def test_temporary_directory_is_the_one_in_use(monkeypatch, shm):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(shm))
    assert ram.temporary() == shm


def test_no_temporary_directory_is_an_error(monkeypatch):
    def none():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(errors.PolicyError) as caught:
        ram.temporary()
    assert caught.value.code == "directory-temporary"


def test_names_that_cannot_be_followed_are_an_error(tmp_path):
    for check in (ram.require, ram.require_writable):
        with pytest.raises(errors.TransportError) as caught:
            check([tmp_path / ("x" * 300)])
        assert caught.value.code == "directory-unreadable"


def test_link_in_circles_leads_nowhere_else(shm):
    (shm / "loop").symlink_to(shm / "loop")
    assert ram.require([shm / "loop" / "below"]) is None


def test_link_to_what_does_not_exist_yet_is_followed(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/proc/not-there-yet")
    with pytest.raises(errors.PolicyError) as caught:
        ram.require([link / "config"])
    assert caught.value.code == "directory-on-disk"


def _told(before):
    script = f"""
import ctypes
from certbot_enclave.sealing import ram
{before}
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), open("/proc/self/limits").read())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_core_dumps_are_off():
    # A limit that was lowered stays so for children, maybe since another test; this flag does not.
    assert _told("").startswith("1 ")  # PR_GET_DUMPABLE
    after = _told("ram.forbid_core_dumps()")
    assert after.startswith("0 ")
    assert "Max core file size        0                    0 " in after


def test_kernel_that_refuses_is_an_error(monkeypatch):
    class Libc:
        def prctl(self, *_arguments):
            return -1

    monkeypatch.setattr(ram.ctypes, "CDLL", lambda _name: Libc())
    with pytest.raises(errors.EnclaveError) as caught:
        ram.forbid_core_dumps()
    assert caught.value.code == "core-dumps"

    def refused(*_arguments):
        raise OSError("not allowed")

    monkeypatch.setattr(ram.resource, "setrlimit", refused)
    with pytest.raises(errors.EnclaveError) as caught:
        ram.forbid_core_dumps()
    assert caught.value.code == "core-dumps"
