# SPDX-License-Identifier: Apache-2.0
"""CAA records as DNS software and people want them: every form by its name, in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from certbot_enclave.caa import dns_as_code, ens, persist, providers, terraform
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.publication import TTL, Account, Publication, inside, records_of


def records_for(
    *, issuer: str, methods: Sequence[str], account_uri: str, wildcard: bool = False
) -> tuple[Record, ...]:
    """Return the pair of records that allows one account and nobody else.

    Args:
        issuer: Issuer domain name of the CA.
        methods: Validation method labels.
        account_uri: ACME account URL.
        wildcard: Allow the account a wildcard certificate too; otherwise nobody gets one.

    Raises:
        PolicyError: As `grammar.build`.
    """
    return records_of([Account(issuer, account_uri, tuple(methods))], wildcard=wildcard)


def _owner(name: str) -> str:
    """Return where the records of a name stand: those of ``*.NAME`` at NAME (RFC 8659 §3)."""
    return name.removeprefix("*.") + "."


def zone(name: str, records: Sequence[Record], ttl: int = TTL) -> tuple[str, ...]:
    """Return zone-file lines. The value is quoted: unquoted, its ``;`` would begin a comment."""
    return tuple(f"{_owner(name)} {ttl} IN CAA {record.text()}" for record in records)


def generic(name: str, records: Sequence[Record], ttl: int = TTL) -> tuple[str, ...]:
    """Return zone-file lines in the form for unknown types (RFC 3597 §5)."""
    lines = []
    for record in records:
        rdata = record.wire()
        lines.append(f"{_owner(name)} {ttl} IN TYPE257 \\# {len(rdata)} {rdata.hex()}")
    return tuple(lines)


def _text(item: Publication) -> tuple[str, list[str], list[bytes]]:
    """Return owner, presentation forms and RDATA of the TXT records that go beside."""
    parts = [persist.strings(text) for text in item.texts]
    return (
        f"{persist.LABEL}.{item.owner}",
        [" ".join(f'"{part}"' for part in each) for each in parts],
        [b"".join(bytes([len(part)]) + part.encode("ascii") for part in each) for each in parts],
    )


def _zone(items: Sequence[Publication]) -> str:
    lines: list[str] = []
    for item in items:
        lines += zone(item.name, item.records, item.ttl)
        owner, texts, _ = _text(item)
        lines += [f"{owner} {item.ttl} IN TXT {text}" for text in texts]
    return "\n".join(lines)


def _generic(items: Sequence[Publication]) -> str:
    lines: list[str] = []
    for item in items:
        lines += generic(item.name, item.records, item.ttl)
        owner, _, wire = _text(item)
        lines += [f"{owner} {item.ttl} IN TYPE16 \\# {len(data)} {data.hex()}" for data in wire]
    return "\n".join(lines)


def nsupdate(items: Sequence[Publication]) -> str:
    """Return one update (RFC 2136) that replaces the CAA records of each name.

    Raises:
        PolicyError: The names are not in the zone that is named, as `publication.inside`.
    """
    named = {inside(item)[0] for item in items if item.zone is not None}
    lines = [f"zone {name}." for name in sorted(named)]
    for item in items:
        lines.append(f"update delete {item.owner} CAA")
        lines += [
            f"update add {item.owner} {item.ttl} CAA {record.text()}" for record in item.records
        ]
        owner, texts, _ = _text(item)
        # Those of another CA stay: a TXT record permits, and forbids nothing.
        lines += [f"update add {owner} {item.ttl} TXT {text}" for text in texts]
    return "\n".join([*lines, "send"])


class Format(NamedTuple):
    """One form.

    Attributes:
        write: Makes the text; raises PolicyError for what the form cannot hold.
        use: What to do with the text.
        zoned: True if it needs the zone apart from the name.
        warning: What this provider does behind the owner's back, or an empty text.
        texts: True if it can have `Publication.texts` beside the records.
    """

    write: Callable[[Sequence[Publication]], str]
    use: str
    zoned: bool = False
    warning: str = ""
    texts: bool = False


_ONLY = "remove every other CAA record of the name"
_LIKEWISE = "it adds the records to those that are there: then " + _ONLY
_PLAN = "the resource owns the whole set; import one that is there already"
_CLOUDFLARE = (
    "with Universal SSL, Cloudflare serves CAA records of its own in place of these, and neither "
    "dashboard nor API shows them (CVE-2026-14440): switch it off first, PATCH "
    '/zones/ZONE_ID/ssl/universal/settings {"enabled": false}, and ask the name servers afterwards'
)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "zone": Format(_zone, "put it into the zone file, and " + _ONLY, texts=True),
        "generic": Format(_generic, "put it into the zone file, and " + _ONLY, texts=True),
        "nsupdate": Format(
            nsupdate, "nsupdate -k KEYFILE FILE; it replaces the set of each name", texts=True
        ),
        "route53": Format(
            providers.route53,
            "aws route53 change-resource-record-sets --hosted-zone-id ID --change-batch "
            "file://FILE; it replaces the set of each name",
        ),
        "gcloud": Format(
            providers.gcloud,
            "set MANAGED_ZONE first; where the name has CAA records, write update in place of "
            "create: it replaces them",
        ),
        "azure": Format(providers.azure, "set RESOURCE_GROUP first; " + _LIKEWISE, zoned=True),
        "cloudflare": Format(
            providers.cloudflare,
            "POST it to /zones/ZONE_ID/dns_records/batch; " + _LIKEWISE,
            warning=_CLOUDFLARE,
        ),
        "terraform-aws": Format(terraform.aws, _PLAN),
        "terraform-google": Format(terraform.google, _PLAN),
        "terraform-azurerm": Format(terraform.azurerm, _PLAN, zoned=True),
        "terraform-cloudflare": Format(terraform.cloudflare, _LIKEWISE, warning=_CLOUDFLARE),
        "terraform-cloudflare-v4": Format(terraform.cloudflare_v4, _LIKEWISE, warning=_CLOUDFLARE),
        "octodns": Format(
            dns_as_code.octodns,
            "put it into the zone's file, and " + _ONLY + "; octodns-googlecloud sends values "
            "without quotes, so look at what it publishes",
            zoned=True,
        ),
        "dnscontrol": Format(
            dns_as_code.dnscontrol,
            "put it into dnsconfig.js below the D() of the zone, and " + _ONLY,
            zoned=True,
        ),
        "desec": Format(
            providers.desec,
            "PUT it to /api/v1/domains/ZONE/rrsets/; it replaces the set of each name",
            zoned=True,
        ),
        "powerdns": Format(
            providers.powerdns,
            "PATCH it to /api/v1/servers/localhost/zones/ZONE; it replaces the set of each name",
        ),
        "ens": Format(
            ens.ens, "setDNSRecords(node, data): CAs see it only through a bridge that serves DNS"
        ),
        "json": Format(
            providers.table, "these are all CAA records that the name shall have", texts=True
        ),
    }
)
