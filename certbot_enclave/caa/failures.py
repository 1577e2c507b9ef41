# SPDX-License-Identifier: Apache-2.0
"""Why a question to a resolver or server got no usable answer, in one line."""

from __future__ import annotations

import os
import ssl

from certbot_enclave import errors
from certbot_enclave.caa import grammar


def kinds() -> tuple[type[Exception], ...]:
    """Return what a try may end with; `explain` knows each."""
    import dns.exception

    return (
        dns.exception.DNSException,
        OSError,
        EOFError,
        errors.FormatError,
        errors.TransportError,
    )


def explain(error: Exception, timeout: float) -> tuple[str, bool]:
    """Tell why a try gave no usable answer.

    Args:
        error: One of `kinds`.
        timeout: What one try had, in seconds.

    Returns:
        One line, and whether another try could help.
    """
    import dns.exception

    if isinstance(error, dns.exception.Timeout) or (
        # As asyncio has it; the kernel's own has a number.
        isinstance(error, TimeoutError) and error.errno is None
    ):
        return f"no answer within {timeout:g} seconds", True
    if isinstance(error, ssl.SSLError):
        words = (getattr(error, name, None) for name in ("verify_message", "reason"))
        return f"TLS: {next(filter(None, words), error)}", True
    if isinstance(error, OSError):
        # asyncio has words of its own for what the kernel says.
        return os.strerror(error.errno) if error.errno else f"{error}", True
    if isinstance(error, EOFError):
        return "the connection ended before the answer", True
    if isinstance(error, errors.TransportError):
        return f"{error}", False
    return _malformed(error), False


def _malformed(error: Exception) -> str:
    # The text may quote what came, so nothing in it may reach a terminal raw.
    text = str(error).encode("utf-8", "backslashreplace")
    return f"malformed answer: {grammar.escaped(text)}"
