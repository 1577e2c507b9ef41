# SPDX-License-Identifier: Apache-2.0
"""A simulated enclave speaks Nitro's format to the byte, and measures its files at every use."""

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, cose, document, measurements, simulated
from certbot_enclave.interfaces import IAttester, ISecurityModule
from tests.support.forge import ACCOUNT, NOW, spki

START = NOW.timestamp()
KEY = spki(ACCOUNT)


class Clock:
    """Stands still until it is set."""

    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def images(tmp_path):
    found = [tmp_path / name for name in ("kernel", "disk1", "disk2")]
    for path in found:
        path.write_bytes(path.name.encode() * 1000)
    return found


@pytest.fixture
def made(tmp_path, images):
    simulated.create(tmp_path / "enclave", images, now=NOW)
    return tmp_path / "enclave"


def _attest(attester, nonce=None):
    return attester.attest(user_data=b"said", public_key=KEY, nonce=nonce)


def test_interface(made):
    assert verifyClass(IAttester, simulated.SimulatedAttester)
    assert verifyObject(IAttester, simulated.SimulatedAttester(str(made), Clock()))
    assert verifyClass(ISecurityModule, simulated.SimulatedAttester)
    assert verifyObject(ISecurityModule, simulated.SimulatedAttester(str(made), Clock()))
    assert simulated.SimulatedAttester.simulated is True
    assert simulated.SimulatedAttester.format == "aws-nitro"


def test_files_and_their_modes(made):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()}
    assert modes.pop("root.key") == modes.pop("sealing.key") == 0o600
    assert sorted(modes) == ["enclave.json", "measurements.json", "root.pem"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert len((made / "sealing.key").read_bytes()) == 32


def test_measurements_are_those_of_the_files(made, images):
    table = json.loads((made / "measurements.json").read_text())["Measurements"]
    expected = measurements.of_files(images[0], None, images[1:])
    assert measurements.read_table(table, "here") == expected
    assert simulated.measure(made) == expected


def test_envelope_is_exactly_nitros(made):
    data = _attest(simulated.SimulatedAttester(str(made), Clock()), nonce=b"n" * 16)
    assert data.startswith(b"\x84\x44\xa1\x01\x38\x22\xa0\x59")
    payload = cose.parse(data).payload
    assert (payload[0], payload[-1]) == (0xBF, 0xFF)
    table = cbor.loads(payload, indefinite_map=True)
    # Only the outermost map is of indefinite length: all else is in its one definite form.
    assert cbor.dumps(table, indefinite_map=True) == payload
    assert list(table) == [
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    ]


def test_document_authenticates_under_its_root(made):
    attester = simulated.SimulatedAttester(str(made), Clock(START + 0.25))
    found = document.authenticate(_attest(attester, b"n" * 16), trust_root=attester.trust_root)
    assert found.time == NOW + timedelta(milliseconds=250)
    assert (found.public_key, found.user_data, found.nonce) == (KEY, b"said", b"n" * 16)
    assert found.not_understood == ()
    assert found.debug is False
    assert sorted(found.pcrs) == list(range(16))
    expected = simulated.measure(made)
    expected[4] = hashlib.sha384(bytes(48) + found.instance_id.encode()).digest()
    assert found.pcrs == {index: expected.get(index, bytes(48)) for index in range(16)}


def test_without_a_nonce_it_is_null(made):
    attester = simulated.SimulatedAttester(str(made), Clock())
    payload = cose.parse(_attest(attester)).payload
    assert cbor.loads(payload, indefinite_map=True)["nonce"] is None


def test_root_in_the_pem_file_is_the_trusted_one_and_not_that_of_aws(made):
    attester = simulated.SimulatedAttester(str(made), Clock())
    root = x509.load_pem_x509_certificate((made / "root.pem").read_bytes())
    assert root.public_bytes(Encoding.DER) == attester.trust_root
    with pytest.raises(errors.ChainError) as caught:
        document.authenticate(_attest(attester), trust_root=None)
    assert caught.value.code == "chain-root"


def test_chain_has_the_hardwares_shape(made):
    attester = simulated.SimulatedAttester(str(made), Clock())
    found = document.authenticate(_attest(attester), trust_root=attester.trust_root)
    chain = [x509.load_der_x509_certificate(der) for der in (*found.cabundle, found.certificate)]
    basics = [item.extensions.get_extension_for_class(x509.BasicConstraints) for item in chain]
    usages = [item.extensions.get_extension_for_class(x509.KeyUsage) for item in chain]
    assert [(item.value.ca, item.value.path_length) for item in basics] == [
        (True, None),
        (True, 2),
        (True, 1),
        (True, 0),
        (False, None),
    ]
    assert all(item.critical for item in basics)
    assert [item.critical for item in usages] == [True, True, True, True, False]
    assert [item.value.key_cert_sign for item in usages] == [True, True, True, True, False]
    assert usages[-1].value.digital_signature
    assert usages[-1].value.content_commitment
    lives = [item.not_valid_after_utc - item.not_valid_before_utc for item in chain]
    assert lives[1:] == [
        timedelta(days=20),
        timedelta(days=6),
        timedelta(hours=24),
        timedelta(hours=3, seconds=3),
    ]
    common = [item.subject.rfc4514_string() for item in chain]
    assert f"CN={found.module_id}.simulated-1.aws" in common[4]
    assert f"CN={found.instance_id}.simulated-1.instance" in common[3]


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_one_changed_byte_of_any_image_changes_pcr0(made, images, changed):
    before = simulated.measure(made)
    data = bytearray(images[changed].read_bytes())
    data[-1] ^= 1
    images[changed].write_bytes(data)
    attester = simulated.SimulatedAttester(str(made), Clock())
    found = document.authenticate(_attest(attester), trust_root=attester.trust_root)
    assert found.pcrs[0] != before[0]
    assert (found.pcrs[1] != before[1], found.pcrs[2] != before[2]) == (changed < 2, changed == 2)


def test_enclave_keeps_its_name_and_changes_its_leaf(made):
    roots, modules, leaves = set(), set(), set()
    for _ in range(2):
        attester = simulated.SimulatedAttester(str(made), Clock())
        found = document.authenticate(_attest(attester), trust_root=attester.trust_root)
        roots.add(attester.trust_root)
        modules.add(found.module_id)
        leaves.add(found.certificate)
    assert (len(roots), len(modules), len(leaves)) == (1, 1, 2)


def test_two_enclaves_have_nothing_in_common(made, images, tmp_path):
    simulated.create(tmp_path / "other", images, now=NOW)
    for name in ("root.key", "sealing.key", "root.pem", "enclave.json"):
        assert (made / name).read_bytes() != (tmp_path / "other" / name).read_bytes()
    assert simulated.measure(made) == simulated.measure(tmp_path / "other")


def test_documents_hold_however_long_the_process_lives(made):
    clock = Clock()
    attester = simulated.SimulatedAttester(str(made), clock)
    leaves = []
    for hours in (0, 1, 2.5, 2.75, 3.5, 30, 1000):
        clock.now = START + hours * 3600
        found = document.authenticate(_attest(attester), trust_root=attester.trust_root)
        assert found.time == datetime.fromtimestamp(clock.now, UTC)
        leaves.append(found.certificate)
    assert leaves[0] == leaves[1] == leaves[2]
    assert leaves[3] == leaves[4]
    assert len(set(leaves)) == 4


def test_directory_may_exist_if_it_is_empty(tmp_path, images):
    (tmp_path / "there").mkdir()
    simulated.create(tmp_path / "there", images)
    now = datetime.now(UTC)
    root = x509.load_pem_x509_certificate((tmp_path / "there" / "root.pem").read_bytes())
    assert root.not_valid_before_utc < now < root.not_valid_after_utc


def test_directory_in_use_is_refused_and_untouched(made, images):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    with pytest.raises(errors.PolicyError) as caught:
        simulated.create(made, images)
    assert caught.value.code == "simulated-exists"
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_at_least_one_image(tmp_path):
    with pytest.raises(errors.PolicyError) as caught:
        simulated.create(tmp_path / "enclave", [])
    assert caught.value.code == "simulated-image"
    assert not (tmp_path / "enclave").exists()


def test_image_that_is_missing(tmp_path):
    with pytest.raises(errors.TransportError) as caught:
        simulated.create(tmp_path / "enclave", [tmp_path / "gone"])
    assert caught.value.code == "simulated-write"
    assert not (tmp_path / "enclave").exists()


def test_file_in_the_directorys_place(tmp_path, images):
    with pytest.raises(errors.TransportError) as caught:
        simulated.create(images[0], images)
    assert caught.value.code == "simulated-write"


def test_images_are_found_from_any_working_directory(tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulated.create(tmp_path / "enclave", [path.relative_to(tmp_path) for path in images])
    monkeypatch.chdir("/")
    assert simulated.measure(tmp_path / "enclave")


def _rsa():
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _encrypted():
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


BROKEN = {
    "root.pem missing": ("root.pem", None),
    "root.pem no PEM": ("root.pem", b"-"),
    "root.key missing": ("root.key", None),
    "root.key no PEM": ("root.key", b"-"),
    "root.key RSA": ("root.key", _rsa()),
    "root.key with a password": ("root.key", _encrypted()),
    "enclave.json missing": ("enclave.json", None),
    "enclave.json no JSON": ("enclave.json", b"{"),
    "enclave.json a list": ("enclave.json", b"[]"),
    "enclave.json without images": ("enclave.json", b'{"module_id": "i-1-enc1"}'),
    "enclave.json with no image": ("enclave.json", b'{"module_id": "i-1-enc1", "images": []}'),
    "enclave.json with a number": ("enclave.json", b'{"module_id": "i-1-enc1", "images": [1]}'),
    "enclave.json with a missing file": (
        "enclave.json",
        b'{"module_id": "i-1-enc1", "images": ["/nowhere/at/all"]}',
    ),
}


@pytest.mark.parametrize(("name", "data"), BROKEN.values(), ids=BROKEN)
def test_broken_enclave_is_an_error_of_ours(made, name, data):
    if data is None:
        (made / name).unlink()
    else:
        (made / name).write_bytes(data)
    with pytest.raises(errors.EnclaveError) as caught:
        simulated.SimulatedAttester(str(made), Clock())
    assert caught.value.code == "simulated-missing"


def test_enclave_without_a_name(made, images):
    (made / "enclave.json").write_text(json.dumps({"images": [str(images[0])]}))
    with pytest.raises(errors.EnclaveError) as caught:
        simulated.SimulatedAttester(str(made), Clock())
    assert caught.value.code == "simulated-missing"


def test_directory_that_is_missing(tmp_path):
    with pytest.raises(errors.EnclaveError) as caught:
        simulated.measure(tmp_path)
    assert caught.value.code == "simulated-missing"
    assert caught.value.hint


def test_short_halves_of_a_signature_are_filled_up():
    key = ec.generate_private_key(ec.SECP384R1())
    for number in range(600):  # one half in 256 has a leading zero byte
        message = simulated.sign(b"%d" % number, key)
        assert len(cose.parse(message).signature) == 96
    cose.verify(cose.parse(message), key.public_key())


# --- the security module ---

ZERO = bytes(48)


def _pcrs(made):
    attester = simulated.SimulatedAttester(str(made), Clock())
    found = document.authenticate(_attest(attester), trust_root=attester.trust_root)
    return {index: digest for index, digest in found.pcrs.items() if index >= 16}


@pytest.fixture
def module(made):
    return simulated.SimulatedAttester(str(made), Clock())


def test_random_bytes_are_fresh(module):
    first, second = module.random(), module.random()
    assert (len(first), len(second), first == second) == (256, 256, False)


def test_pcrs_from_the_start(made, module):
    states = [module.pcr(index) for index in range(32)]
    assert [locked for locked, _ in states] == [True] * 16 + [False] * 16
    assert {index: states[index][1] for index in (0, 1, 2)} == simulated.measure(made)
    assert all(value == ZERO for _, value in states[16:])


def test_extensions_add_up(module):
    one = hashlib.sha384(ZERO + b"one").digest()
    two = hashlib.sha384(one + b"two").digest()
    assert [module.extend(17, data) for data in (b"one", b"two")] == [one, two]
    assert module.pcr(17) == (False, two)
    assert module.pcr(18) == (False, ZERO)


def test_documents_carry_a_pcr_once_it_is_locked(made, module):
    value = module.extend(17, b"data")
    module.extend(18, b"other")
    assert _pcrs(made) == {}
    module.lock(17)
    module.lock(31)
    assert _pcrs(made) == {17: value, 31: ZERO}
    assert (module.pcr(17), module.pcr(31)) == ((True, value), (True, ZERO))


@pytest.mark.parametrize("index", [0, 4, 15])
def test_measured_pcrs_are_locked(module, index):
    for act in (lambda: module.extend(index, b"x"), lambda: module.lock(index)):
        with pytest.raises(errors.EnclaveError) as caught:
            act()
        assert caught.value.code == "simulated-locked"


def test_locked_pcr_stays_as_it_is(made, module):
    value = module.extend(17, b"data")
    module.lock(17)
    for act in (lambda: module.extend(17, b"x"), lambda: module.lock(17)):
        with pytest.raises(errors.EnclaveError) as caught:
            act()
        assert (caught.value.code, "PCR17" in str(caught.value)) == ("simulated-locked", True)
    assert _pcrs(made) == {17: value}


def test_pcrs_last_until_the_next_boot(made, module):
    value = module.extend(17, b"data")
    module.lock(17)
    again = simulated.SimulatedAttester(str(made), Clock())
    assert again.pcr(17) == (True, value)
    (made / "pcrs.json").unlink()
    assert again.pcr(17) == module.pcr(17) == (False, ZERO)
    assert _pcrs(made) == {}


BANKS = {
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "a list": b"[]",
    "a text": b'{"17": "00"}',
    "a number": b'{"17": 1}',
    "three": b'{"17": [true, "", ""]}',
    "no hex": b'{"17": [true, "zz"]}',
    "no bytes": b'{"17": [true, null]}',
    "no index": b'{"PCR17": [true, ""]}',
}


@pytest.mark.parametrize("data", BANKS.values(), ids=BANKS)
def test_broken_pcrs_are_an_error_of_ours(made, module, data):
    (made / "pcrs.json").write_bytes(data)
    for act in (
        lambda: _attest(module),
        lambda: module.pcr(17),
        lambda: module.extend(17, b"x"),
        lambda: module.lock(17),
    ):
        with pytest.raises(errors.EnclaveError) as caught:
            act()
        assert (caught.value.code, str(made) in str(caught.value)) == ("simulated-missing", True)


def test_pcrs_that_cannot_be_written(made, module):
    (made / "pcrs.new").mkdir()
    for act in (lambda: module.extend(17, b"x"), lambda: module.lock(17)):
        with pytest.raises(errors.EnclaveError) as caught:
            act()
        assert caught.value.code == "simulated-missing"
    assert module.pcr(17) == (False, ZERO)
