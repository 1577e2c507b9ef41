# SPDX-License-Identifier: Apache-2.0
"""An archive is the same for the same files, and read without trust."""

import gzip
import io
import tarfile

import pytest

from certbot_enclave import errors
from certbot_enclave.sealing import archive, tree
from certbot_enclave.sealing.tree import File, Folder, Link

LONG = "x" * 250 + ".conf"  # more than the oldest tar format takes
ENTRIES = (
    Folder("accounts", 0o700),
    File("accounts/a/private_key.json", 0o400, b"sealed"),
    File("archive/n/cert1.pem", 0o644, b"cert"),
    Folder("live", 0o755),
    Link("live/n/cert.pem", "../../archive/n/cert1.pem"),
    File(f"renewal/{LONG}", 0o644, bytes(range(256)) * 5),
)
HEAD = b'{"config_dir": "/etc/letsencrypt"}'


def _tar(*members, head=True):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if head:
            tar.addfile(_info("bundle.json", size=2), io.BytesIO(b"{}"))
        for info in members:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


def _info(path, kind=tarfile.REGTYPE, mode=0o600, size=0, target=""):
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, target
    return info


def test_round_trip():
    packed = archive.pack(HEAD, ENTRIES)
    assert archive.unpack(packed) == (HEAD, ENTRIES)
    assert archive.pack(HEAD, ENTRIES) == packed


def test_time_and_owner_are_not_in_it():
    with tarfile.open(fileobj=io.BytesIO(archive.pack(HEAD, ENTRIES)), mode="r:gz") as tar:
        said = {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar}
    assert said == {(0, 0, 0, "", "")}


REFUSED = {
    "nothing": _tar(head=False),
    "no head": _tar(_info("accounts/a"), head=False),
    "head is a directory": _tar(_info("bundle.json", tarfile.DIRTYPE), head=False),
    "two heads": _tar(_info("bundle.json")),
    "outside": _tar(_info("../accounts/a")),
    "absolute": _tar(_info("/etc/shadow")),
    "hook": _tar(_info("renewal-hooks/pre/x", mode=0o755)),
    "executable": _tar(_info("accounts/a", mode=0o755)),
    "device": _tar(_info("accounts/a", tarfile.CHRTYPE)),
    "pipe": _tar(_info("accounts/a", tarfile.FIFOTYPE)),
    "hard link": _tar(_info("accounts/a", tarfile.LNKTYPE, target="accounts/b")),
    "sparse file": _tar(_info("accounts/a", tarfile.GNUTYPE_SPARSE)),
    "contiguous file": _tar(_info("accounts/a", tarfile.CONTTYPE)),
    "link of another": _tar(_info("accounts/a", tarfile.SYMTYPE, target="/etc/shadow")),
    "link to nothing": _tar(
        _info("live/n/cert.pem", tarfile.SYMTYPE, 0o777, target="../../archive/n/cert1.pem")
    ),
    "twice": _tar(_info("accounts/a"), _info("accounts/a")),
    "no tar": b"x" * 10240,
    "cut": _tar(_info("accounts/a", size=4096))[:2560],
    "negative size": None,
}
_negative = bytearray(_tar(_info("accounts/a")))
_at = _negative.index(b"accounts/a")
_negative[_at + 124 : _at + 136] = b"\xff" * 12  # base 256: minus one
_negative[_at + 148 : _at + 156] = b" " * 8
_negative[_at + 148 : _at + 156] = b"%06o\0 " % sum(_negative[_at : _at + 512])
REFUSED["negative size"] = bytes(_negative)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_refused(raw):
    assert archive.unpack(gzip.compress(_tar(_info("accounts/a"))))[0] == b"{}"
    with pytest.raises(errors.FormatError) as caught:
        archive.unpack(gzip.compress(raw))
    assert caught.value.code == "bundle-content"


GOOD = archive.pack(HEAD, ENTRIES)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", GOOD[:-1], GOOD[:40], GOOD + b"x", GOOD + GOOD, _tar(_info("accounts/a"))],
    ids=["empty", "other", "cut by one", "cut", "byte behind", "twice", "not compressed"],
)
def test_compression_is_read_strictly(data):
    with pytest.raises(errors.FormatError) as caught:
        archive.unpack(data)
    assert caught.value.code == "bundle-content"


def test_bomb_is_not_unpacked(monkeypatch):
    bomb = gzip.compress(bytes(4 << 20))
    assert len(bomb) < 8192
    monkeypatch.setattr(archive, "MAX_TREE", 1 << 20)
    with pytest.raises(errors.FormatError, match="more than 1048576 bytes unpacked"):
        archive.unpack(bomb)


def test_too_many_entries(monkeypatch):
    monkeypatch.setattr(tree, "MAX_ENTRIES", len(ENTRIES))
    assert archive.unpack(GOOD) == (HEAD, ENTRIES)
    monkeypatch.setattr(tree, "MAX_ENTRIES", len(ENTRIES) - 1)
    with pytest.raises(errors.FormatError, match="more than 5 entries"):
        archive.unpack(GOOD)
