# SPDX-License-Identifier: Apache-2.0
"""Keys go to RAM only: real mounts, in a mount namespace of their own (this needs root)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world.process import program

DISK = Path(__file__).parent  # of this checkout, which is not in RAM
LOOK = """
import json, sys
from pathlib import Path
from certbot_enclave import errors
from certbot_enclave.sealing import ram
try:
    ram.require([Path(sys.argv[1])], below=sys.argv[2] == "below")
    print(json.dumps(["", ""]))
except errors.Error as error:
    print(json.dumps([error.code, str(error)]))
"""
# What happens before the look; $D is on disk, $R in RAM.
REFUSED = {
    "disk": ("", "$D/never-made", "/"),
    "bind mount of a disk": ("mkdir $R/c; mount --bind $D $R/c", "$R/c/not/yet", "$R/c"),
    "bind mount within a disk": (
        "mkdir $D/a $D/b; mount --bind $D/a $D/b",
        "$D/b/not/yet",
        "$D/b",
    ),
    "mount on what is in RAM, below": (
        "mkdir -p $R/c/archive/name; mount --bind $D $R/c/archive/name",
        "$R/c",
        "$R/c/archive/name",
    ),
    "file from a disk, below": (
        "mkdir $R/c; touch $D/f $R/c/f; mount --bind $D/f $R/c/f",
        "$R/c",
        "$R/c/f",
    ),
    "link out of RAM": ("mkdir $D/a $R/c; ln -s $D/a $R/c/l", "$R/c/l", "/"),
    "link to a mount": (
        "mkdir $R/m $R/c; mount --bind $D $R/m; ln -s ../m $R/c/l",
        "$R/c/l/not/yet",
        "$R/m",
    ),
    "disk over RAM": (
        "mkdir $R/c; mount -t tmpfs tmpfs $R/c; mount --bind $D $R/c",
        "$R/c",
        "$R/c",
    ),
    "name with signs that the table escapes": (
        "mkdir '$R/a b\\c'; mount --bind $D '$R/a b\\c'",
        "$R/a b\\c",
        "$R/a b\\c",
    ),
    "overlay, as the root of a container": (
        "mkdir $R/u $R/w $R/o; mount -t overlay -o lowerdir=$D,upperdir=$R/u,workdir=$R/w o $R/o",
        "$R/o/not/yet",
        "$R/o",
    ),
}
IN_RAM = {
    "tmpfs": ("", "$R/not/yet"),
    "tmpfs on a directory of a disk": ("mkdir $D/c; mount -t tmpfs tmpfs $D/c", "$D/c/x"),
    "ramfs": ("mkdir $D/c; mount -t ramfs ramfs $D/c", "$D/c/x"),
    "tmpfs below tmpfs": ("mkdir -p $R/c/a; mount -t tmpfs tmpfs $R/c/a", "$R/c"),
    "tmpfs over a disk": (
        "mkdir $R/c; mount --bind $D $R/c; mount -t tmpfs tmpfs $R/c",
        "$R/c",
    ),
    "disk below that is hidden": (
        "mkdir -p $R/c/a; mount --bind $D $R/c/a; mount -t tmpfs tmpfs $R/c",
        "$R/c",
    ),
    "disk beside it": ("mkdir $R/c $R/cc; mount --bind $D $R/cc", "$R/c"),
}


@pytest.fixture
def look(shm):
    """Mount, look at a path, and return the code, the message and what the places are called."""
    ram, disk = shm / "ram", DISK / f"never-kept-{shm.name}"

    def looked(before, path, below="below"):
        def placed(text):
            return text.replace("$R", str(ram)).replace("$D", str(disk))

        mounting = f'set -e; mount -t tmpfs tmpfs {ram}; {placed(before)}; exec "$@"'
        command = ["sh", "-c", mounting.replace("; ;", ";"), "sh", sys.executable, "-c", LOOK]
        done = subprocess.run(
            [program("unshare"), "--mount", *command, placed(path), below],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        code, message = json.loads(done.stdout)
        return code, message, placed

    ram.mkdir()
    disk.mkdir()
    yield looked
    subprocess.run(["rm", "-r", "--one-file-system", str(disk)], check=True)


def _point_of(path):
    """The mount that a directory of the checkout is on, asked otherwise than the product does."""
    command = ["findmnt", "--noheadings", "--output", "TARGET", "--target", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("before", "path", "point"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_ram_is_refused_and_the_mount_named(look, before, path, point):
    code, message, placed = look(before, path)
    assert code == "directory-on-disk"
    named = _point_of(DISK) if point == "/" else placed(point)
    assert f" is on {named}, file system type " in message
    assert "tmpfs," not in message


@pytest.mark.parametrize(("before", "path"), IN_RAM.values(), ids=IN_RAM)
def test_what_is_ram_passes(look, before, path):
    assert look(before, path)[:2] == ("", "")


def test_what_is_mounted_below_counts_only_if_asked(look):
    before, path, _ = REFUSED["mount on what is in RAM, below"]
    assert look(before, path, "alone")[:2] == ("", "")


def test_without_proc_nothing_passes(look):
    assert look("umount -l /proc", "$R")[0] == "mounts-unreadable"
