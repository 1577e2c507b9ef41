# SPDX-License-Identifier: Apache-2.0
"""Whose account the records are for: proved by evidence, named, or certbot's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import held
from certbot_enclave.caa.publication import Account
from certbot_enclave.cli import outside

if TYPE_CHECKING:
    from certbot_enclave.policy import Authority

# IANA, "ACME Validation Methods" for the identifier type dns, and the drafts that CAs serve. A
# label that no CA knows forbids everybody, the account too.
METHODS = ("http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01")
_WITH_EVIDENCE = ("policy", "image_id", "trust_root", "nonce")
_WITHOUT = ("certbot_config", "account_uri", "issuer", "method", "server")
_NAMED = {"server": "--acme-server"}

Tell = Callable[[str], None]


ACME_SERVER = ("--acme-server", "--server")


def add_arguments(
    parser: argparse.ArgumentParser, *, acme_server: Sequence[str] = ACME_SERVER
) -> None:
    """Add the options.

    Args:
        parser: Gets them.
        acme_server: What names an ACME directory: where ``--server`` is a DNS server, not that.
    """
    proved = parser.add_argument_group("the account of an enclave, verified first")
    proved.add_argument(
        "--evidence",
        metavar="FILE",
        action="append",
        help="its evidence, - for stdin; again for each further enclave",
    )
    outside.add_demanded(proved.add_mutually_exclusive_group())
    outside.add_root(proved)
    proved.add_argument("--nonce", metavar="HEX", help="nonce that was asked for, 16 to 64 bytes")
    named = parser.add_argument_group("any account")
    named.add_argument(
        "--account-uri",
        metavar="URI",
        action="append",
        help="account URL at the CA; again for each further account",
    )
    named.add_argument(
        "--certbot-config",
        metavar="DIR",
        help="take the account from certbot's configuration directory, e.g. /etc/letsencrypt",
    )
    named.add_argument(
        *acme_server, dest="server", metavar="URL", help="only accounts at this ACME directory"
    )
    named.add_argument(
        "--issuer", metavar="DOMAIN", help="issuer domain name of the CA; known for Let's Encrypt"
    )
    named.add_argument(
        "--method",
        metavar="METHOD[,METHOD]",
        help=f"validation methods that it may use: {', '.join(METHODS)}, or a CA's own ca-…",
    )


def _options(names: Iterable[str], args: argparse.Namespace) -> list[str]:
    return [
        _NAMED.get(name, "--" + name.replace("_", "-"))
        for name in names
        if getattr(args, name) is not None
    ]


def _proved(args: argparse.Namespace, tell: Tell) -> Callable[[str], tuple[Account, ...]]:
    """Return what verifies all evidence for a name."""
    from datetime import UTC, datetime

    from certbot_enclave import statement, verification
    from certbot_enclave.attestation import chain
    from certbot_enclave.cli import nonce as nonce_option

    beside = _options(_WITHOUT, args)
    if beside:
        raise errors.PolicyError(
            f"--evidence and {beside[0]} exclude each other: evidence says who may issue",
            code="account-source",
        )
    if args.policy is None and args.image_id is None:
        raise errors.PolicyError(
            "--evidence needs --policy or --image-id: which code do you trust?",
            code="policy-missing",
        )
    demanded, root = outside.demanded(args), outside.root(args.trust_root)
    nonce = nonce_option.parse(args.nonce)
    evidence = [outside.read(path, statement.MAX_EVIDENCE) for path in args.evidence]
    cache = chain.ChainCache()  # the same evidence is judged for each name

    def accounts(name: str) -> tuple[Account, ...]:
        found = []
        for data in evidence:
            verified = verification.verify(
                data,
                demanded,
                domain=name,
                nonce=nonce,
                now=datetime.now(UTC),
                trust_root=root,
                cache=cache,
                progress=lambda line: tell(f"proved: {line}"),
            )
            if verified.simulated:
                tell("SIMULATED: this is no hardware's word, but that of the root you named")
            said = verified.statement
            issuer, methods = said.caa_identities[0], said.validation_methods
            found.append(Account(issuer, said.account_uri, methods, said.thumbprint))
            # The policy accepts each by name, or this would not be verified.
            found += [Account(issuer, uri, methods) for uri in held.uris(said.conditions)]
        return tuple(found)

    return accounts


def _stored(args: argparse.Namespace) -> list[str]:
    """Return the URLs of the chosen accounts of certbot."""
    from certbot_enclave.cli import certbot_accounts

    found = [
        item
        for item in certbot_accounts.find(args.certbot_config)
        if args.server in (None, item.server) and item.uri in (args.account_uri or [item.uri])
    ]
    if not found or (
        args.account_uri and len({item.uri for item in found}) < len(set(args.account_uri))
    ):
        raise errors.PolicyError(
            f"{args.certbot_config} has no such account",
            code="account-missing",
            hint="`certbot show_account --server URL` tells what it has",
        )
    if len(found) > 1 and not args.account_uri:
        names = ", ".join(f"{item.uri} at {item.server}" for item in found)
        raise errors.PolicyError(
            f"{args.certbot_config} has {len(found)} accounts: {names}",
            code="account-several",
            hint="choose with --acme-server, or with --account-uri, once for each",
        )
    return [item.uri for item in found]


def _methods(text: str | None) -> tuple[str, ...]:
    if text is None:
        raise errors.PolicyError(
            "--method is missing: which validation methods may the account use?",
            code="method-missing",
            hint="e.g. --method http-01, or dns-01 for wildcards",
        )
    methods = tuple(dict.fromkeys(text.split(",")))
    for method in methods:
        if method not in METHODS and not method.startswith("ca-"):
            raise errors.PolicyError(
                f"{method!r} is no validation method, expected {', '.join(METHODS)} or ca-…",
                code="method-unknown",
            )
    return methods


def _issuer(uri: str, given: str | None, known: Authority | None) -> str:
    if known is not None and given is not None and given not in known.identities:
        raise errors.PolicyError(
            f"account {uri!r} is not at {given!r}, but at {', '.join(sorted(known.identities))}",
            code="account-issuer",
            hint="leave --issuer out",
        )
    if known is not None:
        return given or min(known.identities)
    if given is None:
        raise errors.PolicyError(
            f"the issuer domain name of the CA of {uri!r} is not known here",
            code="issuer-missing",
            hint="find it in the CA's CPS or in caaIdentities of its directory: --issuer DOMAIN",
        )
    return given


def _named(args: argparse.Namespace, tell: Tell) -> tuple[Account, ...]:
    from certbot_enclave.policy import PUBLIC_AUTHORITIES

    for option in _options(_WITH_EVIDENCE, args):
        raise errors.PolicyError(
            f"{option} is for --evidence: nothing would be verified", code="account-source"
        )
    if args.certbot_config is not None:
        uris = _stored(args)
    elif args.server is not None:
        raise errors.PolicyError("--acme-server is for --certbot-config", code="account-source")
    elif args.account_uri is None:
        raise errors.PolicyError(
            "whose account? none of --evidence, --account-uri and --certbot-config is given",
            code="account-source",
        )
    else:
        uris = args.account_uri
    methods = _methods(args.method)
    accounts = []
    for uri in uris:
        known = next(
            (item for item in PUBLIC_AUTHORITIES if uri.startswith(item.account_prefix)), None
        )
        if known is not None and known.staging:
            tell(f"{uri!r} is a staging account: no browser trusts its certificates")
        accounts.append(Account(_issuer(uri, args.issuer, known), uri, methods))
    return tuple(accounts)


def chosen(args: argparse.Namespace, tell: Tell) -> Callable[[str], tuple[Account, ...]]:
    """Find out whose account.

    Args:
        args: With the options of `add_arguments`.
        tell: Called with one line for each thing that was proved, or that is odd.

    Returns:
        What gives the accounts for a name; it verifies evidence for that name, and raises what
        `verification.verify` raises.

    Raises:
        PolicyError: Options are missing, or contradict each other (``account-…``,
            ``method-…``, ``issuer-missing``, ``policy-…``).
        TransportError: A file cannot be read (``file-unreadable``).
    """
    if args.evidence is not None:
        return _proved(args, tell)
    accounts = _named(args, tell)
    return lambda _name: accounts
