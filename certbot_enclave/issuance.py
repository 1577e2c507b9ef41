# SPDX-License-Identifier: Apache-2.0
"""From names to a certificate: account, gate, evidence, deployment, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from certbot_enclave import errors, lineages
from certbot_enclave import evidence as evidence_module
from certbot_enclave import settings as settings_module
from certbot_enclave.account.ca import ExternalAccount
from certbot_enclave.account.gate import Gate
from certbot_enclave.account.registration import Registered, Registration, Request
from certbot_enclave.caa import formats, lookup, resolvers, verdict
from certbot_enclave.caa.verdict import Verdict
from certbot_enclave.deploy import files
from certbot_enclave.runtime import Runtime
from certbot_enclave.sealing import ram

POLL = 15.0  # seconds between looks while waiting for CAA


class Issuance:
    """One run of the enclave towards one CA.

    Args:
        runtime: This run.
        report: Takes lines of progress for the user.
    """

    def __init__(self, runtime: Runtime, report: Callable[[str], None]) -> None:
        self.runtime = runtime
        self._report = report
        self._registered: Registered | None = None
        self._verdicts: tuple[Verdict, ...] = ()
        self.ordered: frozenset[str] = frozenset()

    @property
    def registered(self) -> Registered:
        """The account; `register` comes first."""
        if self._registered is None:
            raise RuntimeError("register comes first")
        return self._registered

    def names(self, requested: Iterable[str]) -> frozenset[str]:
        """Check names that a certificate is wanted for.

        Returns:
            Lower-case A-labels.

        Raises:
            PolicyError: A name cannot be bound by CAA (``name-refused``), http-01 cannot validate
                it (``name-wildcard``), or the settings do not allow it (``name-unlisted``).
        """
        names = frozenset(verdict.check_name(name) for name in requested)
        if not names:
            raise errors.PolicyError("no domain is named", code="names-missing")
        allowed = frozenset(self.runtime.settings.list("domains"))
        for name in sorted(names):
            if name.startswith("*."):
                raise errors.PolicyError(
                    f"http-01 cannot validate the wildcard {name}",
                    code="name-wildcard",
                    hint="name each host",
                )
            if allowed and name not in allowed:
                raise errors.PolicyError(
                    f"{name} is not among the domains {', '.join(sorted(allowed))}",
                    code="name-unlisted",
                    hint="register it first: certbot-enclave register -d NAMES",
                )
        return names

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
        """
        external = ExternalAccount(eab_kid, eab_hmac_key) if eab_kid and eab_hmac_key else None
        request = Request(agree_tos, email, external)
        self._registered = Registration(self.runtime, server).ensure(request)
        if self._registered.new:
            self._report(f"registered account {self._registered.uri}")
        return self._registered

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
        """Return the CAA records, one zone-file line each, that bind issuance to this account."""
        method = self.runtime.settings.text("challenge")
        return tuple(
            line
            for name in sorted(names)
            for line in formats.zone(
                name,
                formats.records_for(
                    issuer=self.issuers()[0], methods=[method], account_uri=self.registered.uri
                ),
            )
        )

    def _judge(self, name: str) -> Verdict:
        settings = self.runtime.settings
        asked = [
            resolvers.parse_resolver(text, roots=settings.text("resolver_roots") or None)
            for text in settings.list("resolver")
        ]
        tolerance = verdict.Tolerance(
            covering_wildcard=settings.switch("allow_covering_wildcard"),
            alias_zones=frozenset(settings.list("allow_alias_zone")),
            unsigned_zone=settings.switch("allow_unsigned_zone"),
        )
        subject = verdict.Subject(
            issuer=self.issuers()[0],
            account_uri=self.registered.uri,
            methods=(settings.text("challenge"),),
        )
        return verdict.judge_name(
            name, subject, tolerance, lambda climbed: lookup.climb(climbed, asked)
        )

    def look(self, names: Iterable[str]) -> tuple[Verdict, ...]:
        """Look up and judge CAA for each name now.

        Raises:
            PolicyError: A resolver is not usable, or the issuer is unknown.
            GateError: Resolvers disagree.
            TransportError: A resolver cannot be asked.
        """
        self._verdicts = tuple(self._judge(name) for name in sorted(names))
        return self._verdicts

    def glance(self, names: Iterable[str]) -> tuple[Verdict, ...]:
        """Look as `look` does, for evidence only: a lookup that fails is a finding."""
        found = []
        for name in sorted(names):
            try:
                found.append(self._judge(name))
            except (errors.TransportError, errors.GateError) as error:
                asked = self.runtime.settings.list("resolver")
                found.append(verdict.unknown(name, error, asked))
        self._verdicts = tuple(found)
        return self._verdicts

    def _check(self, names: frozenset[str]) -> None:
        """Raise unless CAA is exclusive for every name, at a time the hardware agrees with."""
        self.runtime.look()
        closed = [found for found in self.look(names) if not found.opens_gate]
        if not closed:
            return
        reasons = [f"{found.name}: {finding.why}" for found in closed for finding in found.findings]
        raise errors.GateError(
            "the gate is closed: somebody else could get this certificate. " + "; ".join(reasons),
            code="caa-open",
            records=(
                "publish these records, and remove every other CAA record of the name:",
                *self.records(found.name for found in closed),
            ),
            hint="then run the command again, or let it wait with --enclave-wait-for-caa 30m",
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
        wait = settings_module.seconds(self.runtime.settings.text("wait_for_caa"))
        deadline = monotonic() + wait
        gate = Gate(self._check, monotonic)
        while True:
            try:
                gate.open(names)
                break
            except (errors.GateError, errors.TransportError) as error:
                left = deadline - monotonic()
                if left <= 0:
                    raise
                lines = (str(error), *getattr(error, "records", ()), f"waiting {left:.0f} seconds")
                self._report("\n".join(lines))
                sleep(min(POLL, left))
        self.ordered = names
        self.registered.handle.bind(gate=gate)
        self.renew_evidence()

    def evidence(self, nonce: bytes | None = None) -> bytes:
        """Make evidence about the account and what was last seen of CAA."""
        live = self.runtime.directories.config / "live"
        certificates = list(lineages.certificates(live))
        return evidence_module.make(
            self.runtime,
            self.registered,
            verdicts=self._verdicts,
            identities=self.issuers(),
            certificates=[certificate for _, certificate in certificates],
            nonce=nonce,
        )

    def renew_evidence(self) -> bytes:
        """Make evidence and put it where the web server finds it."""
        made = self.evidence()
        evidence_module.place(self.runtime.evidence_path, made)
        return made

    def save(self) -> None:
        """Seal the state."""
        self.runtime.state.save((self.registered.uri,), self.registered.public_key)

    def deploy(self, name: str, key: Path, fullchain: Path) -> None:
        """Hand a certificate to the TLS server, if the settings say where.

        Raises:
            DeployError: It failed; the old certificate is in place.
            PolicyError: The place is not in RAM.
        """
        settings = self.runtime.settings
        where = settings.text("deploy")
        if not where:
            return
        directory = files.directory(where)
        if not self.runtime.simulated and not settings.switch("allow_disk"):
            ram.require([directory])
        files.deploy(
            directory,
            name,
            key=key.read_bytes(),
            chain=fullchain.read_bytes(),
            check=settings.text("deploy_check"),
            reload=settings.text("deploy_reload"),
        )
        self._report(f"deployed {name} to {directory / name}")

    def finish(self) -> None:
        """Renew evidence and bundle after certbot has written what it got."""
        self.renew_evidence()
        self.save()
