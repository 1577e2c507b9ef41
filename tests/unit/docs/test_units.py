# SPDX-License-Identifier: Apache-2.0
"""Units and service files of the pages are read by what they are for, and start our commands."""

import configparser
import re
import shlex
import subprocess

import pytest

from certbot_enclave import cli
from tests.unit.docs.pages import blocks_of

INSTALLED = "/usr/local/bin/certbot-enclave"
BLOCKS = blocks_of("docs/operator.md", "ini")
PLACE = "# /etc/systemd/system/"
UNITS = {
    text.removeprefix(PLACE).splitlines()[0]: text for text in BLOCKS if text.startswith(PLACE)
}


def _read(text):
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(text)
    return parser


def _check(words):
    assert words[0] == INSTALLED
    assert cli._parser(words[1]).parse_args(words[1:]).command == words[1]
    if words[1] == "run":
        assert words[2:] == ["--", "renew"]


def test_all_are_tested():
    assert len(BLOCKS) == len(UNITS) + 1
    assert {name.rpartition(".")[2] for name in UNITS} == {"service", "timer"}


@pytest.mark.parametrize("name", UNITS)
def test_unit_starts_a_command_of_ours(name):
    unit = _read(UNITS[name])
    if name.endswith(".service"):
        _check(shlex.split(unit["Service"]["ExecStart"]))
    else:
        assert name.replace(".timer", ".service") in UNITS


def test_supervisord_is_given_our_commands():
    (text,) = [text for text in BLOCKS if text not in UNITS.values()]
    parser = _read(text)
    assert parser.sections()
    for section in parser.sections():
        assert section.startswith("program:certbot-enclave-")
        words = shlex.split(parser[section]["command"])
        if words[:2] == ["/bin/sh", "-c"]:
            subprocess.run(["/bin/sh", "-nc", words[2]], check=True)
            words = shlex.split(re.search(r"do (.*?);", words[2])[1])
            # The loop does not hand on a signal; its group has to get it.
            assert parser[section]["stopasgroup"] == "true"
        _check(words)
