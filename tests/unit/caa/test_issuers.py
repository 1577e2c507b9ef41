# SPDX-License-Identifier: Apache-2.0
"""Records bind only a CA that reads them, and a staging account protects nothing."""

from datetime import date, timedelta

import pytest

from certbot_enclave.caa import issuers
from certbot_enclave.caa.verdict import Subject

LIVE = "https://acme-v02.api.letsencrypt.org/acme/acct/1"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/acme/acct/1"
DAY = timedelta(days=1)


def _subject(issuer="letsencrypt.org", uri=LIVE, *also):
    return Subject(issuer, uri, ("http-01",), also)


@pytest.mark.parametrize(
    ("issuer", "today", "told"),
    [
        ("ca.test", date(2026, 11, 25), True),
        ("ca.test", issuers.MANDATORY - DAY, True),
        ("ca.test", issuers.MANDATORY, False),
        ("letsencrypt.org", date(2026, 11, 25), False),
        ("letsencrypt.org", issuers.ENFORCING[0].since, False),
        ("letsencrypt.org", issuers.ENFORCING[0].since - DAY, True),
        ("letsencrypt.org.test", date(2026, 11, 25), True),
    ],
)
def test_a_ca_that_need_not_read_accounturi_yet_is_told(issuer, today, told):
    found = issuers.judge_enforcement(issuer, today)
    assert [finding.name for finding in found] == ["issuer-not-enforcing"] * told
    if told:
        assert found[0].why.startswith(f"{issuer} is not known to read accounturi")
        assert "before 2027-03-15" in found[0].why


def test_an_issuer_that_is_accepted_is_a_condition_by_its_name():
    assert issuers.condition("ca.test") == "issuer-not-enforcing:ca.test"


def test_every_row_of_the_table_has_a_source_that_can_be_looked_up():
    for row in issuers.ENFORCING:
        assert row.source.startswith("https://")
        assert " as of " in row.source
        assert row.issuer == row.issuer.lower()


@pytest.mark.parametrize(
    ("uris", "told"),
    [
        ([LIVE], False),
        ([STAGING], True),
        ([STAGING, STAGING + "2"], True),
        ([LIVE, STAGING], False),
        ([STAGING, LIVE], False),
    ],
)
def test_staging_alone_is_told_and_beside_production_is_not(uris, told):
    found = issuers.judge_staging(_subject("letsencrypt.org", *uris))
    assert [finding.name for finding in found] == ["staging-uri-in-production"] * told
