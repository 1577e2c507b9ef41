# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle as bytes: a tar archive, compressed; the same files give the same bytes.

Reading is strict although the bytes were authenticated before: only directories, files and links
that certbot's tree has, no path outside, and no more than `MAX_TREE` bytes, however well packed.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable

from certbot_enclave import errors
from certbot_enclave.sealing import carried, tree
from certbot_enclave.sealing.tree import Entry, File, Folder, Link

MAX_TREE = 128 * 1024 * 1024  # bytes, unpacked
_HEAD = "bundle.json"
_LEVEL = 1  # chains repeat from lineage to lineage, and even the fastest level sees that
_GZIP = 31  # zlib's window bits for the gzip format


def _member(path: str, mode: int, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(path)  # no owner, and the time is 0
    found.mode, found.type, found.size = mode, kind, size
    return found


def pack(head: bytes, entries: Iterable[Entry]) -> bytes:
    """Pack files.

    Args:
        head: What is said about them.
        entries: In the order in which they are to be written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member(_HEAD, 0o600, size=len(head)), io.BytesIO(head))
        for entry in entries:
            match entry:
                case Folder(path, mode):
                    tar.addfile(_member(path, mode, tarfile.DIRTYPE))
                case File(path, mode, data):
                    tar.addfile(_member(path, mode, size=len(data)), io.BytesIO(data))
                case Link(path, target):
                    link = _member(path, 0o777, tarfile.SYMTYPE)
                    link.linkname = target
                    tar.addfile(link)
    return gzip.compress(buffer.getvalue(), _LEVEL, mtime=0)


def _inflated(data: bytes) -> bytes:
    inflating = zlib.decompressobj(_GZIP)
    raw = inflating.decompress(data, MAX_TREE + 1)
    if len(raw) > MAX_TREE:
        raise ValueError(f"more than {MAX_TREE} bytes unpacked")
    if not inflating.eof or inflating.unused_data:
        raise ValueError("cut short, or bytes behind the end")
    return raw


def _entry(member: tarfile.TarInfo, raw: bytes) -> Entry:
    end = member.offset_data + member.size
    entry: Entry
    if member.type == tarfile.REGTYPE and member.size >= 0 and end <= len(raw):
        entry = File(member.name, member.mode, raw[member.offset_data : end])
    elif member.type == tarfile.DIRTYPE:
        entry = Folder(member.name, member.mode)
    elif member.type == tarfile.SYMTYPE:
        entry = Link(member.name, member.linkname)
    else:
        raise ValueError(f"{member.name!r} is no file, directory or link")
    return entry


def _entries(raw: bytes) -> tuple[bytes, tuple[Entry, ...]]:
    found: list[Entry] = []
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        for member in tar:
            found.append(_entry(member, raw))
            if len(found) > 1 + tree.MAX_ENTRIES:
                raise ValueError(f"more than {tree.MAX_ENTRIES} entries")
    head, *entries = found
    if not isinstance(head, File) or head.path != _HEAD:
        raise ValueError(f"it does not begin with {_HEAD}")
    for entry in entries:
        tree.check(entry)
    if len({entry.path for entry in entries}) != len(entries):
        raise ValueError("a path occurs twice")
    files = {entry.path for entry in entries if isinstance(entry, File)}
    for entry in entries:
        if isinstance(entry, Link) and carried.target_of(entry.path, entry.target) not in files:
            raise ValueError(f"{entry.path!r} leads to nothing in the bundle")
    return head.data, tuple(entries)


def unpack(data: bytes) -> tuple[bytes, tuple[Entry, ...]]:
    """Read what `pack` wrote.

    Raises:
        FormatError: It is not that (``bundle-content``).
    """
    try:
        return _entries(_inflated(data))
    except (ValueError, tarfile.TarError, zlib.error, EOFError, OverflowError) as error:
        raise errors.FormatError(
            f"content of the bundle: {error}", code="bundle-content"
        ) from error
