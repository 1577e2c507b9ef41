# SPDX-License-Identifier: Apache-2.0
"""``pcrs``: what nitro-cli prints on stdout, reasons on stderr, exit codes by the table."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from certbot_enclave import cli, policy
from tests.support import eif as build

COMMAND = Path(sys.executable).parent / "certbot-enclave"
SIGNER = build.signer()
SIGNED = build.pack(build.signed(SIGNER))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "app.eif"
    path.write_bytes(build.pack())
    return path


def _run(capsys, *arguments):
    code = cli.main(["pcrs", *map(str, arguments)])
    return code, *capsys.readouterr()


def _printed(pcrs):
    """What nitro-cli prints: two blanks for each level, the registers in order."""
    lines = [f'    "PCR{index}": "{digest.hex()}"' for index, digest in pcrs.items()]
    rows = ",\n".join(['    "HashAlgorithm": "Sha384 { ... }"', *lines])
    return f'{{\n  "Measurements": {{\n{rows}\n  }}\n}}\n'


def test_prints_what_nitro_cli_prints(image, capsys):
    assert _run(capsys, image) == (0, _printed(build.pcrs()), "")
    assert _run(capsys, image, "--json") == (0, _printed(build.pcrs()), "")


def test_signed_image_has_pcr8_too(image, capsys):
    image.write_bytes(SIGNED)
    expected = _printed(build.pcrs(certificate=SIGNER.certificate))
    assert _run(capsys, image) == (0, expected, "")
    assert list(json.loads(expected)["Measurements"])[1:] == ["PCR0", "PCR1", "PCR2", "PCR8"]


@pytest.mark.parametrize("data", [build.pack(), SIGNED], ids=["unsigned", "signed"])
def test_what_it_prints_is_a_policy(data, image, capsys):
    image.write_bytes(data)
    _code, out, _err = _run(capsys, image)
    (only,) = policy.parse(out.encode(), "measurements.json").sets.values()
    assert only[0] == build.pcrs()[0]
    assert (8 in only) is (data == SIGNED)


def test_metadata_is_not_shown(image):
    assert b"told-by-nobody" in image.read_bytes()
    done = subprocess.run([COMMAND, "pcrs", image], capture_output=True, check=True)
    assert b"told-by-nobody" not in done.stdout + done.stderr


@pytest.mark.parametrize("data", [build.pack(), SIGNED], ids=["unsigned", "signed"])
def test_image_from_a_pipe(data):
    done = subprocess.run([COMMAND, "pcrs", "-"], input=data, capture_output=True, check=True)
    certificate = SIGNER.certificate if data == SIGNED else None
    assert done.stdout.decode() == _printed(build.pcrs(certificate=certificate))
    assert done.stderr == b""


def test_stdin_stays_open_for_the_caller():
    script = "import os; from certbot_enclave import cli; cli.main(['pcrs', '-']); os.fstat(0)"
    done = subprocess.run(
        [sys.executable, "-c", script], input=build.pack(), capture_output=True, check=True
    )
    assert done.stdout.decode() == _printed(build.pcrs())


def test_help_says_what_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["pcrs", "--help"])
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("nitro-cli build-enclave", "PCR8", "--policy", "- for stdin"):
        assert words in out


# --- refusals ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "eif-truncated"),
        (b'{"Measurements": {}}\n', "eif-magic"),
        (build.pack(behind=b"x"), "eif-trailing"),
        (build.pack()[:-1], "eif-truncated"),
    ],
    ids=["empty", "text", "too long", "too short"],
)
def test_no_image(data, code, image, capsys):
    image.write_bytes(data)
    exit_code, out, err = _run(capsys, image)
    assert (exit_code, out) == (1, "")
    assert err.splitlines()[0].startswith("certbot-enclave: error: EIF: ")
    assert err.splitlines()[1].startswith("certbot-enclave: hint: ")
    exit_code, out, err = _run(capsys, image, "--json")
    assert (exit_code, json.loads(out)["code"]) == (1, code)


def test_signature_that_does_not_hold(image, capsys):
    cose = build.message(build.signer(), build.payload(build.pcrs()[0]))
    section = build.Section(build.SIGNATURE, build.signature(SIGNER.pem, cose))
    image.write_bytes(build.pack((*build.UNSIGNED, section)))
    exit_code, out, err = _run(capsys, image, "--json")
    assert (exit_code, json.loads(out)["code"]) == (1, "eif-signature")
    assert "does not boot" in err


@pytest.mark.parametrize("name", ["gone.eif", "."])
def test_unreadable_file(name, tmp_path, capsys):
    exit_code, out, err = _run(capsys, tmp_path / name, "--json")
    assert (exit_code, json.loads(out)["code"]) == (3, "file-unreadable")
    assert err.startswith(f"certbot-enclave: error: cannot read {tmp_path / name}: ")


def test_closed_stdin():
    script = f"exec {COMMAND} pcrs - <&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot read -: Bad file descriptor" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["a.eif", "b.eif"]], ids=["none", "two"])
def test_exactly_one_file(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["pcrs", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


# --- large images ---


def _stderr_of_terminal(path):
    """Run it with a terminal as stderr, and return what came there."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [COMMAND, "pcrs", path], stdout=subprocess.DEVNULL, stderr=theirs, check=True
        )
        os.write(theirs, b"end")
        return os.read(ours, 4096).decode().removesuffix("end")
    finally:
        os.close(ours)
        os.close(theirs)


def test_large_image_is_announced_on_a_terminal_only(image):
    assert _stderr_of_terminal(image) == ""
    build.sparse(image, 64 << 20)
    assert _stderr_of_terminal(image).split() == ["measuring", "64", "MiB"]
    done = subprocess.run([COMMAND, "pcrs", image], capture_output=True, check=True)
    assert done.stderr == b""
