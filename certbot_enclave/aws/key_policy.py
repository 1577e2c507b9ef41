# SPDX-License-Identifier: Apache-2.0
"""The policy of a key that only measured code may decrypt with (AWS KMS developer guide).

A condition is met if all of its members are, so one that denies whatever differs in PCR0 *or* PCR1
needs a statement for each register. A request without attestation document has no
``kms:RecipientAttestation:…``, and a negated comparison with what is missing holds: it is denied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from certbot_enclave import errors

REGISTERS = (0, 1, 2, 3, 4, 8)  # those that kms:RecipientAttestation:PCRn knows
_PRINCIPAL = re.compile(
    r"arn:aws(?:-cn|-us-gov)?:iam::[0-9]{12}:"
    r"(?:(?P<kind>role|user)/(?:[!-.0-~]{1,64}/){0,8}[A-Za-z0-9+=,.@_-]{1,64}|root)"
)
_OPENS = ["kms:Decrypt", "kms:GenerateDataKey*"]
_MOVES = ["kms:CreateGrant", "kms:ReEncrypt*", "kms:ReplicateKey"]
_ADMINISTERS = [
    "kms:CancelKeyDeletion",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:GetKeyPolicy",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
]


def _principal(text: str, *kinds: str) -> str:
    found = _PRINCIPAL.fullmatch(text)
    if found is None or (found["kind"] or "root") not in kinds:
        raise errors.PolicyError(
            f"{text!r} is no ARN of a {' or '.join(kinds)}",
            code="kms-policy-principal",
            hint="name it as arn:aws:iam::ACCOUNT:role/NAME",
        )
    return text


def _registers(sets: Iterable[Mapping[int, bytes]]) -> dict[int, list[str]]:
    """Return the accepted values of each register."""
    given = list(sets)
    if not given:
        raise errors.PolicyError(
            "no PCRs to compare with: a key policy cannot name an Oyster image id",
            code="kms-policy-measurements",
            hint="give measurements with PCR0, PCR1 and PCR2",
        )
    named = {index for pcrs in given for index in pcrs}
    strange = sorted(named - {*REGISTERS})
    partial = sorted(index for index in named if any(index not in pcrs for pcrs in given))
    if strange or partial:
        shown = ", ".join(f"PCR{index}" for index in strange or partial)
        reason = "AWS KMS does not compare" if strange else "not every set of measurements has"
        raise errors.PolicyError(
            f"{reason} {shown}",
            code="kms-policy-register",
            hint="leave it out; certbot-enclave itself compares it when it restores a bundle",
        )
    return {index: sorted({pcrs[index].hex() for pcrs in given}) for index in sorted(named)}


def make(
    sets: Iterable[Mapping[int, bytes]], *, admins: Sequence[str], roles: Sequence[str]
) -> dict[str, Any]:
    """Make a key policy.

    Args:
        sets: Measurements of every image that may unseal, PCR0 to PCR2 in each.
        admins: ARNs of those who may change this policy, and so are trusted.
        roles: ARNs of the roles of the instances.

    Returns:
        The policy document, to be printed as JSON.

    Raises:
        PolicyError: There are no measurements (``kms-policy-measurements``), a register that cannot
            be compared (``kms-policy-register``), or a name that is no ARN
            (``kms-policy-principal``).
    """
    registers = _registers(sets)
    names = {f"kms:RecipientAttestation:PCR{index}": found for index, found in registers.items()}
    admins = [_principal(text, "role", "user", "root") for text in admins]
    roles = [_principal(text, "role") for text in roles]
    everybody = {"AWS": "*"}

    def statement(name: str, effect: str, who: object, what: object) -> dict[str, Any]:
        return {
            "Sid": name,
            "Effect": effect,
            "Principal": who,
            "Action": what,
            "Resource": "*",
        }

    attested = {"StringEqualsIgnoreCase": names}
    differs = [
        {
            **statement(f"NobodyWithAnother{name.rpartition(':')[2]}", "Deny", everybody, _OPENS),
            "Condition": {"StringNotEqualsIgnoreCase": {name: values}},
        }
        for name, values in names.items()
    ]
    return {
        "Version": "2012-10-17",
        "Id": "certbot-enclave",
        "Statement": [
            statement("AdminsChangeThisPolicy", "Allow", {"AWS": admins}, _ADMINISTERS),
            statement("InstancesSeal", "Allow", {"AWS": roles}, "kms:Encrypt"),
            {
                **statement("TheImageUnseals", "Allow", {"AWS": roles}, "kms:Decrypt"),
                "Condition": attested,
            },
            *differs,
            statement("NobodyMovesTheKey", "Deny", everybody, _MOVES),
        ],
    }
