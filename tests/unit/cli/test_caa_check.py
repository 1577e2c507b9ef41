# SPDX-License-Identifier: Apache-2.0
"""``caa check`` refuses what it cannot judge before it asks anybody."""

import json

import pytest

from certbot_enclave import cli

URI = "https://ca.test/acct/1"
# Nobody listens there; nothing may be asked.
NOWHERE = ["--resolver", "127.0.0.1:1"]
SUBJECT = ["--account-uri", URI, "--issuer", "ca.test", "--method", "http-01"]


def _run(capsys, *arguments):
    code = cli.main(["caa", "check", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (SUBJECT, "names-missing", "expected names, or a file of names"),
        ([*SUBJECT, "a.test", "--file", "x"], "names-missing", "and not both"),
        ([*SUBJECT, "co.uk"], "name-refused", "'co.uk' is a public suffix"),
        ([*SUBJECT, "a.test", "x y.test"], "name-refused", "is no host name"),
        ([*SUBJECT, ".".join(["a" * 60] * 5)], "name-refused", "is no host name"),
        ([*SUBJECT, "192.0.2.1"], "name-refused", "is an IP address"),
        ([*SUBJECT, "a.test", "--resolver", "192.0.2.1"], "resolver-plain", "plain DNS"),
        ([*SUBJECT, "a.test", "--resolver", ","], "resolver-missing", "no resolver is named"),
        ([*SUBJECT, "a.test", "--published", "today"], "time-invalid", "'today' is no time"),
        ([*SUBJECT, "a.test", "--old-ttl", "-1"], "ttl-range", "TTL is -1"),
        ([*SUBJECT, "a.test", "--old-ttl", str(1 << 31)], "ttl-range", "TTL is 2147483648"),
        (["a.test"], "account-source", "whose account?"),
        (["a.test", "--issuer", "ca.test"], "account-source", "whose account?"),
        (["a.test", "--account-uri", URI, "--method", "http-01"], "issuer-missing", "not known"),
        (
            ["a.test", *SUBJECT[:3], "x_y", "--method", "http-01"],
            "caa-issuer",
            "issuer 'x_y' is no lower-case domain name",
        ),
        (
            ["a.test", "--account-uri", "http://x", *SUBJECT[2:]],
            "caa-account-uri",
            "account URI 'http://x'",
        ),
        (
            [
                *("a.test", "--method", "http-01", "--issuer", "ca.test", "--account-uri", URI),
                *("--account-uri", "https://acme-v02.api.letsencrypt.org/acme/acct/1"),
            ],
            "account-issuer",
            "not at 'ca.test'",
        ),
    ],
)
def test_usage_errors(capsys, arguments, code, told):
    rest = [] if "--resolver" in arguments else NOWHERE
    status, out, err = _run(capsys, *arguments, *rest, "--json")
    assert status == 2
    assert told in err
    assert json.loads(out.removeprefix("[]"))["code"] == code


def test_without_an_account_the_hint_says_how_to_name_one(capsys):
    code, _, err = _run(capsys, "a.test", *NOWHERE)
    assert code == 2
    assert "--account-uri URI --method METHOD, --evidence FILE --policy FILE" in err


def test_a_file_that_is_missing_could_not_be_told(capsys, tmp_path):
    code, _, err = _run(capsys, "--file", tmp_path / "absent", *SUBJECT, *NOWHERE)
    assert code == 3
    assert "No such file or directory" in err
