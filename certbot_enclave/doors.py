# SPDX-License-Identifier: Apache-2.0
"""certbot's own doors, through which the host could reach the account (docs/settings.md).

Arguments, environment and certbot's configuration files are not measured. Each of these lets them
run code, change what is trusted, or bring a key from outside; so each is closed unless the settings
allow the very value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from certbot_enclave import errors
from certbot_enclave.settings import Settings

HOOKS = (
    "pre_hook",
    "post_hook",
    "deploy_hook",
    "renew_hook",
    "manual_auth_hook",
    "manual_cleanup_hook",
)
ORDERING = ("certonly", "run", "renew", "reconfigure")  # verbs of certbot
TRUST_STORES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
# These make the loader, OpenSSL or the TLS library run other code, or write down session keys.
CODE_VARIABLES = (
    "CERTBOT_PLUGIN_PATH",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "SSLKEYLOGFILE",
)
# Set by container images that everybody builds on; Python takes nothing harmful from them.
_HARMLESS = {
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "PYTHON_PIP_VERSION",
    "PYTHON_SHA256",
    "PYTHON_VERSION",
}


def _closed(what: str, code: str, hint: str) -> errors.PolicyError:
    return errors.PolicyError(f"{what}, which the settings do not allow", code=code, hint=hint)


def check_environment(environ: Mapping[str, str], settings: Settings) -> None:
    """Refuse environment variables that change what code runs or whom it trusts.

    Raises:
        PolicyError: One is set (``door-environment``).
    """
    for name, value in sorted(environ.items()):
        if name in TRUST_STORES and value != settings.text("ca_roots"):
            raise _closed(
                f"{name} replaces the trusted roots by {value}",
                "door-environment",
                "unset it, or name the same file as ca_roots in the settings",
            )
        if (
            name in CODE_VARIABLES
            or name.startswith("AWS_ENDPOINT_URL")
            or (name.startswith("PYTHON") and name not in _HARMLESS)
        ):
            raise _closed(f"{name} is set to {value!r}", "door-environment", f"unset {name}")


def _below(path: str, directory: str) -> bool:
    return Path(os.path.normpath(Path(path).absolute())).is_relative_to(Path(directory).absolute())


def _directory_hooks(config: Any) -> Iterable[str]:
    if not getattr(config, "directory_hooks", True):
        return
    for kind in ("pre", "deploy", "post"):
        directory = Path(config.config_dir) / "renewal-hooks" / kind
        if directory.is_dir():
            yield from (os.fspath(path) for path in sorted(directory.iterdir()))


def check_certbot(config: Any, settings: Settings) -> None:
    """Refuse certbot options that open a door.

    Args:
        config: certbot's NamespaceConfig.
        settings: The effective settings.

    Raises:
        PolicyError: A hook (``door-hook``), TLS without verification (``door-no-verify-ssl``), a
            CSR (``door-csr``), a key or certificate to install from outside (``door-install``), the
            secret of an external account (``door-eab``), another authenticator beside our installer
            (``door-authenticator``), or an option from a file or the environment (``door-ini``).
    """
    allowed = settings.list("hooks")
    hooks = [(name, getattr(config, name, None)) for name in HOOKS]
    hooks += [("renewal-hooks", path) for path in _directory_hooks(config)]
    for name, command in hooks:
        if command and command not in allowed:
            raise _closed(
                f"{name.replace('_', '-')} runs {command!r}",
                "door-hook",
                "drop the hook, or put the very command into hooks of the settings",
            )
    if config.no_verify_ssl:
        raise _closed(
            "--no-verify-ssl trusts any ACME server",
            "door-no-verify-ssl",
            "name the server's roots as ca_roots in the settings",
        )
    if config.csr:
        raise _closed(
            "--csr asks for a certificate for a key from outside",
            "door-csr",
            "let certbot make the key, inside the enclave",
        )
    if config.eab_hmac_key:
        raise _closed(
            "--eab-hmac-key puts a secret into the process list and certbot's log",
            "door-eab",
            "register first: certbot-enclave register --eab-kid ID --eab-hmac-file FILE",
        )
    for name in ("key_path", "cert_path"):
        path = getattr(config, name, None)
        if config.verb == "install" and path and not _below(path, config.live_dir):
            raise _closed(
                f"{name.replace('_', '-')} {path} is not below {config.live_dir}",
                "door-install",
                "install what certbot holds, with --cert-name",
            )
    if config.verb in ORDERING and "enclave" not in (config.authenticator, config.configurator):
        raise _closed(
            f"authenticator {config.authenticator} orders past the gate",
            "door-authenticator",
            "use --authenticator enclave together with --installer enclave",
        )
    for name, source in sorted((config.argument_sources or {}).items()):
        # Renewal files arrive from the sealed bundle and are no such source.
        if source.name in ("CONFIG_FILE", "ENV_VAR"):
            raise _closed(
                f"{name} comes from a configuration file or the environment",
                "door-ini",
                "give it on the command line, and keep cli.ini out of the image",
            )
