# SPDX-License-Identifier: Apache-2.0
"""Names of keys: which are taken, and which endpoint they give."""

import pytest

from certbot_enclave import errors
from certbot_enclave.aws import arn

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def _arn(partition="aws", region="eu-central-1", account="111122223333", key=f"key/{ID}"):
    return f"arn:{partition}:kms:{region}:{account}:{key}"


@pytest.mark.parametrize(
    ("partition", "region", "endpoint"),
    [
        ("aws", "eu-central-1", "https://kms.eu-central-1.amazonaws.com"),
        ("aws", "us-east-1", "https://kms.us-east-1.amazonaws.com"),
        ("aws", "ap-southeast-2", "https://kms.ap-southeast-2.amazonaws.com"),
        ("aws-cn", "cn-north-1", "https://kms.cn-north-1.amazonaws.com.cn"),
        ("aws-us-gov", "us-gov-west-1", "https://kms.us-gov-west-1.amazonaws.com"),
    ],
)
def test_endpoint_follows_from_region_and_partition(partition, region, endpoint):
    text = _arn(partition, region)
    assert arn.parse(text) == (text, region, endpoint)


def test_key_of_several_regions():
    assert arn.parse(_arn(key="key/mrk-" + "0" * 32)).region == "eu-central-1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID,
        _arn(key="alias/name"),
        _arn(key=f"key/{ID.upper()}"),
        _arn(key=f"key/{ID}x"),
        _arn(key="key/mrk-1"),
        _arn(key=f"key/{ID}\n"),
        _arn(key=f"key/{ID}/.."),
        _arn(partition="aws-iso"),
        _arn(partition="aws-cn"),
        _arn(partition="aws", region="cn-north-1"),
        _arn(partition="aws", region="us-gov-west-1"),
        _arn(partition="aws-us-gov"),
        _arn(region="evil.example#-1"),
        _arn(region="eu-central-1.evil"),
        _arn(region=""),
        _arn(account="1"),
        _arn().replace(":kms:", ":s3:"),
        " " + _arn(),
        _arn() + " ",
        _arn().replace("1", "١"),
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(errors.PolicyError, match="is no ARN of a key") as caught:
        arn.parse(text)
    assert caught.value.code == "sealer-arn"
