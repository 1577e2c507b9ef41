# SPDX-License-Identifier: Apache-2.0
"""The plugin stands aside unless it is chosen, and in a real enclave obeys the measured file."""

import argparse

import pytest
from certbot import errors as certbot_errors
from certbot.configuration import ArgumentSource, NamespaceConfig

from certbot_enclave import options
from certbot_enclave.doors import TRUST_STORES
from certbot_enclave.plugin import Configurator


@pytest.fixture
def plugin(directories):
    """Make the plugin with certbot's configuration."""

    def make(**values):
        names = []
        options.add(lambda name, **_arguments: names.append(name.replace("-", "_")))
        usual = {
            **{f"enclave_{name}": None for name in names},
            "config_dir": str(directories.config),
            "work_dir": str(directories.work),
            "logs_dir": str(directories.logs),
            "verb": "certonly",
            "authenticator": "enclave",
            "installer": None,
            "configurator": None,
            "server": "https://ca.test/directory",
            "domains": ["example.test"],
            "strict_permissions": False,
            "backup_dir": str(directories.work / "backups"),
            "csr": None,
            "no_verify_ssl": False,
            "eab_hmac_key": None,
            "dry_run": False,
            "staging": False,
            "tos": True,
            "email": None,
            "account": None,
            "http01_port": 80,
            "https_port": 443,
        }
        config = NamespaceConfig(argparse.Namespace(**{**usual, **values}))
        config.argument_sources = {"server": ArgumentSource.COMMAND_LINE}
        return Configurator(config, "enclave")

    return make


@pytest.mark.parametrize(
    "values",
    [
        {"verb": "plugins"},
        {"authenticator": "standalone"},
        {"authenticator": None, "installer": "nginx"},
    ],
)
def test_stands_aside(plugin, values):
    made = plugin(**values)
    assert made.prepare() is None
    assert made.restart() is None  # nothing was prepared, so nothing is deployed


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"server": "https://host.test/directory"}, "server is 'https://host.test/directory'"),
        ({"domains": ["host.test"]}, "host.test is not among the domains example.test"),
        ({"enclave_resolver": "127.0.0.1"}, "resolver is"),
    ],
)
def test_real_enclave_obeys_its_measured_file(monkeypatch, real, plugin, values, why):
    """Arguments are the host's; each ends before anybody outside is asked."""
    for name in TRUST_STORES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(certbot_errors.Error, match=why):
        plugin(**values).prepare()


def test_no_enhancements(plugin):
    made = plugin()
    assert made.supported_enhancements() == []
    with pytest.raises(certbot_errors.NotSupportedError):
        made.enhance("example.test", "redirect")
