# SPDX-License-Identifier: Apache-2.0
"""``verify`` and ``simulate``: results on stdout, reasons on stderr, exit codes by the table."""

import base64
import io
import json
import sys
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from certbot_enclave import cli, statement, verification
from certbot_enclave.attestation import simulated
from tests.support import forge
from tests.support.forge import NOW, STATEMENT
from tests.unit.cli.owner import World, refused

NONCE = bytes(range(16))
BANNER = "SIMULATED: this is no hardware's word, but that of the root you named"


@pytest.fixture
def world(tmp_path, capsys):
    return World(tmp_path, capsys)


# --- it holds ---


def test_text_says_what_was_proved_and_what_not(world):
    code, out, err = world.verify(world.evidence())
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == lines[-1] == BANNER
    assert [line for line in lines if line.startswith("proved:")] == lines[1:7]
    for item in verification.NOT_CHECKED:
        assert f"not checked: {item}" in lines
    assert "CAA 0" not in out


def test_json_says_the_same(world):
    code, out, err = world.verify(world.evidence(), "--json")
    table = json.loads(out)
    assert (code, err) == (0, "")
    assert (table["verified"], table["simulated"]) == (True, True)
    assert (table["domain"], table["verdict"]) == ("example.com", "exclusive")
    assert table["since"] is None
    assert table["account"] == STATEMENT.account_uri
    assert table["thumbprint"] == STATEMENT.thumbprint
    assert table["measurements"] == str(world.policy)
    assert table["sealing"] == {"scheme": "oysterkms", "key": "image"}
    assert table["state"] == {"generation": 3, "restored_from": 2}
    assert table["certificates"] == [
        {"names": ["example.com"], "serial": "1f", "spki_sha256": "ab" * 32}
    ]
    assert table["not_checked"] == list(verification.NOT_CHECKED)
    assert len(table["proved"]) == 6
    assert table["records"] == []
    (domain,) = STATEMENT.domains
    _, out, _ = world.verify(world.evidence(domains=(domain._replace(since=NOW),)), "--json")
    assert json.loads(out)["since"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


RECORDS = [
    'example.com. 3600 IN CAA 0 issue "letsencrypt.org;validationmethods=http-01;'
    f'accounturi={STATEMENT.account_uri}"',
    'example.com. 3600 IN CAA 0 issuewild ";"',
]


def test_caa_records_to_publish(world):
    evidence = world.evidence()
    code, out, _err = world.verify(evidence, "--caa")
    assert code == 0
    assert out.splitlines()[-3:] == [*RECORDS, BANNER]
    assert json.loads(world.verify(evidence, "--caa", "--json")[1])["records"] == RECORDS


@pytest.mark.parametrize("name", ["EXAMPLE.com", "example.com.", "Example.Com."])
def test_domain_in_another_spelling(world, name):
    code, out, _err = world.verify(world.evidence(), "--caa", "--json", domain=name)
    assert code == 0
    assert json.loads(out)["records"] == RECORDS


def test_conditions_and_what_is_not_understood_are_shown(world):
    evidence = world.evidence(conditions=("simulated",))
    table = json.loads(evidence.read_bytes())
    table["statement"] = table["statement"].replace("{", '{"later": 1,', 1)
    assert BANNER in world.verify(evidence)[1]
    now = time.time()
    document = simulated.SimulatedAttester(str(world.enclave), lambda: now).attest(
        user_data=statement.user_data(table["statement"]),
        public_key=forge.spki(forge.ACCOUNT),
        nonce=None,
    )
    evidence.write_bytes(statement.build_evidence(table["statement"], document))
    code, out, _err = world.verify(evidence)
    assert code == 0
    assert "condition:   simulated" in out.splitlines()
    assert "not understood: later" in out.splitlines()
    assert json.loads(world.verify(evidence, "--json")[1])["not_understood"] == ["later"]


def test_nonce_that_was_asked_for(world):
    code, out, _err = world.verify(world.evidence(nonce=NONCE), "--nonce", NONCE.hex())
    assert code == 0
    assert "answer the nonce" in out


def test_evidence_from_stdin(world, monkeypatch):
    data = world.evidence().read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert world.verify("-")[0] == 0


def test_policy_in_toml_names_the_set(world):
    pcrs = json.loads(world.policy.read_text())["Measurements"]
    lines = [f'{name} = "{value}"' for name, value in pcrs.items()]
    policy = world.file("policy.toml", "\n".join(["[measurements.mine]", *lines]).encode())
    assert "measurements match mine" in world.verify(world.evidence(), policy=policy)[1]


# --- 1: it was checked, and it does not hold ---


def test_another_domain(world):
    assert refused(world.verify(world.evidence(), domain="example.org"), 1, "example.org")


def test_another_image(world):
    evidence = world.evidence()
    pcrs = json.loads(world.policy.read_text())
    pcrs["Measurements"]["PCR0"] = "ab" * 48
    policy = world.file("other.json", json.dumps(pcrs).encode())
    assert refused(world.verify(evidence, policy=policy), 1, "PCR0 is")


def test_image_that_changed_since(world):
    (world.folder / "app.bin").write_bytes(b"Application")
    assert refused(world.verify(world.evidence()), 1, "PCR0 is")


def test_root_must_be_named(world):
    code, out, err = world.run(
        *("verify", world.evidence(), "--domain", "example.com", "--policy", world.policy)
    )
    assert refused((code, out, err), 1, "the AWS Nitro root has")


def test_too_old(world):
    assert refused(world.verify(world.evidence(age=25 * 3600)), 1, "seconds old")


def test_from_the_future(world):
    assert refused(world.verify(world.evidence(age=-3600)), 1, "in the future")


def test_another_nonce(world):
    evidence = world.evidence(nonce=NONCE)
    assert refused(world.verify(evidence, "--nonce", "ff" * 16), 1, "nonce is")
    assert refused(world.verify(evidence), 1, "nonce is")
    assert refused(world.verify(world.evidence(), "--nonce", "ff" * 16), 1, "nonce is none")


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -3])
def test_evidence_cut_short(world, keep):
    cut = world.file("cut.json", world.evidence().read_bytes().rstrip()[:keep])
    assert refused(world.verify(cut), 1, "evidence")


def test_evidence_with_one_changed_byte(world):
    data = world.evidence().read_bytes()
    changed = world.file("changed.json", data.replace(b"exclusive", b"exclusivE"))
    assert refused(world.verify(changed), 1, "domains.verdict")
    changed = world.file("changed.json", data.replace(b"acct/1234567", b"acct/1234568"))
    assert refused(world.verify(changed), 1, "binds another statement")


def test_evidence_that_is_too_long(world):
    data = world.evidence().read_bytes()
    long = world.file("long.json", data + b" " * statement.MAX_EVIDENCE)
    assert refused(world.verify(long), 1, "at most")


def test_failure_as_json_has_its_code_and_no_mark_of_success(world):
    code, out, err = world.verify(world.evidence(), "--json", domain="example.org")
    table = json.loads(out)
    assert (code, table["code"], "verified" in table) == (1, "domain", False)
    assert table["expected"] == "example.org"
    assert table["error"] in err
    assert "proved" not in table


# --- 2: the question was wrong ---

BAD_OPTIONS = {
    "nonce no hex": (("--nonce", "xyz"), "--nonce is no hex"),
    "nonce half a byte": (("--nonce", "0" * 33), "--nonce is no hex"),
    "nonce short": (("--nonce", "00" * 15), "15 bytes"),
    "nonce long": (("--nonce", "00" * 65), "65 bytes"),
    "nonce empty": (("--nonce", ""), "0 bytes"),
    "domain no name": (("--domain", "exa mple"), "--domain is not"),
    "domain empty": (("--domain", ""), "--domain is not"),
    "domain an address": (("--domain", "192.0.2.1"), "--domain is not"),
    "domain in other letters": (("--domain", "bücher.example"), "--domain is not"),
}


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_option_that_is_wrong(world, options, words):
    # A wrong option is told even if the evidence is not there.
    assert refused(world.verify(world.folder / "gone.json", *options), 2, words)


@pytest.mark.parametrize("length", [16, 64])
def test_bounds_of_a_nonce(world, length):
    nonce = bytes(length)
    assert world.verify(world.evidence(nonce=nonce), "--nonce", nonce.hex())[0] == 0


BAD_POLICIES = {
    "empty": (b"", "names no measurements"),
    "no policy": (b"{", "neither nitro-cli's JSON nor our TOML"),
    "PCR1 only": (b'{"Measurements": {"PCR1": "' + b"ab" * 48 + b'"}}', "needed together"),
    "zeros": (
        json.dumps({"Measurements": {f"PCR{n}": "0" * 96 for n in range(3)}}).encode(),
        "zero digest",
    ),
    "too long": (b"#" * 300_000, "at most"),
}


@pytest.mark.parametrize(("data", "words"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_policy_that_is_none(world, data, words):
    policy = world.file("policy", data)
    assert refused(world.verify(world.evidence(), policy=policy), 2, words)


BEGIN = b"-----BEGIN CERTIFICATE-----\n"
BAD_ROOTS = {
    "empty": b"",
    "DER": forge.CHAIN.root,
    "no certificate": BEGIN + b"AAAA\n-----END CERTIFICATE-----\n",
    "cut": BEGIN + b"MIIB",
    "key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("data", BAD_ROOTS.values(), ids=BAD_ROOTS)
def test_root_that_is_none(world, data):
    root = world.file("root", data)
    assert refused(world.verify(world.evidence(), root=root), 2, "no PEM certificate")


def test_root_under_another_label(world):
    text = world.root.read_bytes().replace(b"CERTIFICATE", b"X509 CERTIFICATE")
    root = world.file("root", text)
    assert refused(world.verify(world.evidence(), root=root), 2, "no PEM certificate")


def _unknown_version(tbs):
    return tbs.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"))


def test_root_that_cryptography_does_not_like(world):
    made = forge.chain(root={"mangle": _unknown_version})
    body = base64.encodebytes(made.root)
    root = world.file("root", BEGIN + body + b"-----END CERTIFICATE-----\n")
    assert refused(world.verify(world.evidence(), root=root), 2, "no PEM certificate")


@pytest.mark.parametrize("missing", ["--domain", "--policy"])
def test_option_that_is_needed(world, missing, capsys):
    options = {"--domain": "example.com", "--policy": str(world.policy)}
    del options[missing]
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", "evidence.json", *(word for pair in options.items() for word in pair)])
    assert caught.value.code == 2
    assert missing in capsys.readouterr().err


# --- 3: it could not be told ---


def test_file_that_cannot_be_read(world):
    gone, evidence = world.folder / "gone", world.evidence()
    assert refused(world.verify(gone), 3, f"cannot read {gone}")
    assert refused(world.verify(world.folder), 3, "cannot read")
    assert refused(world.verify(evidence, policy=gone), 3, f"cannot read {gone}")
    assert refused(world.verify(evidence, root=gone), 3, f"cannot read {gone}")


def test_stdin_that_is_closed(world, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert refused(world.verify("-"), 3, "cannot read -")
    assert refused(world.verify(world.evidence(), policy="-"), 3, "cannot read -")


# --- simulate ---


def test_simulate_says_where_the_verifiers_files_are(world):
    made = world.folder / "another"
    code, out, err = world.run(
        *("simulate", made, "--image", world.folder / "app.bin", "--image", world.policy)
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "SIMULATED enclave: nothing it says is vouched for by hardware",
        f"trust root:   {made / 'root.pem'}",
        f"measurements: {made / 'measurements.json'}",
    ]
    assert simulated.measure(made)[0] != simulated.measure(world.enclave)[0]
    # Its root is another one, so evidence of the first does not pass under it.
    outcome = world.verify(world.evidence(), root=made / "root.pem")
    assert refused(outcome, 1, "the root that was named has")


def test_simulate_refuses(world):
    image = world.folder / "app.bin"
    assert refused(world.run("simulate", world.enclave, "--image", image), 2, "is not empty")
    gone = world.folder / "gone"
    assert refused(world.run("simulate", world.folder / "new", "--image", gone), 3, "gone")
    with pytest.raises(SystemExit) as caught:
        cli.main(["simulate", str(world.folder / "new")])
    assert caught.value.code == 2


def test_verified_evidence_stays_valid_for_a_day(world):
    evidence = world.evidence(age=timedelta(hours=23, minutes=59).total_seconds())
    assert world.verify(evidence)[0] == 0
