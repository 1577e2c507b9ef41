# SPDX-License-Identifier: Apache-2.0
"""Keys go to RAM only."""

from pathlib import Path

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import ram


def test_tmpfs_passes_even_where_nothing_exists_yet():
    assert ram.require([Path("/dev/shm"), Path("/dev/shm/not/yet")]) is None


@pytest.mark.parametrize("path", ["/proc", "/proc/self/not-there", "/sys"])
def test_other_file_systems_are_refused_by_name(path):
    with pytest.raises(errors.PolicyError, match=r"is on /(proc|sys), file system type") as caught:
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
        ram._filesystem_type(Path("/no/such/path"))
    assert caught.value.code == "directory-unreadable"
