# SPDX-License-Identifier: Apache-2.0
"""``kms-policy``: the policy on stdout, who could change it on stderr."""

import json

import pytest

from certbot_enclave import cli
from certbot_enclave.attestation import measurements
from certbot_enclave.aws import key_policy
from tests.support import eif

ADMIN = "arn:aws:iam::111122223333:role/owner"
ROOT = "arn:aws:iam::111122223333:root"
ROLE = "arn:aws:iam::444455556666:role/enclave"
PCRS = {index: bytes([index + 1]) * 48 for index in range(3)}


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the command on a file with this content."""

    def run(content, *more):
        path = tmp_path / "measurements"
        path.write_bytes(content)
        code = cli.main(["kms-policy", str(path), "--admin", ADMIN, "--role", ROLE, *more])
        return code, *capsys.readouterr()

    return run


def test_prints_the_policy_and_names_the_trusted(run):
    code, out, err = run(measurements.to_json(PCRS).encode(), "--admin", ROOT)
    made = key_policy.make([PCRS], admins=[ADMIN, ROOT], roles=[ROLE])
    assert (code, json.loads(out)) == (0, made)
    assert err.splitlines() == [
        f"certbot-enclave: note: {ADMIN} can change this policy, and so read what is sealed",
        f"certbot-enclave: note: whoever has IAM rights in the account of {ROOT} can change this "
        "policy, and so read what is sealed",
    ]


def test_measures_an_image(run):
    code, out, _ = run(eif.pack())
    made = key_policy.make([eif.pcrs()], admins=[ADMIN], roles=[ROLE])
    assert (code, json.loads(out)) == (0, made)


def test_all_sets_of_a_policy(run):
    rows = [f'PCR{index} = "{value.hex()}"\n' for index, value in PCRS.items()]
    text = "".join(f"[measurements.{name}]\n{''.join(rows)}" for name in ("old", "new"))
    assert run(text.encode())[0] == 0


def test_image_id_is_nothing_that_kms_compares(run):
    rows = [f'PCR{index} = "{value.hex()}"\n' for index, value in PCRS.items()]
    text = f'[measurements.a]\n{"".join(rows)}[measurements.b]\nimage_id = "{"ab" * 32}"\n'
    code, out, err = run(text.encode(), "--json")
    assert (code, json.loads(out)["code"]) == (2, "kms-policy-measurements")
    assert "certbot-enclave: hint: " in err


def test_unreadable_file(capsys):
    assert cli.main(["kms-policy", "/nonexistent", "--admin", ADMIN, "--role", ROLE]) == 3
    assert "cannot read /nonexistent" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["--admin", "--role"])
def test_both_names_are_needed(missing, tmp_path):
    given = {"--admin": ADMIN, "--role": ROLE}
    del given[missing]
    with pytest.raises(SystemExit) as caught:
        cli.main(["kms-policy", "-", *next(iter(given.items()))])
    assert caught.value.code == 2
