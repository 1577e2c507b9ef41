# SPDX-License-Identifier: Apache-2.0
"""Names of keys in Amazon's key service, and where its services listen."""

from __future__ import annotations

import re
from typing import NamedTuple

from certbot_enclave import errors

# Partition -> domain of its endpoints, and how its regions begin.
_PARTITIONS = {
    "aws": ("amazonaws.com", re.compile(r"(?!cn-|us-gov-|us-iso|eu-isoe)")),
    "aws-cn": ("amazonaws.com.cn", re.compile(r"cn-")),
    "aws-us-gov": ("amazonaws.com", re.compile(r"us-gov-")),
}
_REGION = r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
_KEY = re.compile(
    r"arn:(?P<partition>aws(?:-cn|-us-gov)?):kms:"
    rf"(?P<region>{_REGION}):(?P<account>[0-9]{{12}}):"
    r"key/(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


def domain(region: str) -> str:
    """Return the domain of a region's endpoints; empty if it is in no partition known here."""
    if re.fullmatch(_REGION, region):
        for found, regions in _PARTITIONS.values():
            if regions.match(region):
                return found
    return ""


class KeyArn(NamedTuple):
    """The name of one key.

    Attributes:
        text: The whole name.
        region: Where it is.
        endpoint: URL of the key service there.
    """

    text: str
    region: str
    endpoint: str


def parse(text: str) -> KeyArn:
    """Read the ARN of a key.

    An alias is refused: whoever may change it would change which key seals.

    Raises:
        PolicyError: It is none (``sealer-arn``).
    """
    found = _KEY.fullmatch(text)
    if found is not None:
        _, regions = _PARTITIONS[found["partition"]]
        if regions.match(found["region"]):
            host = f"kms.{found['region']}.{domain(found['region'])}"
            return KeyArn(text, found["region"], f"https://{host}")
    raise errors.PolicyError(
        f"{text!r} is no ARN of a key",
        code="sealer-arn",
        hint="name the key itself, not an alias: awskms:arn:aws:kms:REGION:ACCOUNT:key/ID",
    )
