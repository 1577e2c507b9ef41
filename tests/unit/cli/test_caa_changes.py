# SPDX-License-Identifier: Apache-2.0
"""``caa diff`` and ``caa apply`` refuse what they cannot do before they ask anybody."""

import json
import os
import threading

import pytest

from certbot_enclave import cli
from tests.unit.caa.test_tsig import BIND, SECRET

# Nobody listens there; nothing may be asked.
NOWHERE = ["--resolver", "127.0.0.1:1"]
ACCOUNT = ["--account-uri", "https://ca.test/acct/1", "--issuer", "ca.test", "--method", "http-01"]
SERVER = ["--server", "127.0.0.1:1"]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "owner.key"
    path.write_text(BIND)
    path.chmod(0o600)
    return path


@pytest.fixture
def run(capsys):
    def command(*words):
        code = cli.main(["caa", *map(str, words)])
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        return code, out, err

    return command


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (ACCOUNT, "names-missing", "expected names"),
        (["a.test"], "account-source", "whose account?"),
        (["a.test", *ACCOUNT, "--ttl", "0"], "ttl-range", "TTL is 0"),
        (["a.test", *ACCOUNT, "--zone", "*.test.x"], "zone-invalid", "is no zone"),
        (["a.test", *ACCOUNT, "--zone", "x_y"], "name-refused", "is no host name"),
    ],
)
@pytest.mark.parametrize("verb", ["diff", "apply"])
def test_usage_errors(run, key, verb, arguments, code, told):
    words = [*SERVER, "--key", key] if verb == "apply" else []
    status, out, err = run(verb, *words, *arguments, *NOWHERE, "--json")
    assert (status, json.loads(out)["code"]) == (2, code)
    assert told in err


def test_one_form_at_a_time(run):
    status, out, err = run("diff", "a.test", *ACCOUNT, *NOWHERE, "--json", "--format", "zone")
    assert (status, json.loads(out)["code"]) == (2, "format-twice")
    assert "--json is not --format zone" in err


@pytest.mark.parametrize("missing", ["--server", "--key"])
def test_apply_needs_a_server_and_a_key(run, key, capsys, missing):
    words = [*SERVER, "--key", str(key)]
    at = words.index(missing)
    with pytest.raises(SystemExit) as caught:
        run("apply", "a.test", *ACCOUNT, *words[:at], *words[at + 2 :])
    assert caught.value.code == 2
    assert f"required: {missing}" in capsys.readouterr().err


def _apply(run, path, *, server=SERVER):
    return run("apply", "www.a.test", *ACCOUNT, *NOWHERE, *server, "--key", path, "--json")


def test_a_server_by_name_is_refused(run, key):
    status, out, _ = _apply(run, key, server=["--server", "ns.a.test"])
    assert (status, json.loads(out)["code"]) == (2, "server-invalid")


def test_a_file_that_cannot_be_read_is_not_named(run, tmp_path):
    # Somebody gives the key itself for it; the directory is a place that is no file.
    for path in (f"hmac-sha256:owner:{SECRET}", SECRET, tmp_path / "absent", tmp_path):
        status, out, err = _apply(run, path)
        assert (status, json.loads(out)["code"]) == (3, "file-unreadable")
        assert "cannot read the file of --key: " in err
        assert str(path) not in out + err


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 1, "tsig-key-form"),
        (BIND * 2, 1, "tsig-key-form"),
        (BIND + " " * 5000, 1, "tsig-key-form"),
        (BIND.replace("sha384", "md5"), 2, "tsig-key-algorithm"),
        (BIND.replace(SECRET, "c2hvcnQ="), 2, "tsig-key-length"),
    ],
)
def test_a_key_that_is_not_taken(run, key, text, status, code):
    key.write_text(text)
    assert _apply(run, key)[0] == status
    assert json.loads(_apply(run, key)[1])["code"] == code


@pytest.mark.parametrize(
    ("mode", "who"),
    [
        (0o600, None),
        (0o400, None),
        (0o622, None),
        (0o640, "its group"),
        (0o644, "everybody on this machine"),
        (0o604, "everybody on this machine"),
    ],
)
def test_who_else_can_read_the_key(run, key, mode, who):
    key.chmod(mode)
    status, _, err = _apply(run, key)
    # Nobody could be asked, and that is told for the name.
    assert status == 3
    assert "note: www.a.test: lookup-failed" in err
    notes = [line for line in err.splitlines() if "key file" in line]
    assert notes == (
        []
        if who is None
        else [
            f"certbot-enclave: note: the key file can be read by {who}; chmod 600 keeps it to "
            "its owner"
        ]
    )


def test_a_key_through_a_pipe_is_nobody_elses(run, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o666)
    writer = threading.Thread(target=path.write_text, args=[BIND])
    writer.start()
    status, _, err = _apply(run, path)
    writer.join()
    assert status == 3
    assert "key file" not in err


def test_the_directory_of_the_ca_has_another_option_where_the_server_is_one_of_dns(run, key):
    words = ["apply", "a.test", "--certbot-config", "/nonexistent", "--method", "dns-01"]
    words += [*SERVER, "--key", key, *NOWHERE]
    assert run(*words)[0] != 0
    status, _, err = run(*words[:2], *ACCOUNT, *words[6:], "--acme-server", "https://ca.test/")
    assert status == 2
    assert "--acme-server is for --certbot-config" in err
