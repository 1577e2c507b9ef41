# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, and what can be read off them."""

import functools
import re
import sys
from pathlib import Path

import pytest

import certbot_enclave
from tests import docs

TOP = docs.TOP
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
NAMES = [path.relative_to(TOP).as_posix() for path in PAGES]
MANUAL = certbot_enclave.__doc__
BIN = Path(sys.executable).parent

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


@functools.cache
def text_of(name):
    return (TOP / name).read_text(encoding="utf-8")


def blocks_of(name, language):
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


def rows_below(text, heading):
    """The cells of the first table below a heading, without its head."""
    below = text.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def code_in(text):
    """Everything set as code: fenced blocks, and spans of one to three backticks' width."""
    fenced = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    spans = re.findall(r"(?<!`)(`{1,2})(?!`)(.+?)\1(?!`)", fenced.sub("", text), re.DOTALL)
    return [*fenced.findall(text), *(" ".join(span.split()) for _, span in spans)]
