# SPDX-License-Identifier: Apache-2.0
"""CAA records as the interfaces of DNS providers take them: request bodies and commands.

Sources: the providers' API and command references, 2026-11. Where a provider has the record as
one text (Route 53, Google, deSEC, PowerDNS) the value stands in quotes; where it has fields (Azure,
Cloudflare) it must not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence

from certbot_enclave import errors
from certbot_enclave.caa import persist
from certbot_enclave.caa.publication import Publication, inside, plain, quoted


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2)


def check_cloudflare_ttl(items: Iterable[Publication]) -> None:
    """Check what Cloudflare takes: 60 to 86400 seconds; 1 would mean "automatic".

    Raises:
        PolicyError: It does not (``ttl-range``).
    """
    for item in items:
        if not 60 <= item.ttl <= 86400:
            raise errors.PolicyError(
                f"TTL is {item.ttl}, Cloudflare takes 60 to 86400", code="ttl-range"
            )


def route53(items: Sequence[Publication]) -> str:
    """Return a change batch; UPSERT replaces the whole set of a name."""
    changes = [
        {
            "Action": "UPSERT",
            "ResourceRecordSet": {
                "Name": item.owner,
                "Type": "CAA",
                "TTL": item.ttl,
                "ResourceRecords": [{"Value": quoted(record)} for record in item.records],
            },
        }
        for item in items
    ]
    return _pretty({"Changes": changes})


def gcloud(items: Sequence[Publication]) -> str:
    """Return a command for each name."""
    lines = []
    for item in items:
        values = [quoted(record) for record in item.records]
        # A comma separates list items; ``^|^`` names another sign (gcloud topic escaping), which
        # no value has.
        several = any("," in value for value in values)
        data = "^|^" + "|".join(values) if several else ",".join(values)
        lines.append(
            f'gcloud dns record-sets create {item.owner} --zone="$MANAGED_ZONE" --type=CAA '
            f"--ttl={item.ttl} --rrdatas={shlex.quote(data)}"
        )
    return "\n".join(lines)


def azure(items: Sequence[Publication]) -> str:
    """Return a command for each record; each adds to the set of its name."""
    lines = []
    for item in items:
        zone, name = inside(item)
        for record in item.records:
            flags, tag, value = plain(record)
            lines.append(
                f'az network dns record-set caa add-record -g "$RESOURCE_GROUP" -z {zone} '
                f"-n {name or '@'} --ttl {item.ttl} --flags {flags} --tag {tag} "
                f"--value {shlex.quote(value)}"
            )
    return "\n".join(lines)


def cloudflare(items: Sequence[Publication]) -> str:
    """Return a batch request that adds records.

    Raises:
        PolicyError: As `check_cloudflare_ttl`.
    """
    check_cloudflare_ttl(items)
    posts = []
    for item in items:
        for record in item.records:
            flags, tag, value = plain(record)
            data = {"flags": flags, "tag": tag, "value": value}
            posts.append({"type": "CAA", "name": item.name, "ttl": item.ttl, "data": data})
    return _pretty({"posts": posts})


def desec(items: Sequence[Publication]) -> str:
    """Return the RRsets of a bulk request; each replaces the set of its name."""
    return _pretty(
        [
            {
                "subname": inside(item)[1],
                "type": "CAA",
                "ttl": item.ttl,
                "records": [quoted(record) for record in item.records],
            }
            for item in items
        ]
    )


def powerdns(items: Sequence[Publication]) -> str:
    """Return a change of RRsets; each replaces the set of its name."""
    sets = [
        {
            "name": item.owner,
            "type": "CAA",
            "ttl": item.ttl,
            "changetype": "REPLACE",
            "records": [{"content": quoted(record), "disabled": False} for record in item.records],
        }
        for item in items
    ]
    return _pretty({"rrsets": sets})


def table(items: Sequence[Publication]) -> str:
    """Return everything as JSON, for programs."""
    sets: list[dict[str, object]] = []
    for item in items:
        records = []
        for record in item.records:
            flags, tag, value = plain(record)
            records.append(
                {
                    "flags": flags,
                    "tag": tag,
                    "value": value,
                    "rdata": record.wire().hex(),
                    "text": record.text(),
                }
            )
        sets.append({"name": item.name, "type": "CAA", "ttl": item.ttl, "records": records})
        if item.texts:
            name = f"{persist.LABEL}.{item.name}"
            texts = [{"strings": persist.strings(text)} for text in item.texts]
            sets.append({"name": name, "type": "TXT", "ttl": item.ttl, "records": texts})
    return _pretty({"sets": sets})
