# SPDX-License-Identifier: Apache-2.0
"""What may be asked of which CA; and the page that says so."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

import tests
from certbot_enclave.thrift import budgets
from certbot_enclave.thrift.budgets import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Budget, Limit

PAGE = Path(tests.__file__).parent.parent / "docs" / "operator.md"


@pytest.mark.parametrize(
    ("directory", "budget"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", LETS_ENCRYPT),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", LETS_ENCRYPT_STAGING),
        ("https://ca.test/directory", LETS_ENCRYPT),
    ],
)
def test_budget_of_a_directory(directory, budget):
    assert budgets.of(directory) == budget


def test_figures_of_lets_encrypt():
    hour = timedelta(hours=1)
    assert LETS_ENCRYPT == Budget(
        duplicates=Limit(5, 7 * 24 * hour),
        failures=Limit(5, hour),
        orders=Limit(300, 3 * hour),
        accounts=Limit(10, 3 * hour),
    )


def test_staging_is_nowhere_narrower():
    for ours, theirs in zip(LETS_ENCRYPT, LETS_ENCRYPT_STAGING, strict=True):
        assert theirs.allowed > ours.allowed
        assert theirs.window == ours.window


def test_one_try_is_left_for_a_person():
    assert [limit.asked for limit in LETS_ENCRYPT] == [4, 4, 299, 9]


def test_page_has_the_same_figures():
    text = PAGE.read_text(encoding="utf-8")
    row = re.compile(r"^\| `budget-(\w+)` \|.*\| (\d+) in (\d+) (hour|day)s? \| (\d+) \|$", re.M)
    shown = {
        name: (int(allowed), timedelta(**{f"{unit}s": int(count)}), int(asked))
        for name, allowed, count, unit, asked in row.findall(text)
    }
    assert shown == {name: (*limit, limit.asked) for name, limit in LETS_ENCRYPT._asdict().items()}
