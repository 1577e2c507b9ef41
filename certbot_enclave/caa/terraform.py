# SPDX-License-Identifier: Apache-2.0
r"""CAA records as resources of Terraform and OpenTofu.

What only the owner knows stands as a variable. No value needs an escape: `publication.plain` lets
no ``"``, ``\\`` or ``{`` through, so that ``${…}`` and ``%{…}`` cannot occur.
"""

from __future__ import annotations

from collections.abc import Sequence

from certbot_enclave.caa.providers import check_cloudflare_ttl
from certbot_enclave.caa.publication import Publication, inside, plain, quoted


def _label(item: Publication) -> str:
    # Host names have no ``_``, so two names never get one label.
    return "caa_" + item.name.replace(".", "_")


def _text(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


def _resource(kind: str, label: str, lines: Sequence[str]) -> str:
    return "\n".join(
        [f'resource "{kind}" "{label}" {{', *(f"  {line}".rstrip() for line in lines), "}"]
    )


def _texts(name: str, item: Publication) -> list[str]:
    values = [f"  {_text(quoted(record))}," for record in item.records]
    return [f"{name} = [", *values, "]"]


def aws(items: Sequence[Publication]) -> str:
    """Return ``aws_route53_record`` resources."""
    return "\n\n".join(
        _resource(
            "aws_route53_record",
            _label(item),
            [
                "zone_id = var.zone_id",
                f'name    = "{item.name}"',
                'type    = "CAA"',
                f"ttl     = {item.ttl}",
                *_texts("records", item),
            ],
        )
        for item in items
    )


def google(items: Sequence[Publication]) -> str:
    """Return ``google_dns_record_set`` resources."""
    return "\n\n".join(
        _resource(
            "google_dns_record_set",
            _label(item),
            [
                "managed_zone = var.managed_zone",
                f'name         = "{item.owner}"',
                'type         = "CAA"',
                f"ttl          = {item.ttl}",
                *_texts("rrdatas", item),
            ],
        )
        for item in items
    )


def azurerm(items: Sequence[Publication]) -> str:
    """Return ``azurerm_dns_caa_record`` resources."""
    blocks = []
    for item in items:
        zone, name = inside(item)
        lines = [
            "resource_group_name = var.resource_group_name",
            f'zone_name           = "{zone}"',
            f'name                = "{name or "@"}"',
            f"ttl                 = {item.ttl}",
        ]
        for record in item.records:
            flags, tag, value = plain(record)
            lines += ["", "record {"]
            lines += [f"  flags = {flags}", f'  tag   = "{tag}"', f"  value = {_text(value)}", "}"]
        blocks.append(_resource("azurerm_dns_caa_record", _label(item), lines))
    return "\n\n".join(blocks)


def _cloudflare(items: Sequence[Publication], kind: str, opening: str, mark: str) -> str:
    check_cloudflare_ttl(items)
    blocks = []
    for item in items:
        for number, record in enumerate(item.records, 1):
            flags, tag, value = plain(record)
            lines = ["zone_id = var.zone_id", f'name    = "{item.name}"', 'type    = "CAA"']
            lines += [f"ttl     = {item.ttl}", opening, f"  flags = {mark}{flags}{mark}"]
            lines += [f'  tag   = "{tag}"', f"  value = {_text(value)}", "}"]
            blocks.append(_resource(kind, f"{_label(item)}_{number}", lines))
    return "\n\n".join(blocks)


def cloudflare(items: Sequence[Publication]) -> str:
    """Return ``cloudflare_dns_record`` resources, of version 5 of the provider.

    Raises:
        PolicyError: As `providers.check_cloudflare_ttl`.
    """
    return _cloudflare(items, "cloudflare_dns_record", "data = {", "")


def cloudflare_v4(items: Sequence[Publication]) -> str:
    """Return ``cloudflare_record`` resources, of version 4 of the provider.

    Raises:
        PolicyError: As `providers.check_cloudflare_ttl`.
    """
    return _cloudflare(items, "cloudflare_record", "data {", '"')
