# SPDX-License-Identifier: Apache-2.0
"""The ledger: what was asked of each CA, and whether one more may be asked now (docs/operator.md).

Values in, decisions out. An entry is made before the request is signed, and gets its outcome when
the run that made it ends. One that never got an outcome may have been issued for all that anybody
knows.

=========  =====================================================  ==============================
outcome    what is known                                          counts as
=========  =====================================================  ==============================
`open`     asked, or about to be; a lease until `until`           order, certificate
`issued`   the certificate is here; or the account                order, certificate; account
`lost`     finalized, or cut off; nobody knows what became of it  order, certificate
`failed`   validation was asked for, and issuance never           order, failed validation
`void`     neither was asked for                                  order
=========  =====================================================  ==============================

An entry counts from `until`, the end of the time in which the CA may have been asked, so that it
never leaves our window before it leaves the CA's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from certbot_enclave import errors, fields
from certbot_enclave.thrift import budgets
from certbot_enclave.thrift.budgets import Budget, Limit

PATH = "enclave/ledger.json"  # below certbot's config directory; carried in the bundle
MAX_FILE = 1024 * 1024  # bytes; a bundle carries no larger file
MAX_ENTRIES = 10_000
MAX_NAMES = 100  # as many as an order may have (docs/guard.md)

# One run of certbot is given 30 minutes, and both clocks may be 60 seconds wrong, one
# each way (runtime.CLOCK_TOLERANCE); so whoever holds a lease longer is dead, but for a minute.
LONGEST_RUN = timedelta(minutes=30)
LEASE = LONGEST_RUN + timedelta(minutes=3)

ORDER, ACCOUNT = "order", "account"
OPEN, ISSUED, LOST, FAILED, VOID = "open", "issued", "lost", "failed", "void"
_KINDS = (ORDER, ACCOUNT)
_OUTCOMES = (OPEN, ISSUED, LOST, FAILED, VOID)
_HOLDER = re.compile("[0-9a-f]{32}")
_MAY_HAVE_ISSUED = (OPEN, ISSUED, LOST)


class Entry(NamedTuple):
    """One request to a CA.

    Attributes:
        kind: `ORDER` or `ACCOUNT`.
        directory: URL of the ACME directory.
        account: URI of the account that orders; empty for a new one.
        names: What is ordered, sorted; empty for an account.
        holder: Which boot of which enclave asks: 16 random bytes, lower-case hex.
        at: When the entry was made; aware, whole seconds.
        until: When the CA has been asked at the latest: the end of the lease, or when the outcome
            was known.
        outcome: See above.
    """

    kind: str
    directory: str
    account: str
    names: tuple[str, ...]
    holder: str
    at: datetime
    until: datetime
    outcome: str = OPEN


def entry(
    kind: str,
    directory: str,
    *,
    holder: str,
    now: datetime,
    account: str = "",
    names: Iterable[str] = (),
) -> Entry:
    """Make the entry of a request that is about to be sent.

    Raises:
        FormatError: It would be none that `parse` reads.
    """
    made = Entry(kind, directory, account, tuple(sorted(names)), holder, now, now + LEASE)
    return _read(_table(made), "entry")


# --- its bytes ---


_holder = fields.matching(_HOLDER, "32 lower-case hex digits")


def _member(value: object, what: str, of: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in of:
        fields.refuse(what, " or ".join(of))
    return value


def _read(value: object, what: str) -> Entry:
    item = fields.table(value, what)
    if item.keys() != {*Entry._fields}:
        fields.refuse(what, "an object of " + ", ".join(Entry._fields))
    kind, account = _member(item["kind"], "kind", _KINDS), item["account"]
    names = fields.sorted_list(item["names"], "names", fields.name)
    found = Entry(
        kind,
        fields.url(item["directory"], "directory"),
        account if account == "" else fields.url(account, "account"),
        names,
        _holder(item["holder"], "holder"),
        fields.time(item["at"], "at"),
        fields.time(item["until"], "until"),
        _member(item["outcome"], "outcome", _OUTCOMES),
    )
    if not (1 <= len(names) <= MAX_NAMES if kind == ORDER else not names):
        fields.refuse("names", f"1 to {MAX_NAMES} of an order, or none of an account")
    if found.until < found.at:
        fields.refuse("until", "at or after the time of the entry")
    return found


def parse(data: bytes) -> tuple[Entry, ...]:
    """Read what `build` wrote.

    Args:
        data: At most `MAX_FILE` bytes.

    Raises:
        FormatError: It is not that.
    """
    entries = fields.entries(data, "the ledger", size=MAX_FILE, count=MAX_ENTRIES)
    return tuple(_read(item, f"entries[{index}]") for index, item in enumerate(entries))


def _table(item: Entry) -> dict[str, object]:
    return {
        **item._asdict(),
        "names": list(item.names),
        "at": _text(item.at),
        "until": _text(item.until),
    }


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def build(entries: Iterable[Entry]) -> bytes:
    """Write a ledger, one entry a line."""
    lines = (json.dumps(_table(item), separators=(",", ":")) for item in entries)
    return ('{"entries": [\n' + ",\n".join(lines) + "\n]}\n").encode()


# --- decisions ---


def _refuse(message: str, code: str, at: datetime, hint: str | None = None) -> errors.ThriftError:
    return errors.ThriftError(f"{message} {_text(at)}", code=code, hint=hint, retry_at=at)


def in_progress(entries: Iterable[Entry], holder: str, now: datetime) -> datetime | None:
    """Return until when another enclave may be ordering, or None if none is."""
    leases = (
        item.until
        for item in entries
        if item.kind == ORDER and item.outcome == OPEN and item.holder != holder
    )
    return max((until for until in leases if now < until), default=None)


def _full_until(limit: Limit, spent: Iterable[Entry], now: datetime) -> datetime | None:
    """Return when one more may be asked for, or None if that is now."""
    ends = sorted(end for item in spent if now < (end := item.until + limit.window))
    return ends[-limit.asked] if len(ends) >= limit.asked else None


def _used_up(limit: Limit, what: str, code: str, at: datetime) -> errors.ThriftError:
    hours = int(limit.window.total_seconds()) // 3600
    span = f"{hours // 24} days" if hours % 24 == 0 else f"{hours} hours"
    said = f"{limit.asked} {what} in {span} is all that is asked here; the next is allowed at"
    return _refuse(said, code, at)


def _require_account_left(entries: Iterable[Entry], budget: Budget, now: datetime) -> None:
    made = (item for item in entries if item.kind == ACCOUNT)
    at = _full_until(budget.accounts, made, now)
    if at is not None:
        raise _used_up(budget.accounts, "new accounts", "budget-accounts", at)


def _require_order_left(
    entries: Iterable[Entry], wanted: Entry, budget: Budget, now: datetime
) -> None:
    orders = [item for item in entries if item.kind == ORDER]
    same = (i for i in orders if i.names == wanted.names and i.outcome in _MAY_HAVE_ISSUED)
    at = _full_until(budget.duplicates, same, now)
    if at is not None:
        what = f"certificates for exactly {_shown(wanted.names)}"
        raise _used_up(budget.duplicates, what, "budget-duplicates", at)
    own = [item for item in orders if item.account == wanted.account]
    for name in wanted.names:
        failed = (item for item in own if item.outcome == FAILED and name in item.names)
        at = _full_until(budget.failures, failed, now)
        if at is not None:
            what = f"failed validations of {name}"
            raise _used_up(budget.failures, what, "budget-failures", at)
    at = _full_until(budget.orders, own, now)
    if at is not None:
        raise _used_up(budget.orders, "orders", "budget-orders", at)


def _shown(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} others" if more > 0 else "")


def _forgotten_at(item: Entry) -> datetime:
    """Return when an entry counts for nothing any more."""
    budget = budgets.of(item.directory)
    if item.kind == ACCOUNT:
        limits = [budget.accounts]
    elif item.outcome in _MAY_HAVE_ISSUED:
        limits = [budget.duplicates, budget.orders]
    else:
        limits = [budget.failures, budget.orders]
    return item.until + max(limit.window for limit in limits)


def _fits(entries: Sequence[Entry]) -> bool:
    return len(entries) <= MAX_ENTRIES and len(build(entries)) <= MAX_FILE


def reserve(
    entries: Iterable[Entry], wanted: Entry, now: datetime, *, counting: bool = True
) -> tuple[Entry, ...]:
    """Return the ledger with one more entry, if that much may be asked now.

    What the same holder left open was cut off, since one enclave runs certbot once at a time; and
    what counts for nothing any more is dropped.

    Args:
        entries: What was asked so far.
        wanted: What is about to be asked.
        now: Aware.
        counting: False if no budget matters; then the older half makes room if there is none.

    Raises:
        ThriftError: Another enclave may be ordering (``order-in-progress``); the budget is used up
            (``budget-duplicates``, ``budget-failures``, ``budget-orders``, ``budget-accounts``); or
            there is no room (``ledger-full``).
    """
    settled = [
        item._replace(outcome=LOST, until=max(item.at, min(item.until, now)))
        if item.outcome == OPEN and item.holder == wanted.holder
        else item
        for item in entries
    ]
    kept = [item for item in settled if now < _forgotten_at(item)]
    until = in_progress(kept, wanted.holder, now)
    if wanted.kind == ORDER and until is not None:
        raise _refuse(
            "another enclave is ordering with this bundle; look again at",
            "order-in-progress",
            until,
            "nothing was asked; what it gets arrives with certbot-enclave follow",
        )
    if counting:
        here = [item for item in kept if item.directory == wanted.directory]
        budget = budgets.of(wanted.directory)
        if wanted.kind == ACCOUNT:
            _require_account_left(here, budget, now)
        else:
            _require_order_left(here, wanted, budget, now)
    elif not _fits([*kept, wanted]):
        del kept[: len(kept) // 2]
    if not _fits([*kept, wanted]):
        raise _refuse(
            f"the ledger has room for {len(kept)} entries; one goes at",
            "ledger-full",
            min(_forgotten_at(item) for item in kept),
        )
    return (*kept, wanted)


def conclude(
    entries: Iterable[Entry], wanted: Entry, outcome: str, now: datetime
) -> tuple[Entry, ...]:
    """Return the ledger with the outcome of an entry that is open in it."""
    until = max(wanted.at, min(wanted.until, now))
    return tuple(
        item._replace(outcome=outcome, until=until) if item == wanted else item for item in entries
    )
