# SPDX-License-Identifier: Apache-2.0
"""From names to a certificate: account, gate, evidence, deployment, in their order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from certbot_enclave import errors, lineages, looks, rehearsal, requested_names
from certbot_enclave import evidence as evidence_module
from certbot_enclave import settings as settings_module
from certbot_enclave.account import keeping, pcr
from certbot_enclave.account.ca import ExternalAccount
from certbot_enclave.account.gate import Gate
from certbot_enclave.account.registration import Registered, Registration, Request
from certbot_enclave.caa import formats, lookup, resolvers, verdict
from certbot_enclave.caa.publication import records_of
from certbot_enclave.caa.verdict import Verdict
from certbot_enclave.deploy import files
from certbot_enclave.looks import Look, Seen
from certbot_enclave.runtime import Runtime
from certbot_enclave.thrift.orders import Orders

POLL = 15.0  # seconds between looks while waiting for CAA


class Issuance:
    """One run of the enclave towards one CA.

    Args:
        runtime: This run.
        report: Takes lines of progress for the user.
        trial: Nothing of this run is kept: no evidence, no bundle.

    Raises:
        PolicyError: A setting that is needed later cannot work: a resolver, a duration, the place
            of deployment. It is said now, before anything is registered or ordered.
    """

    def __init__(
        self, runtime: Runtime, report: Callable[[str], None], *, trial: bool = False
    ) -> None:
        settings = runtime.settings
        self.runtime = runtime
        self._report = report
        self._trial = trial
        self._resolvers = resolvers.parse_resolvers(
            settings.list("resolver"), roots=_readable(settings, "resolver_roots")
        )
        self._ca_roots = _readable(settings, "ca_roots")
        self._wait = settings_module.seconds(settings.text("wait_for_caa"))
        rehearsal.check(settings)
        self._deploy_to = runtime.deployment()
        self._registered: Registered | None = None
        self._looks: dict[str, Look] = {}
        self._unsealed = False
        self._orders: Orders | None = None
        self.ordered: frozenset[str] = frozenset()

    @property
    def registered(self) -> Registered:
        """The account; `register` comes first."""
        if self._registered is None:
            raise RuntimeError("register comes first")
        return self._registered

    @property
    def own(self) -> bool:
        """False if this account stands beside the enclave's own, at a staging directory say.

        Such an account must not take the place of the enclave's own in evidence and settings.
        """
        return self.runtime.own_server in ("", self.registered.ca.url)

    def names(self, requested: Iterable[str]) -> frozenset[str]:
        """Check names that a certificate is wanted for; as `requested_names.check`."""
        return requested_names.check(
            requested, self.runtime.settings, simulated=self.runtime.simulated
        )

    def register(
        self,
        server: str,
        *,
        agree_tos: bool,
        email: str | None = None,
        eab_kid: str | None = None,
        eab_hmac_key: str | None = None,
    ) -> Registered:
        """Find the account at this directory, or make it.

        Raises:
            Error: As `certbot_enclave.account.registration.Registration.ensure`.
            EnclaveError: The PCR that the settings name cannot be bound to the account.
        """
        if self._ca_roots is not None:
            # The one way to give requests, below acme and certbot, other roots.
            os.environ["REQUESTS_CA_BUNDLE"] = self._ca_roots
        external = ExternalAccount(eab_kid, eab_hmac_key) if eab_kid and eab_hmac_key else None
        request = Request(agree_tos, email, external)
        self._registered = Registration(self.runtime, server).ensure(request)
        if self.runtime.bound_pcr is not None and self.own:
            pcr.bind(
                self.runtime.attester,
                self.runtime.bound_pcr,
                uri=self._registered.uri,
                public_key=self._registered.public_key,
            )
        if self._registered.new:
            self._report(
                f"registered account {self._registered.uri}\n"
                f"its key has thumbprint {self._registered.key.key.print}"
            )
        return self._registered

    def adopt(self, server: str, names: Iterable[str]) -> None:
        """Keep directory and names of a first registration, where the settings name none.

        A real enclave's settings always name both, or it would not have come here.
        """
        settings = self.runtime.settings
        filled: dict[str, settings_module.Value] = {
            "server": settings.text("server") or server,
            "domains": settings.list("domains") or tuple(sorted(names)),
        }
        self.runtime = replace(
            self.runtime,
            settings=settings_module.Settings({**settings, **filled}),
            own_server=str(filled["server"]),
        )
        self.runtime.save_settings()
        self.save()

    def issuers(self) -> tuple[str, ...]:
        """Return the issuer domain name that CAA records must carry for this CA.

        Raises:
            PolicyError: Neither the directory nor the settings name one (``issuer-unknown``), or
                the settings name one that the directory does not (``issuer-mismatch``).
        """
        named = self.runtime.settings.text("caa_issuer")
        stated = self.registered.ca.caa_identities
        if named and stated and named not in stated:
            raise errors.PolicyError(
                f"caa_issuer is {named}, the directory says {', '.join(stated)}",
                code="issuer-mismatch",
            )
        if not named and not stated:
            raise errors.PolicyError(
                "the directory names no CAA identity",
                code="issuer-unknown",
                hint="look it up in the CA's documentation; name it with --enclave-caa-issuer",
            )
        return (named,) if named else stated

    def records(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the CAA records, one zone-file line each, that bind issuance to this account.

        One that the enclave holds at the directory where it rehearses is bound with it.
        """
        subject = self._subject()
        accounts = replace(subject, also=tuple(sorted(self._held_beside()))).accounts
        records = records_of(accounts)
        return tuple(line for name in sorted(names) for line in formats.zone(name, records))

    def _subject(self) -> verdict.Subject:
        return verdict.Subject(
            issuer=self.issuers()[0],
            account_uri=self.registered.uri,
            methods=(self.runtime.settings.text("challenge"),),
        )

    def _held_beside(self) -> frozenset[str]:
        return rehearsal.held_beside(self.runtime, self.registered.ca.url)

    def _judge(self, name: str, today: date) -> Verdict:
        settings = self.runtime.settings
        tolerance = verdict.Tolerance(
            covering_wildcard=settings.switch("allow_covering_wildcard"),
            alias_zones=frozenset(settings.list("allow_alias_zone")),
            unsigned_zone=settings.switch("allow_unsigned_zone"),
            independent_resolvers=resolvers.independent(self._resolvers),
            issuers=frozenset(settings.list("allow_issuer")),
            accounts=self._held_beside(),
        )
        return verdict.judge_name(
            name,
            self._subject(),
            tolerance,
            lambda climbed: lookup.climb(climbed, self._resolvers),
            today=today,
        )

    def look(self, names: Iterable[str]) -> tuple[Verdict, ...]:
        """Look up and judge CAA for each name now.

        Raises:
            PolicyError: A resolver is not usable, or the issuer is unknown.
            GateError: Resolvers disagree.
            TransportError: A resolver cannot be asked.
            Error: As `glance`.
        """
        found = self.glance(names)
        for item in found:
            if item.failure is not None:
                raise item.failure
        return found

    def glance(self, names: Iterable[str]) -> tuple[Verdict, ...]:
        """Look as `look` does, for evidence only: a lookup that fails is a finding.

        It is at a time that the hardware agrees with. What it finds anew is sealed at once, so that
        the next boot knows; a trial, and an account beside the enclave's own, leave no trace.

        Raises:
            EnclaveError: The attester is broken, or the clock is wrong.
            SealError, TransportError: What was found cannot be sealed.
        """
        self.runtime.look()
        today, found = self.runtime.now().date(), []
        for name in sorted(names):
            try:
                found.append(self._judge(name, today))
            except (errors.TransportError, errors.GateError) as error:
                asked = self.runtime.settings.list("resolver")
                found.append(verdict.unknown(name, error, asked))
        at = self.runtime.now()  # when the answers were there
        seen = self._remember(found, at)
        self._looks |= {item.name: looks.look(item, at, seen.get(item.name)) for item in found}
        return tuple(found)

    def _remember(self, found: Iterable[Verdict], at: datetime) -> Mapping[str, Seen]:
        if self._trial or not self.own:
            return {}
        config = self.runtime.directories.config
        before = looks.recall(config)
        seen = looks.added(before, found, self._subject(), at)
        if seen != before or self._unsealed:
            self._unsealed = True
            looks.remember(config, seen)
            self.save()
            self._unsealed = False
        return seen

    def _check(self, names: frozenset[str]) -> None:
        """Raise unless CAA is exclusive for every name, at a time the hardware agrees with."""
        closed = [found for found in self.look(names) if not found.opens_gate]
        if not closed:
            return
        # Each with the one change that closes it: a zone to sign is not mended by more records.
        reasons = [
            f"{found.name}: {finding.why} ({finding.fix})"
            for found in closed
            for finding in found.findings
        ]
        raise errors.GateError(
            "the gate is closed: somebody else could get this certificate. " + "; ".join(reasons),
            code="caa-open",
            records=(
                "these CAA records and no others bind issuance to this account:",
                *self.records(found.name for found in closed),
            ),
            hint="run the command again then, or let it wait with --enclave-wait-for-caa 30m",
        )

    def open_gate(
        self,
        names: frozenset[str],
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the gate for exactly these names, waiting for CAA if the settings say so.

        Raises:
            GateError: It stays closed.
            TransportError: CAA cannot be looked up.
        """
        self.ordered = names
        deadline = monotonic() + self._wait
        if not self._trial:
            self._orders = self._new_orders()
        gate = Gate(self._check, monotonic, self._orders)
        while True:
            try:
                gate.open(names)
                break
            except (errors.GateError, errors.TransportError) as error:
                # The owner needs evidence before the records can be there.
                self._keep_evidence()
                left = deadline - monotonic()
                if left <= 0:
                    raise
                lines = (str(error), *getattr(error, "records", ()), f"waiting {left:.0f} seconds")
                self._report("\n".join(lines))
                sleep(min(POLL, left))
        self.registered.handle.bind(gate=gate)
        self._keep_evidence()

    def _new_orders(self) -> Orders:
        live = self.runtime.directories.config / "live"
        return Orders(
            keeping.book(self.runtime, self.registered.key),
            directory=self.registered.ca.url,
            account=self.registered.uri,
            held=lambda names: lineages.serials(live, names),
        )

    def validating(self) -> None:
        """Note that the CA is about to be asked to validate what was ordered."""
        if self._orders is not None:
            self._orders.validating()

    def evidence(self, nonce: bytes | None = None) -> bytes:
        """Make evidence about the account, and CAA of all names as last seen in this run."""
        names = self.ordered | frozenset(self.runtime.settings.list("domains"))
        missing = names - self._looks.keys()
        if missing:
            self.glance(missing)
        live = self.runtime.directories.config / "live"
        certificates = list(lineages.certificates(live))
        return evidence_module.make(
            self.runtime,
            self.registered,
            looks=self._looks.values(),
            identities=self.issuers(),
            certificates=[certificate for _, certificate in certificates],
            nonce=nonce,
        )

    def renew_evidence(self) -> bytes:
        """Make evidence and put it where the web server finds it."""
        made = self.evidence()
        evidence_module.place(self.runtime.evidence_path, made)
        return made

    def _keep_evidence(self) -> None:
        if self.own and not self._trial:
            self.renew_evidence()

    def save(self) -> None:
        """Seal the state."""
        keeping.seal(self.runtime, self.registered.key)

    def deploy(self, name: str, key: Path, fullchain: Path) -> None:
        """Hand a certificate to the TLS server, if the settings say where.

        Raises:
            DeployError: It failed; the old certificate is in place.
        """
        settings, directory = self.runtime.settings, self._deploy_to
        if directory is None:
            return
        files.deploy(
            directory,
            name,
            key=key.read_bytes(),
            chain=fullchain.read_bytes(),
            check=settings.text("deploy_check"),
            reload=settings.text("deploy_reload"),
        )
        self._report(f"deployed {name} to {directory / name}")

    def keep(self) -> None:
        """Seal what certbot has written, if it is new, with what became of the order."""
        if self._trial:
            return
        if self._orders is not None:
            self._orders.conclude()
        self.save()

    def finish(self) -> None:
        """Renew bundle and evidence after certbot has written what it got.

        In this order: evidence that named the generation before the one that is stored would look
        the same after a rollback by one.
        """
        try:
            self.keep()
        finally:
            self._keep_evidence()


def _readable(settings: settings_module.Settings, name: str) -> str | None:
    path = settings.text(name)
    if path and not os.access(path, os.R_OK):
        raise errors.PolicyError(f"cannot read {name} {path}", code="roots-unreadable")
    return path or None
