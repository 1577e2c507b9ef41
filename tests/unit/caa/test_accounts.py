# SPDX-License-Identifier: Apache-2.0
"""Several accounts of ours: all in the records must be ours, and each must be allowed."""

import pytest

from certbot_enclave.caa import issuers, lookup
from certbot_enclave.caa.grammar import Record, build
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name, looked_at
from tests.unit.caa.told import Told

BLUE, GREEN, RED = (f"https://ca.test/acct/{number}" for number in (1, 2, 3))
NOBODY = Record(0, b"issuewild", b";")


def _records(*uris):
    values = [build("ca.test", methods=["http-01"], account_uri=uri) for uri in uris]
    return (*(Record(0, b"issue", value) for value in values), NOBODY)


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ([BLUE, GREEN], [BLUE, GREEN], []),
        ([GREEN, BLUE], [BLUE, GREEN], []),
        ([BLUE], [BLUE, GREEN], ["foreign-account"]),
        ([BLUE, GREEN], [BLUE], ["not-allowed"]),
        ([BLUE, GREEN], [BLUE, GREEN, RED], ["foreign-account"]),
        ([BLUE, GREEN], [RED], ["foreign-account", "not-allowed", "not-allowed"]),
    ],
)
def test_every_account_in_the_records_is_ours_and_each_of_ours_is_allowed(ours, theirs, names):
    told = Told({"example.com": _records(*theirs)})
    subject = Subject("ca.test", ours[0], ("http-01",), tuple(ours[1:]))
    found = judge_name(
        "example.com",
        subject,
        Tolerance(),
        lambda name: lookup.climb(name, [told]),
        today=issuers.MANDATORY,
    )
    assert [finding.name for finding in found.findings] == names
    refused = [f.why.split(": ")[0] for f in found.findings if f.name == "not-allowed"]
    assert refused == [
        f"the CA would refuse {uri}" for uri in ours if uri not in theirs and len(ours) > 1
    ]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a.example.com", ("a.example.com", "example.com")),
        ("example.com", ("example.com",)),
        ("example.co.uk", ("example.co.uk",)),
        ("*.a.example.com", ("a.example.com",)),
    ],
)
def test_what_a_verdict_looks_at(name, names):
    assert looked_at(name) == names
