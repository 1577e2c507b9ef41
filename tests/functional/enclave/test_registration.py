# SPDX-License-Identifier: Apache-2.0
"""An account is made inside, known to the CA, loadable by stock certbot, and never lost."""

import argparse
import json
import shutil

import pytest
from certbot._internal.account import AccountFileStorage
from certbot.configuration import NamespaceConfig

from certbot_enclave.account.key import EnclaveJWK

EAB_KEY = "c2VjcmV0LW9mLXRoZS1zaG9wLWFjY291bnQtMzItYnl0ZXM"


def _stored(enclave):
    """Return the accounts as certbot itself loads them."""
    config = NamespaceConfig(
        argparse.Namespace(
            config_dir=str(enclave.config),
            work_dir=str(enclave.state / "work"),
            logs_dir=str(enclave.state / "logs"),
            server=enclave.server,
            strict_permissions=True,
            http01_port=80,
            https_port=443,
            domains=[],
            ip_addresses=[],
        )
    )
    return AccountFileStorage(config).find_all()


def test_register_prints_what_the_owner_needs(enclave, ca, owner):
    done = enclave.register("--email=ops@example.test").ok()
    (account,) = ca.accounts()
    assert account["contact"] == ["mailto:ops@example.test"]
    for expected in (
        "SIMULATED",
        f"account:    {account['uri']}",
        f"thumbprint: {account['thumbprint']}",
        f'IN CAA 0 issue "ca.test;validationmethods=http-01;accounturi={account["uri"]}"',
        'example.test. 3600 IN CAA 0 issuewild ";"',
    ):
        assert expected in done.out
    assert "registered account" not in done.out  # progress goes to stderr
    said = enclave.said()
    assert (said.account_uri, said.thumbprint) == (account["uri"], account["thumbprint"])
    assert [(domain.name, domain.verdict) for domain in said.domains] == [("example.test", "open")]


def test_register_again_finds_the_same_account(enclave, ca, owner):
    first, again = enclave.registered(), enclave.registered()
    assert (first["new"], again["new"]) == (True, False)
    assert first["account"] == again["account"]
    assert len(ca.accounts()) == 1


def test_stock_certbot_loads_the_account_and_no_secret_with_it(enclave, ca, owner):
    enclave.register().ok()
    (account,) = _stored(enclave)
    assert account.regr.uri == ca.accounts()[0]["uri"]
    assert type(account.key) is EnclaveJWK
    stored = json.loads(next(enclave.config.rglob("private_key.json")).read_text())
    assert stored.keys() == {"kty", "crv", "x", "y", "directory", "sealed"}


def test_register_without_agreement_registers_nothing(enclave, ca, owner):
    done = enclave.register(agree=False)
    assert (done.code, ca.accounts()) == (2, [])
    assert "--agree-tos" in done.err


def test_certonly_registers_by_itself_and_says_what_to_publish(enclave, ca, owner):
    done = enclave.issue("--agree-tos", "--register-unsafely-without-email")
    (account,) = ca.accounts()
    assert done.code == 1
    assert f"registered account {account['uri']}" in done.text
    assert account["thumbprint"] in done.text
    records = [line for line in done.text.splitlines() if " IN CAA " in line]
    assert len(records) == 2
    assert enclave.said().domains[0].verdict == "open"
    assert ca.count("requests", "newOrder") == 0
    owner.publish(records)
    enclave.terse = True  # the settings were saved with the account
    enclave.issue().ok()
    assert len(ca.accounts()) == 1
    assert enclave.said().domains[0].verdict == "exclusive"


def test_certonly_without_agreement_registers_nothing(enclave, ca, owner):
    done = enclave.issue()
    assert (done.code, ca.accounts()) == (1, [])
    assert "there is no account at" in done.text
    assert "--agree-tos" in done.text


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_external_account_binding(enclave, ca, owner, source):
    ca.change(external_account_required=True, eab_keys={"shop-1": EAB_KEY})
    refused = enclave.register()
    assert (refused.code, ca.accounts()) == (2, [])
    assert "external account binding" in refused.err
    path = enclave.state / "hmac"
    path.write_text(EAB_KEY + "\n")
    options = ["--eab-kid=shop-1", f"--eab-hmac-file={path if source == 'file' else '-'}"]
    command = [*enclave.directories, *enclave.settings("--"), *options, "--agree-tos"]
    command += [f"--server={enclave.server}", "--domains=example.test"]
    enclave.run(
        "certbot-enclave", "register", *command, input=EAB_KEY if source == "stdin" else None
    ).ok()
    (account,) = ca.accounts()
    assert account["bound"] is True
    assert enclave.said().external_account_binding is True
    enclave.reboot()
    enclave.register().ok()
    assert enclave.said().external_account_binding is True


def test_eab_secret_on_certbots_command_line_is_refused(enclave, ca, owner):
    done = enclave.issue("--agree-tos", "--eab-kid=shop-1", f"--eab-hmac-key={EAB_KEY}")
    assert (done.code, ca.accounts()) == (1, [])
    assert "--eab-hmac-file" in done.text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 403, "type": "unauthorized", "detail": "not you"}, "not you"),
        ({"status": 200, "body": "[]"}, "did not answer as RFC 8555 says"),
    ],
)
def test_ca_that_refuses(enclave, ca, owner, fault, said):
    ca.fault("newAccount", times=9, **fault)
    done = enclave.register()
    assert (done.code, ca.accounts()) == (1, [])
    assert said in done.err
    ca.clear()
    enclave.register().ok()
    assert len(ca.accounts()) == 1


def test_deactivated_account_is_not_replaced(enclave, ca, owner):
    enclave.register().ok()
    (account,) = ca.accounts()
    ca.deactivate(account["uri"])
    for done in (enclave.register(), enclave.issue("--agree-tos")):
        assert done.code == 1
        assert "deactivated" in done.text
    assert len(ca.accounts()) == 1


def test_account_uri_elsewhere_is_refused(enclave, ca, owner):
    ca.change(account_location_origin="https://host.test")
    done = enclave.register()
    assert done.code == 1
    assert "account URI 'https://host.test" in done.err


def test_unreachable_ca_and_foreign_tls_root(enclave, ca, owner):
    enclave.tls_root = ca.issuer_root
    done = enclave.register()
    assert done.code == 3
    assert "cannot reach the ACME server" in done.err
    assert "certificate verify failed" in done.err
    enclave.server = "https://127.0.0.1:1/directory"
    done = enclave.register()
    assert done.code == 3
    assert "refused" in done.err


def test_unreadable_roots(enclave, ca, owner):
    enclave.tls_root = enclave.state / "missing.pem"
    assert "cannot read ca_roots" in enclave.register().err
    assert "cannot read ca_roots" in enclave.issue().text


def test_reboot_brings_back_the_same_account(enclave, ca, owner):
    first = enclave.registered()
    enclave.reboot()
    assert not enclave.config.exists()
    again = enclave.registered()
    assert (again["account"], again["new"]) == (first["account"], False)
    said = enclave.said()
    assert said.restored_from >= 1
    assert said.generation == said.restored_from  # nothing changed, so nothing was sealed anew


def test_store_that_is_down_registers_nothing(enclave, ca, owner):
    shutil.rmtree(enclave.bundle.parent)
    for done in (enclave.register(), enclave.issue("--agree-tos")):
        assert done.code != 0
        assert "store" in done.text
    assert ca.accounts() == []


def test_further_account_leaves_evidence_and_settings_alone(enclave, ca, owner, new_ca):
    """A staging account beside the enclave's own (docs/operator.md, Rehearsals)."""
    enclave.register().ok()
    kept = enclave.evidence.read_bytes()
    staging = new_ca()
    own = (enclave.server, enclave.tls_root)
    enclave.server, enclave.tls_root = staging.directory_url, staging.tls_root
    table = enclave.registered()
    assert (table["account"], table["evidence"]) == (staging.accounts()[0]["uri"], None)
    assert "a further account" in enclave.register().err
    assert enclave.evidence.read_bytes() == kept
    enclave.server, enclave.tls_root = own
    enclave.run("certbot-enclave", "attest", *enclave.directories).ok()
    assert enclave.said().directory == ca.directory_url


def test_failure_as_json_has_a_code(enclave, ca, owner):
    done = enclave.register("--json", agree=False)
    assert done.code == 2
    assert json.loads(done.out)["code"] == "account-missing"
    assert "certbot-enclave: error: " in done.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--eab-kid=shop-1"], "external-account-incomplete"),
        (["--eab-hmac-file=/dev/null"], "external-account-incomplete"),
        (["--eab-kid=shop-1", "--eab-hmac-file=/no/file"], "external-account-unreadable"),
        (["--server="], "directory-missing"),
        ([], "names-missing"),
    ],
)
def test_options_that_lack_something(enclave, ca, owner, options, code):
    if code == "names-missing":
        enclave.domains = ()
    done = enclave.register("--json", *options)
    assert (done.code, ca.accounts()) == (2, [])
    assert json.loads(done.out)["code"] == code


def test_saved_settings_are_in_the_bundle_too(enclave, ca, owner):
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    enclave.register().ok()
    saved = enclave.config / "enclave" / "settings.json"
    text = saved.read_text()
    enclave.reboot()
    assert enclave.issue().code == 1  # the gate is closed, but the state is back
    assert saved.read_text() == text
