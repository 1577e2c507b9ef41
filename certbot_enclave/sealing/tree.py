# SPDX-License-Identifier: Apache-2.0
"""certbot's config directory, as far as a bundle carries it: read, and written back exactly."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.sealing import carried

MAX_ENTRIES = 65536
MAX_FILE = 1024 * 1024  # bytes
_TEMPORARY = (".new",)  # how names end that `write` makes; one that was killed leaves it behind


@dataclass(frozen=True)
class Folder:
    """A directory: path relative to the config directory, and permission bits."""

    path: str
    mode: int


@dataclass(frozen=True)
class File:
    """A file.

    Attributes:
        path: Relative to the config directory, with ``/``; no empty, ``.`` or ``..`` part.
        mode: Permission bits.
        data: Its content.
    """

    path: str
    mode: int
    data: bytes


@dataclass(frozen=True)
class Link:
    """One of certbot's symbolic links: path, and what it says."""

    path: str
    target: str


Entry = Folder | File | Link


def check(entry: Entry) -> None:
    """Refuse an entry that no bundle carries.

    Raises:
        ValueError: Its path, mode or target is not allowed.
    """
    match entry:
        case Folder(path, mode):
            fits = carried.is_folder(path) and mode == carried.folder_mode(mode)
        case File(path, mode):
            fits = carried.is_file(path) and mode == carried.file_mode(mode)
        case Link(path, target):
            fits = carried.target_of(path, target) is not None
    if not fits:
        raise ValueError(f"{path!r} does not belong into a bundle as it is")


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise errors.SealError(
            f"{path} is a symbolic link, expected a file or directory of the enclave's own",
            code="bundle-link",
            hint="somebody planted it; start with an empty config directory",
        )


class _Reader:
    """Reads one config directory."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._found: list[Entry] = []

    def _add(self, entry: Entry) -> None:
        try:
            check(entry)
        except ValueError as error:
            raise errors.SealError(
                f"{self._top} holds what no bundle can bring back: {error}", code="bundle-path"
            ) from error
        self._found.append(entry)
        if len(self._found) > MAX_ENTRIES:
            raise errors.SealError(
                f"{self._top} holds more than {MAX_ENTRIES} files to carry",
                code="bundle-too-large",
            )

    def _names(self, folder: str) -> list[str]:
        path = self._top / folder
        _refuse_link(path)
        if not path.is_dir():
            return []
        self._add(Folder(folder, carried.folder_mode(stat.S_IMODE(path.stat().st_mode))))
        return sorted(name for name in os.listdir(path) if not _temporary(name))

    def _file(self, path: str) -> None:
        with (self._top / path).open("rb") as file:
            status = os.fstat(file.fileno())
            # A limit for the read would make room for all of it, for each of thousands of files.
            data = file.read() if status.st_size <= MAX_FILE else b""
        if max(status.st_size, len(data)) > MAX_FILE:
            raise errors.SealError(
                f"{self._top / path} is larger than {MAX_FILE} bytes", code="bundle-too-large"
            )
        self._add(File(path, carried.file_mode(stat.S_IMODE(status.st_mode)), data))

    def _all(self, folder: str) -> None:
        for name in self._names(folder):
            path = f"{folder}/{name}"
            _refuse_link(self._top / path)
            if (self._top / path).is_dir():
                self._all(path)
            elif (self._top / path).is_file():
                self._file(path)

    def _some(self, folder: str, wanted: Callable[[str], bool]) -> None:
        for name in filter(wanted, self._names(folder)):
            _refuse_link(self._top / folder / name)
            if (self._top / folder / name).is_file():
                self._file(f"{folder}/{name}")

    def _links(self, lineage: str) -> list[Link] | None:
        """Return the four links of a lineage, or None if one leads nowhere.

        certbot turns one link after the other to a new generation. Meanwhile it notes where they
        led, and when it was killed it turns all of them back at its next start. So the older
        generation counts.
        """
        noted = self._targets(lineage, "previous_")
        for targets in filter(None, (noted, self._targets(lineage))):
            oldest = min(map(carried.generation_of, targets))
            inside = {kind: f"archive/{lineage}/{kind}{oldest}.pem" for kind in carried.KINDS}
            if all((self._top / path).is_file() for path in inside.values()):
                return [
                    Link(f"live/{lineage}/{kind}.pem", f"../../{path}")
                    for kind, path in inside.items()
                ]
        return None

    def _targets(self, lineage: str, before: str = "") -> list[str] | None:
        """Return where all four links lead, or None if one is missing or not certbot's."""
        targets = []
        for kind in carried.KINDS:
            try:
                target = os.readlink(self._top / f"live/{lineage}/{before}{kind}.pem")
            except OSError:
                return None
            top = os.fspath(self._top)
            inside = carried.target_of(f"live/{lineage}/{kind}.pem", target, top)
            if inside is None:
                return None
            targets.append(inside)
        return targets

    def _lineages(self) -> dict[str, list[Link]]:
        """Return what certbot can renew: complete lineages that have a renewal file."""
        _refuse_link(self._top / "live")
        folder = self._top / "live"
        found = {}
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            # certbot takes a lineage's name with an empty renewal file, and fills that last.
            conf = self._top / "renewal" / f"{name}.conf"
            if conf.is_file() and conf.stat().st_size:
                links = self._links(name)
                if links is not None:
                    found[name] = links
        return found

    def read(self) -> tuple[Entry, ...]:
        """Return what is to be carried, in the order in which it is to be written."""
        lineages = self._lineages()
        self._all("accounts")
        if lineages:
            self._names("archive")
        for name, links in lineages.items():
            self._names(f"archive/{name}")
            for link in links:
                path = link.target.removeprefix("../../")
                _refuse_link(self._top / path)
                self._file(path)
        self._some("enclave", carried.OWN.__contains__)
        if lineages:
            self._some("live", "README".__eq__)
        for name, links in lineages.items():
            self._some(f"live/{name}", "README".__eq__)
            for link in links:
                self._add(link)
        # certbot sees a lineage by this file, so it comes last.
        if lineages:
            self._some("renewal", lambda name: name.removesuffix(".conf") in lineages)
        return tuple(self._found)


def _temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(_TEMPORARY)


def collect(config_dir: Path) -> tuple[Entry, ...]:
    """Read what is to be carried.

    Args:
        config_dir: certbot's config directory.

    Raises:
        SealError: There is too much, or one file is too large (``bundle-too-large``), a symbolic
            link stands where none belongs (``bundle-link``), or a name could not be restored
            (``bundle-path``).
        TransportError: Something cannot be read (``state-unreadable``).
    """
    if not config_dir.exists():
        return ()
    try:
        os.listdir(config_dir)  # a file in its place holds nothing, and is no empty directory
        return _Reader(config_dir).read()
    except OSError as error:
        raise errors.TransportError(
            f"cannot read {error.filename}: {error.strerror}", code="state-unreadable"
        ) from error


def _lasting(data: bytes) -> Iterator[bytes]:
    """Yield the lines of a renewal file that matter: not when certbot asks about ARI next."""
    inside = False
    for line in data.splitlines(keepends=True):
        if line.lstrip().startswith(b"["):
            inside = line.strip() == b"[acme_renewal_info]"
        if not inside:
            yield line


def digest(entries: Iterable[Entry]) -> str:
    """Return a digest that changes when something that matters does, lower-case hex."""
    total = hashlib.sha256()
    for entry in entries:
        match entry:
            case Folder(path, mode):
                head, data = f"folder {path} {mode:o}", b""
            case Link(path, target):
                head, data = f"link {path} {target}", b""
            case File(path, mode, data):
                head = f"file {path} {mode:o}"
                if path.startswith("renewal/"):
                    data = b"".join(_lasting(data))
        total.update(f"{len(head)} {len(data)} {head}".encode() + data)
    return total.hexdigest()


def _folder_for(top: Path, path: Path, seen: set[Path]) -> None:
    """Make the directories above a path, none of them through a link."""
    if path in seen or path == top:
        return
    _folder_for(top, path.parent, seen)
    _refuse_link(path)
    path.mkdir(mode=0o700, exist_ok=True)
    seen.add(path)


def restore(config_dir: Path, entries: Iterable[Entry]) -> None:
    """Write files of our own, or what a bundle holds that was authenticated.

    Args:
        config_dir: certbot's config directory; made with mode 0755 if missing, as certbot does.
        entries: Each replaces what is there.

    Raises:
        SealError: A symbolic link stands where a file or directory should (``bundle-link``).
        TransportError: Something cannot be written (``state-unwritable``).
    """
    seen: set[Path] = set()
    try:
        config_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        for entry in entries:
            path = config_dir / entry.path
            _folder_for(config_dir, path.parent, seen)
            match entry:
                case Folder(mode=mode):
                    _folder_for(config_dir, path, seen)
                    path.chmod(mode)
                case File(mode=mode, data=data):
                    _refuse_link(path)
                    write(path, data, mode)
                case Link(target=target):
                    _link(path, target)
    except OSError as error:
        raise errors.TransportError(
            f"cannot write below {config_dir}: {error.strerror}", code="state-unwritable"
        ) from error


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


@contextmanager
def opened_lock(path: Path) -> Iterator[int]:
    """Open a file to lock; it stays, and the lock ends with the block or the process.

    Args:
        path: Its directory exists.

    Raises:
        TransportError: It cannot be opened (``state-unwritable``).
    """
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise errors.TransportError(
            f"cannot open {path}: {error.strerror}", code="state-unwritable"
        ) from error
    try:
        yield opened
    finally:
        os.close(opened)


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace one file atomically; of two that write at once, one wins whole.

    Args:
        path: Its directory exists.
        data: The new content.
        mode: Permission bits; nobody else can read it before it has them.

    Raises:
        OSError: It cannot be written; nothing is left.
    """
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # A hook of certbot's may write evidence while certbot does. A kill ends the lock.
        fcntl.flock(folder, fcntl.LOCK_EX)
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)
