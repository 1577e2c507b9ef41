# SPDX-License-Identifier: Apache-2.0
"""The strict reading gives the verdicts of Let's Encrypt's Boulder."""

import json

import pytest

from certbot_enclave.caa.evaluate import strict
from certbot_enclave.caa.grammar import Record


def _records(entry):
    """Return the record set, or None if the answer cannot be read."""
    found = []
    for item in entry.get("caa", ()):
        rdata = bytes.fromhex(item["rdata"])
        size = rdata[1] if len(rdata) > 1 else 0
        if len(rdata) > 1 and 2 + size > len(rdata):
            return None
        found.append(Record(rdata[0] if rdata else 0, rdata[2 : 2 + size], rdata[2 + size :]))
    return found


def _look(zone, name, depth=0):
    entry = zone.get(name, {})
    code = entry.get("rcode")
    if code == "NXDOMAIN" and "." in name:
        return []
    if code is not None or depth > 8:
        return None
    if "cname" in entry:
        return _look(zone, entry["cname"].rstrip("."), depth + 1)
    above = name
    while name not in zone and "." in above:
        above = above.partition(".")[2]
        if "dname" in zone.get(above, {}):
            target = name.removesuffix(above) + zone[above]["dname"].rstrip(".")
            return _look(zone, target, depth + 1)
    return _records(entry)


def _verdict(case):
    name = case["identifier"].lower().rstrip(".")
    wildcard = case["wildcard"]
    labels = name.removeprefix("*.").split(".")
    found = []
    for start in range(len(labels)):
        found = _look(case["zone"], ".".join(labels[start:]))
        if found is None:
            return "error"
        if found:
            break
    decision = strict(
        found,
        issuer=case["issuer"],
        account_uris=[f"{prefix}{case['account_id']}" for prefix in case["account_uri_prefixes"]],
        method=case["method"],
        wildcard=wildcard,
    )
    return "allowed" if decision.allowed else "denied"


def _mismatches(path, key="cases"):
    table = json.loads(path.read_text())
    cases = table[key] if isinstance(table, dict) else table
    wrong = [
        (case["name"], case["expected"], found)
        for case in cases
        if (found := _verdict(case)) != case["expected"]
    ]
    return len(cases), wrong


@pytest.mark.parametrize(
    ("file", "count"), [("boulder-differential.json", 1434), ("rfc-examples.json", 42)]
)
def test_own_vectors(vectors, file, count):
    assert _mismatches(vectors / "caa" / file) == (count, [])


@pytest.mark.corpus
def test_boulder_own_tests(corpus):
    assert _mismatches(corpus / "caa" / "boulder.json") == (53, [])
