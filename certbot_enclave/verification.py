# SPDX-License-Identifier: Apache-2.0
"""Verification of evidence: numbered checks, in order, each with a code of its own.

==  =================================================================  =======================
#   check                                                              code
==  =================================================================  =======================
1   evidence, statement and document are in their one strict form      (many)
2   certificates lead from the pinned root to the leaf, at the
    document's own time                                                chain-…
3   the leaf's key signed the document                                 cose-signature
4   document rules; PCR4 and the leaf's name fit the module id         document-…
5   not from the future: 60 seconds of skew                            future
6   not too old: ``max_age`` of the policy, 5 minutes with a nonce     stale
7   the nonce that was asked for, and none otherwise                   nonce-mismatch
8   not a debug enclave: none of PCR0-2 is zero                        debug
9   one measurement set of the policy matches; no PCR of 16 or more
    that the set does not name, or the statement for its account       pcr-mismatch, pcr-extra
10  ``user_data`` binds the statement                                  statement-unbound
11  ``public_key`` is the statement's account key, a point of P-256,   account-key-unbound,
    and so is the thumbprint; a PCR that the statement names for it    account-key, thumbprint,
    is bound to the account                                            account-pcr
12  ``issued_at`` within 5 minutes of the document                     issued-at
13  directory, account URI and CAA identities belong to one CA that
    the policy or the built-in table knows; staging only when asked    directory-unknown, …
14  every condition is accepted by name                                condition
15  the sealing is accepted                                            sealing
16  every setting has its default value or is accepted by name         setting
17  the expected domain is among the statement's                       domain
==  =================================================================  =======================

Evidence of the format ``oyster-signed`` carries a document that was not made for it, and a
signature of the key in that document. There, these checks take the place of the same number above:

==  =================================================================  =======================
7   none: the nonce is part of what check 10 verifies
9   as above, and the policy's set is an Oyster image id               pcr-…, image-id-missing
10  the document's key, a point of secp256k1, signed the nonce that    oyster-key,
    was asked for, or none, and the statement                          oyster-signature,
                                                                       oyster-signature-size
11  the statement's account key is a point of P-256, and has the       account-key, thumbprint,
    thumbprint; its PCR as above                                       account-pcr
==  =================================================================  =======================
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors, matching
from certbot_enclave import settings as settings_module
from certbot_enclave import statement as statement_module
from certbot_enclave.attestation import chain, proof
from certbot_enclave.attestation import document as document_module
from certbot_enclave.attestation.chain import ChainCache
from certbot_enclave.attestation.document import Document
from certbot_enclave.policy import PUBLIC_AUTHORITIES, Policy
from certbot_enclave.statement import Domain, Evidence, Statement

SKEW = timedelta(seconds=60)
LIVE = timedelta(minutes=5)
ISSUED_WITHIN = timedelta(minutes=5)
NOT_CHECKED = (
    "CAA records as they are now",
    "DNSSEC of the zone, as seen from here",
    "the key of the live TLS server",
    "other certificates for the domain in Certificate Transparency",
)
WEAKER = (
    "whether all processes of the enclave keep to themselves the key that signed the statement: "
    "the hardware vouches for that key, not for the statement"
)
# These are judged by checks 11, 13 to 15 and 17, not by name.
_JUDGED_ELSEWHERE = frozenset(
    {
        *("attester", "sealer", "store", "server", "domains", "account", "caa_issuer", "challenge"),
        "bind_pcr",
    }
)
_BOUND_SEALING = "oysterkms:image"  # the one that the measurements alone decide about
_KEYED = frozenset({"awskms", "oysterkms"})  # what they are worth is a matter of the key
_MOCKS = frozenset({"oysterkms:mock"})
_BINDABLE = frozenset(str(index) for index in range(16, 32))
# These say where something public is written, and weaken nothing.
_NEUTRAL = frozenset({"evidence"})


class Verified(NamedTuple):
    """Evidence that passed every check.

    Attributes:
        statement: What the enclave says; every field is vouched for by the hardware.
        document: The attestation document.
        domain: What it says about the expected domain.
        format: The attestation format, ``aws-nitro`` or the weaker ``oyster-signed``.
        matched: Name of the policy's measurement set that matched.
        simulated: True if no hardware stands behind it, because the caller named another root
            than AWS's.
        not_checked: What these checks do not tell.
    """

    statement: Statement
    document: Document
    domain: Domain
    format: str
    matched: str
    simulated: bool
    not_checked: tuple[str, ...]


def _check_time(found: Document, policy: Policy, *, live: bool, now: datetime) -> None:
    age = now - found.time
    if age < -SKEW:  # 5
        raise errors.FreshnessError(
            f"document is from {-age.total_seconds():.0f} seconds in the future, "
            f"at most {SKEW.seconds} are allowed",
            code="future",
            hint="is this machine's clock right?",
        )
    limit = timedelta(seconds=policy.max_age)
    if live:
        limit = min(limit, LIVE)
    if age > limit:  # 6
        raise errors.FreshnessError(
            f"document is {age.total_seconds():.0f} seconds old, "
            f"at most {limit.total_seconds():.0f} are allowed",
            code="stale",
            hint="fetch the newest evidence; the operator renews it with `certbot-enclave attest`",
        )


def check_nonce(found: Document, nonce: bytes | None) -> None:
    """Make check 7.

    Raises:
        FreshnessError: The document carries another nonce, or one that nobody asked for.
    """
    if (found.nonce or None) != nonce:  # 7
        raise errors.FreshnessError(
            f"nonce is {_hex(found.nonce)}, expected {_hex(nonce)}",
            code="nonce-mismatch",
            expected=_hex(nonce),
            actual=_hex(found.nonce),
            hint="this answers another question: a replay, or give its own nonce with --nonce",
        )


def _hex(data: bytes | None) -> str:
    return data.hex() if data else "none"


def _bound_pcr(said: Statement) -> int | None:
    """Return the PCR that the statement says is bound to its account, or None."""
    value = said.settings.get("bind_pcr", "")
    return int(value) if value in _BINDABLE else None


# SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480 §2): written out, since importing
# cryptography's serialization would cost more time than the whole verification.
_SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def _spki(key: Mapping[str, str]) -> bytes:
    x, y = (base64.urlsafe_b64decode(key[name] + "=") for name in ("x", "y"))
    point = b"\x04" + x + y
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise errors.FormatError("account key is no point of P-256", code="account-key") from error
    return _SPKI_P256 + point


def check_binding(found: Document, taken: Evidence, said: Statement, nonce: bytes | None) -> None:
    """Make checks 10 to 12: document, statement and account key belong together.

    Args:
        found: The document, authenticated.
        taken: The evidence it came with.
        said: Its statement.
        nonce: What was asked for, or None; only ``oyster-signed`` binds it here.

    Raises:
        BindingError, SignatureError, FormatError: They do not, by the codes of the table above.
    """
    user_data = statement_module.user_data(taken.text)
    proof.check_bound(found, taken.signature, user_data=user_data, nonce=nonce)  # 10
    account_key = _spki(said.account_key)  # 11
    if taken.signature is None and found.public_key != account_key:
        raise errors.BindingError(
            "the document binds another account key", code="account-key-unbound"
        )
    thumbprint = statement_module.thumbprint(said.account_key)
    if said.thumbprint != thumbprint:
        raise errors.BindingError(
            f"thumbprint is {said.thumbprint}, the account key's is {thumbprint}",
            code="thumbprint",
        )
    if said.settings.get("bind_pcr"):
        index = _bound_pcr(said)
        expected = statement_module.account_pcr(said.account_uri, account_key).hex()
        actual = _hex(None if index is None else found.pcrs.get(index))
        if actual != expected:
            raise errors.BindingError(
                f"PCR {said.settings['bind_pcr']} is {actual}, bound to the account {expected}",
                code="account-pcr",
                expected=expected,
                actual=actual,
            )
    if abs(said.issued_at - found.time) > ISSUED_WITHIN:  # 12
        raise errors.BindingError(
            f"statement is from {said.issued_at:%Y-%m-%dT%H:%M:%SZ}, "
            f"the document from {found.time:%Y-%m-%dT%H:%M:%SZ}",
            code="issued-at",
        )


def _check_authority(said: Statement, policy: Policy) -> None:  # 13
    known = {item.directory: item for item in (*PUBLIC_AUTHORITIES, *policy.authorities)}
    authority = known.get(said.directory)
    if authority is None:
        raise errors.StatementError(
            f"directory {said.directory} is not known",
            code="directory-unknown",
            hint='name it in the policy: [directories."URL"]',
        )
    if authority.staging and not policy.staging:
        raise errors.StatementError(
            f"directory {said.directory} is a staging one; its certificates protect nothing",
            code="directory-staging",
            hint="accept it in the policy: staging = true",
        )
    if not said.account_uri.startswith(authority.account_prefix):
        raise errors.StatementError(
            f"account {said.account_uri} is not one of {said.directory}", code="account-foreign"
        )
    if not said.caa_identities or not set(said.caa_identities) <= authority.identities:
        raise errors.StatementError(
            f"CAA identities are {', '.join(said.caa_identities) or 'none'}, "
            f"expected {', '.join(sorted(authority.identities))}",
            code="caa-identity",
        )


def _check_conditions(said: Statement, policy: Policy, *, simulated: bool) -> None:
    # Naming the root of a simulated enclave accepts that it is simulated, and nothing else.
    implied = {"simulated"} if simulated else set()
    refused = sorted(set(said.conditions) - policy.conditions - implied)
    if refused:  # 14
        raise errors.StatementError(
            f"condition {refused[0]} weakens the claim, and the policy does not accept it",
            code="condition",
            hint=f'if it is acceptable: [accept] conditions = ["{refused[0]}"]',
        )
    full = f"{said.sealing_scheme}:{said.sealing_key}"
    weak = (said.sealing_scheme == "simulated" or full in _MOCKS) and not simulated
    # Under any other key somebody else decides which code unseals, so the policy has to name it: in
    # full, where the scheme alone would let the host bring a key of its own.
    bound = full == _BOUND_SEALING or (said.sealing_scheme == "simulated" and not weak)
    loose = said.sealing_scheme in _KEYED and not bound
    named = {full} if loose else {said.sealing_scheme, full}
    if weak or ((policy.sealing or not bound) and not named & policy.sealing):  # 15
        raise errors.StatementError(
            f"state is sealed by {said.sealing_scheme} {said.sealing_key}, "
            f"accepted: {', '.join(sorted(policy.sealing)) or _BOUND_SEALING}",
            code="sealing",
            hint=f'if it is acceptable: [accept] sealing = ["{full}"]',
        )
    for name, value in said.settings.items():  # 16
        if name in _JUDGED_ELSEWHERE or name in _NEUTRAL:
            continue
        known = settings_module.BY_NAME.get(name)
        if known is not None and value == known.default:
            continue
        if name not in policy.settings or policy.settings[name] != value:
            raise errors.StatementError(
                f"setting {name} is {value!r}, which the policy does not accept by name",
                code="setting",
                hint=f"if it is acceptable: [accept.settings] {name} = …",
            )


def _domain(said: Statement, domain: str) -> Domain:
    for item in said.domains:  # 17
        if item.name == domain:
            return item
    names = ", ".join(item.name for item in said.domains) or "none"
    raise errors.StatementError(
        f"statement is about {names}, expected {domain}",
        code="domain",
        expected=domain,
        hint="ask for the evidence of the enclave that serves this domain",
    )


def _told(about: Domain) -> str:
    """Say what the statement says of the domain: never that a verdict holds without since when."""

    def stamp(time: datetime) -> str:
        return f"{time:%Y-%m-%dT%H:%M:%SZ}"

    line = f"statement is about {about.name}: {about.verdict} at {stamp(about.checked_at)}"
    if about.verdict == statement_module.OPEN:
        return line
    if about.since is None:
        return f"{line}, it does not say since when"
    # The enclave has not looked since: of what holds after this time it says nothing.
    word = "since" if about.since <= about.checked_at else "not before"
    return f"{line}, {word} {stamp(about.since)}"


def verify(
    evidence: bytes,
    policy: Policy,
    *,
    domain: str,
    nonce: bytes | None,
    now: datetime,
    trust_root: bytes | None = None,
    cache: ChainCache | None = None,
    progress: Callable[[str], None] | None = None,
) -> Verified:
    """Check evidence against a policy, in the order of the table above.

    Args:
        evidence: Evidence v1. Hostile.
        policy: What to demand.
        domain: Name that the evidence must be about: lower-case A-labels, no trailing dot.
        nonce: What was asked for, 16 to 64 bytes; None for stored evidence.
        now: The time to judge freshness by; aware.
        trust_root: DER of a root that the caller trusts instead of AWS's: a simulated enclave's.
        cache: For bulk work: issuing chains that were proven before; None proves each anew.
        progress: Called with one line after each group of checks that passed.

    Returns:
        What was proved. There is no other way to get one.

    Raises:
        FormatError: Not in strict form (check 1).
        VerificationError: One of the other checks failed; its ``code`` says which.
        ValueError: The policy was not made by `policy.parse`, and a set of it lacks PCR0, 1 or 2.
    """
    complete = all({0, 1, 2} <= pcrs.keys() for pcrs in policy.sets.values())
    if not (policy.sets or policy.images) or not complete:
        raise ValueError("a policy needs measurement sets, each with PCR0, PCR1 and PCR2")
    report = progress or (lambda _line: None)
    taken = statement_module.parse_evidence(evidence)  # 1
    said = statement_module.parse(taken.text)
    found = document_module.authenticate(  # 2, 3, 4
        taken.document, trust_root=trust_root, cache=cache
    )
    simulated = trust_root is not None and not chain.is_aws_root(trust_root)
    root = "the named root" if simulated else "the AWS Nitro root"
    report(f"document of {found.time:%Y-%m-%dT%H:%M:%SZ} is signed under {root}")
    _check_time(found, policy, live=nonce is not None, now=now)
    if taken.signature is None:
        check_nonce(found, nonce)
    report("document is fresh")
    if found.debug:  # 8
        raise errors.MeasurementError(
            "this enclave runs in debug mode: its host reads its memory", code="debug"
        )
    oyster = taken.format == proof.OYSTER
    matched = matching.match(  # 9
        found, {} if oyster else policy.sets, policy.images, bound=_bound_pcr(said)
    )
    report(f"measurements match {matched}")
    check_binding(found, taken, said, nonce)
    answers = " and answer the nonce" if nonce else ""
    report(f"statement and account key {said.thumbprint} are bound to it{answers}")
    _check_authority(said, policy)
    _check_conditions(said, policy, simulated=simulated)
    report(f"account {said.account_uri}, its sealing and settings are accepted")
    about = _domain(said, domain)
    report(_told(about))
    unknown = NOT_CHECKED if taken.signature is None else (*NOT_CHECKED, WEAKER)
    return Verified(said, found, about, taken.format, matched, simulated, unknown)
