# SPDX-License-Identifier: Apache-2.0
"""Every bit and every byte of genuine documents counts: the exhaustive form of sampled tests."""

import random
from collections import Counter

import pytest

from certbot_enclave.attestation import cose
from tests.unit.attestation.test_genuine import FLIP_CODES, flipped, refused

pytestmark = [pytest.mark.corpus, pytest.mark.soak]

KINDS = {
    "map of definite length": lambda item, payload: (
        item["category"] == "valid" and payload[0] == 0xA9
    ),
    "map of indefinite length": lambda item, payload: (
        item["category"] == "valid" and payload[0] == 0xBF
    ),
    "debug mode": lambda item, _payload: item["category"] == "valid-debug",
}


def test_every_changed_bit_is_refused(genuine, capsys):
    found = Counter()
    for kind, is_one in KINDS.items():
        item, data = next(
            (item, data) for item, data in genuine if is_one(item, cose.parse(data).payload)
        )
        codes = Counter(refused(flipped(data, bit)) for bit in range(8 * len(data)))
        assert codes.total() == 8 * len(data)
        with capsys.disabled():
            counts = " ".join(f"{code}={number}" for code, number in sorted(codes.items()))
            print(f"\nflips of {item['name']} ({kind}): bits={codes.total()} accepted=0 {counts}")
        found += codes
    # All of them occur, so the list that the sample is held to is not too long.
    assert found.keys() == FLIP_CODES


def test_every_changed_byte_is_refused(genuine):
    for item, data in genuine:
        sample = random.Random(item["name"])
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= sample.randrange(1, 256)
            assert refused(bytes(changed)) in FLIP_CODES
