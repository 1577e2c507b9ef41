# SPDX-License-Identifier: Apache-2.0
"""The key that signs an update (TSIG, RFC 8945), as the tools of DNS servers write it to files.

Two forms are read: BIND's, as ``tsig-keygen`` prints it ::

    key "name" {
        algorithm hmac-sha256;
        secret "BASE64";
    };

and that of Knot's tools, one line ``algorithm:name:secret``. Nothing that stands in such a file is
ever repeated in an error: what is in the wrong place may be the secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from certbot_enclave import errors

LIMIT = 4096  # bytes of a file; one with a key of 64 bytes has 150
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
_WEAK = {
    "hmac-md5": "must not be used (RFC 8945 §6)",
    "hmac-md5.sig-alg.reg.int": "must not be used (RFC 8945 §6)",
    "hmac-sha1": "is not recommended (RFC 8945 §6)",
}
_STRONG = f"make a key with one of {', '.join(ALGORITHMS)}, for the server too"
_SHORTEST, _LONGEST = 16, 512  # bytes of a secret; half a SHA-256, and more than any tool makes
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# One token; comments are BIND's three kinds.
_TOKEN = re.compile(
    r"\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/"
    r'|"(?P<quoted>[^"\\\n]*)"|(?P<sign>[{};])|(?P<word>[A-Za-z0-9._+/=-]+)',
    re.DOTALL | re.ASCII,
)
_FORM = (
    'expected key "NAME" { algorithm hmac-sha256; secret "BASE64"; }; '
    "or one line hmac-sha256:NAME:BASE64"
)


@dataclass(frozen=True)
class TsigKey:
    """One key.

    Attributes:
        name: Lower case, no final dot.
        algorithm: One of `ALGORITHMS`.
        secret: Shared with the server; never shown.
    """

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def _malformed(reason: str) -> errors.FormatError:
    return errors.FormatError(
        f"key file: {reason}",
        code="tsig-key-form",
        hint="make one with tsig-keygen NAME; of keymgr -t NAME take the first line without its #",
    )


def _tokens(text: str) -> list[str]:
    """Split the text in BIND's form; quotes go."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _malformed(_FORM)
        at = match.end()
        token = next((part for part in match.groups() if part is not None), None)
        if token is not None:
            found.append(token)
    return found


def _clause(text: str) -> tuple[str, str, str]:
    """Read the form of BIND; return algorithm, name and secret."""
    tokens = _tokens(text)
    match tokens:
        case ["key", name, "{", "algorithm", algorithm, ";", "secret", secret, ";", "}", ";"]:
            return algorithm, name, secret
        case ["key", name, "{", "secret", secret, ";", "algorithm", algorithm, ";", "}", ";"]:
            return algorithm, name, secret
    if tokens.count("key") > 1:
        raise _malformed("it has several keys; put the one for the zone into a file of its own")
    raise _malformed(_FORM)


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        # Not chained: its traceback would show what it was given.
        raise _malformed("its secret is no base64") from None
    if not _SHORTEST <= len(secret) <= _LONGEST:
        raise errors.PolicyError(
            f"key file: its secret has {len(secret)} bytes, expected {_SHORTEST} to {_LONGEST}",
            code="tsig-key-length",
            hint="make a new key with tsig-keygen NAME or keymgr -t NAME, for the server too",
        )
    return secret


def parse(data: bytes) -> TsigKey:
    """Read a key file.

    Args:
        data: All of it, or `LIMIT` bytes and one more.

    Raises:
        FormatError: It is in neither form (``tsig-key-form``).
        PolicyError: The algorithm is not taken (``tsig-key-algorithm``), or the secret too short
            or too long (``tsig-key-length``).
    """
    if len(data) > LIMIT:
        raise _malformed(f"it has more than {LIMIT} bytes")
    if not data.isascii():
        raise _malformed("it has signs outside ASCII")
    text = data.decode("ascii").strip()
    line = text.split(":")
    algorithm, name, secret = line if len(line) == 3 else _clause(text)
    algorithm, name = algorithm.lower(), name.lower().removesuffix(".")
    if algorithm in _WEAK:
        raise errors.PolicyError(
            f"key file: {algorithm} {_WEAK[algorithm]}", code="tsig-key-algorithm", hint=_STRONG
        )
    if algorithm not in ALGORITHMS:
        raise errors.PolicyError(
            "key file: its algorithm is not taken here", code="tsig-key-algorithm", hint=_STRONG
        )
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _malformed("the name of the key is no domain name")
    return TsigKey(name, algorithm, _secret(secret))
