# SPDX-License-Identifier: Apache-2.0
"""What ``run`` lets certbot do: its commands on certificates, our directories, one CA."""

from pathlib import Path

import pytest
from certbot._internal import cli as certbot_cli
from certbot._internal.plugins.disco import PluginsRegistry

from certbot_enclave import errors
from certbot_enclave.cli import certbot_arguments
from certbot_enclave.cli.certbot_arguments import VERBS, build

DIRECTORIES = {
    "config-dir": Path("/run/config"),
    "work-dir": Path("/run/work"),
    "logs-dir": Path("/run/logs"),
}
PLACES = ["--config-dir=/run/config", "--work-dir=/run/work", "--logs-dir=/run/logs"]

PLUGINS = {
    "certonly": ("enclave", "enclave"),
    "run": ("enclave", "enclave"),
    "install": (None, "enclave"),
}


def _build(*words, **options):
    return build(words, directories=DIRECTORIES, options=options)


def _code(*words):
    with pytest.raises(errors.PolicyError) as caught:
        _build(*words)
    return caught.value.code


@pytest.fixture(scope="module")
def parse():
    """certbot's own reading of a command line, with our plugin."""
    plugins = PluginsRegistry.find_all()

    def read(words):
        return certbot_cli.prepare_and_parse_args(plugins, list(words))

    return read


@pytest.mark.parametrize("verb", VERBS)
def test_certbot_reads_what_is_meant(parse, verb):
    config = parse(_build(verb, deploy="files:/run/tls", allow_disk=True, resolver=("a", "b")))
    assert config.verb == verb
    assert config.noninteractive_mode
    assert (config.config_dir, config.work_dir, config.logs_dir) == (
        "/run/config",
        "/run/work",
        "/run/logs",
    )
    assert (config.authenticator, config.installer) == PLUGINS.get(verb, (None, None))
    assert config.enclave_deploy == "files:/run/tls"
    assert config.enclave_allow_disk is True
    assert config.enclave_resolver == "a,b"
    assert config.max_log_backups == 5


def test_what_the_user_names_wins(parse):
    words = ["certonly", "-a", "standalone", "--installer", "nginx", "--max-log-backups=9"]
    config = parse(_build(*words))
    assert (config.authenticator, config.installer) == ("standalone", "nginx")
    assert config.max_log_backups == 9
    assert _build(*words)[-5:] == words[1:]


def test_switch_that_is_off_is_not_passed():
    assert _build("renew", allow_disk=False) == [
        "renew",
        "--non-interactive",
        *PLACES,
        "--max-log-backups=5",
    ]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("",),
        ("-n", "renew"),
        ("--cert-name", "renew", "certonly"),
        ("auth",),
        ("everything",),
        ("help",),
        ("plugins",),
        ("rollback",),
        ("enhance",),
        ("register",),
        ("unregister",),
        ("update_account",),
        ("show_account",),
    ],
)
def test_other_commands_are_refused(words):
    assert _code(*words) == "certbot-command"


def test_every_command_of_certbot_was_thought_of():
    known = {*certbot_cli.VERB_HELP_MAP} - {"run (default)"} | {"run"}
    refused = {"register", "unregister", "update_account", "show_account"}
    assert known - {*VERBS} - refused == {"rollback", "plugins", "enhance"}
    assert refused == {*certbot_arguments._OF_ACCOUNTS}


def _beginnings(option, parse, value):
    """Every beginning of an option that certbot takes for it."""
    for end in range(3, len(option) + 1):
        try:
            parse(["renew", *PLACES, f"{option[:end]}={value}" if value else option[:end]])
        except SystemExit:
            continue  # ambiguous
        yield option[:end]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--server", "https://other.test/directory"), ("--staging", ""), ("--test-cert", "")],
)
def test_renew_stays_at_its_ca(parse, capsys, option, value):
    found = list(_beginnings(option, parse, value))
    assert option in found
    for name in found:
        given = [f"{name}={value}"] if value else [name]
        assert _code("renew", *given) == "renew-server", name
        assert _build("certonly", *given)[-1] == given[0]
        if value:
            assert _code("renew", name, value) == "renew-server"
    assert _code("renew", "--dry-run", option, value) == "renew-server"


def test_rehearsal_of_a_renewal_is_let_through(parse):
    config = parse(_build("renew", "--dry-run"))
    assert config.dry_run


@pytest.mark.parametrize("name", DIRECTORIES)
def test_directories_are_ours(parse, capsys, name):
    found = [item for item in _beginnings(f"--{name}", parse, "/elsewhere") if item != "--config"]
    assert f"--{name}" in found
    for option in found:
        assert _code("renew", f"{option}=/elsewhere") == "certbot-directory", option
        assert _code("renew", option, "/elsewhere") == "certbot-directory"
        assert _code("renew", option) == "certbot-directory"
        same = str(DIRECTORIES[name])
        assert _build("renew", f"{option}={same}")[-1] == f"{option}={same}"


@pytest.mark.parametrize("name", ["attester", "sealer", "store", "settings"])
def test_settings_that_both_need_are_named_once(name):
    assert _code("certonly", f"--enclave-{name}=x") == "certbot-setting"
    assert _code("certonly", f"--enclave-{name[:3]}", "x") == "certbot-setting"
    assert _build("certonly", "--enclave-wait-for-caa", "12h")[-1] == "12h"


@pytest.mark.parametrize("words", [("--server",), ("--domain",), ("-d", "--server"), ("a.test",)])
def test_what_certbot_cannot_read_is_left_to_certbot(words):
    assert _build("certonly", *words)[-len(words) :] == list(words)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ([], 0),
        (["--enclave-wait-for-caa", "12h"], 43200),
        (["--enclave-wait-for-caa=30m"], 1800),
        (["--enclave-wait-for", "90s"], 90),
    ],
)
def test_certbot_may_wait_for_caa(words, seconds):
    assert certbot_arguments.wait(["certonly", *words]) == seconds


STAGING = "https://staging.test/directory"


@pytest.mark.parametrize("verb", ["certonly", "run", "renew"])
def test_rehearsal_keeps_nothing_and_goes_to_staging(parse, verb):
    words = _build(verb, "--http-01-port=5002", "--force-renewal", deploy="files:/run/tls")
    if verb != "renew":
        words += ["-d", "a.test", "--server=https://ca.test/directory"]
    config = parse(certbot_arguments.rehearsing(words, STAGING))
    assert config.verb == ("renew" if verb == "renew" else "certonly")
    assert (config.dry_run, config.server) == (True, STAGING)
    assert not config.random_sleep_on_renew
    assert (config.http01_port, config.enclave_deploy) == (5002, "files:/run/tls")
    assert config.authenticator == PLUGINS.get(verb, (None, None))[0]


@pytest.mark.parametrize(
    "words",
    [
        ["-d", "a.test", "-d", "b.test"],
        ["-d", "a.test,b.test"],
        ["-d", "a.test", "--domain=b.test"],
        ["--domains", "a.test, b.test"],
        ["--domain", "a.test", "--domains=b.test", "--server", "https://ca.test/directory"],
    ],
)
def test_names_are_read_as_certbot_reads_them(parse, words):
    words = _build("certonly", *words)
    read = {str(getattr(name, "dns_name", name)) for name in parse(words).domains}
    assert certbot_arguments.names(words) == read == {"a.test", "b.test"}


def test_names_that_are_not_there():
    assert certbot_arguments.names(_build("certonly")) == frozenset()
    assert certbot_arguments.names(_build("certonly", "-d")) == frozenset()


def test_certificate_is_the_last_that_is_named(parse):
    words = _build("renew", "--cert-name=one", "--cert-name", "two")
    assert certbot_arguments.certificate(words) == parse(words).certname == "two"
    assert certbot_arguments.certificate(_build("renew")) is None


@pytest.mark.parametrize("option", ["--dry-run", "--dry", "--staging", "--test-cert"])
def test_trial_is_recognised(parse, option):
    words = _build("certonly", option)
    assert parse(words).staging
    assert certbot_arguments.is_trial(words)
    assert not certbot_arguments.is_trial(_build("certonly", "--force-renewal"))
