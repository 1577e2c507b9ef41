# SPDX-License-Identifier: Apache-2.0
"""docs/threat-model.md: each attack has codes of the product, and tests that demand them."""

import re

import pytest

from tests import docs
from tests.unit.docs.pages import TOP, rows_below, text_of

ATTACKS = rows_below(text_of("docs/threat-model.md"), "## What attestation stops")


def _spans(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ATTACKS, ids=[row[1][:60] for row in ATTACKS])
def test_attack_is_shown_by_tests_that_name_its_codes(row):
    codes, files = _spans(row[2]), _spans(row[3])
    assert codes
    assert files
    source = "\n".join((TOP / name).read_text(encoding="utf-8") for name in files)
    for code in codes:
        assert code.removesuffix("…") in source


def test_codes_are_those_of_the_product():
    known = {row.code for row in docs.rows()}
    for row in ATTACKS:
        for code in _spans(row[2]):
            family = code.endswith("-…") and any(item.startswith(code[:-1]) for item in known)
            assert code in known or family


def test_every_check_of_attestation_is_there():
    numbers = {int(number) for row in ATTACKS for number in re.findall(r"[0-9]+", row[0])}
    assert numbers == set(range(1, 13))
    listed = rows_below(text_of("docs/evidence.md"), "## What `verify` checks")
    for number, _, cell in listed:
        mine = {
            code
            for row in ATTACKS
            if number in re.findall(r"[0-9]+", row[0])
            for code in _spans(row[2])
        }
        if int(number) > 1 and int(number) in numbers:
            assert mine & set(_spans(cell))
