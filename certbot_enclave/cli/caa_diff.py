# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa diff``: what has to change in DNS so that nobody else can get the names.

Text has one block for each place, in the order of the zone, parents first: ``- `` goes, ``+ ``
comes, two blanks stay. ``--format`` prints the whole sets that result, in a form of ``caa emit``.
What no record closes is told on stderr. ``--json`` prints one object:

==================  ==============================================================================
``changes``         array of objects with ``name``, lower-case A-labels, and its CAA records
                    ``before`` and ``after``, those ``removed`` and those ``added``, all in
                    presentation form
``not_by_records``  array of objects: ``name``, ``finding`` (stable), ``why`` and ``fix``
``simulated``       true if evidence of a simulated enclave names the account
==================  ==============================================================================

Exit code: 0 if all names hold, else 1 if there is anything to do, else 3 if one name could not be
told.
"""

from __future__ import annotations

import argparse
import json

from certbot_enclave import errors
from certbot_enclave.cli import caa_forms, caa_judging, caa_names, caa_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    caa_judging.add_arguments(parser)
    printed = parser.add_argument_group("result")
    caa_forms.add_format(printed, "print the whole sets that result, as")
    caa_forms.add_ttl(printed)
    printed.add_argument("--json", action="store_true", help="print the changes as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the changes."""
    from certbot_enclave.caa import formats
    from certbot_enclave.caa.publication import Publication

    if args.json and args.format is not None:
        raise errors.PolicyError(f"--json is not --format {args.format}", code="format-twice")
    caa_forms.check_ttl(args.ttl)
    zone = caa_forms.zone_of(args.zone)
    names, started = caa_names.chosen(args), caa_judging.start(args)
    plan = caa_plan.made(started, names)
    if args.json:
        print(json.dumps(caa_plan.table(plan, simulated=started.simulated), indent=2))
    elif args.format is None:
        caa_plan.show(plan)
    elif plan.changes:
        chosen = formats.FORMATS[args.format]
        sets = [Publication(item.name, item.after, args.ttl, zone) for item in plan.changes]
        caa_forms.show(chosen, caa_forms.written(chosen, sets))
    caa_plan.tell(plan)
    return plan.code
