# SPDX-License-Identifier: Apache-2.0
"""Each of certbot's doors is closed unless the settings allow the very value."""

import argparse

import pytest
from certbot.configuration import ArgumentSource

from certbot_enclave import doors, errors
from certbot_enclave.settings import Settings


def _config(tmp_path, **values):
    plain = {name: None for name in doors.HOOKS}
    plain |= {
        "config_dir": str(tmp_path),
        "live_dir": str(tmp_path / "live"),
        "verb": "certonly",
        "authenticator": "enclave",
        "configurator": None,
        "eab_hmac_key": None,
        "key_path": None,
        "cert_path": None,
        "csr": None,
        "no_verify_ssl": False,
        "directory_hooks": True,
        "argument_sources": {"email": ArgumentSource.COMMAND_LINE},
    }
    return argparse.Namespace(**{**plain, **values})


@pytest.mark.parametrize(
    "name",
    [
        *doors.TRUST_STORES,
        *doors.CODE_VARIABLES,
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHON_PRESITE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_KMS",
    ],
)
def test_environment_is_closed(name):
    with pytest.raises(errors.PolicyError, match=name) as caught:
        doors.check_environment({name: "/evil"}, Settings({"ca_roots": "/roots.pem"}))
    assert caught.value.code == "door-environment"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUESTS_CA_BUNDLE", "/roots.pem"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHON_VERSION", "3.13.0"),
        ("HTTPS_PROXY", "http://127.0.0.1:3128"),
        ("AWS_REGION", "eu-west-1"),
    ],
)
def test_environment_that_is_allowed(name, value):
    assert doors.check_environment({name: value}, Settings({"ca_roots": "/roots.pem"})) is None


@pytest.mark.parametrize("hook", doors.HOOKS)
def test_hooks_are_closed_unless_named(tmp_path, hook):
    config = _config(tmp_path, **{hook: "/bin/true --now"})
    for allowed in ((), ("/bin/true",)):
        with pytest.raises(errors.PolicyError) as caught:
            doors.check_certbot(config, Settings({"hooks": allowed}))
        assert caught.value.code == "door-hook"
    doors.check_certbot(config, Settings({"hooks": ("/bin/true --now",)}))


@pytest.mark.parametrize("kind", ["pre", "deploy", "post"])
def test_hook_directories_are_closed(tmp_path, kind):
    path = tmp_path / "renewal-hooks" / kind / "evil"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(errors.PolicyError) as caught:
        doors.check_certbot(_config(tmp_path), Settings({}))
    assert caught.value.code == "door-hook"
    doors.check_certbot(_config(tmp_path), Settings({"hooks": (str(path),)}))
    doors.check_certbot(_config(tmp_path, directory_hooks=False), Settings({}))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"no_verify_ssl": True}, "door-no-verify-ssl"),
        ({"csr": ("f", b"")}, "door-csr"),
        ({"eab_hmac_key": "c2VjcmV0"}, "door-eab"),
        ({"authenticator": "standalone"}, "door-authenticator"),
        ({"authenticator": None, "verb": "run"}, "door-authenticator"),
        ({"verb": "install", "key_path": "/outside.pem"}, "door-install"),
        ({"verb": "install", "cert_path": "/outside.pem"}, "door-install"),
        ({"argument_sources": {"email": ArgumentSource.CONFIG_FILE}}, "door-ini"),
        ({"argument_sources": {"email": ArgumentSource.ENV_VAR}}, "door-ini"),
    ],
)
def test_options_are_closed(tmp_path, values, code):
    with pytest.raises(errors.PolicyError) as caught:
        doors.check_certbot(_config(tmp_path, **values), Settings({}))
    assert caught.value.code == code


def test_ordinary_command_passes(tmp_path):
    assert doors.check_certbot(_config(tmp_path), Settings({})) is None


def test_what_certbot_holds_may_be_installed(tmp_path):
    inside = str(tmp_path / "live" / "example.test" / "privkey.pem")
    values = {"verb": "install", "authenticator": None, "key_path": inside, "cert_path": inside}
    assert doors.check_certbot(_config(tmp_path, **values), Settings({})) is None
    outside = str(tmp_path / "live" / ".." / "privkey.pem")
    with pytest.raises(errors.PolicyError) as caught:
        doors.check_certbot(_config(tmp_path, **{**values, "key_path": outside}), Settings({}))
    assert caught.value.code == "door-install"


def test_configurator_stands_for_authenticator(tmp_path):
    config = _config(tmp_path, authenticator=None, configurator="enclave")
    assert doors.check_certbot(config, Settings({})) is None
