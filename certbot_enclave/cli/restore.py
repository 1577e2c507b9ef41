# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave restore``: after a restart, before anything else.

``--json`` prints ``generation`` (of the bundle that this boot began with), ``accounts`` (URIs) and
``certificates``: array of objects with ``name``, ``names`` and ``not_after``.
"""

from __future__ import annotations

import argparse
import json

from certbot_enclave.cli import inside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--server", metavar="URL", help="ACME directory; as registered by default")
    parser.add_argument("--account", metavar="URI", help="expected account; any other is an error")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    inside.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Bring back what an earlier boot sealed, or what another enclave sealed since."""
    from certbot_enclave import continuity, lineages
    from certbot_enclave.account import keeping

    issuance = inside.start(args)
    mark = continuity.restore(issuance)
    continuity.require_bundle(mark)
    continuity.hand_over(issuance)
    config = issuance.runtime.directories.config
    certificates = [
        {
            "name": name,
            "names": sorted(lineages.dns_names(certificate)),
            "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        }
        for name, certificate in lineages.certificates(config / "live")
    ]
    accounts = keeping.registered_uris(config)
    if args.json:
        table = {
            "generation": mark.restored_from,
            "accounts": accounts,
            "certificates": certificates,
        }
        print(json.dumps(table, indent=2, sort_keys=True))
        return 0
    print(f"generation:  {mark.restored_from}")
    for uri in accounts:
        print(f"account:     {uri}")
    for item in certificates:
        print(f"certificate: {item['name']}, until {item['not_after']}")
    return 0
