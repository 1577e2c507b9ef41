# SPDX-License-Identifier: Apache-2.0
"""A fixed sample of the fuzzing that make soak does in full: nothing crashes, all reasons occur."""

import subprocess
import sys

import pytest

from tests.conftest import TOP
from tests.fuzz import __main__ as command
from tests.fuzz import engine
from tests.fuzz.targets import SEED, SOAK, TARGETS

CBOR = {
    *("cbor-depth", "cbor-duplicate", "cbor-indefinite", "cbor-key", "cbor-overlong", "cbor-size"),
    *("cbor-text", "cbor-trailing", "cbor-truncated", "cbor-type"),
}
CAA = {
    *("caa-duplicate-parameter", "caa-foreign-account", "caa-foreign-method", "caa-issuer-case"),
    *("caa-malformed-value", "caa-no-caa", "caa-no-issue", "caa-unbound-issuer"),
    *("caa-unpinned-account", "caa-unpinned-method"),
}
# Target -> how many inputs, and reasons that must be among those it is refused for: an input that
# gets no further than the first check tells nothing about the others.
SAMPLE = {
    "cbor": (6000, CBOR),
    "cose": (
        4000,
        CBOR
        | {"cose-payload", "cose-protected", "cose-shape", "cose-signature-size"}
        | {"cose-unprotected"},
    ),
    "document": (
        4000,
        {f"document-{name}" for name in ("cabundle", "certificate", "digest", "missing", "nonce")}
        | {f"document-{name}" for name in ("module_id", "nitrotpm", "pcrs", "public_key")}
        | {f"document-{name}" for name in ("timestamp", "user_data")}
        | {f"chain-{name}" for name in ("algorithm", "key", "order", "root", "signature")}
        | {"certificate-format", "cose-signature"},
    ),
    "policy": (
        3000,
        {"policy-format", "policy-invalid", "image-id-invalid"}
        | {f"measurements-{name}" for name in ("debug", "incomplete", "invalid", "missing")},
    ),
    "evidence": (
        2000,
        {"evidence-format", "evidence-unknown", "json-format", "statement-format"},
    ),
    "eif": (
        2000,
        {f"eif-section-{name}" for name in ("flags", "missing", "order", "size", "twice", "type")}
        | {f"eif-{name}" for name in ("crc", "flags", "layout", "magic", "metadata", "reserved")}
        | {f"eif-{name}" for name in ("sections", "trailing", "truncated", "version")}
        | {f"eif-signature{name}" for name in ("", "-certificate", "-cose", "-format", "-pcr")},
    ),
    "nsm": (2000, {"nsm-response", "nsm-unknown", "nsm-invalid-index", "nsm-read-only-index"}),
    "cms": (4000, {"ber-malformed", "kms-envelope-format"}),
    "caa": (4000, CAA | {"caa-malformed-tag"}),
    # A tag that is no word spoils the message.
    "answer": (6000, CAA | {"lookup-failed"}),
}


def test_every_target_has_a_sample_and_a_share_of_twice_ten_million():
    assert SAMPLE.keys() == TARGETS.keys() == SOAK.keys()
    assert SOAK["caa"] + SOAK["answer"] == 10_000_000
    assert sum(SOAK.values()) == 20_000_000


@pytest.mark.parametrize("name", SAMPLE)
def test_nothing_crashes_or_hangs(name):
    count, codes = SAMPLE[name]
    tally = engine.run(name, TARGETS[name], count=count, seed=SEED, jobs=1)
    assert tally.failures == []
    assert (tally.inputs, tally.crashes, tally.hangs) == (count, 0, 0)
    assert tally.accepted + tally.codes.total() == count
    assert tally.accepted >= count // 50
    assert codes <= tally.codes.keys()


@pytest.mark.parametrize("name", SAMPLE)
def test_seed_alone_decides(name):
    def outcome(seed, jobs):
        tally = engine.run(name, TARGETS[name], count=300, seed=seed, jobs=jobs)
        return tally.accepted, tally.codes

    assert outcome(1, 1) == outcome(1, 1)
    assert outcome(1, 1) != outcome(2, 1)


def test_command_closes_with_a_line_for_each_target(tmp_path, capsys):
    arguments = ["--count", "200", "--seed", "7", "--jobs", "1", "--save", str(tmp_path)]
    assert command.main(["cbor", "cose", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for name, line in zip(("cbor", "cose"), lines, strict=True):
        words = dict(word.split("=") for word in line.split() if "=" in word)
        assert line.startswith(f"fuzz {name}: inputs=200 crashes=0 hangs=0 accepted=")
        assert int(words["accepted"]) > 0
        assert int(words["codes"]) > 5
        assert words["seed"] == "7"
    assert list(tmp_path.iterdir()) == []


def test_command_prints_codes_when_asked(tmp_path, capsys):
    arguments = ["--count", "200", "--jobs", "1", "--save", str(tmp_path), "--codes"]
    assert command.main(["cbor", *arguments]) == 0
    assert "fuzz cbor: cbor-overlong=" in capsys.readouterr().out


SAVED = {
    "accepted": ("a10102", "fuzz cbor: accepted\n"),
    "refused": ("1800", "fuzz cbor: refused: cbor-overlong: "),
}


@pytest.mark.parametrize(("text", "said"), SAVED.values(), ids=SAVED)
def test_command_runs_a_saved_input(tmp_path, capsys, text, said):
    path = tmp_path / "input.hex"
    path.write_text(text + "\n")
    assert command.main(["cbor", "--input", str(path)]) == 0
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("arguments", [["unknown"], ["cbor", "cose", "--input", "x"]])
def test_command_refuses_what_it_does_not_know(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_command_in_two_processes(tmp_path):
    arguments = ["cbor", "--count", "6000", "--jobs", "2", "--save", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    alone = engine.run("cbor", TARGETS["cbor"], count=6000, seed=SEED, jobs=1)
    assert f"inputs=6000 crashes=0 hangs=0 accepted={alone.accepted} " in done.stdout
