# SPDX-License-Identifier: Apache-2.0
"""Enclave image files are measured as AWS specifies; whatever two readers could see differently
is refused."""

import base64
import io
import subprocess
import sys
import tracemalloc
import warnings
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import eif, measurements
from tests.support import eif as build
from tests.support.eif import (
    CMDLINE,
    HEADER_SIZE,
    KERNEL,
    METADATA,
    RAMDISK,
    SIGNATURE,
    UNSIGNED,
    Section,
    pack,
)

KERNEL_, CMDLINE_, METADATA_, INIT, APPLICATION = UNSIGNED
OLD = (KERNEL_, CMDLINE_, INIT, APPLICATION)  # before version 4 there was no metadata
SIGNER = build.signer()
SIGNED = build.signed(SIGNER)
PCR0 = build.pcrs()[0]


def _measure(data):
    return eif.measure(io.BytesIO(data))


def _code(data):
    """The code that it is refused with, or None."""
    try:
        _measure(data)
    except (errors.FormatError, errors.SignatureError) as error:
        return error.code
    return None


# --- what is measured ---


def test_pcrs_are_those_of_the_specification():
    assert _measure(pack()) == build.pcrs()


def test_pcrs_are_those_that_the_reference_implementation_finds():
    # Of these parts, by EifBuilder of aws-nitro-enclaves-image-format 0.5.0, 2025-11-17.
    assert {index: pcr.hex() for index, pcr in _measure(pack()).items()} == {
        0: "62a6a4a1be715e8861a4c9ea5487c9f34cd1e301d992913a"
        "aea5e6d38621a12e2b2d6f2be295484524d3bd86f2b6c216",
        1: "fa56e9b162ca3808afab4c43cae44fadd603598d913cadcc"
        "11b6720a78a9c3ebb0b83f9ed9c6fd2be780eea19b2e237d",
        2: "cc6c733068542a3a4ee8d6eadec1bcc1bd4cec734690ff6d"
        "9f23bccac14bec0b851d04846c6f8561724219fa3da8e67d",
    }


DISKS = tuple(Section(RAMDISK, bytes([number]) * number) for number in range(29))
TAKEN = {
    "one ramdisk": ((KERNEL_, CMDLINE_, METADATA_, INIT), {}),
    "29 ramdisks": ((KERNEL_, CMDLINE_, METADATA_, *DISKS), {}),
    "ramdisks empty": ((*UNSIGNED[:3], Section(RAMDISK, b""), Section(RAMDISK, b"")), {}),
    "command line empty": ((KERNEL_, Section(CMDLINE, b""), METADATA_, INIT), {}),
    "command line longest": ((KERNEL_, Section(CMDLINE, b"x" * 4096), METADATA_, INIT), {}),
    "metadata longest": ((KERNEL_, CMDLINE_, Section(METADATA, b" " * 2**20), INIT), {}),
    "metadata no JSON": ((KERNEL_, CMDLINE_, Section(METADATA, b"\xff{"), INIT), {}),
    "more than one piece": ((Section(KERNEL, b"k" * (2**20 + 1)), *UNSIGNED[1:]), {}),
    "command line first": ((CMDLINE_, KERNEL_, METADATA_, INIT, APPLICATION), {}),
    "command line last": ((KERNEL_, METADATA_, INIT, APPLICATION, CMDLINE_), {}),
    "metadata last": ((KERNEL_, CMDLINE_, INIT, APPLICATION, METADATA_), {}),
    "aarch64": (UNSIGNED, {"flags": 1}),
    "defaults unused": (UNSIGNED, {"memory": 2**64 - 1, "cpus": 0}),
    "version 2": (OLD, {"version": 2}),
    "version 3": (OLD, {"version": 3}),
}


@pytest.mark.parametrize(("sections", "fields"), TAKEN.values(), ids=TAKEN)
def test_other_images_are_measured(sections, fields):
    assert _measure(pack(sections, **fields)) == build.pcrs(sections)


def test_measured_as_the_same_parts_in_files(tmp_path):
    for section, name in zip(OLD, "kcia", strict=True):
        (tmp_path / name).write_bytes(section.data)
    kernel, cmdline, *disks = (tmp_path / name for name in "kcia")
    assert measurements.of_files(kernel, cmdline, disks) == _measure(pack())


def test_metadata_is_not_measured():
    other = (KERNEL_, CMDLINE_, Section(METADATA, b"{}"), INIT, APPLICATION)
    assert _measure(pack(other)) == _measure(pack())


# --- how it is read ---


class Pipe:
    """Gives what it has, seldom as much as was asked for, and only once."""

    def __init__(self, data, most):
        self._left, self._most = data, most

    def read(self, count):
        count = min(count, self._most)
        piece, self._left = self._left[:count], self._left[count:]
        return piece


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_read_once_in_whatever_pieces_come(most):
    data = pack(SIGNED)
    assert eif.measure(Pipe(data, most)) == _measure(data)


def test_little_memory_for_a_large_image(tmp_path):
    path = tmp_path / "large.eif"
    expected = build.sparse(path, 256 << 20)
    assert path.stat().st_size > 256 << 20
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            found = eif.measure(file)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == expected
    assert peak < 8 << 20


def test_declared_sizes_take_no_memory():
    head = build.header([2**35, 10, 10, 10]) + bytes(4)
    first = b"\0\1\0\0" + (2**35).to_bytes(8, "big")
    tracemalloc.start()
    try:
        assert _code(head + first + bytes(100)) == "eif-truncated"
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_unreadable_is_the_callers_to_tell(tmp_path):
    (tmp_path / "write-only").write_bytes(b"")
    with (tmp_path / "write-only").open("ab") as file, pytest.raises(OSError, match="read"):
        eif.measure(file)


def test_certificates_are_loaded_for_signed_images_only():
    script = (
        "import io, sys; from certbot_enclave.attestation import eif\n"
        "eif.measure(io.BytesIO(sys.stdin.buffer.read()))\n"
        "print('cryptography' in sys.modules)"
    )
    for data, loaded in ((pack(), "False"), (pack(SIGNED), "True")):
        done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True)
        assert done.stdout.decode().strip() == loaded


# --- what is refused ---


def _instead(index, section):
    return (*UNSIGNED[:index], section, *UNSIGNED[index + 1 :])


def _without(kind):
    return tuple(section for section in UNSIGNED if section.kind != kind)


SIZES = [len(section.data) for section in UNSIGNED]
LAST = HEADER_SIZE + sum(SIZES[:4]) + 4 * 12
MANY = (*UNSIGNED[:4], *[APPLICATION] * 29)
REFUSED = {
    "empty": (b"", "eif-truncated"),
    "magic alone": (b".eif", "eif-truncated"),
    "text": (b'{"Measurements": {}}', "eif-magic"),
    "ELF": (pack(magic=b"\x7fELF"), "eif-magic"),
    "magic in capitals": (pack(magic=b".EIF"), "eif-magic"),
    "version 0": (pack(OLD, version=0), "eif-version"),
    "version 1": (pack(OLD, version=1), "eif-version"),
    "version 5": (pack(version=5), "eif-version"),
    "little-endian": (pack(version=4 << 8), "eif-version"),
    "PCIe flags": (pack(flags=0x240), "eif-flags"),
    "flag and aarch64": (pack(flags=3), "eif-flags"),
    "highest flag": (pack(flags=0x8000), "eif-flags"),
    "no sections": (pack((), count=0), "eif-sections"),
    "one section": (pack(UNSIGNED[:1]), "eif-sections"),
    "33 sections": (pack(MANY[:32], count=33), "eif-sections"),
    "most sections": (pack(count=0xFFFF), "eif-sections"),
    "reserved": (pack(reserved=1), "eif-reserved"),
    "unused": (pack(unused=1), "eif-reserved"),
    "offset of no section": (pack(offsets={5: LAST}), "eif-reserved"),
    "last offset of no section": (pack(offsets={31: 1}), "eif-reserved"),
    "size of no section": (pack(stated={5: 1}), "eif-reserved"),
    "last size of no section": (pack(stated={31: 1}), "eif-reserved"),
    "first offset": (pack(offsets={0: 0}), "eif-layout"),
    "last offset": (pack(offsets={4: LAST + 1}), "eif-layout"),
    "offset of the section before": (pack(offsets={4: HEADER_SIZE}), "eif-layout"),
    "offset beyond all": (pack(offsets={2: 2**64 - 1}), "eif-layout"),
    "offsets of two exchanged": (pack(offsets={3: LAST, 4: LAST - SIZES[3] - 12}), "eif-layout"),
    "gap": (pack(_instead(4, Section(RAMDISK, b"a", gap=b"x"))), "eif-layout"),
    "gap before all": (pack(_instead(0, Section(KERNEL, b"k", gap=bytes(64)))), "eif-layout"),
    "size in the table": (pack(stated={4: 1}), "eif-section-size"),
    "size in the section": (pack(_instead(4, Section(RAMDISK, b"ab", size=3))), "eif-section-size"),
    "64 GiB and more": (build.header([2**36, 1, 1]), "eif-size"),
    "sizes beyond 64 bits": (
        build.header([2**64 - 1, 0], offsets={1: HEADER_SIZE}) + bytes(999),
        "eif-layout",
    ),
    "command line": (pack(_instead(1, Section(CMDLINE, b"x" * 4097))), "eif-size"),
    "metadata": (pack(_instead(2, Section(METADATA, bytes(2**20 + 1)))), "eif-size"),
    "signature": (pack((*UNSIGNED, Section(SIGNATURE, bytes(2**15 + 1)))), "eif-size"),
    "type 0": (pack((*UNSIGNED, Section(0, b""))), "eif-section-type"),
    "type 6": (pack((*UNSIGNED, Section(6, b""))), "eif-section-type"),
    "type 0x0103": (pack((*UNSIGNED, Section(0x0103, b""))), "eif-section-type"),
    "section flag": (pack(_instead(3, Section(RAMDISK, b"i", flags=1))), "eif-section-flags"),
    "metadata flag": (pack(_instead(2, Section(METADATA, b"", flags=256))), "eif-section-flags"),
    "two kernels": (pack((*UNSIGNED, KERNEL_)), "eif-section-twice"),
    "two command lines": (pack((*UNSIGNED, CMDLINE_)), "eif-section-twice"),
    "two metadata": (pack((*UNSIGNED, METADATA_)), "eif-section-twice"),
    "two signatures": (pack((*SIGNED, SIGNED[-1])), "eif-section-twice"),
    "ramdisk first": (pack((INIT, KERNEL_, CMDLINE_, METADATA_)), "eif-section-order"),
    "no kernel": (pack(_without(KERNEL)), "eif-section-order"),
    "neither kernel nor ramdisk": (pack((CMDLINE_, METADATA_)), "eif-section-missing"),
    "no command line": (pack(_without(CMDLINE)), "eif-section-missing"),
    "no ramdisk": (pack(_without(RAMDISK)), "eif-section-missing"),
    "version 4 without metadata": (pack(OLD), "eif-metadata"),
    "version 3 with metadata": (pack(version=3), "eif-metadata"),
    "byte behind": (pack(behind=b"\0"), "eif-trailing"),
    "section behind": (pack(behind=b"\0\3\0\0" + bytes(7) + b"\1x"), "eif-trailing"),
    "image behind": (pack(behind=pack()), "eif-trailing"),
    "CRC-32 of everything": (
        pack()[:544] + build.crc(bytes(544) + pack()[544:]).to_bytes(4, "big") + pack()[548:],
        "eif-crc",
    ),
    "CRC-32 little-endian": (pack()[:544] + pack()[544:548][::-1] + pack()[548:], "eif-crc"),
    "CRC-32 zero": (pack()[:544] + bytes(4) + pack()[548:], "eif-crc"),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(data, code):
    with pytest.raises(errors.FormatError) as caught:
        _measure(data)
    assert caught.value.code == code
    assert str(caught.value).startswith("EIF: ")
    assert "\n" not in str(caught.value)


def test_size_that_signing_again_leaves_is_explained():
    *others, last = SIGNED
    again = (*others, Section(SIGNATURE, last.data, size=len(last.data) + 2))
    for sections, told in ((again, True), (_instead(4, Section(RAMDISK, b"ab", size=3)), False)):
        with pytest.raises(errors.FormatError) as caught:
            _measure(pack(sections))
        assert caught.value.code == "eif-section-size"
        assert ("signs again" in caught.value.hint) is told


# --- signatures ---

CURVES = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_signed_image_has_pcr8(curve):
    signer = build.signer(curve)
    for sections, version in ((UNSIGNED, 4), (OLD, 3), (OLD, 2)):
        data = pack(build.signed(signer, sections), version=version)
        assert _measure(data) == build.pcrs(sections, signer.certificate)


def test_signature_may_stand_before_what_it_signs():
    first = (SIGNED[-1], *UNSIGNED)
    assert _measure(pack(first)) == build.pcrs(UNSIGNED, SIGNER.certificate)


def test_dates_of_the_certificate_are_not_looked_at():
    for year in (1999, 2199):
        signer = build.signer(start=datetime(year, 1, 1, tzinfo=UTC))
        assert _measure(pack(build.signed(signer)))[8] == build.pcrs((), signer.certificate)[8]


def _section(pem=SIGNER.pem, *, by=SIGNER, signed=None, **changes):
    cose = build.message(by, build.payload(PCR0) if signed is None else signed, **changes)
    return build.signature(pem, cose)


def _signed(section):
    return pack((*UNSIGNED, Section(SIGNATURE, section)))


PEMS = {
    "as it is": SIGNER.pem,
    "words before it": b"Certificate:\n    Data:\n" + SIGNER.pem,
    "its issuers behind it": SIGNER.pem + build.signer().pem,
    "CR LF": SIGNER.pem.replace(b"\n", b"\r\n"),
    "no last line feed": SIGNER.pem.rstrip(),
}


@pytest.mark.parametrize("pem", PEMS.values(), ids=PEMS)
def test_first_certificate_counts(pem):
    assert _measure(_signed(_section(pem))) == build.pcrs(UNSIGNED, SIGNER.certificate)


def test_longest_signature_is_taken():
    spare = 32768 - len(GOOD)
    section = build.signature(b"\n" * spare + SIGNER.pem, MESSAGE)
    assert len(section) == 32768
    assert _measure(_signed(section)) == build.pcrs(UNSIGNED, SIGNER.certificate)
    longer = build.signature(b"\n" * (spare + 1) + SIGNER.pem, MESSAGE)
    assert _code(_signed(longer)) == "eif-size"


def test_high_s_is_taken():
    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    )
    other = (order - int.from_bytes(MESSAGE[-48:], "big")).to_bytes(48, "big")
    for half in (MESSAGE[-48:], other):
        section = build.signature(SIGNER.pem, MESSAGE[:-48] + half)
        assert _code(_signed(section)) is None


def _changed_certificate(old, new):
    """PEM of the certificate with other bytes; nobody checks who signed it."""
    changed = SIGNER.certificate.replace(old, new, 1)
    assert changed != SIGNER.certificate
    body = base64.encodebytes(changed).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()


SERIAL = SIGNER.certificate.index(b"\xa0\x03\x02\x01\x02\x02") + 6
RSA = build.signer(subject=rsa.generate_private_key(65537, 2048).public_key())
SECP256K1 = build.signer(subject=ec.generate_private_key(ec.SECP256K1()).public_key())
ES256 = build.signer(ec.SECP256R1())
MESSAGE = build.message(SIGNER, build.payload(PCR0))
GOOD = build.signature(SIGNER.pem, MESSAGE)
R_S = MESSAGE[-96:]
ENTRY = GOOD[1:]
PEM_KEY, COSE_KEY = build.text("signing_certificate"), build.text("signature")
PEM, COSE = build.numbers(SIGNER.pem), build.numbers(MESSAGE)
LONG = b"\x9a" + len(SIGNER.pem).to_bytes(4, "big")
SIGNATURES = {
    "nothing": (b"", "eif-signature-format"),
    "zeros": (bytes(200), "eif-signature-format"),
    "empty array": (b"\x80", "eif-signature-format"),
    "two entries": (b"\x82" + ENTRY + ENTRY, "eif-signature-format"),
    "no array": (ENTRY, "eif-signature-format"),
    "indefinite array": (b"\x9f" + ENTRY + b"\xff", "eif-signature-format"),
    "indefinite map": (b"\x81\xbf" + ENTRY[1:] + b"\xff", "eif-signature-format"),
    "other order": (b"\x81\xa2" + COSE_KEY + COSE + PEM_KEY + PEM, "eif-signature-format"),
    "further member": (b"\x81\xa3" + ENTRY[1:] + b"\x61x\x80", "eif-signature-format"),
    "certificate alone": (b"\x81\xa1" + PEM_KEY + PEM, "eif-signature-format"),
    "byte behind": (GOOD + b"\0", "eif-signature-format"),
    "byte missing": (GOOD[:-1], "eif-signature-format"),
    "certificate a byte string": (
        b"\x81\xa2" + PEM_KEY + build.string(SIGNER.pem) + COSE_KEY + COSE,
        "eif-signature-format",
    ),
    "count too small": (GOOD.replace(PEM, PEM[:-1]), "eif-signature-format"),
    "count overlong": (GOOD.replace(PEM, LONG + PEM[3:]), "eif-signature-format"),
    "number overlong": (
        GOOD.replace(b"\x18\x44\x18\xa1\x01\x18\x38", b"\x18\x44\x18\xa1\x18\x01\x18\x38"),
        "eif-signature-format",
    ),
    "number of 16 bits": (GOOD.replace(COSE, b"\x81\x19\x01\x00"), "eif-signature-format"),
    "number below 0": (GOOD.replace(COSE, b"\x81\x20"), "eif-signature-format"),
    "certificate empty": (_section(b""), "eif-signature-certificate"),
    "certificate in DER": (_section(SIGNER.certificate), "eif-signature-certificate"),
    "certificate cut": (_section(SIGNER.pem[:99]), "eif-signature-certificate"),
    "version of no certificate": (
        _section(_changed_certificate(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")),
        "eif-signature-certificate",
    ),
    "unknown kind of key": (
        _section(
            _changed_certificate(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x7f")
        ),
        "eif-signature-certificate",
    ),
    "unknown curve": (
        _section(_changed_certificate(b"\x2b\x81\x04\x00\x22", b"\x2b\x81\x04\x00\x7f")),
        "eif-signature-certificate",
    ),
    "point on no curve": (
        _section(_changed_certificate(b"\x03\x62\x00\x04", b"\x03\x62\x00\x05")),
        "eif-signature-certificate",
    ),
    "key instead": (
        _section(SIGNER.pem.replace(b" CERT", b" PUBLIC KEY")),
        "eif-signature-certificate",
    ),
    "RSA": (_section(RSA.pem), "eif-signature-key"),
    "secp256k1": (_section(SECP256K1.pem), "eif-signature-key"),
    "ES256 by P-384": (_section(protected=b"\xa1\x01\x26"), "eif-signature-cose"),
    "ES384 by P-256": (
        _section(ES256.pem, by=ES256, protected=b"\xa1\x01\x38\x22"),
        "eif-signature-cose",
    ),
    "no algorithm": (_section(protected=b"\xa0"), "eif-signature-cose"),
    "further parameter": (_section(protected=b"\xa2\x01\x38\x22\x04\x00"), "eif-signature-cose"),
    "key id": (_section(unprotected=b"\xa1\x04\x41\x00"), "eif-signature-cose"),
    "unprotected null": (_section(unprotected=b"\xf6"), "eif-signature-cose"),
    "message of three": (
        build.signature(SIGNER.pem, b"\x83" + MESSAGE[1:-98]),
        "eif-signature-cose",
    ),
    "message of five": (
        build.signature(SIGNER.pem, b"\x85" + MESSAGE[1:] + b"\0"),
        "eif-signature-cose",
    ),
    "message a map": (build.signature(SIGNER.pem, b"\xa0"), "eif-signature-cose"),
    "message tagged": (build.signature(SIGNER.pem, b"\xd2" + MESSAGE), "cbor-type"),
    "message empty": (build.signature(SIGNER.pem, b""), "cbor-truncated"),
    "byte behind message": (build.signature(SIGNER.pem, MESSAGE + b"\0"), "cbor-trailing"),
    "signature short": (_section(signature=R_S[1:]), "eif-signature-size"),
    "signature long": (_section(signature=R_S + b"\0"), "eif-signature-size"),
    "signature null": (
        build.signature(SIGNER.pem, MESSAGE[:-98] + b"\xf6"),
        "eif-signature-size",
    ),
    "signature an array": (
        build.signature(SIGNER.pem, MESSAGE[:-98] + build.numbers(R_S)),
        "eif-signature-size",
    ),
}


@pytest.mark.parametrize(("section", "code"), SIGNATURES.values(), ids=SIGNATURES)
def test_signature_in_another_form(section, code):
    with pytest.raises(errors.FormatError) as caught:
        _measure(_signed(section))
    assert caught.value.code == code


def test_certificate_of_which_the_library_warns_is_refused_always():
    old = SIGNER.certificate[SERIAL : SERIAL + 1 + SIGNER.certificate[SERIAL]]
    negative = old[:1] + b"\x80" + old[2:]
    data = _signed(_section(_changed_certificate(old, negative)))
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            assert _code(data) == "eif-signature-certificate"


WEAK = SIGNER.key.sign(
    b"\x84" + build.text("Signature1") + b"\x44\xa1\x01\x38\x22\x40" + build.string(PCR0),
    ec.ECDSA(SHA256()),
)
UNHELD = {
    "another image": (_section(signed=build.payload(build.pcrs(OLD[:3])[0])), "eif-signature-pcr"),
    "PCR1": (_section(signed=build.payload(build.pcrs()[1])), "eif-signature-pcr"),
    "register 1": (_section(signed=build.payload(PCR0, index=1)), "eif-signature-pcr"),
    "PCR0 alone": (_section(signed=PCR0), "eif-signature-pcr"),
    "nothing signed": (_section(signed=b""), "eif-signature-pcr"),
    "byte behind": (_section(signed=build.payload(PCR0) + b"\0"), "eif-signature-pcr"),
    "payload null": (
        build.signature(SIGNER.pem, b"\x84\x44\xa1\x01\x38\x22\xa0\xf6" + build.string(R_S)),
        "eif-signature-pcr",
    ),
    "payload an array": (
        build.signature(
            SIGNER.pem,
            b"\x84\x44\xa1\x01\x38\x22\xa0" + build.payload(PCR0) + build.string(R_S),
        ),
        "eif-signature-pcr",
    ),
    "another key": (_section(by=build.signer()), "eif-signature"),
    "another certificate": (_section(build.signer().pem), "eif-signature"),
    "zeros": (_section(signature=bytes(96)), "eif-signature"),
    "all ones": (_section(signature=b"\xff" * 96), "eif-signature"),
    "halves exchanged": (_section(signature=R_S[48:] + R_S[:48]), "eif-signature"),
    "one bit": (_section(signature=R_S[:-1] + bytes([R_S[-1] ^ 1])), "eif-signature"),
    "another hash": (
        _section(
            signature=b"".join(part.to_bytes(48, "big") for part in decode_dss_signature(WEAK))
        ),
        "eif-signature",
    ),
}


@pytest.mark.parametrize(("section", "code"), UNHELD.values(), ids=UNHELD)
def test_signature_that_does_not_hold(section, code):
    with pytest.raises(errors.SignatureError) as caught:
        _measure(_signed(section))
    assert caught.value.code == code
    assert "does not boot" in caught.value.hint


# --- every change ---


@pytest.mark.parametrize("sections", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_every_shorter_file_is_truncated(sections):
    data = pack(sections)
    assert {_code(data[:size]) for size in range(len(data))} == {"eif-truncated"}


def _flipped(data, at, bit):
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_every_flipped_bit_is_refused():
    # The CRC-32 finds every change within 32 bits that stand together.
    data = pack(SIGNED)
    for at in range(len(data)):
        assert _code(_flipped(data, at, at % 8)) is not None, at
    small = pack()
    for at in range(len(small)):
        assert all(_code(_flipped(small, at, bit)) for bit in range(8)), at


@given(st.data())
def test_every_changed_byte_is_refused(data):
    image = bytearray(pack(SIGNED))
    at = data.draw(st.integers(0, len(image) - 1))
    image[at] ^= data.draw(st.integers(1, 255))
    assert _code(bytes(image)) is not None


def _regions(sections):
    """Offset -> the section whose data stands there."""
    at, found = HEADER_SIZE, {}
    for section in sections:
        at += 12
        found |= dict.fromkeys(range(at, at + len(section.data)), section)
        at += len(section.data)
    return found


def test_with_a_new_crc_a_changed_bit_is_refused_or_measured_or_unmeasured_by_design():
    data, regions, right = pack(), _regions(UNSIGNED), _measure(pack())
    unmeasured = {(at, bit) for at in range(8, 24) for bit in range(8)} | {(7, 0)}
    for at in {*range(len(data))} - {*range(544, 548)}:
        for bit in range(8):
            changed = build.with_crc(_flipped(data, at, bit))
            section = regions.get(at)
            if section is METADATA_ or (at, bit) in unmeasured:
                assert _measure(changed) == right
            elif section is None:
                assert _code(changed) is not None, (at, bit)
            else:
                found = _measure(changed)
                differ = {index for index in right if found[index] != right[index]}
                assert differ == ({0, 2} if section is APPLICATION else {0, 1})


def test_with_a_new_crc_a_changed_bit_of_a_signed_image_is_refused_or_in_the_certificate():
    data, regions, right = pack(SIGNED), _regions(SIGNED), _measure(pack(SIGNED))
    start = data.index(SIGNED[-1].data)
    certificate = range(start, start + len(PEM) + len(PEM_KEY) + 2)
    for at, section in list(regions.items())[::3]:
        changed = build.with_crc(_flipped(data, at, at % 8))
        if section is METADATA_:
            assert _measure(changed) == right
        elif section.kind != SIGNATURE:
            assert _code(changed) == "eif-signature-pcr"
        elif at not in certificate:
            assert _code(changed) is not None, at
        elif _code(changed) is None:
            # Nobody vouches for the certificate: another one for the same key is another PCR8.
            assert {**_measure(changed), 8: b""} == {**right, 8: b""}


KINDS = st.sampled_from(range(7))
ANY = st.builds(Section, KINDS, st.binary(max_size=9), flags=st.sampled_from([0, 0, 0, 1]))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "version": st.integers(1, 6),
        "flags": st.integers(0, 3),
        "count": st.integers(0, 40),
        "reserved": st.integers(0, 1),
        "stated": st.dictionaries(st.integers(0, 31), st.integers(0, 2**64 - 1), max_size=2),
        "offsets": st.dictionaries(st.integers(0, 31), st.integers(0, 2**64 - 1), max_size=2),
    },
)


@given(st.permutations(UNSIGNED) | st.permutations(OLD) | st.lists(ANY, max_size=9), FIELDS)
def test_whatever_is_accepted_is_measured_by_the_formulas(sections, fields):
    data = pack(sections, **fields)
    if _code(data) is None:
        assert _measure(data) == build.pcrs(sections)


@given(
    st.binary(max_size=700)
    | st.binary(max_size=2000).map(lambda tail: pack()[:HEADER_SIZE] + tail)
    | st.binary(max_size=900).map(lambda tail: _signed(GOOD[:30] + tail))
    | st.binary(max_size=300).map(lambda tail: _signed(build.signature(SIGNER.pem, tail)))
    | st.binary(max_size=300).map(lambda tail: _signed(_section(SIGNER.pem[:60] + tail)))
)
def test_any_bytes_are_refused(data):
    assert _code(data) is not None
