# SPDX-License-Identifier: Apache-2.0
"""Every byte of every genuine document counts: the exhaustive form of a sampled test."""

import random

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import document

pytestmark = [pytest.mark.corpus, pytest.mark.soak]


def test_every_changed_byte_is_refused(genuine):
    for item, data in genuine:
        sample = random.Random(item["name"])
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= sample.randrange(1, 256)
            with pytest.raises((errors.FormatError, errors.VerificationError)):
                document.authenticate(bytes(changed), trust_root=None)
