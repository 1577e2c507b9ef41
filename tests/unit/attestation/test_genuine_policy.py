# SPDX-License-Identifier: Apache-2.0
"""Genuine documents against a policy: the right measurements, and not too long ago."""

from datetime import timedelta

import pytest

from certbot_enclave import errors, matching, verification
from certbot_enclave.attestation import document
from certbot_enclave.policy import Policy

pytestmark = pytest.mark.corpus

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def authentic(genuine):
    """Each document, and the measurement set of the manifest with what was locked later."""
    found = []
    for item, data in genuine:
        one = document.authenticate(data, trust_root=None)
        expected = {index: bytes.fromhex(item[f"pcr{index}"]) for index in (0, 1, 2, 3, 4, 8)}
        expected |= {index: digest for index, digest in one.pcrs.items() if index >= 16}
        found.append((one, expected))
    return found


def test_measurements_of_the_manifest_match(authentic):
    for found, expected in authentic:
        assert matching.match(found, {"manifest": expected}, {}) == "manifest"


def test_one_changed_bit_of_one_measurement_does_not_match(authentic):
    for found, expected in authentic:
        for index, digest in expected.items():
            for bit in (0, 8 * len(digest) // 2, 8 * len(digest) - 1):
                changed = bytearray(digest)
                changed[bit // 8] ^= 0x80 >> bit % 8
                other = {**expected, index: bytes(changed)}
                with pytest.raises(errors.MeasurementError) as caught:
                    matching.match(found, {"manifest": other}, {})
                assert caught.value.code == "pcr-mismatch"
                assert f"PCR{index} is {digest.hex()}" in str(caught.value)


def test_measurement_that_was_locked_later_must_be_named(authentic):
    seen = 0
    for found, expected in authentic:
        for index in [index for index in expected if index >= 16]:
            rest = {key: digest for key, digest in expected.items() if key != index}
            with pytest.raises(errors.MeasurementError) as caught:
                matching.match(found, {"manifest": rest}, {})
            assert caught.value.code == "pcr-extra"
            assert str(caught.value).startswith(f"PCR{index} is ")
            seen += 1
    assert seen


def _check(found, expected, now, *, live=False, max_age=3600):
    policy = Policy(sets={"manifest": expected}, max_age=max_age)
    verification._check_time(found, policy, live=live, now=now)


AGES = {
    "an hour": ({}, timedelta(hours=1)),
    "a second": ({"max_age": 1}, SECOND),
    "a year": ({"max_age": 366 * 24 * 3600}, timedelta(days=366)),
    "five minutes with a nonce": ({"live": True}, timedelta(minutes=5)),
}


@pytest.mark.parametrize(("options", "age"), AGES.values(), ids=AGES)
def test_document_is_stale_beyond_the_greatest_age(authentic, options, age):
    for found, expected in authentic:
        _check(found, expected, found.time, **options)
        _check(found, expected, found.time + age, **options)
        for later in (SECOND, timedelta(days=3650)):
            with pytest.raises(errors.FreshnessError) as caught:
                _check(found, expected, found.time + age + later, **options)
            assert caught.value.code == "stale"


def test_document_from_the_future_is_refused(authentic):
    minute = timedelta(minutes=1)
    for found, expected in authentic:
        _check(found, expected, found.time - minute)
        with pytest.raises(errors.FreshnessError) as caught:
            _check(found, expected, found.time - minute - SECOND)
        assert caught.value.code == "future"
