# SPDX-License-Identifier: Apache-2.0
"""``verify`` takes an image file or an Oyster image id for a policy, as it is."""

import hashlib
import io
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_enclave import statement, verification
from certbot_enclave.attestation import simulated
from tests.support import eif, forge
from tests.support.forge import STATEMENT
from tests.support.world.oyster import Oyster
from tests.unit.cli.owner import World, refused

NONCE = bytes(range(16))


@pytest.fixture
def world(tmp_path, capsys):
    return World(tmp_path, capsys)


def _image_id(pcrs, pcr16=bytes(48)):
    measured = b"".join(pcrs[index] for index in (0, 1, 2)) + pcr16
    return hashlib.sha256(b"\x00\x01\x00\x07" + measured).hexdigest()


def _by_image_id(world, evidence, image_id, *more, root=None):
    return world.run(
        "verify",
        evidence,
        *("--domain", "example.com"),
        *("--image-id", image_id),
        *("--trust-root", root or world.root),
        *more,
    )


def test_image_id_in_place_of_a_policy(world):
    image_id = _image_id(simulated.measure(world.enclave))
    for text in (image_id, f"0x{image_id.upper()}"):
        code, out, _err = _by_image_id(world, world.evidence(), text, "--json")
        table = json.loads(out)
        assert (code, table["format"], table["measurements"]) == (0, "aws-nitro", "--image-id")
    other = image_id[:-1] + ("0" if image_id[-1] != "0" else "1")
    assert refused(_by_image_id(world, world.evidence(), other), 1, "the image id is")


@pytest.fixture
def oyster(world):
    """Evidence that Oyster signed, its image id and its root."""
    device = Oyster(world.folder)
    device.lock(16, b"digest of the parameters")
    now = datetime.fromtimestamp(int(time.time()), UTC)
    text = statement.build(STATEMENT._replace(issued_at=now))
    signature = forge.oyster_signature(statement.user_data(text), NONCE)
    evidence = statement.build_evidence(text, device.document(), signature)
    root = x509.load_der_x509_certificate(device.root).public_bytes(Encoding.PEM)
    pcr16 = hashlib.sha384(bytes(48) + b"digest of the parameters").digest()
    return (
        world.file("oyster.json", evidence),
        _image_id(forge.PCRS, pcr16),
        world.file("oyster.pem", root),
    )


def test_evidence_that_oyster_signed(world, oyster):
    evidence, image_id, root = oyster
    asked = ("--nonce", NONCE.hex())
    code, out, err = _by_image_id(world, evidence, image_id, *asked, root=root)
    assert (code, err) == (0, "")
    assert f"not checked: {verification.WEAKER}" in out.splitlines()
    code, out, _err = _by_image_id(world, evidence, image_id, *asked, "--json", root=root)
    table = json.loads(out)
    assert (code, table["format"]) == (0, "oyster-signed")
    assert table["not_checked"] == [*verification.NOT_CHECKED, verification.WEAKER]
    assert refused(_by_image_id(world, evidence, image_id, root=root), 1, "another nonce")


def test_oyster_needs_an_image_id_and_is_told_how_to_give_it(world, oyster):
    evidence, image_id, root = oyster
    outcome = world.verify(evidence, "--nonce", NONCE.hex(), root=root)
    assert refused(outcome, 1, "needs an image id")
    assert "--image-id" in outcome[2]
    lines = f'[measurements.mine]\nimage_id = "{image_id}"\n'
    policy = world.file("policy.toml", lines.encode())
    outcome = world.verify(evidence, "--nonce", NONCE.hex(), root=root, policy=policy)
    assert outcome[0] == 0
    assert "measurements match mine" in outcome[1]


BAD_IMAGE_IDS = {
    "empty": ("", "64 hex digits"),
    "no hex": ("image", "64 hex digits"),
    "a PCR": ("ab" * 48, "64 hex digits"),
    "of debug enclaves": (_image_id(dict.fromkeys(range(3), bytes(48))), "of debug enclaves"),
}


@pytest.mark.parametrize(("text", "words"), BAD_IMAGE_IDS.values(), ids=BAD_IMAGE_IDS)
def test_image_id_that_is_none(world, text, words):
    outcome = _by_image_id(world, world.folder / "gone.json", text)
    assert refused(outcome, 2, words)
    assert "error: --image-id: " in outcome[2]


def test_policy_and_image_id_together_are_a_mistake(world, capsys):
    with pytest.raises(SystemExit) as caught:
        _by_image_id(world, "evidence.json", "ab" * 32, "--policy", world.policy)
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


IMAGE = (
    eif.Section(eif.KERNEL, b"a kernel" * 9),
    eif.Section(eif.CMDLINE, b""),
    eif.Section(eif.METADATA, b"{}"),
    eif.Section(eif.RAMDISK, b"init"),
    eif.Section(eif.RAMDISK, b"the application"),
)


@pytest.fixture
def measured(tmp_path, capsys):
    """An enclave that measures what is in an image file, and that file."""
    disks = [section for section in IMAGE if section.kind in (eif.KERNEL, eif.RAMDISK)]
    paths = [tmp_path / f"section{number}" for number in range(len(disks))]
    for path, section in zip(paths, disks, strict=True):
        path.write_bytes(section.data)
    world = World(tmp_path, capsys)
    world.enclave = tmp_path / "measured"
    simulated.create(world.enclave, paths, now=datetime.now(UTC) - timedelta(days=1))
    world.root = world.enclave / "root.pem"
    return world, world.file("app.eif", eif.pack(IMAGE))


def test_image_file_is_a_policy_as_it_is(measured):
    world, image = measured
    code, out, err = world.verify(world.evidence(), policy=image)
    assert (code, err) == (0, "")
    assert f"measurements match {image}" in out
    other = world.file("other.eif", eif.pack((*IMAGE[:-1], eif.Section(eif.RAMDISK, b"other"))))
    assert refused(world.verify(world.evidence(), policy=other), 1, "PCR0 is")


def test_image_file_from_stdin(measured, monkeypatch):
    world, image = measured
    evidence = world.evidence()
    stdin = io.BufferedReader(io.BytesIO(image.read_bytes()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
    assert world.verify(evidence, policy="-")[0] == 0


def test_image_file_that_is_none(measured):
    world, image = measured
    cut = world.file("cut.eif", image.read_bytes()[:-1])
    assert refused(world.verify(world.evidence(), policy=cut), 2, f"{cut}: EIF: ")
    gone = world.folder / "gone.eif"
    assert refused(world.verify(world.evidence(), policy=gone), 3, f"cannot read {gone}")
