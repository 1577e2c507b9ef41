# SPDX-License-Identifier: Apache-2.0
"""Beside certbot's other verbs, authenticators and options (docs/guard.md)."""

import shutil
from pathlib import Path

import pytest

from certbot_enclave import statement
from certbot_enclave.doors import CODE_VARIABLES
from tests.support.ca_client import make_csr, new_key
from tests.support.world.process import listener


def test_plugins_lists_it(enclave):
    done = enclave.run("certbot", "plugins", *enclave.directories).ok()
    entry = " ".join(done.out[done.out.index("* enclave") :].split("- - -")[0].split())
    assert "Obtain certificates that only an attested enclave can get (RFC 8657 CAA)" in entry
    assert "Interfaces: Authenticator, Installer, Plugin" in entry
    assert "certbot_enclave.plugin:Configurator" in entry
    enclave.run("certbot", "plugins", "--prepare", *enclave.directories).ok()


COMMANDS = {
    "--version": ("certbot ", 0),
    "--help": ("certbot [SUBCOMMAND]", 0),
    "plugins": ("* standalone", 0),
    "certificates": ("No certificates found", 0),
    "renew": ("No renewals were attempted", 0),
    "show_account": ("Could not find an existing account", 1),
    "certonly": ("Successfully received certificate", 0),
}


@pytest.mark.parametrize("missing", ["dns", "zope.interface", "trustme", "tomllib"])
@pytest.mark.parametrize("verb", COMMANDS)
def test_other_commands_work_without_a_dependency(enclave, ca, owner, missing, verb):
    where = enclave.state / "broken"
    where.mkdir()
    (where / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    enclave.environment = {
        "PYTHONPATH": str(where),
        "REQUESTS_CA_BUNDLE": str(enclave.tls_root),
    }
    assert "ModuleNotFoundError" in enclave.run("python", "-c", f"import {missing}").err
    alone = ["--authenticator=standalone", "--agree-tos", "--register-unsafely-without-email"]
    if verb == "certonly":
        done = enclave.certbot(verb, *alone)
    else:
        done = enclave.run("certbot", verb, *enclave.directories, f"--server={enclave.server}")
    said, code = COMMANDS[verb]
    assert (done.code, said in done.text) == (code, True), done.text
    assert "Traceback" not in done.text


def test_standalone_with_this_account_is_refused(enclave, ca, registered):
    enclave.environment["REQUESTS_CA_BUNDLE"] = str(enclave.tls_root)
    done = enclave.certbot("certonly", "--authenticator=standalone", "--agree-tos")
    assert done.code == 1
    assert "use --authenticator enclave" in done.text
    assert ca.count("requests", "newOrder") == 0
    assert len(ca.accounts()) == 1


@pytest.mark.parametrize("verb", ["certonly", "run"])
def test_our_installer_with_another_authenticator_is_refused(enclave, ca, owner, verb):
    done = enclave.certbot(verb, "--authenticator=standalone", "--installer=enclave", "--agree-tos")
    assert (done.code, ca.accounts()) == (1, [])
    assert "orders past the gate" in done.text


def test_csr_is_refused(enclave, ca, registered):
    path = enclave.state / "outside.der"
    path.write_bytes(make_csr(["example.test"], new_key()))
    done = enclave.issue(f"--csr={path}")
    assert done.code == 1
    assert "--csr asks for a certificate for a key from outside" in done.text
    assert ca.count("requests", "newOrder") == 0


def test_key_from_outside_is_not_installed(enclave, ca, registered):
    outside = enclave.state / "outside.pem"
    outside.write_text("a key that the host knows")
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    done = enclave.certbot(
        "install", "--installer=enclave", f"--key-path={outside}", f"--cert-path={outside}"
    )
    assert done.code == 1
    assert "is not below" in done.text
    assert not (enclave.state / "tls").exists()


def test_ip_address_is_refused(enclave, ca, registered):
    done = enclave.issue("--ip-address=192.0.2.1")
    assert done.code == 1
    assert "IP address cannot be bound by CAA" in done.text


@pytest.mark.parametrize("option", ["--dry-run", "--test-cert"])
def test_trials_never_make_an_account(enclave, ca, owner, option):
    words = ["--authenticator=enclave", option, "--agree-tos", "--register-unsafely-without-email"]
    done = enclave.certbot("certonly", *words, server=option != "--test-cert")
    assert (done.code, ca.accounts()) == (1, [])
    assert "there is no account at" in done.text
    assert "certbot-enclave register" in done.text


def test_dry_run_keeps_nothing(enclave, ca, registered):
    evidence, bundle = enclave.evidence.read_bytes(), enclave.bundle.read_bytes()
    enclave.issue("--dry-run").ok()
    assert enclave.evidence.read_bytes() == evidence
    assert enclave.bundle.read_bytes() == bundle
    assert not (enclave.config / "live" / "example.test").exists()


def test_reconfigure_keeps_the_account(enclave, ca, registered):
    enclave.issue().ok()
    enclave.certbot(
        "reconfigure", "--cert-name=example.test", "--key-type=rsa", names=False, server=False
    ).ok()
    assert "key_type = rsa" in (enclave.config / "renewal" / "example.test.conf").read_text()
    assert len(ca.accounts()) == 1


def test_reconfigure_never_makes_an_account(enclave, ca, registered):
    enclave.issue().ok()
    shutil.rmtree(enclave.config / "accounts")
    words = ["--cert-name=example.test", "--key-type=rsa", "--agree-tos"]
    done = enclave.certbot("reconfigure", *words, names=False, server=False)
    assert done.code == 1
    assert "there is no account at" in done.text
    assert len(ca.accounts()) == 1


def test_hook_is_closed_unless_the_settings_hold_the_very_command(enclave, ca, registered):
    mark = enclave.state / "mark"
    hook = f"touch {mark}"
    done = enclave.issue(f"--deploy-hook={hook}")
    assert done.code == 1
    assert "deploy-hook runs" in done.text
    enclave.extra["hooks"] = f"{hook},true"
    enclave.issue(f"--deploy-hook={hook}").ok()
    assert mark.exists()


def test_attest_is_an_ordinary_hook(enclave, ca, registered):
    hook = " ".join(["certbot-enclave", "attest", *enclave.directories])
    enclave.extra["hooks"] = hook
    enclave.extra["evidence"] = str(enclave.state / "public.json")
    enclave.register().ok()
    enclave.issue(f"--deploy-hook={hook}").ok()
    text = statement.parse_evidence((enclave.state / "public.json").read_bytes()).text
    assert len(statement.parse(text).certificates) == 1


@pytest.mark.parametrize("name", [*CODE_VARIABLES, "PYTHONPATH", "AWS_ENDPOINT_URL_KMS"])
def test_environment_is_closed(enclave, ca, owner, name):
    # An empty file harms nobody, whatever reads it.
    harmless = enclave.state / "harmless"
    harmless.touch()
    value = "" if name.startswith(("LD_", "CERTBOT_")) else str(harmless)
    enclave.environment[name] = value or "/nonexistent"
    done = enclave.register()
    assert (done.code, ca.accounts()) == (2, [])
    assert f"{name} is set to" in done.err
    if name != "CERTBOT_PLUGIN_PATH":  # certbot itself looks there before it asks us
        done = enclave.issue("--agree-tos", "--email=ops@a.test")
        assert (done.code, ca.accounts()) == (1, [])
        assert f"{name} is set to" in done.text


def test_options_from_a_file_are_closed(enclave, ca, registered):
    ini = enclave.state / "cli.ini"
    ini.write_text("key-type = rsa\n")
    done = enclave.issue(f"--config={ini}")
    assert done.code == 1
    assert "comes from a configuration file" in done.text


def test_no_verify_ssl_is_closed(enclave, ca, registered):
    done = enclave.issue("--no-verify-ssl")
    assert done.code == 1
    assert "--no-verify-ssl trusts any ACME server" in done.text


def test_taken_port_is_said(enclave, ca, registered):
    with listener(enclave.http_port):
        done = enclave.issue()
    assert done.code == 1
    assert f"cannot listen for http-01 on 127.0.0.1 port {enclave.http_port}" in done.text


def test_plain_account_is_not_used(enclave, ca, owner):
    enclave.environment["REQUESTS_CA_BUNDLE"] = str(enclave.tls_root)
    enclave.run(
        "certbot",
        "register",
        "--non-interactive",
        "--agree-tos",
        "--register-unsafely-without-email",
        f"--server={enclave.server}",
        *enclave.directories,
    ).ok()
    for done in (enclave.issue("--agree-tos"), enclave.register()):
        assert done.code == 1
        assert "was not made by this enclave" in done.text
    assert len(ca.accounts()) == 1


def test_enclave_must_be_named(enclave, ca, owner):
    if Path("/dev/nsm").exists():
        pytest.fail("this machine is an enclave; the test needs one that is none")
    words = [*enclave.directories, f"--server={enclave.server}", "--domains=example.test"]
    done = enclave.run("certbot-enclave", "register", "--agree-tos", *words)
    assert (done.code, ca.accounts()) == (3, [])
    assert "there is no /dev/nsm" in done.err
    assert "certbot-enclave simulate" in done.err
