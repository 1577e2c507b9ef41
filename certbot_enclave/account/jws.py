# SPDX-License-Identifier: Apache-2.0
"""Reading a JWS signing input as strictly as the strictest server would (RFC 7515, RFC 8555)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from certbot_enclave import errors

MAX_INPUT = 64 * 1024  # bytes; a finalize with 100 names has about 8 KiB


@dataclass(frozen=True)
class SigningInput:
    """What the key is asked to sign.

    Attributes:
        header: The protected header.
        payload: The JSON object, or None for POST-as-GET (the empty payload).
    """

    header: Mapping[str, Any]
    payload: Mapping[str, Any] | None


def decode(text: str) -> bytes:
    """Decode base64url without padding, in its one canonical form (RFC 7515 §2).

    Python's decoder skips foreign characters; encoding again and comparing refuses them.

    Raises:
        ValueError: Another alphabet, padding, or unused bits that are not zero.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("not canonical base64url")
    return data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Some servers (Go's encoding/json among them) match member names without regard to case, so two
    # names that differ only in case are two readings of one request.
    if len({name.casefold() for name, _ in pairs}) != len(pairs):
        raise ValueError("a member name occurs twice")
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"number {text} is not allowed")


def strict_json(data: bytes) -> Any:
    """Read JSON: UTF-8, no member twice (case-folded), no fractions, no NaN.

    Raises:
        ValueError: It is something else.
        RecursionError: It is nested too deeply.
    """
    return json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_members,
        parse_float=_no_number,
        parse_constant=_no_number,
    )


def parse(signing_input: bytes) -> SigningInput:
    """Read ``BASE64URL(protected) . BASE64URL(payload)``.

    Args:
        signing_input: What josepy passes to the key, at most `MAX_INPUT` bytes.

    Raises:
        GuardError: It is no ACME request in strict form (``jws-malformed``).
    """
    try:
        if len(signing_input) > MAX_INPUT:
            raise ValueError(f"{len(signing_input)} bytes, at most {MAX_INPUT} are allowed")
        protected, dot, payload = signing_input.decode("ascii").partition(".")
        if not dot:
            raise ValueError("there is no dot")
        header = strict_json(decode(protected))
        body = strict_json(decode(payload)) if payload else None
        if not isinstance(header, dict) or not (payload == "" or isinstance(body, dict)):
            raise ValueError("header or payload is no object")
    except (ValueError, RecursionError, binascii.Error) as error:
        raise errors.GuardError(
            f"account key asked to sign what is no ACME request: {error}", code="jws-malformed"
        ) from error
    return SigningInput(header, body)
