# SPDX-License-Identifier: Apache-2.0
"""What docs/evidence.md shows of ``inspect`` is what it prints of genuine and forged documents."""

import re
import shlex
import shutil
import subprocess

import pytest

from tests.unit.docs.pages import BIN, blocks_of

FILES = {
    "document.bin": "valid--tkhq_rust-sdk--20260421--f1f05745.bin",
    "forged.bin": "invalid-untrusted-root--marlinprotocol_oyster-monorepo--20241213--d8032479.bin",
}


def _shown(name):
    """The block that inspects this file, as (command, lines) pairs."""
    start = f"$ certbot-enclave inspect {name}\n"
    (block,) = [text for text in blocks_of("docs/evidence.md", "console") if text.startswith(start)]
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return [
        (command, output.splitlines())
        for command, output in zip(parts[::2], parts[1::2], strict=True)
    ]


def _matches(shown, printed):
    """Whether the lines are the same, where ``…`` alone stands for any number of them."""
    if not shown:
        return not printed
    if shown[0] == "…":
        return any(_matches(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and _matches(shown[1:], printed[1:])


def test_lines_that_are_left_out():
    assert _matches(["a", "…", "d"], ["a", "b", "c", "d"])
    assert _matches(["…"], [])
    for shown in (["a"], ["a", "…", "c"], ["…", "b"], ["b", "…"], []):
        assert not _matches(shown, ["a", "b", "d"])


@pytest.mark.corpus
@pytest.mark.parametrize("name", FILES)
def test_output_is_as_shown(name, corpus, tmp_path):
    shutil.copy(corpus / "nitro" / FILES[name], tmp_path / name)
    (command, lines), *rest = _shown(name)
    program, *words = shlex.split(command)
    done = subprocess.run([BIN / program, *words], capture_output=True, text=True, cwd=tmp_path)
    assert _matches(lines, (done.stdout + done.stderr).splitlines())
    assert done.stdout == "" or done.stderr == ""
    assert rest in ([], [("echo $?", [str(done.returncode)])])
    assert done.returncode == (0 if name == "document.bin" else 1)
