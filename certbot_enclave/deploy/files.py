# SPDX-License-Identifier: Apache-2.0
"""``files:DIR``: key and full chain as ``DIR/NAME/privkey.pem`` and ``DIR/NAME/fullchain.pem``.

``DIR/NAME`` is a symbolic link to a directory that holds both, so the two files change together
and a reader sees the old pair or the new one. When the check or the reload fails, the link goes
back to the old pair.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from certbot_enclave import errors

TIMEOUT = 60.0  # seconds for the check and for the reload, each
MAX_OUTPUT = 4096  # bytes of a command's output that are looked at
_UNTOLD = ".untold"  # is there while a new pair is in place and the server may not know
# A command gets this and nothing of our environment, which the host may have shaped.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def directory(spec: str) -> Path:
    """Return the directory that ``files:DIR`` names.

    Raises:
        PolicyError: Another scheme, or no absolute path (``deploy-invalid``).
    """
    scheme, _, path = spec.partition(":")
    if scheme != "files" or not Path(path).is_absolute():
        raise errors.PolicyError(
            f"deploy is {spec!r}, expected files: and an absolute path", code="deploy-invalid"
        )
    return Path(path)


def _run(what: str, command: str, timeout: float) -> None:
    try:
        words = shlex.split(command)
        if not words:
            raise ValueError("the command is empty")
        code, output = _finish(words, timeout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise errors.DeployError(
            f"deploy {what} cannot be run: {error}", code=f"deploy-{what}"
        ) from error
    if code == 0:
        return
    lines = output.decode("utf-8", "replace").strip().splitlines()
    said = "".join(c for c in lines[-1] if c.isprintable()) if lines else "it printed nothing"
    raise errors.DeployError(
        f"deploy {what} failed with exit code {code}: {said}", code=f"deploy-{what}"
    )


def _finish(words: list[str], timeout: float) -> tuple[int, bytes]:
    """Run a command; return its exit code and the end of what it printed."""
    # Output goes to a file: a server that the command leaves running would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            cwd="/",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = _wait(process, timeout)
        output.seek(max(0, output.tell() - MAX_OUTPUT))
        return code, output.read(MAX_OUTPUT)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except BaseException:
        # Its children too: a check that hangs must not go on beside the next one. An interrupt from
        # the keyboard does not reach them by itself, in their own session.
        with contextlib.suppress(ProcessLookupError):  # it has just ended, and left nobody behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _own_directory(path: Path) -> None:
    """Make a directory, or refuse what stands in its place: a link could lead out of RAM."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is a symbolic link")


def _point(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def deploy(
    where: Path,
    name: str,
    *,
    key: bytes,
    chain: bytes,
    check: str = "",
    reload: str = "",
    timeout: float = TIMEOUT,
) -> None:
    """Put a new pair in place, check it, and tell the TLS server.

    Args:
        where: The directory; made with mode 0700 if missing. The caller has checked that it is RAM.
        name: Name of the certificate; becomes one path component.
        key: Private key, PEM.
        chain: Certificate and issuers, PEM.
        check: Command that must succeed while the new pair is in place; empty for none.
        reload: Command that makes the server use it; empty for none.
        timeout: Seconds for each command.

    Raises:
        DeployError: The pair cannot be written (``deploy-write``), or a command failed
            (``deploy-check``, ``deploy-reload``); the old pair is in place again.
    """
    if not name or "/" in name or name.startswith("."):
        raise errors.DeployError(f"{name!r} is no name for a certificate", code="deploy-name")
    with _alone(where):
        _deploy(where, name, key, chain, (("check", check), ("reload", reload)), timeout)


@contextlib.contextmanager
def _alone(where: Path) -> Iterator[None]:
    """Make the directory, and keep other deployments out; a kill ends it."""
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        where.chmod(0o700)
        opened = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise errors.DeployError(
            f"cannot use {where}: {error.strerror}", code="deploy-write"
        ) from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def holds(where: Path, name: str, *, key: bytes, chain: bytes) -> bool:
    """Return whether a pair is in place, and the TLS server was told of it."""
    try:
        return (
            not (where / ".versions" / name / _UNTOLD).exists()
            and (where / name / "privkey.pem").read_bytes() == key
            and (where / name / "fullchain.pem").read_bytes() == chain
        )
    except OSError:
        return False


def _deploy(
    where: Path,
    name: str,
    key: bytes,
    chain: bytes,
    commands: Iterable[tuple[str, str]],
    timeout: float,
) -> None:
    link, versions = where / name, where / ".versions" / name
    old: str | None = None
    new: Path | None = None
    try:
        _own_directory(versions.parent)
        _own_directory(versions)
        if link.is_symlink():
            old = os.readlink(link)
        elif link.exists():
            raise FileExistsError(errno.EEXIST, "it is in the way, and no link of ours")
        new = Path(tempfile.mkdtemp(dir=versions))
        _write(new / "privkey.pem", key, 0o600)
        _write(new / "fullchain.pem", chain, 0o644)
        (versions / _UNTOLD).touch()
        _point(link, os.fspath(new.relative_to(where)))
    except OSError as error:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)
        raise errors.DeployError(
            f"cannot write key and chain to {link}: {error.strerror}", code="deploy-write"
        ) from error
    try:
        for what, command in commands:
            if command:
                _run(what, command, timeout)
    except BaseException as error:
        stays = _go_back(link, old, new)
        if isinstance(error, errors.DeployError):
            raise errors.DeployError(f"{error}; {stays}", code=error.code) from error
        raise
    (versions / _UNTOLD).unlink(missing_ok=True)
    for stale in versions.iterdir():
        if stale != new:
            shutil.rmtree(stale, ignore_errors=True)


def _go_back(link: Path, old: str | None, new: Path) -> str:
    """Undo, and say what is in place now."""
    try:
        if old is None:
            link.unlink()
        else:
            _point(link, old)
        (new.parent / _UNTOLD).unlink(missing_ok=True)
    except OSError as error:
        return f"the new certificate stays in place: {error.strerror}"
    shutil.rmtree(new, ignore_errors=True)
    return "nothing is in place" if old is None else "the old certificate stays in place"


def _write(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
