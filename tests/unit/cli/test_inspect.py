# SPDX-License-Identifier: Apache-2.0
"""``inspect`` shows what is in an authentic document or evidence, and nothing of any other."""

import base64
import hashlib
import io
import json
import sys
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_enclave import cli, statement
from certbot_enclave.attestation import simulated
from certbot_enclave.cli.inspect import NOT_JUDGED
from tests.support import forge
from tests.support.forge import BANK, CHAIN, PCRS, STATEMENT

NONCE = bytes(range(16))
ZERO = bytes(48)
DOCUMENT = forge.document()
TEXT = statement.build(STATEMENT)


class Desk:
    """A folder of files, and the command."""

    def __init__(self, folder, capsys):
        self._folder, self._capsys = folder, capsys
        self.root = self.pem(CHAIN.root)

    def file(self, data, name="file"):
        path = self._folder / name
        path.write_bytes(data)
        return path

    def pem(self, der, name="root.pem"):
        return self.file(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM), name)

    def run(self, *arguments):
        code = cli.main(["inspect", *(str(argument) for argument in arguments)])
        return code, *self._capsys.readouterr()

    def inspect(self, data, *more, root=None):
        path = self.file(data) if isinstance(data, bytes) else data
        return self.run(path, "--trust-root", root or self.root, *more)

    def lines(self, data, *more, root=None):
        code, out, err = self.inspect(data, *more, root=root)
        assert (code, err) == (0, "")
        return out.splitlines()

    def table(self, data, *more, root=None):
        return json.loads("\n".join(self.lines(data, "--json", *more, root=root)))


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


def _refused(outcome, code, words):
    """The exit code, nothing on stdout, and one error line with these words."""
    assert outcome[:2] == (code, "")
    lines = outcome[2].splitlines()
    assert lines[0].startswith("certbot-enclave: error: ")
    assert words in lines[0]
    assert all(line.startswith("certbot-enclave: hint: ") for line in lines[1:])
    return True


# --- what it takes ---

PACKED = base64.b64encode(DOCUMENT)
FORMS = {
    "raw": DOCUMENT,
    "base64": PACKED,
    "base64 with a newline": PACKED + b"\n",
    "base64 with line breaks": base64.encodebytes(DOCUMENT),
    "base64 with other line breaks": base64.encodebytes(DOCUMENT).replace(b"\n", b"\r\n"),
    "hex": DOCUMENT.hex().encode(),
    "hex in upper case": DOCUMENT.hex().upper().encode(),
    "hex with a newline": DOCUMENT.hex().encode() + b"\n",
    "hex in lines": DOCUMENT.hex("\n", 32).encode(),
    "hex with blanks before it": b"  " + DOCUMENT.hex().encode(),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_document_in_every_form(desk, data):
    assert desk.lines(data) == desk.lines(DOCUMENT)
    assert desk.table(data) == desk.table(DOCUMENT)


def test_document_from_stdin(desk, monkeypatch):
    expected = desk.lines(DOCUMENT)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PACKED)))
    code, out, _err = desk.run("-", "--trust-root", desk.root)
    assert (code, out.splitlines()) == (0, expected)


EVIDENCE = {
    "nitro": (forge.evidence(), "aws-nitro"),
    "nitro with a nonce": (forge.evidence(fields={"nonce": NONCE}), "aws-nitro"),
    "oyster": (forge.oyster_evidence(), "oyster-signed"),
    "with blanks before it": (b"\n " + forge.evidence(), "aws-nitro"),
}


@pytest.mark.parametrize(("data", "format"), EVIDENCE.values(), ids=EVIDENCE)
def test_evidence_is_shown_with_its_statement(desk, data, format):
    table = desk.table(data)
    assert table["format"] == format
    assert table["statement"] == json.loads(TEXT)
    lines = desk.lines(data)
    at = lines.index(f"statement:   bound to it, as {format}")
    assert json.loads("\n".join(lines[at + 1 :])) == json.loads(TEXT)


def test_nonce_that_oyster_signed(desk):
    evidence = forge.oyster_evidence(nonce=NONCE)
    assert desk.table(evidence, "--nonce", NONCE.hex())["format"] == "oyster-signed"
    assert _refused(desk.inspect(evidence), 1, "another nonce")
    assert _refused(desk.inspect(evidence, "--nonce", "ff" * 16), 1, "another nonce")


def test_nonce_that_nitro_carries(desk):
    for data in (forge.document(nonce=NONCE), forge.evidence(fields={"nonce": NONCE})):
        assert desk.lines(data, "--nonce", NONCE.hex()) == desk.lines(data)
        assert _refused(desk.inspect(data, "--nonce", "ff" * 16), 1, f"nonce is {NONCE.hex()}")
    for data in (DOCUMENT, forge.evidence()):
        assert _refused(desk.inspect(data, "--nonce", NONCE.hex()), 1, "nonce is none")


def test_nonce_of_a_bare_document_of_oyster_is_not_in_it(desk):
    """Without the evidence there is no signature over one."""
    data = forge.document(public_key=forge.oyster_key())
    assert _refused(desk.inspect(data, "--nonce", NONCE.hex()), 1, "nonce is none")


def test_old_evidence_is_shown_too(desk):
    """Nothing is judged but what belongs together: that is what the first lines say."""
    lines = desk.lines(forge.evidence(directory="https://ca.example/directory"))
    assert lines[:2] == [
        "authentic:   at its own time, 2026-03-04T12:00:00Z, under the root you named: SIMULATED",
        NOT_JUDGED,
    ]


# --- what it shows ---


def test_every_field_of_a_document(desk):
    fields = {
        "public_key": b"\xaa\xbb",
        "user_data": b"said",
        "nonce": NONCE,
        "pcrs": {**BANK, 16: PCRS[1], 31: ZERO},
    }
    data = forge.document(**fields)
    image = hashlib.sha256(b"\0\1\0\7" + b"".join(PCRS.values()) + PCRS[1]).hexdigest()
    table = desk.table(data)
    assert table.pop("certificates")
    assert table == {
        "authentic": True,
        "simulated": True,
        "policy": None,
        "debug": False,
        "module_id": forge.MODULE,
        "instance_id": forge.INSTANCE,
        "time": "2026-03-04T12:00:00Z",
        "timestamp_ms": 1772625600000,
        "digest": "SHA384",
        "pcrs": {f"PCR{index}": digest.hex() for index, digest in fields["pcrs"].items()},
        "image_id": image,
        "public_key": "aabb",
        "user_data": b"said".hex(),
        "nonce": NONCE.hex(),
        "absent": [],
        "not_understood": [],
        "format": None,
        "statement": None,
    }
    lines = desk.lines(data)
    assert f"module id:   {forge.MODULE}" in lines
    assert f"PCR0:        {PCRS[0].hex()}" in lines
    assert f"PCR16:       {PCRS[1].hex()}" in lines
    assert "PCR31:       zero" in lines
    assert f"image id:    {image} (Oyster)" in lines
    assert "public_key:  aabb" in lines
    assert f"nonce:       {NONCE.hex()}" in lines
    assert not any("DEBUG" in line or "not understood" in line for line in lines)


def test_text_and_json_say_the_same(desk):
    for data in (
        forge.document(nonce=NONCE, user_data=None),
        forge.evidence(),
        forge.oyster_evidence(),
        forge.document(pcrs={**BANK, 0: ZERO}, later=1),
    ):
        table, text = desk.table(data), "\n".join(desk.lines(data))
        shown = [table["module_id"], table["time"], table["image_id"]]
        shown += [value for value in table["pcrs"].values() if value != ZERO.hex()]
        shown += [table[name] for name in ("public_key", "user_data", "nonce") if table[name]]
        shown += [value for item in table["certificates"] for value in item.values()]
        shown += table["not_understood"]
        assert all(value in text for value in shown)
        named = {line.split(":")[0] for line in text.splitlines() if line.startswith("PCR")}
        assert named == table["pcrs"].keys()
        assert text.count("certificate: ") == len(table["certificates"])
        assert ("DEBUG" in text) is table["debug"]


def test_certificates_are_those_of_the_document_root_first(desk):
    found = desk.table(DOCUMENT)["certificates"]
    assert [item["sha256"] for item in found] == [
        hashlib.sha256(der).hexdigest() for der in CHAIN.ders
    ]
    assert [item["subject"] for item in found] == [
        f"CN={spec.name}" for spec in forge.GENUINE.values()
    ]
    assert (found[-1]["not_before"], found[-1]["not_after"]) == (
        "2026-03-04T11:00:00Z",
        "2026-03-04T14:00:03Z",
    )


EMPTY = {"null": None, "empty": b"", "absent": ...}


@pytest.mark.parametrize("field", ["public_key", "user_data", "nonce"])
@pytest.mark.parametrize("word", EMPTY)
def test_null_empty_and_absent_are_told_apart(desk, field, word):
    data = forge.document(**{field: EMPTY[word]})
    assert f"{field + ':':12} {word}" in desk.lines(data)
    table = desk.table(data)
    assert table[field] == ("" if word == "empty" else None)
    assert table["absent"] == ([field] if word == "absent" else [])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_debug_is_said(desk, index):
    data = forge.document(pcrs={**BANK, index: ZERO})
    assert desk.table(data)["debug"] is True
    (line,) = (line for line in desk.lines(data) if line.startswith("DEBUG:"))
    assert "its host reads" in line or "can read its memory" in line


def test_field_that_is_not_understood_is_named_on_one_line(desk):
    data = forge.document(**{"later\nproved:": 1})
    assert "not understood: later?proved:" in desk.lines(data)
    assert desk.table(data)["not_understood"] == ["later?proved:"]


def test_name_under_a_named_root_stays_on_its_line(desk):
    hostile = "evil\nproved:      all\x1b[2J\u202e"
    made = forge.chain(root={"name": hostile}, regional={"name": f"0{hostile}"})
    root = desk.pem(made.root, "evil.pem")
    data = forge.document(made)
    lines = desk.lines(data, root=root)
    assert not any(line.startswith("proved") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(desk.lines(DOCUMENT))
    subjects = [item["subject"] for item in desk.table(data, root=root)["certificates"]]
    assert all(subject.isprintable() for subject in subjects)
    assert "evil?proved" in subjects[0]


# --- 1: it is not authentic, and nothing of it is shown ---


def _flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


NOT_AUTHENTIC = {
    "nothing": (b"", "cbor-truncated"),
    "forged": (forge.document(forge.chain()), "chain-root"),
    "tagged": (b"\xd2" + DOCUMENT, "cose-tagged"),
    "tagged, in hex": (b"d2" + DOCUMENT.hex().encode(), "cose-tagged"),
    "tagged, in base64": (base64.b64encode(b"\xd2" + DOCUMENT), "cose-tagged"),
    "a byte behind": (DOCUMENT + b"\n", "cbor-trailing"),
    "cut": (DOCUMENT[:-1], "cbor-truncated"),
    "signature changed": (_flipped(DOCUMENT, 8 * len(DOCUMENT) - 1), "cose-signature"),
    "signed by another": (
        simulated.sign(forge.payload(), forge.chain().keys[-1]),
        "cose-signature",
    ),
    "another instance": (forge.document(pcrs={**BANK, 4: ZERO}), "document-instance"),
    "NitroTPM": (forge.document(nitrotpm_pcrs=PCRS), "document-nitrotpm"),
    "hex and something else": (DOCUMENT.hex().encode() + b"x", "inspect-format"),
    "half a byte": (DOCUMENT.hex().encode()[:-1], "inspect-format"),
    "base64url": (b"-_-_", "inspect-format"),
    "base64 not padded": (b"hES", "inspect-format"),
    "base64 of something": (base64.b64encode(b"\xa0"), "cose-shape"),
    "text": (b"Internal Server Error\n", "inspect-format"),
    "bytes": (bytes(range(128, 256)), "inspect-format"),
    "PEM": (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "inspect-format"),
    "no evidence": (b"{}", "evidence-format"),
    "evidence cut": (forge.evidence()[:-9], "json-format"),
    "evidence, forged": (forge.evidence(forge.chain()), "chain-root"),
    "evidence of no statement": (forge.evidence(text="{}"), "statement-format"),
    "evidence of another statement": (
        forge.evidence(fields={"user_data": statement.user_data("{}")}),
        "statement-unbound",
    ),
    "evidence of another account key": (
        forge.evidence(fields={"public_key": b"key"}),
        "account-key-unbound",
    ),
    "evidence of another thumbprint": (forge.evidence(thumbprint="A" * 43), "thumbprint"),
    "evidence of a PCR that is not bound": (
        forge.evidence(settings={"bind_pcr": "17"}),
        "account-pcr",
    ),
    "evidence of another time": (
        forge.evidence(issued_at=STATEMENT.issued_at.replace(year=2025)),
        "issued-at",
    ),
    "evidence that oyster signed for another": (
        forge.oyster_evidence(signed="{}"),
        "oyster-signature",
    ),
    "evidence too long": (forge.evidence() + b" " * statement.MAX_EVIDENCE, "evidence-format"),
}


@pytest.mark.parametrize(("data", "code"), NOT_AUTHENTIC.values(), ids=NOT_AUTHENTIC)
def test_nothing_is_shown_of_what_is_not_authentic(desk, data, code):
    assert _refused(desk.inspect(data), 1, "")
    exit_code, out, err = desk.inspect(data, "--json")
    table = json.loads(out)
    assert (exit_code, table["code"]) == (1, code)
    assert table.keys() == {"code", "error", "hint", "expected", "actual"}
    assert table["error"] in err


def test_no_flipped_bit_is_shown(desk):
    step = 8 * len(DOCUMENT) // 150
    for bit in range(0, 8 * len(DOCUMENT), step):
        assert desk.inspect(_flipped(DOCUMENT, bit))[:2] == (1, ""), bit


def test_root_must_be_named(desk):
    assert _refused(desk.run(desk.file(DOCUMENT)), 1, "the AWS Nitro root has")
    other = desk.pem(forge.chain().root, "other.pem")
    assert _refused(desk.inspect(DOCUMENT, root=other), 1, "the root that was named has")


# --- 2 and 3: the question was wrong, or it could not be told ---


def test_options_that_are_wrong(desk, capsys):
    gone = desk.root.parent / "gone"
    assert _refused(desk.inspect(gone, "--nonce", "xyz"), 2, "--nonce is no hex")
    assert _refused(desk.inspect(gone, "--nonce", "00"), 2, "1 bytes")
    assert _refused(desk.inspect(gone, root=desk.file(b"x", "bad.pem")), 2, "no PEM certificate")
    for arguments in ([], ["one", "two"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(["inspect", *arguments])
        assert caught.value.code == 2
        assert capsys.readouterr().out == ""


def test_file_that_cannot_be_read(desk):
    gone = desk.root.parent / "gone"
    assert _refused(desk.inspect(gone), 3, f"cannot read {gone}")
    assert _refused(desk.inspect(gone.parent), 3, "cannot read")
    assert _refused(desk.inspect(DOCUMENT, root=gone), 3, f"cannot read {gone}")
    code, out, _err = desk.inspect(gone, "--json")
    assert (code, json.loads(out)["code"]) == (3, "file-unreadable")


def test_huge_file_is_read_so_far_and_no_further(desk):
    path = desk.file(b"")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert _refused(desk.inspect(path), 1, "neither evidence nor an attestation document")
    with path.open("r+b") as file:
        file.write(DOCUMENT)
    assert _refused(desk.inspect(path), 1, "")


# --- genuine documents ---


@pytest.mark.corpus
def test_genuine_documents_are_authentic(desk, corpus):
    manifest = json.loads((corpus / "nitro" / "manifest.json").read_text())["documents"]
    seen = 0
    for item in manifest:
        path = corpus / "nitro" / item["name"]
        if not item["category"].startswith("valid"):
            assert desk.run(path)[:2] == (1, "")
            continue
        seen += 1
        code, out, _err = desk.run(path, "--json")
        table = json.loads(out)
        assert (code, table["authentic"], table["simulated"]) == (0, True, False)
        assert table["module_id"] == item["module_id"]
        assert table["debug"] == (item["category"] == "valid-debug")
        assert len(table["pcrs"]) == item["pcr_count"]
        lines = desk.run(path)[1].splitlines()
        assert lines[0].endswith(", under the AWS Nitro root")
        assert any(line.startswith("DEBUG:") for line in lines) == table["debug"]
        # The root of AWS is that of AWS, named or not.
        named = desk.run(path, "--trust-root", corpus / "nitro" / "aws-nitro-root-g1.pem")
        assert named[1].splitlines() == lines
    assert seen == 20
