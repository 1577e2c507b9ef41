# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a zone: the changes that are offered, once made, leave nobody else."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from certbot_enclave.caa import lookup
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.issuers import MANDATORY
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from tests.unit.caa.record_sets import ISSUER, questions
from tests.unit.caa.told import Told

NAME, PARENT = "www.example.com", "example.com"
OTHER = Record(0, b"issue", b"other.test")
NOBODY_WILD = Record(0, b"issuewild", b";")
# What no record can mend: the account or the method is not fit for it.
LEFT = {"ambiguous-account", "not-allowed"}
OURS = ("https://ca.test/acct/1", ("http-01",))
ODD = ("https://ca.test/acct?id=1", ("http-01",))
UNKNOWN = ("https://ca.test/acct/1", ("ca-tbr-19",))


def _judge(table, name, account, methods):
    told = Told(table)
    subject = Subject(ISSUER, account, methods)
    return judge_name(
        name, subject, Tolerance(), lambda item: lookup.climb(item, [told]), today=MANDATORY
    )


@given(questions(), questions(), st.booleans(), st.booleans())
@example(([], *OURS, False), ([], *OURS, False), True, True)
@example(([OTHER], *ODD, False), ([], *OURS, False), True, False)
@example(([OTHER], *UNKNOWN, False), ([], *OURS, False), True, False)
@example(([], *OURS, True), ([OTHER, NOBODY_WILD], *OURS, False), False, True)
@settings(max_examples=400, deadline=None)
def test_the_changes_leave_nobody_else(here, above, own, high):
    records, account, methods, wildcard = here
    name = f"*.{NAME}" if wildcard else NAME
    table = {"com" if high else PARENT: above[0]}
    if own:
        table[NAME] = records
    found = _judge(table, name, account, methods)
    changes = {finding.change for finding in found.findings} - {None}
    assert len({change.name for change in changes}) == len(changes)
    for change in changes:
        # What is said to stand there stands there.
        assert set(change.before) == set(table.get(change.name, ()))
        assert not change.empty
        table[change.name] = change.after
    left = {finding.name for finding in _judge(table, name, account, methods).findings}
    assert left <= LEFT
    if account.endswith("/1") and methods != UNKNOWN[1]:
        assert not left
