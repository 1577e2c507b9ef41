# SPDX-License-Identifier: Apache-2.0
"""The key policy, judged by an evaluator of our own: who can do what, with which document."""

import fnmatch

import pytest

from certbot_enclave import errors
from certbot_enclave.aws import key_policy

ADMIN = "arn:aws:iam::111122223333:role/owner"
ROLE = "arn:aws:iam::444455556666:role/enclave"
STRANGER = "arn:aws:iam::444455556666:role/other"
PCRS = {index: bytes([index + 1]) * 48 for index in range(3)}
NEXT = {index: bytes([index + 101]) * 48 for index in range(3)}
POLICY = key_policy.make([PCRS], admins=[ADMIN], roles=[ROLE])


def _items(value):
    return value if isinstance(value, list) else [value]


def _met(condition, context):
    """Whether all members of all operators hold (IAM user guide, evaluation of conditions)."""
    for operator, members in condition.items():
        for name, values in members.items():
            value = context.get(name)
            same = value is not None and value.lower() in {item.lower() for item in _items(values)}
            if {"StringEqualsIgnoreCase": same, "StringNotEqualsIgnoreCase": not same}[operator]:
                continue
            return False
    return True


def _allowed(policy, who, action, pcrs=None):
    """What IAM decides: an explicit denial, else a permission, else no."""
    context = {
        f"kms:RecipientAttestation:PCR{index}": value.hex() for index, value in (pcrs or {}).items()
    }
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if {"*", who} & {*_items(statement["Principal"]["AWS"])}
        and any(fnmatch.fnmatchcase(action, item) for item in _items(statement["Action"]))
        and _met(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def test_image_seals_and_unseals():
    assert _allowed(POLICY, ROLE, "kms:Encrypt")
    assert _allowed(POLICY, ROLE, "kms:Decrypt", PCRS)
    assert _allowed(POLICY, ROLE, "kms:Decrypt", {**PCRS, 3: bytes(48), 4: b"i" * 48})


@pytest.mark.parametrize("who", [ROLE, ADMIN, STRANGER])
@pytest.mark.parametrize(
    "action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair"]
)
def test_nobody_opens_without_a_document(who, action):
    assert not _allowed(POLICY, who, action)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("value", [None, bytes(48), NEXT[0]])
def test_one_other_register_is_enough_to_be_denied(index, value):
    pcrs = {**PCRS, index: value}
    if value is None:
        del pcrs[index]
    assert not _allowed(POLICY, ROLE, "kms:Decrypt", pcrs)
    # Not for want of a permission: another policy of the account cannot give it.
    generous = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*"}
    wider = {"Statement": [*POLICY["Statement"], generous]}
    assert not _allowed(wider, ROLE, "kms:Decrypt", pcrs)
    assert not _allowed(wider, ADMIN, "kms:GenerateDataKey", pcrs)
    assert _allowed(wider, ROLE, "kms:Decrypt", PCRS)


@pytest.mark.parametrize("who", [ROLE, ADMIN, STRANGER])
@pytest.mark.parametrize(
    "action", ["kms:CreateGrant", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ReplicateKey"]
)
def test_nobody_moves_the_key(who, action):
    generous = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*"}
    wider = {"Statement": [*POLICY["Statement"], generous]}
    assert not _allowed(wider, who, action, PCRS)


def test_only_admins_change_the_policy():
    assert _allowed(POLICY, ADMIN, "kms:PutKeyPolicy")
    for who in (ROLE, STRANGER):
        assert not _allowed(POLICY, who, "kms:PutKeyPolicy", PCRS)
    assert not _allowed(POLICY, STRANGER, "kms:Decrypt", PCRS)
    assert not _allowed(POLICY, ADMIN, "kms:Decrypt", PCRS)
    assert not _allowed(POLICY, ADMIN, "kms:Encrypt")


def test_several_images_and_principals():
    policy = key_policy.make([PCRS, NEXT], admins=[ADMIN], roles=[ROLE, STRANGER])
    for who in (ROLE, STRANGER):
        for pcrs in (PCRS, NEXT):
            assert _allowed(policy, who, "kms:Decrypt", pcrs)
        assert not _allowed(policy, who, "kms:Decrypt", {**PCRS, 0: bytes(48)})


def test_signer_is_compared_too():
    signed = {**PCRS, 8: b"s" * 48}
    policy = key_policy.make([signed], admins=[ADMIN], roles=[ROLE])
    assert _allowed(policy, ROLE, "kms:Decrypt", signed)
    assert not _allowed(policy, ROLE, "kms:Decrypt", {**signed, 8: b"t" * 48})


def _refused(sets=(PCRS,), admins=(ADMIN,), roles=(ROLE,)):
    with pytest.raises(errors.PolicyError) as caught:
        key_policy.make(sets, admins=admins, roles=roles)
    return caught.value


def test_no_measurements():
    assert _refused(sets=[]).code == "kms-policy-measurements"


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([{**PCRS, 16: b"x" * 48}], "AWS KMS does not compare PCR16"),
        ([{**PCRS, 8: b"x" * 48}, NEXT], "not every set of measurements has PCR8"),
    ],
)
def test_registers_that_cannot_be_compared(sets, words):
    refused = _refused(sets=sets)
    assert (refused.code, str(refused)) == ("kms-policy-register", words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "owner",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::*:role/owner",
        "arn:aws:iam::111122223333:group/owner",
        "arn:aws:sts::111122223333:assumed-role/owner/x",
        "arn:aws:iam::111122223333:role/owner\n",
    ],
)
def test_principals(text):
    assert _refused(admins=[text]).code == "kms-policy-principal"
    assert _refused(roles=[text]).code == "kms-policy-principal"


@pytest.mark.parametrize("kind", ["root", "user/owner"])
def test_only_a_role_unseals(kind):
    name = f"arn:aws-us-gov:iam::111122223333:{kind}"
    assert _refused(roles=[name]).code == "kms-policy-principal"
    assert key_policy.make([PCRS], admins=[name], roles=[ROLE])


def test_path_of_a_role():
    name = "arn:aws-cn:iam::111122223333:role/service/team-1/owner@x"
    assert key_policy.make([PCRS], admins=[ADMIN], roles=[name])
