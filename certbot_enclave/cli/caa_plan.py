# SPDX-License-Identifier: Apache-2.0
"""The plan behind ``caa diff`` and ``caa apply``: made from live DNS, shown in one form by both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from certbot_enclave.cli import caa_judging
from certbot_enclave.cli.caa_judging import Run
from certbot_enclave.cli.caa_names import Asked

if TYPE_CHECKING:
    from certbot_enclave.caa.changes import Change
    from certbot_enclave.caa.plan import Plan


def made(run: Run, names: Iterator[Asked]) -> Plan:
    """Judge the names; return what has to change.

    Raises:
        PolicyError, TransportError: As `caa_judging.each`.
    """
    import asyncio

    from certbot_enclave.caa import plan

    async def open_ones() -> Plan:
        return plan.of(
            [one.found async for one in caa_judging.each(run, names) if one.found.code != 0]
        )

    return asyncio.run(open_ones())


def show(plan: Plan) -> None:
    """Print the changes: one block for each place."""
    for change in plan.changes:
        print(f"{change.name}. CAA")
        for line in change.lines():
            print(line)


def tell(plan: Plan) -> None:
    """Tell what no record closes, or that nothing is to be done."""
    for name, finding, _ in plan.others:
        print(f"certbot-enclave: note: {name}: {finding.name}: {finding.why}", file=sys.stderr)
        if finding.fix:
            print(f"certbot-enclave: hint: {finding.fix}", file=sys.stderr)
    if plan.code == 0:
        print("certbot-enclave: note: nothing to change, all names hold", file=sys.stderr)


def change_table(change: Change) -> dict[str, Any]:
    """Return a change as JSON has it."""
    names = ("before", "after", "removed", "added")
    records = {name: [record.text() for record in getattr(change, name)] for name in names}
    return {"name": change.name, **records}


def table(plan: Plan, *, simulated: bool) -> dict[str, Any]:
    """Return the plan as JSON has it; `caa_diff` describes it."""
    return {
        "changes": [change_table(change) for change in plan.changes],
        "not_by_records": [
            {"name": name, "finding": finding.name, "why": finding.why, "fix": finding.fix}
            for name, finding, _ in plan.others
        ],
        "simulated": simulated,
    }
