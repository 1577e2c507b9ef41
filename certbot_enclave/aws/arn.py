# SPDX-License-Identifier: Apache-2.0
"""Names of keys in Amazon's key service, and where it listens."""

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
_KEY = re.compile(
    r"arn:(?P<partition>aws(?:-cn|-us-gov)?):kms:"
    r"(?P<region>[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}):(?P<account>[0-9]{12}):"
    r"key/(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


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
        domain, regions = _PARTITIONS[found["partition"]]
        if regions.match(found["region"]):
            return KeyArn(text, found["region"], f"https://kms.{found['region']}.{domain}")
    raise errors.PolicyError(
        f"{text!r} is no ARN of a key",
        code="sealer-arn",
        hint="name the key itself, not an alias: awskms:arn:aws:kms:REGION:ACCOUNT:key/ID",
    )
