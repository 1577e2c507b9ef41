# SPDX-License-Identifier: Apache-2.0
"""The account of this enclave: found, recovered or registered, and never lost.

The order that makes it so: the new key is in the sealed bundle before the CA hears of it. Whoever
dies in between is found again by ``onlyReturnExisting`` (RFC 8555 §7.3.1), and an account that
cannot be unsealed is an error, never a reason to register another one. A derived key needs no
bundle: where there is none, the CA is asked for it before anybody has to agree to anything.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from acme import messages
from certbot import errors as certbot_errors
from certbot._internal.account import Account, AccountFileStorage
from certbot.configuration import NamespaceConfig
from josepy.errors import DeserializationError

from certbot_enclave import errors
from certbot_enclave.account import derived, pcr
from certbot_enclave.account import key as account_key
from certbot_enclave.account.ca import CA, ExternalAccount
from certbot_enclave.account.guard import Binding
from certbot_enclave.account.keeping import book, seal
from certbot_enclave.account.key import Attached, EnclaveJWK
from certbot_enclave.interfaces import IDerivingSealer
from certbot_enclave.runtime import Runtime, spki
from certbot_enclave.sealing import tree
from certbot_enclave.thrift import ledger

_LOST = "the store holds none"
_UNKNOWN = "the CA knows none with our key"


@dataclass(frozen=True)
class Request:
    """What the operator allows when there is no account yet.

    Attributes:
        agree_tos: The operator agrees to the CA's terms of service.
        email: Contact, or None.
        external_account: For CAs that want one.
    """

    agree_tos: bool = False
    email: str | None = None
    external_account: ExternalAccount | None = None


@dataclass(frozen=True)
class Registered:
    """The account, confirmed by the CA in this process.

    Attributes:
        uri: From the CA's own answer.
        key: The sealed key.
        handle: What lets it sign, under the guard's rules.
        ca: The directory.
        certbot_id: certbot's name of the account.
        external_account: True if it is bound to an account at the CA's shop.
        new: True if it was registered just now.
    """

    uri: str
    key: EnclaveJWK
    handle: Attached
    ca: CA
    certbot_id: str
    external_account: bool
    new: bool

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return spki(self.key.key.public)


@dataclass(frozen=True)
class _Pending:
    key: EnclaveJWK
    external_account: bool


class Registration:
    """Finds or makes the account for one directory.

    Args:
        runtime: This run.
        server: URL of the ACME directory.
    """

    def __init__(self, runtime: Runtime, server: str) -> None:
        self._runtime = runtime
        self._server = server
        self._source = runtime.settings.text("account_key")
        self._pending_path = runtime.own_directory / "pending.json"
        names = runtime.directories
        self._config = NamespaceConfig(
            argparse.Namespace(
                config_dir=os.fspath(names.config),
                work_dir=os.fspath(names.work),
                logs_dir=os.fspath(names.logs),
                server=server,
                strict_permissions=False,
                http01_port=80,
                https_port=443,
                domains=[],
                ip_addresses=[],
                register_to_eff=None,
            )
        )

    def ensure(self, request: Request) -> Registered:
        """Return the account, registering one if there was never any.

        Args:
            request: What is allowed if there is none.

        Raises:
            PolicyError: There is no account, and no agreement to the terms (``account-missing``);
                the key should be derived, and the sealer cannot.
            AccountError: A plaintext or unreadable account is there, the CA refused, it answers
                with another account than the one on file or in the settings, or the key on file
                does not come from where the settings say (``account-key-source``).
            SealError, FormatError, VerificationError: Stored state cannot be used.
            EnclaveError: The attester is broken, or the clock is wrong.
            ThriftError: So many accounts were asked for that the CA would refuse the next.
            TransportError: CA, store or sealer cannot be reached.
        """
        runtime = self._runtime
        expected = runtime.settings.text("account")
        seen = runtime.look()
        runtime.state.restore(seen.pcrs, expected_account=expected, bound=runtime.bound_pcr)
        if self._server == runtime.settings.text("staging_rehearsal"):
            expected = ""  # the settings name the enclave's own account
        pending = self._pending()
        account = self._account(pending)
        if account is None and pending is None and self._source != "derived":
            self._require_consent(request, expected)
        self._require_source(account.key if account else pending.key if pending else None)
        # An account at another directory stands beside the enclave's own, and is never bound.
        own = runtime.own_server in ("", self._server)
        if account is None and own and runtime.bound_pcr is not None:
            pcr.require_free(runtime.attester, runtime.bound_pcr)
        ca = CA(self._server)
        if account is not None:
            return self._confirm(account, ca, pending, expected)
        return self._register(pending, ca, request, expected)

    def _require_source(self, key: EnclaveJWK | None) -> None:
        """Refuse a key on file that does not come from where the statement will say it does."""
        sealer, wanted = self._runtime.sealer, self._source == "derived"
        if key is None or not (wanted or IDerivingSealer.providedBy(sealer)):
            return
        again = derived.private_key(self._server, sealer).public_key()
        if (account_key.thumbprint(again) == key.key.print) != wanted:
            raise errors.AccountError(
                f"the account key on file is {'not ' if wanted else ''}derived from the sealer's "
                f"secret, but account_key is {self._source}",
                code="account-key-source",
                hint="set account_key as it was when the account was made",
            )

    def _require_consent(self, request: Request, expected: str, lost: str = _LOST) -> None:
        """Refuse to make the first account where one must exist, or nobody agreed to it."""
        if expected:
            raise errors.AccountError(
                f"the settings expect account {expected}, but {lost}",
                code="account-lost",
                hint="no new account is made for it; did the host withhold or lose the bundle, "
                "or is this another image than the one that registered?",
            )
        if not request.agree_tos:
            raise errors.PolicyError(
                f"there is no account at {self._server} yet",
                code="account-missing",
                hint=f"make it: certbot-enclave register --server {self._server} --agree-tos; "
                "certbot with --agree-tos makes it too, but never for a trial",
            )

    def _pending(self) -> _Pending | None:
        try:
            table = json.loads(self._pending_path.read_bytes())
            if table["directory"] != self._server:
                raise errors.AccountError(
                    f"a registration at {table['directory']} is not finished",
                    code="account-pending",
                    hint=f"finish it first, with --server {table['directory']}",
                )
            return _Pending(_loaded(table["key"]), bool(table["external_account"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, DeserializationError) as error:
            raise errors.AccountError(
                f"{self._pending_path} is damaged: {error}", code="account-damaged"
            ) from error

    def _write_pending(self, pending: _Pending) -> None:
        text = json.dumps(
            {
                "directory": self._server,
                "key": pending.key.to_partial_json(),
                "external_account": pending.external_account,
            }
        )
        file = tree.File("enclave/pending.json", 0o600, text.encode())
        tree.restore(self._runtime.directories.config, [file])

    def _attach(self, key: EnclaveJWK, ca: CA) -> Attached:
        binding = Binding(origin=ca.origin, jwk=account_key.public_jwk(key.key.public))
        return account_key.attach(key, self._runtime.sealer, binding)

    def _first(self, ca: CA, request: Request, expected: str) -> _Pending:
        """Make a key of which nothing is on file."""
        key = account_key.generate(self._server, self._runtime.sealer, source=self._source)
        external = request.external_account is not None
        if self._source == "derived":
            if ca.find_account(key, self._attach(key, ca)) is None:
                # Nothing is written before: a trial without agreement leaves nothing behind.
                self._require_consent(request, expected, _UNKNOWN)
            # If this boot does not know, it says the stronger of the two.
            external = external or ca.external_account_required
        return _Pending(key, external)

    def _register(
        self, found: _Pending | None, ca: CA, request: Request, expected: str
    ) -> Registered:
        pending = found or self._first(ca, request, expected)
        handle = self._attach(pending.key, ca)
        # What a try that was killed left of certbot's files; they are written anew below.
        shutil.rmtree(self._account_directory() / _certbot_id(pending.key), ignore_errors=True)
        # An earlier try had no credentials; what the statement will say must survive too.
        external = pending.external_account or request.external_account is not None
        if found is None or external != pending.external_account:
            pending = _Pending(pending.key, external)
            self._write_pending(pending)
        # Before the CA hears of this key: whatever happens from here on, it can be found again.
        seal(self._runtime, pending.key)
        uri = ca.find_account(pending.key, handle)
        new = uri is None
        if uri is None:
            self._require_consent(request, expected, _UNKNOWN)
            if ca.external_account_required and request.external_account is None:
                raise errors.PolicyError(
                    f"{self._server} wants an external account binding",
                    code="external-account-missing",
                    hint="get credentials from the CA; give --eab-kid and --eab-hmac-file",
                )
            uri = self._new_account(pending.key, ca, request)
        _check_expected(uri, expected)
        account = Account(
            messages.RegistrationResource(body=messages.Registration(), uri=uri), pending.key
        )
        try:
            AccountFileStorage(self._config).save(account, None)  # type: ignore[arg-type]
        except certbot_errors.Error as error:
            raise errors.AccountError(
                f"the account cannot be written: {error}", code="account-unwritable"
            ) from error
        if pending.external_account:
            (self._account_directory() / account.id / "external").touch()
        self._pending_path.unlink()
        seal(self._runtime, account.key)
        return self._registered(account, ca, handle, uri, new=new)

    def _new_account(self, key: EnclaveJWK, ca: CA, request: Request) -> str:
        kept = book(self._runtime, key)
        entry = kept.reserve(ledger.ACCOUNT, self._server)
        outcome = ledger.FAILED
        try:
            uri = ca.new_account(
                key, email=request.email, external_account=request.external_account
            )
            outcome = ledger.ISSUED
        finally:
            kept.conclude(entry, outcome)
        return uri

    def _confirm(
        self, account: Account, ca: CA, pending: _Pending | None, expected: str
    ) -> Registered:
        handle = self._attach(account.key, ca)
        uri = ca.find_account(account.key, handle)
        if uri is None:
            raise errors.AccountError(
                f"the CA does not know the key of account {account.regr.uri}",
                code="account-unknown",
                hint="was this enclave registered at another CA? the account is not replaced",
            )
        if uri != account.regr.uri:
            raise errors.AccountError(
                f"the CA says that our key belongs to {uri}, the file says {account.regr.uri}",
                code="account-mismatch",
            )
        _check_expected(uri, expected)
        if pending is not None:
            self._pending_path.unlink()
        return self._registered(account, ca, handle, uri, new=False)

    def _registered(
        self, account: Account, ca: CA, handle: Attached, uri: str, *, new: bool
    ) -> Registered:
        handle.bind(account_uri=uri)
        external = (self._account_directory() / account.id / "external").exists()
        return Registered(uri, account.key, handle, ca, account.id, external, new)

    def _account_directory(self) -> Path:
        return Path(self._config.accounts_dir)

    def _account(self, pending: _Pending | None) -> Account | None:
        """Return the account on file; anything there that is not ours is an error."""
        directory = self._account_directory()
        if not directory.is_dir():
            return None
        storage = AccountFileStorage(self._config)
        accounts = []
        for path in sorted(directory.iterdir()):
            try:
                accounts.append(storage.load(path.name))
            except (certbot_errors.Error, DeserializationError, ValueError) as error:
                # A registration that was killed while certbot wrote its files; the key is pending.
                if pending is not None and path.name == _certbot_id(pending.key):
                    continue
                raise errors.AccountError(
                    f"account {path} cannot be read: {error}",
                    code="account-unreadable",
                    hint="restore it from the bundle; no new account is made in its place",
                ) from error
        for account in accounts:
            if not isinstance(account.key, EnclaveJWK) or account.key.key.directory != self._server:
                raise errors.AccountError(
                    f"account {account.regr.uri} was not made by this enclave for {self._server}",
                    code="account-foreign",
                    hint="its key is or was readable outside; use an empty --config-dir",
                )
        if len(accounts) > 1:
            raise errors.AccountError(
                f"{len(accounts)} accounts at {self._server}, expected one",
                code="account-ambiguous",
            )
        return accounts[0] if accounts else None


def _certbot_id(key: EnclaveJWK) -> str:
    identifier: str = Account(messages.RegistrationResource(body=None), key).id
    return identifier


def _loaded(jobj: Any) -> EnclaveJWK:
    # josepy refuses every key type that is none of this class.
    return cast(EnclaveJWK, EnclaveJWK.from_json(jobj))


def _check_expected(uri: str, expected: str) -> None:
    if expected not in ("", uri):
        raise errors.AccountError(
            f"the CA says that our account is {uri}, the settings expect {expected}",
            code="account-unexpected",
        )
