# SPDX-License-Identifier: Apache-2.0
"""What may be asked now: windows at their exact edges, leases, and the strict file."""

import json
from datetime import timedelta

import pytest

from certbot_enclave import errors, runtime
from certbot_enclave.thrift import ledger
from tests.unit.thrift.entries import (
    DAY,
    HOUR,
    MINUTE,
    NAME,
    NOW,
    SECOND,
    THEM,
    account,
    order,
    wanted,
)


def _reserve(entries, entry=None, now=NOW, **how):
    return ledger.reserve(entries, entry or wanted(), now, **how)


def _refused(entries, entry=None, **how):
    with pytest.raises(errors.ThriftError) as caught:
        _reserve(entries, entry, **how)
    at = caught.value.retry_at
    assert str(caught.value).endswith(f"at {at:%Y-%m-%dT%H:%M:%SZ}")
    return caught.value.code, at - NOW


def _times(count, ago, *more, **changes):
    return [order(ago, *more, holder=THEM, **changes) for _ in range(count)]


# --- budgets ---


@pytest.mark.parametrize("outcome", ["issued", "lost", "open"])
def test_four_certificates_for_the_same_names_in_seven_days(outcome):
    three = _times(3, DAY, outcome)
    assert _reserve(three)[-1] == wanted()
    oldest = order(7 * DAY - SECOND, outcome, holder=THEM)
    assert _refused([oldest, *three]) == ("budget-duplicates", SECOND)
    # To the second: then the oldest is gone.
    assert _reserve([order(7 * DAY, outcome), *three]) == (*three, wanted())


def test_next_one_is_allowed_when_the_fourth_from_last_is_gone():
    five = [order(days * DAY) for days in (6, 5, 4, 3, 2)]
    assert _refused(five) == ("budget-duplicates", 2 * DAY)
    at = NOW + 2 * DAY
    assert _reserve(five, wanted(now=at), now=at)
    with pytest.raises(errors.ThriftError):
        _reserve(five, wanted(now=at - SECOND), now=at - SECOND)


def test_other_names_and_other_directories_have_a_budget_of_their_own():
    four = _times(4, DAY)
    assert _refused(four)[0] == "budget-duplicates"
    assert _reserve(four, wanted(["www.example.test"]))
    assert _reserve(four, wanted([NAME, "www.example.test"]))
    assert _reserve([item._replace(directory="https://other.test/d") for item in four])


def test_certificates_count_whatever_the_account():
    four = [item._replace(account="https://ca.test/acct/2") for item in _times(4, DAY)]
    assert _refused(four) == ("budget-duplicates", 6 * DAY)


@pytest.mark.parametrize("outcome", ["failed", "void"])
def test_what_was_never_finalized_is_no_certificate(outcome):
    assert _reserve(_times(4, 2 * HOUR, outcome))


def test_four_failed_validations_of_a_name_in_one_hour():
    failed = _times(3, MINUTE, "failed", [NAME, "www.example.test"])
    assert _reserve(failed)
    failed.append(order(HOUR - SECOND, "failed"))
    assert _refused(failed) == ("budget-failures", SECOND)
    assert _refused(failed, wanted(["a.test", NAME]))[0] == "budget-failures"
    assert _reserve(failed, wanted(["www.example.test"]))
    failed[-1] = order(HOUR, "failed")
    assert _reserve(failed)


def test_failures_are_those_of_this_account():
    failed = _times(4, MINUTE, "failed")
    assert _refused(failed)[0] == "budget-failures"
    assert _reserve([item._replace(account="https://ca.test/acct/2") for item in failed])


@pytest.mark.parametrize("outcome", ["issued", "lost", "failed", "void"])
def test_299_orders_in_three_hours(outcome):
    names = [[f"n{number}.test"] for number in range(299)]
    orders = [order(2 * HOUR, outcome, name) for name in names]
    assert _refused(orders) == ("budget-orders", HOUR)
    assert _reserve(orders[1:])
    assert _reserve([order(3 * HOUR, outcome, names[0]), *orders[1:]])
    assert _reserve([item._replace(account="https://ca.test/acct/2") for item in orders])


def test_nine_new_accounts_in_three_hours():
    new = ledger.entry(ledger.ACCOUNT, wanted().directory, holder=wanted().holder, now=NOW)
    eight = [account(HOUR, outcome="failed") for _ in range(8)]
    assert _reserve(eight, new)
    assert _refused([account(3 * HOUR - SECOND), *eight], new) == ("budget-accounts", SECOND)
    assert _reserve([account(3 * HOUR), *eight], new)
    # Accounts and orders do not count for each other.
    assert _reserve([account(HOUR) for _ in range(9)])
    assert _reserve(_times(9, HOUR), new)


def test_without_a_budget_all_is_kept_and_nothing_counted():
    nine = _times(9, SECOND)
    assert _reserve(nine, counting=False) == (*nine, wanted())
    assert _refused(nine)[0] == "budget-duplicates"
    lease = order(-MINUTE, "open", holder=THEM)
    assert _refused([*nine, lease], counting=False)[0] == "order-in-progress"


def test_what_counts_for_nothing_any_more_is_dropped():
    kept = [
        order(7 * DAY - SECOND, "lost"),
        order(3 * HOUR - SECOND, "failed"),
        order(3 * HOUR - SECOND, "void"),
        account(3 * HOUR - SECOND),
    ]
    gone = [item._replace(until=item.until - SECOND) for item in kept]
    assert _reserve([*gone, *kept]) == (*kept, wanted())


# --- leases ---


def test_nobody_else_orders_while_a_lease_lasts():
    for names in ([NAME], ["other.test"]):
        lease = order(-SECOND, "open", names, holder=THEM)
        assert _refused([lease]) == ("order-in-progress", SECOND)
    over = order(timedelta(), "open", holder=THEM)
    assert _reserve([over]) == (over, wanted())


def test_the_last_of_several_leases_counts():
    leases = [order(-later * MINUTE, "open", holder=THEM) for later in (1, 3, 2)]
    assert ledger.in_progress(leases, wanted().holder, NOW) == NOW + 3 * MINUTE
    assert ledger.in_progress([], wanted().holder, NOW) is None


@pytest.mark.parametrize("outcome", ["issued", "lost", "failed", "void"])
def test_with_an_outcome_it_is_no_lease(outcome):
    assert _reserve([order(-MINUTE, outcome, holder=THEM)])


def test_registering_is_no_lease_and_waits_for_none():
    new = ledger.entry(ledger.ACCOUNT, wanted().directory, holder=wanted().holder, now=NOW)
    assert _reserve([order(-MINUTE, "open", holder=THEM)], new)
    assert _reserve([account(-MINUTE, outcome="open", holder=THEM)])


def test_what_the_same_boot_left_open_was_cut_off():
    left = order(-MINUTE, "open")
    assert _reserve([left])[0] == left._replace(outcome="lost", until=NOW)
    # A clock that went back does not make it end before it began.
    early = left.at - SECOND
    kept = _reserve([left], wanted(now=early), now=early)[0]
    assert (kept.outcome, kept.until) == ("lost", left.at)
    old = order(HOUR, "open")
    assert _reserve([old])[0] == old._replace(outcome="lost")


def test_crash_loop_is_stopped_by_the_fourth():
    entries, now = (), NOW
    for _ in range(4):
        entries = _reserve(entries, wanted(now=now), now=now)
        now += MINUTE
    with pytest.raises(errors.ThriftError) as caught:
        _reserve(entries, wanted(now=now), now=now)
    assert caught.value.code == "budget-duplicates"


def test_lease_outlasts_a_run_and_two_wrong_clocks():
    wrong = timedelta(seconds=2 * runtime.CLOCK_TOLERANCE)
    assert ledger.LEASE > ledger.LONGEST_RUN + wrong
    assert wanted().until == NOW + ledger.LEASE


# --- outcomes ---


def test_outcome_ends_the_lease():
    entry = wanted()
    entries = (order(DAY), entry)
    after = ledger.conclude(entries, entry, "issued", NOW + MINUTE)
    assert after == (entries[0], entry._replace(outcome="issued", until=NOW + MINUTE))
    assert ledger.conclude(after, entry, "lost", NOW + HOUR) == after  # it has one already


@pytest.mark.parametrize(
    ("now", "until"),
    [(NOW - MINUTE, NOW), (NOW + 2 * ledger.LEASE, NOW + ledger.LEASE)],
)
def test_outcome_stays_within_the_lease(now, until):
    (after,) = ledger.conclude([wanted()], wanted(), "lost", now)
    assert after.until == until


# --- the file ---


def test_written_and_read_again():
    entries = (order(DAY, "failed", [NAME, "*.a.test"]), account(outcome="open"), wanted())
    assert ledger.parse(ledger.build(entries)) == entries
    assert ledger.parse(ledger.build(())) == ()


GOOD = json.loads(ledger.build([order()]))["entries"][0]
BAD = [
    {**GOOD, "kind": "refund"},
    {**GOOD, "kind": 1},
    {**GOOD, "directory": "http://ca.test/directory"},
    {**GOOD, "account": "acct/1"},
    {**GOOD, "names": ["b.test", "a.test"]},
    {**GOOD, "names": ["Example.test"]},
    {**GOOD, "names": []},
    {**GOOD, "names": [f"n{number:03}.test" for number in range(101)]},
    {**GOOD, "kind": "account"},
    {**GOOD, "holder": "AA" * 16},
    {**GOOD, "at": "2026-11-25"},
    {**GOOD, "until": 1},
    {**GOOD, "until": "2020-01-01T00:00:00Z"},
    {**GOOD, "outcome": "refunded"},
    {**GOOD, "more": ""},
    {name: value for name, value in GOOD.items() if name != "holder"},
    [],
]


@pytest.mark.parametrize("entry", BAD, ids=range(len(BAD)))
def test_entry_that_none_of_ours_is_refused(entry):
    with pytest.raises(errors.FormatError):
        ledger.parse(json.dumps({"entries": [entry]}).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"entries": {}}',
        b'{"entries": [], "more": 1}',
        b'{"entries": [], "entries": []}',
        b"\xff",
        b'{"entries": []}' + b" " * ledger.MAX_FILE,
    ],
    ids=range(8),
)
def test_file_that_is_no_ledger_is_refused(data):
    with pytest.raises(errors.FormatError):
        ledger.parse(data)


def test_limits_of_the_file():
    line = json.dumps({**GOOD, "kind": "account", "account": "", "names": []}).encode()
    # As many as there may be would not fit into a file of that size.
    with pytest.raises(errors.FormatError):
        ledger.parse(b'{"entries": [' + b",".join([line] * (ledger.MAX_ENTRIES + 1)) + b"]}")
    assert len(ledger.parse(json.dumps({"entries": [GOOD] * 2}).encode())) == 2


@pytest.mark.parametrize("name", ["Example.test", "no name", ""])
def test_what_could_not_be_read_again_is_not_written(name):
    with pytest.raises(errors.FormatError):
        wanted([name])


def test_full_ledger_refuses_until_there_is_room():
    names = [f"{number}-{'n' * 55}.{'a' * 60}.{'b' * 60}.test" for number in range(100)]
    count = ledger.MAX_FILE // len(ledger.build([order(names=names)]))
    entries = [order(DAY, "issued", names, directory="https://other.test/d")] * (count - 1)
    assert _reserve(entries)
    entries += [order(HOUR, "issued", names, directory="https://other.test/d")] * 2
    assert _refused(entries) == ("ledger-full", 6 * DAY)
    newer = entries[len(entries) // 2 :]
    assert _reserve(entries, counting=False) == (*newer, wanted())


def test_more_entries_than_may_be_read_are_refused(monkeypatch):
    monkeypatch.setattr(ledger, "MAX_ENTRIES", 3)
    assert _reserve(_times(2, DAY))
    assert _refused(_times(3, DAY)) == ("ledger-full", 6 * DAY)
