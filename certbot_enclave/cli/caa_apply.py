# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa apply``: the changes of ``caa diff``, made at the server of the zone.

It prints what it would change and stops; with ``--yes`` it makes the changes by one signed update
(RFC 2136, RFC 8945) for each zone, and never asks. The server makes an update only if it has the
records that resolvers see; what it has afterwards is read back. ``--json`` prints the object of
``caa diff``, in which each change has in addition

==============  ==================================================================================
``state``       ``planned``, without ``--yes``; ``applied``; ``already``, if the server had it so
                before; ``failed``
``zone``        the zone that holds the name, or null
``code``        why it failed, stable, or null
``error``       the same as a sentence, or null
==============  ==================================================================================

and the object has ``binds_from``: from when on what was applied binds every CA (RFC 3339, UTC), or
null.

Exit code: 0 if all names hold, or will once resolvers see what was made; else 1 if anything is left
to do, or the server refused; else 3 if a name could not be told, or the server not be asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from certbot_enclave import cli
from certbot_enclave.cli import caa_forms, caa_judging, caa_names, caa_plan, tsig_key

if TYPE_CHECKING:
    from certbot_enclave.caa.plan import Plan
    from certbot_enclave.caa.primary import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    caa_judging.add_arguments(parser, acme_server=["--acme-server"])
    made = parser.add_argument_group("the change")
    made.add_argument(
        "--server",
        dest="primary",
        metavar="IP[:PORT]",
        required=True,
        help="primary server of the zone; TCP, every message signed",
    )
    made.add_argument(
        "--key",
        metavar="FILE",
        required=True,
        help="TSIG key: as tsig-keygen writes it, or one line ALGORITHM:NAME:BASE64",
    )
    made.add_argument(
        "--zone", metavar="NAME", help="zone that holds the names; the server is asked by default"
    )
    caa_forms.add_ttl(made)
    made.add_argument("--yes", action="store_true", help="make the changes; otherwise only show")
    made.add_argument("--json", action="store_true", help="print changes and results as JSON")


def _binds_from(outcomes: list[Outcome], now: datetime) -> datetime | None:
    from certbot_enclave.caa import assessment

    old = [item.old_ttl for item in outcomes if item.state == "applied"]
    if not old:
        return None
    return assessment.window(None, now=now, published=now, old_ttl=max(old)).since


def _table(
    plan: Plan, outcomes: list[Outcome], since: datetime | None, *, simulated: bool
) -> dict[str, Any]:
    changes = [
        {
            **caa_plan.change_table(item.change),
            "state": item.state,
            "zone": item.zone,
            "code": None if item.error is None else item.error.code,
            "error": None if item.error is None else str(item.error),
        }
        for item in outcomes
    ]
    return {
        **caa_plan.table(plan, simulated=simulated),
        "changes": changes,
        "binds_from": None if since is None else f"{since:%Y-%m-%dT%H:%M:%SZ}",
    }


def _tell(outcomes: list[Outcome]) -> None:
    """Say what failed; of what failed for the same reason, once."""
    failed = [(item.change.name, item.error) for item in outcomes if item.error is not None]
    for error in {str(error): error for _, error in failed}.values():
        names = [name for name, other in failed if str(other) == str(error)]
        caa_forms.note(f"not changed: {', '.join(names)}")
        cli.complain(error)


def _show(outcomes: list[Outcome], since: datetime | None) -> None:
    for item in outcomes:
        if item.state == "applied":
            print(f"{item.change.name}. applied to the zone {item.zone}")
        elif item.state == "already":
            print(f"{item.change.name}. has it already: resolvers see it within the old TTL")
    if since is not None:
        print(f"binds every CA from {since:%Y-%m-%dT%H:%M:%SZ}")


def run(args: argparse.Namespace) -> int:
    """Show the changes, and make them if that is wanted."""
    from certbot_enclave.caa import assessment, primary
    from certbot_enclave.caa.primary import Outcome

    caa_forms.check_ttl(args.ttl)
    zone = caa_forms.zone_of(args.zone)
    server = primary.parse_server(args.primary, tsig_key.read(args.key, caa_forms.note))
    names, started = caa_names.chosen(args), caa_judging.start(args)
    plan = caa_plan.made(started, names)
    if not args.json:
        caa_plan.show(plan)
    caa_plan.tell(plan)
    outcomes = [Outcome(change, "planned") for change in plan.changes]
    code = plan.code
    since = None
    if args.yes and plan.changes:
        outcomes = primary.publish(server, plan.changes, ttl=args.ttl, zone=zone)
        since = _binds_from(outcomes, datetime.now(UTC))
        failed = [cli.exit_code(item.error) for item in outcomes if item.error is not None]
        code = assessment.worst([*failed, plan.code_after])
    if args.json:
        table = _table(plan, outcomes, since, simulated=started.simulated)
        print(json.dumps(table, indent=2))
    else:
        _show(outcomes, since)
    _tell(outcomes)
    if plan.changes and not args.yes:
        print(
            f"certbot-enclave: hint: nothing was changed; --yes does it, at {server.label}",
            file=sys.stderr,
        )
    return code
