# SPDX-License-Identifier: Apache-2.0
"""Where a bundle is in S3: ``s3://BUCKET/PREFIX?region=REGION&endpoint=URL``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from certbot_enclave import errors
from certbot_enclave.aws import arn, endpoint

# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The same guide, "Naming Amazon S3 objects": the characters that are safe everywhere, less those
# that signing implementations disagree about. Keys have at most 1024 bytes.
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_MAX_PREFIX = 900
REGION = re.compile(r"[a-z0-9-]{1,40}")
_FORM = "s3://BUCKET/PREFIX?region=REGION, and perhaps &endpoint=https://HOST"


def _wrong(argument: str, what: str) -> errors.PolicyError:
    return errors.PolicyError(f"s3:{argument}: {what}", code="store-url", hint=f"expected {_FORM}")


@dataclass(frozen=True)
class Location:
    """A place for one bundle.

    Attributes:
        bucket: Name.
        prefix: What the keys of its objects begin with.
        region: That requests are signed for.
        base: URL of the bucket, without a slash at its end.
    """

    bucket: str
    prefix: str
    region: str
    base: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, name: str) -> str:
        """Return the key of one object."""
        return f"{self.prefix}/{name}"

    def url(self, name: str) -> str:
        """Return the URL of one object."""
        return f"{self.base}/{quote(self.key(name))}"


def _endpoint(argument: str, text: str) -> str:
    try:
        return endpoint.base(text)
    except ValueError as error:
        raise _wrong(argument, f"endpoint is {error}") from None


def parse(argument: str) -> Location:
    """Read what follows ``s3:``.

    Raises:
        PolicyError: It has another form (``store-url``).
    """
    try:
        parts = urlsplit(argument)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _wrong(argument, "no URL") from None
    table = dict(options)
    if parts.scheme or parts.fragment or not argument.startswith("//"):
        raise _wrong(argument, "no URL of this form")
    if len(table) != len(options) or not set(table) <= {"region", "endpoint"}:
        raise _wrong(argument, "an option that is not known, or twice")
    bucket, prefix = parts.netloc, parts.path[1:]
    if not _BUCKET.fullmatch(bucket):
        raise _wrong(argument, "no name of a bucket")
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_PREFIX:
        raise _wrong(argument, "expected a prefix of letters, digits, _ . - and / between them")
    if {".", ".."} & set(prefix.split("/")):  # HTTP clients resolve them
        raise _wrong(argument, "a prefix has no . or .. between its slashes")
    # What other makes of S3 take for theirs if they have none.
    region = table.get("region", "us-east-1" if "endpoint" in table else "")
    if not REGION.fullmatch(region):
        raise _wrong(argument, "expected a region")
    if "endpoint" in table:
        base = f"{_endpoint(argument, table['endpoint'])}/{bucket}"
    else:
        domain = arn.domain(region)
        if not domain:
            raise _wrong(argument, "expected a region of Amazon's")
        # Amazon's certificate has one label before its name, and dots would make it more.
        base = (
            f"https://s3.{region}.{domain}/{bucket}"
            if "." in bucket
            else f"https://{bucket}.s3.{region}.{domain}"
        )
    return Location(bucket, prefix, region, base)
