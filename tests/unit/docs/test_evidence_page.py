# SPDX-License-Identifier: Apache-2.0
"""docs/evidence.md says what the code does, and its thirty lines check evidence."""

import ast
import base64
import hashlib
import json
import re
import subprocess
import sys

import pytest

from certbot_enclave import statement, verification
from certbot_enclave.attestation import cbor, chain, cose, document, oyster_signed, simulated
from tests import docs
from tests.support import forge
from tests.support.forge import CHAIN, STATEMENT
from tests.unit.docs.pages import (
    blocks_of,
    rows_below,
    text_of,
)


def _members(table):
    for name, value in table.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and name not in ("settings", "software"):
            if isinstance(value, list):
                yield name
            yield from (f"{name}.{member}" for member in inner)
        else:
            yield name


def test_form_of_statement_and_evidence_is_described_member_by_member():
    page = text_of("docs/evidence.md")
    text = statement.build(STATEMENT)
    for heading, table in (
        ("## Statement v1", json.loads(text)),
        ("## Evidence v1", json.loads(statement.build_evidence(text, b"x", b"y"))),
    ):
        assert [row[0].strip("`") for row in rows_below(page, heading)] == list(_members(table))


def test_constants_of_the_form():
    page = text_of("docs/evidence.md")
    tag = statement.TAG.decode()
    for text in (
        f"`{statement.STATEMENT_TYPE}`",
        f"`{statement.EVIDENCE_TYPE}`",
        f"`{statement.NITRO}`, or the weaker [`{statement.OYSTER}`]",
        f"base64 of {oyster_signed.SIGNATURE_SIZE} bytes",
        f"at most {statement.MAX_STATEMENT // 1024} KiB",
        f"at most {statement.MAX_EVIDENCE // 1024} KiB",
        f"the {len(tag)} bytes `{tag}`",
        f"`{chain.AWS_ROOT_SHA256}`",
        "; ".join(f"`{word}`" for word in statement.VERDICTS[:2])
        + f"; or `{statement.VERDICTS[2]}`",
    ):
        assert text in page


def test_form_of_the_document():
    page = text_of("docs/evidence.md")
    part = page.split("\n## The document\n", 1)[1].split("\n## ", 1)[0]
    for text in (
        f"the bytes `{cose.PROTECTED.hex()}`",
        f"the byte `{cbor.dumps({}).hex()}`",
        f"1 to {cose.MAX_PAYLOAD} bytes",
        f"{cose.SIGNATURE_SIZE} bytes, r and s",
        f"at most {document.MAX_MODULE_ID} characters",
        f"1 to {chain.MAX_BUNDLE} certificates, DER, 1 to {chain.MAX_CERTIFICATE} bytes each",
        f"0 to {document.MAX_FIELD} bytes",
    ):
        assert text in part
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", part, re.MULTILINE)
    assert re.findall(r"`([a-z_]+)`", " ".join(rows)) == [*document._REQUIRED, *document._OPTIONAL]


def test_one_attestation_has_two_byte_strings():
    assert "(r, n - s)" in text_of("docs/evidence.md")
    message = cose.parse(forge.document())
    order = int(f"{'f' * 48}c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)
    r, s = message.signature[:48], int.from_bytes(message.signature[48:], "big")
    other = message._replace(signature=r + (order - s).to_bytes(48, "big"))
    for one in (message, other):
        cose.verify(one, CHAIN.keys[-1].public_key())


def _checks_of_the_code(table=0):
    """Number -> what stands in the third column of a table in verification's docstring."""
    found, number = {}, None
    rules = [line for line in verification.__doc__.splitlines() if line.startswith("==")]
    at = rules[0].rindex(" =") + 1
    body = verification.__doc__.split(rules[0])[4 if table else 2]
    for line in body.splitlines():
        number = int(line[:2]) if line[:2].strip() else number
        if line.strip():
            found[number] = found.get(number, "") + " " + line[at:]
    return {number: re.findall(r"[a-z0-9-]+…?", text) for number, text in found.items()}


def test_checks_are_those_of_the_code():
    in_code = _checks_of_the_code()
    rows = rows_below(text_of("docs/evidence.md"), "## What `verify` checks")
    assert [int(row[0]) for row in rows] == list(in_code) == list(range(1, 18))
    source = "\n".join(path.read_text() for path in docs.PACKAGE.rglob("*.py"))
    for number, _, cell in rows:
        listed = re.findall(r"`([^`]+)`", cell)
        assert listed
        for code in listed:
            assert f'"{code}"' in source or (code.endswith("-…") and f'"{code[:-1]}' in source)
        for code in in_code[int(number)]:
            if code.endswith("-…"):
                assert all(item.startswith(code[:-1]) for item in listed)
            elif code not in ("many", "…"):
                assert code in listed


def test_code_of_each_check_stands_in_one_row_only():
    rows = rows_below(text_of("docs/evidence.md"), "## What `verify` checks")
    codes = [code for row in rows for code in re.findall(r"`([^`]+)`", row[2])]
    assert len(codes) == len(set(codes))


def test_checks_of_what_oyster_signed_are_those_of_the_code():
    page = text_of("docs/evidence.md")
    rows = rows_below(
        page, "In evidence of the format `oyster-signed` these take the place of the same number:"
    )
    in_code = _checks_of_the_code(1)
    assert [int(row[0]) for row in rows] == list(in_code)
    for number, _, cell in rows:
        listed = re.findall(r"`([^`]+)`", cell)
        for code in in_code[int(number)]:
            assert any(item.startswith(code.removesuffix("…")) for item in listed), code


PCR, *THIRTY = blocks_of("docs/evidence.md", "python")


def test_formula_of_the_bound_pcr():
    page, names = text_of("docs/evidence.md"), {}
    exec(PCR, names)
    for uri, key in (("https://ca.example/acct/1", b"key"), ("https://ca.example/acct/2", b"")):
        assert names["account_pcr"](uri, key) == statement.account_pcr(uri, key)
    tag = statement.ACCOUNT_TAG
    assert f"the {len(tag)} bytes `{tag.decode()}`" in page


def test_what_oysters_key_signs():
    rows = rows_below(text_of("docs/evidence.md"), "## Evidence that Oyster signed")
    tag = oyster_signed.TAG
    assert rows[0] == [str(len(tag)), f"`{tag.decode()}`"]
    assert [row[0] for row in rows[1:]] == ["1", "0 to 64", "64"]
    nonce, user_data = b"n" * 16, statement.user_data("{}")
    assert oyster_signed.message(user_data, nonce) == tag + b"\x10" + nonce + user_data
    assert oyster_signed.message(user_data, None) == tag + b"\0" + user_data
    assert len(user_data) == 64


def test_thirty_lines_are_thirty_and_need_cryptography_only():
    (lines,) = THIRTY
    assert len(lines.splitlines()) <= 30
    modules = set()
    for node in ast.walk(ast.parse(lines)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.fixture(scope="module")
def enclave(tmp_path_factory):
    """A simulated enclave's statement and document, and the root that vouches for it."""
    state = tmp_path_factory.mktemp("docs")
    image = state / "app.bin"
    image.write_bytes(b"the measured application")
    simulated.create(state / "enclave", [image])
    attester = simulated.SimulatedAttester(str(state / "enclave"))
    text = statement.build(STATEMENT)
    document = attester.attest(
        user_data=statement.user_data(text), public_key=forge.spki(forge.ACCOUNT), nonce=None
    )
    return text, document, hashlib.sha256(attester.trust_root).hexdigest(), state


def _by_hand(text, document, root):
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", THIRTY[0], root],
        input=statement.build_evidence(text, document),
        capture_output=True,
    )


def test_thirty_lines_accept_genuine_evidence(enclave):
    text, document, root, state = enclave
    done = _by_hand(text, document, root)
    assert (done.returncode, done.stderr) == (0, b"")
    measured = json.loads((state / "enclave" / "measurements.json").read_text())["Measurements"]
    assert done.stdout.decode().splitlines()[1:] == [measured[f"PCR{index}"] for index in range(3)]


def _refused(done):
    assert done.returncode == 1
    assert done.stdout == b""


def test_thirty_lines_refuse_a_changed_statement(enclave):
    text, document, root, _ = enclave
    changed = text.replace("example.com", "example.net", 1)
    assert len(changed) == len(text)
    _refused(_by_hand(changed, document, root))


@pytest.mark.parametrize("where", ["alg", "payload", "user_data", "leaf", "signature"])
def test_thirty_lines_refuse_a_changed_document(enclave, where):
    text, document, root, _ = enclave
    at = {
        "alg": 4,
        "payload": document.index(b"module_id") + 12,
        "user_data": document.index(statement.user_data(text)),
        "leaf": document.index(b"certificate") + 200,
        "signature": -1,
    }[where]
    changed = bytearray(document)
    changed[at] ^= 1
    _refused(_by_hand(text, bytes(changed), root))


def test_thirty_lines_refuse_another_root_and_another_account_key(enclave):
    text, document, root, state = enclave
    _refused(_by_hand(text, document, chain.AWS_ROOT_SHA256))
    attester = simulated.SimulatedAttester(str(state / "enclave"))
    other = forge.spki(forge.ec.generate_private_key(forge.ec.SECP256R1()))
    bound = attester.attest(user_data=statement.user_data(text), public_key=other, nonce=None)
    _refused(_by_hand(text, bound, root))


def test_document_in_base64_has_padding():
    table = json.loads(statement.build_evidence("{}", b"four"))
    assert table["attestation"]["document"] == base64.b64encode(b"four").decode() == "Zm91cg=="
