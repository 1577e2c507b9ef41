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


@pytest.fixture
def tell(capsys):
    """Prints how often each code refused."""

    def tell(what, codes):
        counts = " ".join(f"{code}={number}" for code, number in sorted(codes.items()))
        with capsys.disabled():
            print(f"\n{what}: refused={codes.total()} accepted=0 {counts}")

    return tell


@pytest.mark.parametrize("is_one", KINDS.values(), ids=KINDS)
def test_every_changed_bit_is_refused(genuine, is_one, tell):
    item, data = next(
        (item, data) for item, data in genuine if is_one(item, cose.parse(data).payload)
    )
    codes = Counter(refused(flipped(data, bit)) for bit in range(8 * len(data)))
    tell(f"bits of {item['name']}", codes)
    assert codes.total() == 8 * len(data)
    assert codes.keys() <= FLIP_CODES


def test_every_changed_byte_is_refused(genuine, tell):
    codes = Counter()
    for item, data in genuine:
        sample = random.Random(item["name"])
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= sample.randrange(1, 256)
            codes[refused(bytes(changed))] += 1
    tell(f"bytes of {len(genuine)} documents", codes)
    assert codes.total() == sum(len(data) for _item, data in genuine)
    assert codes.keys() <= FLIP_CODES
