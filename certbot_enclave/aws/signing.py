# SPDX-License-Identifier: Apache-2.0
"""Signature Version 4 of requests to AWS, by requests-aws4auth (docs/adr/0003-aws.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from certbot_enclave import errors

if TYPE_CHECKING:
    from certbot_enclave.aws.credentials import Credentials
    from certbot_enclave.aws.exchange import Sign


def require() -> None:
    """Refuse early if the library is not installed.

    Raises:
        PolicyError: It is not (``aws-extra-missing``).
    """
    try:
        import requests_aws4auth  # noqa: F401
    except ImportError as error:
        raise errors.PolicyError(
            "requests-aws4auth is not installed",
            code="aws-extra-missing",
            hint="put it into the image: pip install 'certbot-enclave[aws]'",
        ) from error


def dated(now: float) -> dict[str, str]:
    """Return the header field that the signature takes its time from.

    Args:
        now: Seconds since 1970.
    """
    return {"X-Amz-Date": datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")}


def signer(credentials: Credentials, region: str, service: str) -> Sign:
    """Return what signs one request that `dated` has dated.

    One for each request: the library changes its objects in use.
    """
    from requests_aws4auth import AWS4Auth

    sign: Sign = AWS4Auth(
        credentials.access_id,
        credentials.secret,
        region,
        service,
        session_token=credentials.token or None,
    )
    return sign
