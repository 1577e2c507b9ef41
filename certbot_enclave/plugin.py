# SPDX-License-Identifier: Apache-2.0
"""The certbot plugin ``enclave``: options, call order, translation of errors.

Everything heavy is imported when it is needed: a plugin that fails to import breaks every certbot
command. The one import that must happen at once is `certbot_enclave.account.key`: it registers the
type of our account key, without which certbot would not recognise a sealed account.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from acme import challenges
from certbot import achallenges, configuration, interfaces
from certbot import errors as certbot_errors
from certbot.display import util as display_util
from certbot.plugins import common

from certbot_enclave import errors, options
from certbot_enclave.account import key as _account_key  # noqa: F401  # registers the key type

if TYPE_CHECKING:
    from certbot_enclave.challenges.http01 import Responder
    from certbot_enclave.issuance import Issuance

logger = logging.getLogger(__name__)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn our errors into certbot's, which it prints in one line and exits 1 for."""
    try:
        yield
    except errors.Error as error:
        from certbot_enclave import child

        child.tell(error)
        if isinstance(error, certbot_errors.Error):
            raise
        lines = [str(error), *getattr(error, "records", ())]
        if error.hint:
            lines.append(f"hint: {error.hint}")
        # PluginError from prepare() would be wrapped into "the plugin is not working".
        raise certbot_errors.Error("\n".join(lines)) from error


class Configurator(common.Configurator):
    """Authenticator and installer for certificates that only an attested enclave can get."""

    description = "Obtain certificates that only an attested enclave can get (RFC 8657 CAA)"
    # certbot makes one plugin for each certificate that it renews.
    _before: ClassVar[Configurator | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._issuance: Issuance | None = None
        self._responder: Responder | None = None
        self._lineages: dict[str, tuple[str, str]] = {}

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """See :meth:`certbot.plugins.common.Plugin.add_parser_arguments`."""
        options.add(add)

    def more_info(self) -> str:
        """See :meth:`certbot.interfaces.Plugin.more_info`."""
        return (
            "The ACME account key is made in the enclave, stays there, and signs an order only "
            "while CAA records bind issuance to this account. http-01 is answered inside."
        )

    def _selected(self) -> bool:
        config = self.config
        return self.name in (config.authenticator, config.installer, config.configurator)

    def prepare(self) -> None:
        """Close the doors, find or make the account, open the gate.

        :raises certbot.errors.Error: when something that keeps the promise is missing

        """
        # certbot prepares every visible plugin for `certbot plugins --prepare` and for its menus.
        if self.config.verb == "plugins" or not self._selected():
            return
        with _translated():
            self._prepare()

    def _prepare(self) -> None:
        from certbot_enclave import doors
        from certbot_enclave import runtime as runtime_module

        config = self.config
        directories = runtime_module.Directories(
            *(
                Path(path).absolute()
                for path in (config.config_dir, config.work_dir, config.logs_dir)
            )
        )
        given = options.read(lambda name: None if name in options.OF_CERTBOT else self.conf(name))
        if config.verb == "renew" and not self._given("wait-for-caa"):
            # What the first certonly waited for is in the renewal file; a timer asks again anyway.
            given["wait_for_caa"] = ""
        if not self._given("budget"):
            # Said for one run, by a person; certbot keeps it in the renewal file all the same.
            given.pop("budget", None)
        runtime = runtime_module.start(given, directories, measured=self.conf("settings"))
        doors.check_environment(os.environ, runtime.settings)
        doors.check_certbot(config, runtime.settings)
        from certbot_enclave import continuity, rehearsal
        from certbot_enclave.issuance import Issuance

        if Configurator._before is not None:
            Configurator._before._keep()  # it may be authenticator only, and was told of nothing
        trial = config.dry_run or config.verb == "reconfigure"
        self._issuance = Issuance(runtime, report=display_util.notify, trial=trial)
        # An order goes through us: check_certbot refuses every other authenticator beside us.
        if config.verb not in doors.ORDERING:
            return
        server, may_register = self._server()
        runtime.require_server(server, trial=trial)
        names = self._issuance.names(self._requested())
        continuity.restore(self._issuance)
        if not trial:
            rehearsal.require(runtime, server, names)
        registered = self._issuance.register(
            server, agree_tos=bool(config.tos) and may_register, email=config.email
        )
        if registered.new:
            self._issuance.adopt(server, names)
        if server == config.server:
            config.account = registered.certbot_id
        Configurator._before = self
        self._issuance.open_gate(names)
        atexit.register(self._finish)

    def _given(self, name: str) -> bool:
        """Return True if an option of ours stands on this command line."""
        sources = self.config.argument_sources or {}
        return sources.get(self.dest(name)) == configuration.ArgumentSource.COMMAND_LINE

    def _server(self) -> tuple[str, bool]:
        """Return the directory that this run will use, and whether it may register there."""
        from certbot._internal import constants

        config = self.config
        default = constants.CLI_DEFAULTS["server"]
        if config.verb == "reconfigure":
            # certbot switches its trial run to the staging server, after it has prepared us.
            return (constants.STAGING_URI if config.server == default else config.server), False
        return config.server, not (config.dry_run or config.staging)

    def _requested(self) -> Iterable[str]:
        config = self.config
        if getattr(config, "ip_addresses", None):
            raise errors.PolicyError(
                "a certificate for an IP address cannot be bound by CAA",
                code="name-refused",
                hint="name domains with -d",
            )
        if config.domains:
            return [str(getattr(name, "dns_name", name)) for name in config.domains]
        from certbot_enclave import lineages

        return lineages.names(Path(config.live_dir), config.certname)

    def get_chall_pref(self, identifier: str) -> Iterable[type[challenges.Challenge]]:
        """See :meth:`certbot.interfaces.Authenticator.get_chall_pref`."""
        return [challenges.HTTP01]

    def perform(
        self, achalls: list[achallenges.AnnotatedChallenge]
    ) -> list[challenges.ChallengeResponse]:
        """Answer http-01 from inside.

        :raises certbot.errors.PluginError: if the port is taken

        """
        from certbot_enclave.challenges import http01

        responses, resources = [], []
        for achall in achalls:
            response, validation = achall.response_and_validation()
            responses.append(response)
            resources.append(http01.Resource(achall.chall, response, validation))
        config = self.config
        if self._issuance is not None:
            self._issuance.validating()
        with _translated():
            self._responder = http01.Responder(config.http01_address, config.http01_port, resources)
        return responses

    def cleanup(self, achalls: list[achallenges.AnnotatedChallenge]) -> None:
        """See :meth:`certbot.interfaces.Authenticator.cleanup`."""
        if self._responder is not None:
            self._responder.stop()
            self._responder = None

    def get_all_names(self) -> Iterable[str]:
        """See :meth:`certbot.interfaces.Installer.get_all_names`."""
        return ()

    def deploy_cert(
        self, domain: str, cert_path: str, key_path: str, chain_path: str, fullchain_path: str
    ) -> None:
        """Remember what :meth:`restart` hands to the TLS server."""
        self._lineages[Path(fullchain_path).parent.name] = (key_path, fullchain_path)

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:
        """Seal the new certificate, and remember what :meth:`restart` hands to the TLS server."""
        self._lineages[lineage.lineagename] = (lineage.key_path, lineage.fullchain_path)
        self._keep()

    def enhance(self, domain: str, enhancement: str, options: Any = None) -> None:
        """See :meth:`certbot.interfaces.Installer.enhance`."""
        raise certbot_errors.NotSupportedError(f"no enhancement {enhancement} here")

    def supported_enhancements(self) -> list[str]:
        """See :meth:`certbot.interfaces.Installer.supported_enhancements`."""
        return []

    def save(self, title: str | None = None, temporary: bool = False) -> None:
        """See :meth:`certbot.interfaces.Installer.save`; nothing is changed before `restart`."""

    def config_test(self) -> None:
        """See :meth:`certbot.interfaces.Installer.config_test`; the check runs on deployment."""

    def restart(self) -> None:
        """Hand key and chain to the TLS server, check, and reload it.

        :raises certbot.errors.Error: if that failed; the old certificate is in place then

        """
        if self._issuance is None:
            return
        self._keep()
        with _translated():
            if not self._lineages and self._issuance.ordered:  # `certonly -i` calls only this
                from certbot_enclave import lineages

                self._lineages = lineages.newest(Path(self.config.live_dir), self._issuance.ordered)
            for name, (key_path, fullchain_path) in sorted(self._lineages.items()):
                self._issuance.deploy(name, Path(key_path), Path(fullchain_path))
            self._lineages = {}

    def _keep(self) -> None:
        """Seal at once what certbot has written: a crash from here on does not lose it.

        If that fails, the certificate is deployed nevertheless; `_finish` tries again, and says so.
        """
        if self._issuance is None or not self._issuance.ordered:
            return
        try:
            self._issuance.keep()
        except errors.Error:
            logger.debug("", exc_info=True)

    def _finish(self) -> None:
        """Renew evidence and bundle; runs at exit, since plain certonly calls no plugin later."""
        if self._issuance is None:
            return
        from certbot_enclave import child, cli

        try:
            self._issuance.finish()
        except errors.Error as error:
            logger.debug("", exc_info=True)
            cli.complain(error)
            child.tell(error)
            # A run that could not keep what it got has failed, and at exit no exception says so.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


interfaces.RenewDeployer.register(Configurator)
