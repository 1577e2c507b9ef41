# SPDX-License-Identifier: Apache-2.0
"""Commands, options, links and targets that the pages name are there."""

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from certbot_enclave import cli
from certbot_enclave.cli import certbot_arguments
from tests import docs
from tests.unit.docs.pages import (
    BIN,
    NAMES,
    PAGES,
    TOP,
    code_in,
    every_page,
    rows_below,
    text_of,
)


def _shell(text):
    """The commands of a block: of a console those after the prompt, of a script every line."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    if any(line.startswith("$ ") for line in lines):
        return [line[2:] for line in lines if line.startswith("$ ")]
    return lines


def _verbs_of(parser):
    found = [item for item in parser._actions if isinstance(item, argparse._SubParsersAction)]
    return found[0].choices if found else {}


def _options_of(command, rest=""):
    """The options of a command, or of the verb of it that comes next."""
    chosen = _verbs_of(cli._parser(command))[command]
    verbs = _verbs_of(chosen)
    if verbs:
        chosen = verbs[rest.split()[0]]
    return chosen._option_string_actions.keys()


def _mentioned(text):
    """Every mention of our commands with the options beside it."""
    for code in code_in(text):
        for line in _shell(code):
            for command, rest in re.findall(r"\bcertbot-enclave ([a-z-]+)([^|;<>]*)", line):
                rest = rest.partition(" -- ")[0]  # behind it stand certbot's own
                yield command, rest, re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest)


@pytest.mark.parametrize("name", [*NAMES, "certbot_enclave/__init__.py"])
def test_commands_and_options_exist(name):
    for command, rest, options in _mentioned(text_of(name)):
        assert command in cli.COMMANDS
        assert [option for option in options if option not in _options_of(command, rest)] == []


def _whole_commands(program):
    for name in [*NAMES, "certbot_enclave/__init__.py"]:
        text = text_of(name)
        blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        blocks += re.findall(r"code-block:: bash\n.*?\n\n(.*?)(?:\n\n|\n\"\"\")", text, re.DOTALL)
        for line in (line for block in blocks for line in _shell(block)):
            for words in _simple(line):
                if words[0] == program:
                    yield pytest.param(words[1:], id=f"{name}: {line[:60]}")


def _simple(line):
    """The words of each simple command of a line, without keywords and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words, skip = [], False
    for word in [*lexer, ";"]:
        if set(word) <= {*";&|()"}:
            if words:
                yield words
            words, skip = [], False
        elif set(word) <= {*"<>"}:
            skip = True
        elif skip or (not words and word in ("until", "while", "if", "do", "!")):
            skip = False
        else:
            words.append(word)


@pytest.mark.parametrize("words", list(_whole_commands("certbot-enclave")))
def test_commands_parse(words):
    assert cli._parser(words[0]).parse_args(words).command == words[0]


def test_commands_are_found_behind_keywords():
    line = "until one --a x || [ $? -ne 3 ]; do two > out 'b;c'; done # three"
    assert list(_simple(line)) == [
        ["one", "--a", "x"],
        ["[", "$?", "-ne", "3", "]"],
        ["two", "b;c"],
        ["done"],
    ]
    ours = [param.values[0] for param in _whole_commands("certbot-enclave")]
    assert ["attest", "--watch"] in ours
    assert ["run", "--", "renew"] in ours


@pytest.fixture(scope="module")
def certbots_options():
    """What certbot takes, our plugin's options included."""
    done = subprocess.run(
        [BIN / "certbot", "--help", "all"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", done.stdout))


def _behind(text):
    """What stands behind ``certbot-enclave run … --``."""
    for code in code_in(text):
        for line in _shell(code):
            yield from re.findall(r"\bcertbot-enclave run [^|;<>]*?-- ([^|;<>`]*)", line)


LET = [
    pytest.param(shlex.split(rest.strip(' "')), id=f"{name}: {rest[:60]}")
    for name in [*NAMES, "certbot_enclave/__init__.py"]
    for rest in _behind(text_of(name))
]


@pytest.mark.parametrize("words", LET)
def test_certbot_may_be_let_do_that(words):
    directories = {"config-dir": Path("/etc/letsencrypt")}
    if words != ["CERTBOT", "ARGUMENTS"]:
        assert words[0] in certbot_arguments.build(words, directories=directories, options={})


def test_certbot_is_on_no_timer_by_itself():
    """With nothing restored it ends with 0 and renews nothing."""
    for name in [*NAMES, "certbot_enclave/__init__.py"]:
        for code in code_in(text_of(name)):
            if "\n" in code:
                assert not re.search(r"certbot\s+renew", code), name


@pytest.mark.parametrize("words", [*_whole_commands("certbot"), *LET])
def test_certbots_commands_exist(words, certbots_options):
    assert words[0] in certbot_arguments.VERBS
    used = [word for word in words if word.startswith("-")]
    assert [word for word in used if word not in certbots_options] == []


@pytest.mark.parametrize("name", [*NAMES, "certbot_enclave/__init__.py"])
def test_options_of_the_plugin_exist(name):
    known = {*docs.options(), "--enclave-NAME", "--enclave-"}
    known |= {"--enclave-cid", "--enclave-options"}  # of nitro-cli and aws
    found = set(re.findall(r"--enclave-[A-Za-z-]*", text_of(name)))
    # In errors.md, what differs from case to case.
    assert {option for option in found if option not in known} == set()


def _anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_resolve(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.is_file(), target
        assert not anchor or anchor in _anchors(path), target


def test_every_page_is_reached_from_the_readme():
    reached, todo = set(), [TOP / "README.md"]
    while todo:
        page = todo.pop().resolve()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text(encoding="utf-8"))
            todo += [page.parent / link for link in links if "://" not in link]
    assert reached == {page.resolve() for page in PAGES}


@every_page
def test_nothing_is_left_to_write(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"TODO|TBD|FIXME|XXX|[Ll]orem|placeholder|<your|DESIGN\.md", text) == []
    # A comment in code is no heading.
    prose = re.sub(r"^```.*?^```$", "code", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if line]
    depths = [len(re.match(r"#*(?= )|", line)[0]) for line in lines]
    empty = [
        line
        for line, depth, after in zip(lines, depths, [*depths[1:], 1], strict=True)
        if depth and 0 < after <= depth
    ]
    assert empty == []


def test_targets_of_make():
    targets = set(re.findall(r"^([a-z]+):.*## ", text_of("Makefile"), re.MULTILINE)) - {"help"}
    for name in NAMES:
        assert set(
            re.findall(r"\bmake ([a-z]+)\b(?=[`\s].*)", "\n".join(code_in(text_of(name))))
        ) <= (targets)
    told = {
        row[0].strip("`").removeprefix("make ")
        for row in rows_below(text_of("CONTRIBUTING.md"), "")
    }
    assert told == targets
