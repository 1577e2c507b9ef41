# SPDX-License-Identifier: Apache-2.0
"""Signed, bounded HTTP requests for one object in S3, and what its refusals mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from certbot_enclave import errors
from certbot_enclave.sealing.stores.s3_location import Location

TIMEOUT = (5.0, 30.0)  # seconds, to connect and between bytes
DELAYS = (0.3, 1.0, 3.0)  # seconds before each further try
_MAX_ERROR = 64 * 1024  # bytes
# Amazon S3 API Reference, "REST error responses". The document is XML, but nothing else of it is
# needed, and this reads any reply at all.
_CODE = re.compile(rb"<Error>(?:(?!<Error>).){0,4096}?<Code>([A-Za-z]{1,60})</Code>", re.DOTALL)
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")

Credentials = tuple[str, str, str | None]  # key id, secret, session token


def environment_credentials() -> Credentials:
    """Return the credentials of the environment.

    Raises:
        TransportError: There are none (``store-credentials``).
    """
    identity, secret = (
        os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    if not identity or not secret:
        raise errors.TransportError(
            "no credentials for the store",
            code="store-credentials",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return identity, secret, os.environ.get("AWS_SESSION_TOKEN") or None


class Reply(NamedTuple):
    """What the store answered. Hostile.

    Attributes:
        status: HTTP status.
        code: Of the error document; empty if it has none.
        etag: As it came; empty if there is none.
        region: What it says is the bucket's; empty if it says nothing proper.
        body: At most as many bytes as were allowed, and one more if there are more.
    """

    status: int
    code: str
    etag: str
    region: str
    body: bytes


class Exchange:
    """Asks one bucket.

    Args:
        location: What is asked.
        credentials: Called before each request.
        sleep: Waits so many seconds.

    Raises:
        PolicyError: The library that signs is not installed (``store-extra-missing``).
    """

    def __init__(
        self,
        location: Location,
        credentials: Callable[[], Credentials],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import requests_aws4auth  # noqa: F401
        except ImportError as error:
            raise errors.PolicyError(
                "requests-aws4auth is not installed",
                code="store-extra-missing",
                hint="put it into the image: pip install 'certbot-enclave[aws]'",
            ) from error
        self._location, self._credentials, self._sleep = location, credentials, sleep

    def _unreachable(self, why: str) -> errors.TransportError:
        return errors.TransportError(
            f"store {self._location} does not answer: {why}",
            code="store-unreachable",
            hint="is there a way from here to its endpoint?",
        )

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int
    ) -> Reply:
        import requests
        from requests_aws4auth import AWS4Auth
        from urllib3.exceptions import HTTPError

        identity, secret, token = self._credentials()
        sign = AWS4Auth(identity, secret, self._location.region, "s3", session_token=token)
        try:
            with requests.Session() as session:
                session.trust_env = False  # neither proxies, nor roots, nor ~/.netrc
                fields = {"Accept-Encoding": "identity", **headers}
                request = requests.Request(method, url, headers=fields, data=body, auth=sign)
                with session.send(
                    session.prepare_request(request),
                    timeout=TIMEOUT,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    limit = 1 + (most if answer.status_code == 200 else _MAX_ERROR)
                    parts: list[bytes] = []
                    # Until nothing comes: urllib3 tells only then that there should be more.
                    while limit and (part := answer.raw.read(limit, decode_content=False)):
                        parts.append(part)
                        limit -= len(part)
                    status, given = answer.status_code, answer.headers
        except (OSError, ValueError, HTTPError) as error:
            # The type only: a message may hold the request, and with it the session token.
            raise self._unreachable(type(error).__name__) from None
        data = b"".join(parts)
        found = _CODE.search(data[:_MAX_ERROR]) if status != 200 or method == "PUT" else None
        region = given.get("x-amz-bucket-region", "")
        return Reply(
            status,
            found[1].decode() if found else "",
            given.get("ETag", ""),
            region if _REGION.fullmatch(region) else "",
            data,
        )

    def send(
        self,
        method: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int = _MAX_ERROR,
    ) -> Reply:
        """Send a request, again if the store is busy, and return its last reply.

        Args:
            method: HTTP method.
            name: Of the object, below the prefix.
            headers: Header fields.
            body: What to send.
            most: Bytes that are read of a good reply, and one more.

        Raises:
            TransportError: No whole reply came (``store-unreachable``).
        """
        url = self._location.url(name)
        for delay in DELAYS:
            try:
                reply = self._once(method, url, headers or {}, body, most)
                # A copy may fail after its 200, with the error in the body (CopyObject).
                busy = reply.status == 429 or reply.code in ("SlowDown", "InternalError")
                if not busy and (reply.status < 500 or reply.status in (501, 505, 507)):
                    return reply
            except errors.TransportError as error:
                if error.code != "store-unreachable":
                    raise
            self._sleep(delay)
        return self._once(method, url, headers or {}, body, most)

    def refusal(self, reply: Reply) -> errors.TransportError:
        """Return the error that a reply means which was not hoped for."""
        said = reply.code or f"status {reply.status}"
        where = str(self._location)
        if reply.status == 507 or reply.code in _FULL:
            return errors.TransportError(
                f"store {where} is full ({said})",
                code="store-full",
                hint="make room, or raise its quota; the old bundle is still there",
            )
        if 300 <= reply.status < 400 or reply.code == "AuthorizationHeaderMalformed":
            right = f"; it says region={reply.region}" if reply.region else ""
            return errors.TransportError(
                f"store {where} is not in region {self._location.region} ({said})",
                code="store-region",
                hint=f"correct region= or endpoint= of the store{right}",
            )
        if reply.status == 404:
            return errors.TransportError(
                f"store {where}: there is no such bucket ({said})",
                code="store-bucket",
                hint="make the bucket, or correct its name and the endpoint",
            )
        if reply.status >= 500 or reply.status == 429 or reply.status == 200:
            return self._unreachable(said)
        return errors.TransportError(
            f"store {where} refuses ({said})",
            code="store-refused",
            hint="may these credentials get, put and list there, and is the clock right?",
        )
