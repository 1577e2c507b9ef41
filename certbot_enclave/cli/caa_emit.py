# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa emit``: the records that bind issuance to an account, in any form."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, date, datetime

from certbot_enclave import errors
from certbot_enclave.caa import formats, issuers, names, persist, publication
from certbot_enclave.caa.formats import Format
from certbot_enclave.caa.publication import Account, Publication
from certbot_enclave.cli import caa_accounts, caa_forms
from certbot_enclave.cli.caa_forms import note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("name", metavar="NAME", nargs="+", help="domain name, in any letters")
    caa_accounts.add_arguments(parser)
    printed = parser.add_argument_group("the records")
    printed.add_argument(
        "--wildcard", action="store_true", help="allow the account *.NAME too; otherwise nobody"
    )
    printed.add_argument(
        "--iodef", metavar="URL", help="where CAs report refusals: mailto:, https:"
    )
    caa_forms.add_ttl(printed)
    caa_forms.add_format(printed, "zone (default), or one of", list(formats.FORMATS)[1:])
    printed.add_argument(
        "--dns-persist",
        choices=persist.DRAFTS,
        metavar="DRAFT",
        help="print the TXT records of dns-persist-01 too: 01, or 02 with a hashed account",
    )
    printed.add_argument(
        "--account-hash-prefix",
        metavar="URL",
        help="accountHashPrefix of the CA's directory, for --dns-persist 02",
    )
    printed.add_argument(
        "--thumbprint", metavar="BASE64URL", help="of the account's key, for --dns-persist 02"
    )
    printed.add_argument("--json", action="store_true", help="same as --format json")


def _parsed(texts: Sequence[str]) -> list[str]:
    """Read the names, each once; show those that have two forms."""
    found = []
    for text in texts:
        name = names.parse(text)
        if name.shown is None:
            note(f"{name.ascii} is no valid name of IDNA 2008")
        elif name.shown != name.ascii:
            note(f"{name.shown} is {name.ascii}")
        found.append(name.ascii)
    return list(dict.fromkeys(found))


def _note_covering(found: Sequence[Publication]) -> None:
    """Tell of wildcards above, for which the records of the parent count."""
    bound = {item.name for item in found}
    for item in found:
        parent = item.name.partition(".")[2]
        if parent not in bound and "." in parent and parent not in names.PUBLIC_SUFFIXES:
            note(f"*.{parent} covers {item.name}: bind {parent} too, or its wildcard stays open")


def _note_methods(accounts: Sequence[Account]) -> None:
    """Tell of accounts that are allowed a wildcard, and could never get it."""
    for account in accounts:
        if not any(method.startswith(("dns-", "ca-")) for method in account.methods):
            note(f"CAs validate wildcards by DNS only, not by {','.join(account.methods)}")


def _note_authorities(accounts: Sequence[Account], today: date) -> None:
    """Tell of CAs that the records may not bind, and of accounts that are for tests only."""
    for issuer in dict.fromkeys(account.issuer for account in accounts):
        why = issuers.unenforced(issuer, today)
        if why is not None:
            note(why)
    if issuers.all_staging(account.uri for account in accounts):
        note("all accounts are for staging: bind that of the production directory too")


def _texts(
    name: str, accounts: Sequence[Account], args: argparse.Namespace, *, wildcard: bool
) -> tuple[str, ...]:
    """Return the TXT records of dns-persist-01, if they are wanted."""
    hashed = args.account_hash_prefix is not None or args.thumbprint is not None
    if hashed and args.dns_persist != "02":
        raise errors.PolicyError(
            "--account-hash-prefix and --thumbprint are for --dns-persist 02",
            code="persist-draft",
        )
    if args.dns_persist is None:
        return ()
    if args.thumbprint is not None:
        if args.evidence is not None or len(accounts) != 1:
            raise errors.PolicyError(
                "--thumbprint is for one account, and without evidence, which has it",
                code="persist-thumbprint",
            )
        accounts = [accounts[0]._replace(thumbprint=args.thumbprint)]
    return persist.texts_of(
        name,
        accounts,
        draft=args.dns_persist,
        prefix=args.account_hash_prefix,
        wildcard=wildcard,
    )


def _format(args: argparse.Namespace) -> Format:
    name = args.format or ("json" if args.json else "zone")
    if args.json and name != "json":
        raise errors.PolicyError(f"--json is not --format {name}", code="format-twice")
    chosen = formats.FORMATS[name]
    if args.dns_persist and not chosen.texts:
        raise errors.PolicyError(
            f"--dns-persist goes with other formats than {name}",
            code="format-without-txt",
            hint="use zone, generic, nsupdate or json, and enter the TXT record by hand",
        )
    args.json = name == "json"  # of a failure too
    return chosen


def run(args: argparse.Namespace) -> int:
    """Print the records of the names."""
    chosen = _format(args)
    caa_forms.check_ttl(args.ttl)
    wanted, zone = _parsed(args.name), caa_forms.zone_of(args.zone)
    accounts_for = caa_accounts.chosen(args, note)
    found = []
    everyone: dict[Account, None] = {}
    for base in dict.fromkeys(name.removeprefix("*.") for name in wanted):
        # The records of a wildcard stand below its star; asked for by name, it is allowed.
        wildcard = args.wildcard or f"*.{base}" in wanted
        asked = [name for name in (base, f"*.{base}") if name in wanted]
        accounts = list(dict.fromkeys(item for name in asked for item in accounts_for(name)))
        everyone |= dict.fromkeys(accounts)
        if wildcard:
            _note_methods(accounts)
        records = publication.records_of(accounts, wildcard=wildcard, iodef=args.iodef)
        texts = _texts(base, accounts, args, wildcard=wildcard)
        found.append(Publication(base, records, args.ttl, zone, texts))
    text = caa_forms.written(chosen, found)
    _note_covering(found)
    _note_authorities(list(everyone), datetime.now(UTC).date())
    caa_forms.show(chosen, text)
    return 0
