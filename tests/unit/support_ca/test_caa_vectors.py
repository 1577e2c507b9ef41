# SPDX-License-Identifier: Apache-2.0
"""The test CA's CAA rules against verdicts that others computed."""

import json
from pathlib import Path

import pytest

from tests.support.ca.caa import Verdict, check
from tests.support.ca.zone import lookup


def judge(case):
    zone = case["zone"]
    return check(
        case["identifier"],
        case["wildcard"],
        lambda name: lookup(zone, name),
        issuer=case["issuer"],
        account_uris=[f"{p}{case['account_id']}" for p in case["account_uri_prefixes"]],
        method=case["method"],
    )


def mismatches(path: Path) -> tuple[int, list[tuple[str, Verdict, str]]]:
    cases = json.loads(path.read_text())["cases"]
    wrong = []
    for case in cases:
        verdict = judge(case)
        found_at = case.get("expected_found_at", verdict.found_at)  # not every source has it
        if (verdict.status, verdict.found_at) != (case["expected"], found_at):
            wrong.append((case["id"], verdict, case["expected"]))
    return len(cases), wrong


@pytest.mark.parametrize(
    ("name", "count"), [("boulder-differential.json", 1434), ("rfc-examples.json", 42)]
)
def test_every_verdict_equals(vectors, name, count):
    assert mismatches(vectors / "caa" / name) == (count, [])


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "count"), [("boulder.json", 53), ("caatestsuite.json", 28)])
def test_every_corpus_verdict_equals(corpus, name, count):
    assert mismatches(corpus / "caa" / name) == (count, [])
