# SPDX-License-Identifier: Apache-2.0
"""certbot in a process of its own, with an environment that the host has not shaped.

certbot may hang (an exception between two of its threads is enough), so it gets so much time; and
it runs hooks and plugins, so it gets a process group that can be ended as a whole. Interpreter and
packages are those of this process: ``-I`` keeps ``PYTHON*``, the working directory and the user's
packages out of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from certbot_enclave import errors

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
_LOOK = 0.05  # seconds between looks
_PROGRAM = (
    sys.executable,
    "-I",
    "-c",
    "import sys; from certbot.main import main; sys.argv[0] = 'certbot'; sys.exit(main())",
)
_PASSED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    # The host is the network anyway: TLS and DNSSEC are checked behind any proxy.
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    # Who may write to the store; nothing that these open is readable to their owner.
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
)
_TOLD = "CERTBOT_ENCLAVE_TOLD"  # file descriptor on which the child names what it has reported
_MAX_TOLD = 4096  # bytes


class Ended(NamedTuple):
    """How certbot ended.

    Attributes:
        code: Its exit code, or minus the signal that ended it.
        timed_out: True if it was ended because its time was over.
        passed: The signal that came to us and was passed on, or None.
        told: Codes of our errors that it has printed.
    """

    code: int
    timed_out: bool
    passed: signal.Signals | None
    told: frozenset[str]


def environment(environ: Mapping[str, str], ca_roots: str) -> dict[str, str]:
    """Return what certbot gets of an environment.

    Args:
        environ: Ours.
        ca_roots: The setting: roots for the ACME server, for certbot's requests outside the plugin
            (ARI, revocation); empty for the built-in ones.
    """
    kept = {name: environ[name] for name in _PASSED if name in environ}
    return {**kept, "REQUESTS_CA_BUNDLE": ca_roots} if ca_roots else kept


def tell(error: errors.Error) -> None:
    """In certbot: name an error that was printed, so that whoever started us does not repeat it."""
    number = os.environ.get(_TOLD, "")
    if number.isdecimal():
        try:
            os.write(int(number), f"{error.code}\n".encode())
        except OSError:
            return  # it is only about not saying things twice


@contextmanager
def _noted() -> Iterator[list[signal.Signals]]:
    """Note SIGTERM and SIGINT instead of dying of them."""
    came: list[signal.Signals] = []
    before = {
        number: signal.signal(number, lambda got, _frame: came.append(signal.Signals(got)))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    # Not reaped yet, so that its process group still has its number.
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes], number: signal.Signals, grace: float) -> None:
    """End the whole group, politely at first."""
    os.killpg(process.pid, number)
    deadline = time.monotonic() + grace
    while not _ended(process) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    os.killpg(process.pid, signal.SIGKILL)


def _wait(
    process: subprocess.Popen[bytes], came: list[signal.Signals], timeout: float, grace: float
) -> tuple[bool, signal.Signals | None]:
    deadline = time.monotonic() + timeout
    while not _ended(process):
        if came:
            passed = came[0]
            _end(process, passed, grace)
            return False, passed
        if time.monotonic() >= deadline:
            _end(process, signal.SIGTERM, grace)
            return True, None
        time.sleep(_LOOK)
    return False, came[0] if came else None


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    timeout: float,
    grace: float = GRACE,
    program: Sequence[str] = _PROGRAM,
) -> Ended:
    """Run certbot to its end, or to the end of its time; what it prints goes where ours goes.

    SIGTERM and SIGINT to this process are passed on. Only the main thread may call this.

    Args:
        arguments: certbot's.
        environ: Its whole environment.
        timeout: Seconds until its process group gets SIGTERM.
        grace: Seconds from there, or from a signal that was passed on, until SIGKILL.
        program: What to start.

    Raises:
        TransportError: It cannot be started (``certbot-missing``).
    """
    sys.stdout.flush()
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as told, _noted() as came:
        try:
            process = subprocess.Popen(
                [*program, *arguments],
                env={**environ, _TOLD: str(writer)},
                stdin=subprocess.DEVNULL,
                pass_fds=[writer],
                start_new_session=True,
            )
        except OSError as error:
            raise errors.TransportError(
                f"cannot start certbot: {error.strerror}", code="certbot-missing"
            ) from error
        finally:
            os.close(writer)
        try:
            timed_out, passed = _wait(process, came, timeout, grace)
        finally:
            code = process.wait()
        # Whoever certbot left behind may still hold the other end.
        os.set_blocking(reader, False)
        codes = (told.read(_MAX_TOLD) or b"").decode("ascii", "replace").split()
    return Ended(code, timed_out, passed, frozenset(codes))
