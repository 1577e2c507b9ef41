# SPDX-License-Identifier: Apache-2.0
"""Signed requests for one object in S3, and what its refusals mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from certbot_enclave import errors
from certbot_enclave.aws import endpoint, exchange, signing
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.sealing.stores.s3_location import REGION, Location

TIMEOUT = (5.0, 30.0)  # seconds, to connect and between bytes
DELAYS = (0.3, 1.0, 3.0)  # seconds before each further try
# Amazon S3 API Reference, "REST error responses". The document is XML, but nothing else of it is
# needed, and this reads any reply at all.
_CODE = re.compile(rb"<Error>(?:(?!<Error>).){0,4096}?<Code>([A-Za-z]{1,60})</Code>", re.DOTALL)
_FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
_BUSY = ("SlowDown", "InternalError")
_STALE = ("ExpiredToken", "InvalidToken", "InvalidAccessKeyId")


class Reply(NamedTuple):
    """What the store answered. Hostile.

    Attributes:
        status: HTTP status.
        code: Of the error document; empty if it has none.
        etag: As it came; empty if there is none.
        region: What it says is the bucket's; empty if it says nothing proper.
        body: At most as many bytes as were allowed.
    """

    status: int
    code: str
    etag: str
    region: str
    body: bytes

    @property
    def busy(self) -> bool:
        """True if the same request may be answered later."""
        late = self.status >= 500 and self.status not in (501, 505, 507)
        return late or self.status == 429 or self.code in _BUSY


class Exchange:
    """Asks one bucket.

    Args:
        location: What is asked.
        credentials: Where credentials come from; None for the usual chain.
        clock: Seconds since 1970.
        sleep: Waits so many seconds.

    Raises:
        PolicyError: The library that signs is not installed (``aws-extra-missing``).
    """

    def __init__(
        self,
        location: Location,
        credentials: Chain | None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        signing.require()
        self._location, self._clock, self._sleep = location, clock, sleep
        self._credentials = credentials or Chain(os.environ, clock)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int
    ) -> Reply:
        answer = exchange.send(
            method,
            url,
            headers={**headers, **signing.dated(self._clock())},
            body=body,
            most=most,
            sign=signing.signer(self._credentials.get(), self._location.region, "s3"),
            proxy=endpoint.proxy(os.environ),
            timeout=TIMEOUT,
        )
        # A copy may fail after its 200, with the error in the body (CopyObject).
        failed = answer.status != 200 or method == "PUT"
        found = _CODE.search(answer.body[: exchange.MAX_REPLY]) if failed else None
        region = answer.headers.get("x-amz-bucket-region", "")
        return Reply(
            answer.status,
            found[1].decode() if found else "",
            answer.headers.get("ETag", ""),
            region if REGION.fullmatch(region) else "",
            answer.body,
        )

    def send(
        self,
        method: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int = exchange.MAX_REPLY,
    ) -> Reply:
        """Send a request, again if it may be answered then, and return its last reply.

        Args:
            method: HTTP method.
            name: Of the object, below the prefix.
            headers: Header fields.
            body: What to send.
            most: Bytes of a good reply.

        Raises:
            PolicyError, TransportError: From `exchange.send` and `Chain.get`.
        """
        url = self._location.url(name)
        for delay in DELAYS:
            try:
                reply = self._once(method, url, headers or {}, body, most)
                if reply.code in _STALE:
                    self._credentials.forget()
                elif not reply.busy:
                    return reply
            except errors.TransportError as error:
                if error.code != "aws-unreachable":
                    raise
            self._sleep(delay)
        return self._once(method, url, headers or {}, body, most)

    def refusal(self, reply: Reply) -> errors.TransportError:
        """Return the error that a reply means which was not hoped for."""
        said = reply.code or f"status {reply.status}"
        where = str(self._location)
        if reply.busy:
            return errors.TransportError(
                f"store {where} is busy ({said})",
                code="store-busy",
                hint="try again in a minute",
            )
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
        return errors.TransportError(
            f"store {where} refuses ({said})",
            code="store-refused",
            hint="may these credentials get, put and list there, and is the clock right?",
        )
