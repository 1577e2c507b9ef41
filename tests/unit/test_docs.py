# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code does: its tables, examples, commands, options and links."""

import argparse
import ast
import base64
import functools
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import certbot_enclave
from certbot_enclave import cli, doors, errors, policy, settings, statement, verification
from certbot_enclave.attestation import chain, simulated
from certbot_enclave.caa import formats
from tests import docs
from tests.support import forge
from tests.support.forge import CHAIN, NOW, POLICY, STATEMENT

TOP = docs.TOP
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")])
NAMES = [path.relative_to(TOP).as_posix() for path in PAGES]
MANUAL = certbot_enclave.__doc__
BIN = Path(sys.executable).parent

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


@functools.cache
def _page(name):
    return (TOP / name).read_text(encoding="utf-8")


def _blocks(name, language):
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", _page(name), re.MULTILINE | re.DOTALL)


def _rows(text, heading):
    """The cells of the first table below a heading, without its head."""
    below = text.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def _code(text):
    """Everything set as code: fenced blocks, and spans of one to three backticks' width."""
    fenced = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    spans = re.findall(r"(?<!`)(`{1,2})(?!`)(.+?)\1(?!`)", fenced.sub("", text), re.DOTALL)
    return [*fenced.findall(text), *(" ".join(span.split()) for _, span in spans)]


# --- what is generated ---


@pytest.mark.parametrize("part", docs.PARTS.values(), ids=docs.PARTS)
def test_generated_tables_are_current(part):
    assert part.path.read_text(encoding="utf-8") == docs.current(part), (
        "run: python -m tests.docs --write"
    )


def test_manual_lists_the_options_of_the_settings():
    listed = re.findall(r"^``(--enclave-[a-z-]+)``", MANUAL, re.MULTILINE)
    of_certbot = {"server", "domains", "account"}
    wanted = [item.name for item in settings.TABLE if item.name not in of_certbot]
    assert listed == [f"--enclave-{name.replace('_', '-')}" for name in [*wanted, "settings"]]


def test_table_of_settings_says_what_the_statement_carries():
    rows = _rows(_page("docs/settings.md"), "<!-- settings: begin -->")
    stated = settings.Settings({}).stated()
    assert {row[0].strip("`"): row[3] for row in rows} == {
        item.name: "yes" if item.name in stated else "no" for item in settings.TABLE
    }


def test_every_error_code_is_explained():
    listed = set(re.findall(r"^\| `([^`]+)` \|", _page("docs/errors.md"), re.MULTILINE))
    source = "\n".join(path.read_text() for path in docs.PACKAGE.rglob("*.py"))
    found = set(re.findall(r'\bcode="([a-z0-9-]+)"', source))
    # Those that a helper is given, and those that a `Raises` section names.
    found |= set(re.findall(r'"((?:jws|payload|csr|cbor|door)-[a-z-]+)"', source))
    assert len(found) > 120
    assert found - listed == set()


def test_error_codes_stand_under_their_class_with_its_exit_code():
    page = _page("docs/errors.md")
    for row in docs.rows():
        part = re.split(r"^## ", page.split(f"\n## {row.kind}\n", 1)[1], flags=re.MULTILINE)[0]
        assert f"| `{row.code}` |" in part
        error = getattr(errors, row.kind)("", code=row.code)
        assert f"Exit code {cli.exit_code(error)}." in part


# --- evidence ---


def _members(table):
    for name, value in table.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and name not in ("settings", "software"):
            if isinstance(value, list):
                yield name
            yield from (f"{name}.{member}" for member in inner)
        else:
            yield name


def test_form_of_statement_and_evidence_is_described_member_by_member():
    page = _page("docs/evidence.md")
    text = statement.build(STATEMENT)
    for heading, table in (
        ("## Statement v1", json.loads(text)),
        ("## Evidence v1", json.loads(statement.build_evidence(text, b"x"))),
    ):
        assert [row[0].strip("`") for row in _rows(page, heading)] == list(_members(table))


def test_constants_of_the_form():
    page = _page("docs/evidence.md")
    tag = statement.TAG.decode()
    for text in (
        f"`{statement.STATEMENT_TYPE}`",
        f"`{statement.EVIDENCE_TYPE}`",
        f"`{statement.FORMAT}`",
        f"at most {statement.MAX_STATEMENT // 1024} KiB",
        f"at most {statement.MAX_EVIDENCE // 1024} KiB",
        f"the {len(tag)} bytes `{tag}`",
        f"`{chain.AWS_ROOT_SHA256}`",
        "; ".join(f"`{word}`" for word in statement.VERDICTS[:2])
        + f"; or `{statement.VERDICTS[2]}`",
    ):
        assert text in page


def _checks_of_the_code():
    """Number -> what stands in the third column of the table in verification's docstring."""
    found, number = {}, None
    rules = [line for line in verification.__doc__.splitlines() if line.startswith("==")]
    at = rules[0].rindex(" =") + 1
    for line in verification.__doc__.split(rules[0])[2].splitlines():
        number = int(line[:2]) if line[:2].strip() else number
        if line.strip():
            found[number] = found.get(number, "") + " " + line[at:]
    return {number: re.findall(r"[a-z0-9-]+…?", text) for number, text in found.items()}


def test_checks_are_those_of_the_code():
    in_code = _checks_of_the_code()
    rows = _rows(_page("docs/evidence.md"), "## What `verify` checks")
    assert [int(row[0]) for row in rows] == list(in_code) == list(range(1, 18))
    source = "\n".join(path.read_text() for path in docs.PACKAGE.rglob("*.py"))
    for number, _, cell in rows:
        listed = re.findall(r"`([^`]+)`", cell)
        assert listed
        for code in listed:
            assert f'"{code}"' in source or (code.endswith("-…") and f'"{code[:-1]}' in source)
        for code in in_code[int(number)]:
            if code.endswith("-…"):
                assert all(item.startswith(code[:-1]) for item in listed)
            elif code not in ("many", "…"):
                assert code in listed


def test_code_of_each_check_stands_in_one_row_only():
    rows = _rows(_page("docs/evidence.md"), "## What `verify` checks")
    codes = [code for row in rows for code in re.findall(r"`([^`]+)`", row[2])]
    assert len(codes) == len(set(codes))


THIRTY = _blocks("docs/evidence.md", "python")


def test_thirty_lines_are_thirty_and_need_cryptography_only():
    (lines,) = THIRTY
    assert len(lines.splitlines()) <= 30
    modules = set()
    for node in ast.walk(ast.parse(lines)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.fixture(scope="module")
def enclave(tmp_path_factory):
    """A simulated enclave's statement and document, and the root that vouches for it."""
    state = tmp_path_factory.mktemp("docs")
    image = state / "app.bin"
    image.write_bytes(b"the measured application")
    simulated.create(state / "enclave", [image])
    attester = simulated.SimulatedAttester(str(state / "enclave"))
    text = statement.build(STATEMENT)
    document = attester.attest(
        user_data=statement.user_data(text), public_key=forge.spki(forge.ACCOUNT), nonce=None
    )
    return text, document, hashlib.sha256(attester.trust_root).hexdigest(), state


def _by_hand(text, document, root):
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", THIRTY[0], root],
        input=statement.build_evidence(text, document),
        capture_output=True,
    )


def test_thirty_lines_accept_genuine_evidence(enclave):
    text, document, root, state = enclave
    done = _by_hand(text, document, root)
    assert (done.returncode, done.stderr) == (0, b"")
    measured = json.loads((state / "enclave" / "measurements.json").read_text())["Measurements"]
    assert done.stdout.decode().splitlines()[1:] == [measured[f"PCR{index}"] for index in range(3)]


def _refused(done):
    assert done.returncode == 1
    assert done.stdout == b""


def test_thirty_lines_refuse_a_changed_statement(enclave):
    text, document, root, _ = enclave
    changed = text.replace("example.com", "example.net", 1)
    assert len(changed) == len(text)
    _refused(_by_hand(changed, document, root))


@pytest.mark.parametrize("where", ["alg", "payload", "user_data", "leaf", "signature"])
def test_thirty_lines_refuse_a_changed_document(enclave, where):
    text, document, root, _ = enclave
    at = {
        "alg": 4,
        "payload": document.index(b"module_id") + 12,
        "user_data": document.index(statement.user_data(text)),
        "leaf": document.index(b"certificate") + 200,
        "signature": -1,
    }[where]
    changed = bytearray(document)
    changed[at] ^= 1
    _refused(_by_hand(text, bytes(changed), root))


def test_thirty_lines_refuse_another_root_and_another_account_key(enclave):
    text, document, root, state = enclave
    _refused(_by_hand(text, document, chain.AWS_ROOT_SHA256))
    attester = simulated.SimulatedAttester(str(state / "enclave"))
    other = forge.spki(forge.ec.generate_private_key(forge.ec.SECP256R1()))
    bound = attester.attest(user_data=statement.user_data(text), public_key=other, nonce=None)
    _refused(_by_hand(text, bound, root))


# --- policies and settings ---

MEASURED = "".join(f'PCR{index} = "{digest.hex()}"\n' for index, digest in forge.PCRS.items())


def test_json_policy():
    (text,) = _blocks("docs/policy.md", "json")
    found = policy.parse(text.encode(), "measurements.json")
    assert {0, 1, 2} == found.sets["measurements.json"].keys()
    assert (found.settings, found.conditions) == ({}, frozenset())


POLICIES = [
    (name, text) for name in ("docs/policy.md", "docs/owner.md") for text in _blocks(name, "toml")
]


@pytest.mark.parametrize(("name", "text"), POLICIES)
def test_toml_policies(name, text):
    if "[measurements." not in text:  # a part of one
        text += f"\n[measurements.release-1]\n{MEASURED}"
    found = policy.parse(text.encode(), name)
    assert "release-1" in found.sets
    assert found != policy.Policy(sets=found.sets)


def test_policy_members_are_all_described():
    described = {
        row[0].strip("`").split(".")[0] for row in _rows(_page("docs/policy.md"), "## TOML")
    }
    with pytest.raises(errors.PolicyError) as caught:
        policy.parse(b"other = 1", "policy.toml")
    assert described == set(re.search(r"known: (.*)", str(caught.value))[1].split(", "))
    examples = "\n".join(text for _, text in POLICIES)
    for member in described | {"conditions", "sealing", "accept.settings"}:
        assert member in examples


def test_settings_that_are_not_judged_by_name():
    part = _page("docs/policy.md").split("### Settings", 1)[1].split("```", 1)[0]
    listed = re.search(r"order\.\n(.*?) are not\njudged here", part, re.DOTALL)[1]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == verification._JUDGED_ELSEWHERE
    for name in verification._NEUTRAL:
        assert f"`{name}` weakens" in part


def test_conditions_are_those_of_the_code():
    listed = {row[0].strip("`") for row in _rows(_page("docs/policy.md"), "### Conditions")}
    source = (docs.PACKAGE / "caa" / "verdict.py").read_text()
    source += (docs.PACKAGE / "evidence.py").read_text()
    made = re.findall(r'conditions\.add\(f?"([a-z-]+:?)', source)
    assert {name.replace("NAME", "") for name in listed} == set(made)


def _operators_settings():
    (text,) = _blocks("docs/operator.md", "toml")
    return settings.parse_file(text.encode())


def test_settings_of_the_examples():
    found = _operators_settings()
    assert found["domains"] == ("example.com", "www.example.com")
    (block,) = re.findall(r"code-block:: toml\n.*?\n\n(.*?)\n\n[A-Z]", MANUAL, re.DOTALL)
    shorter = settings.parse_file("\n".join(line[3:] for line in block.splitlines()).encode())
    assert {**found, **shorter, "domains": found["domains"]} == found


def test_owners_policy_accepts_the_operators_settings():
    (text,) = _blocks("docs/owner.md", "toml")
    demanded = policy.parse(text.encode(), "policy.toml")._replace(sets=POLICY.sets)
    said = settings.Settings(_operators_settings()).stated()
    evidence = forge.evidence(settings=said)
    asked = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}
    assert verification.verify(evidence, demanded, **asked).statement.settings == said
    with pytest.raises(errors.StatementError) as caught:
        verification.verify(evidence, POLICY, **asked)
    assert caught.value.code == "setting"


def _masked(line):
    """A line of `verify` without what differs from enclave to enclave."""
    line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", line)
    line = re.sub(r"\b[\w-]{43}\b", "THUMBPRINT", line)
    line = re.sub(r"(acct/)\d+", r"\1N", line).replace("match release-1", "match image")
    return re.sub(r"\bthe (named|AWS Nitro) root|exclusive|open", "…", line)


def test_output_of_verify_is_as_shown():
    shown = next(text for text in _blocks("docs/owner.md", "console") if "proved:" in text)
    lines = []
    verification.verify(
        forge.evidence(),
        POLICY,
        domain="example.com",
        nonce=None,
        now=NOW,
        trust_root=CHAIN.root,
        progress=lines.append,
    )
    proved = re.findall(r"^proved: +(.*)$", shown, re.MULTILINE)
    assert [_masked(line) for line in proved] == [_masked(line) for line in lines]
    unchecked = re.findall(r"^not checked: (.*)$", shown, re.MULTILINE)
    assert tuple(unchecked) == verification.NOT_CHECKED


@pytest.mark.parametrize("name", ["docs/owner.md", "docs/operator.md"])
def test_records_are_as_the_product_prints_them(name):
    found = re.findall(r"^ *(([a-z.]+)\. 3600 IN CAA .*)$", _page(name), re.MULTILINE)
    (account,) = {uri for uri in re.findall(r"accounturi=([^\"]+)\"", _page(name))}
    records = formats.records_for(
        issuer="letsencrypt.org", methods=["http-01"], account_uri=account
    )
    owners = list(dict.fromkeys(owner for _, owner in found))
    assert "example.com" in owners
    assert [line for line, _ in found] == [
        line for owner in owners for line in formats.zone(owner, records)
    ]


# --- the key and the doors ---


def test_every_door_is_listed():
    page = _page("docs/guard.md")
    source = (docs.PACKAGE / "doors.py").read_text()
    assert set(re.findall(r"`(door-[a-z-]+)`", page)) == set(
        re.findall(r'"(door-[a-z-]+)"', source)
    )
    names = [*doors.TRUST_STORES, *doors.CODE_VARIABLES]
    names += [f"--{name.replace('_', '-')}" for name in doors.HOOKS]
    assert [name for name in names if f"`{name}`" not in page] == []
    for verb in doors.ORDERING:
        assert f"`{verb}`" in page


# --- commands, options, links ---


def _shell(text):
    """The commands of a block: of a console those after the prompt, of a script every line."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    if any(line.startswith("$ ") for line in lines):
        return [line[2:] for line in lines if line.startswith("$ ")]
    return lines


def _options_of(command):
    parser = cli._parser(command)
    subparsers = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return subparsers.choices[command]._option_string_actions.keys()


def _mentioned(text):
    """Every mention of our commands with the options beside it."""
    for code in _code(text):
        for line in _shell(code):
            for command, rest in re.findall(r"\bcertbot-enclave ([a-z-]+)([^|;<>]*)", line):
                yield command, re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest)


@pytest.mark.parametrize("name", [*NAMES, "certbot_enclave/__init__.py"])
def test_commands_and_options_exist(name):
    for command, options in _mentioned(_page(name)):
        assert command in cli.COMMANDS
        assert [option for option in options if option not in _options_of(command)] == []


def _whole_commands(program):
    for name in [*NAMES, "certbot_enclave/__init__.py"]:
        text = _page(name)
        blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        blocks += re.findall(r"code-block:: bash\n.*?\n\n(.*?)(?:\n\n|\n\"\"\")", text, re.DOTALL)
        for line in (line for block in blocks for line in _shell(block)):
            words = shlex.split(line, comments=True)
            ends = [index for index, word in enumerate(words) if re.match(r"[|<>]", word)]
            if words and words[0] == program:
                yield pytest.param(words[1 : min(ends, default=None)], id=f"{name}: {line[:60]}")


@pytest.mark.parametrize("words", list(_whole_commands("certbot-enclave")))
def test_commands_parse(words):
    assert cli._parser(words[0]).parse_args(words).command == words[0]


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


@pytest.mark.parametrize("words", list(_whole_commands("certbot")))
def test_certbots_commands_exist(words, certbots_options):
    assert words[0] in ("certonly", "renew", "revoke")
    used = [word for word in words if word.startswith("-")]
    assert [word for word in used if word not in certbots_options] == []


@pytest.mark.parametrize("name", [*NAMES, "certbot_enclave/__init__.py"])
def test_options_of_the_plugin_exist(name):
    known = {*docs.options(), "--enclave-NAME", "--enclave-"}
    found = set(re.findall(r"--enclave-[A-Za-z-]*", _page(name)))
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
    lines = [line for line in text.splitlines() if line]
    depths = [len(re.match(r"#*(?= )|", line)[0]) for line in lines]
    empty = [
        line
        for line, depth, after in zip(lines, depths, [*depths[1:], 1], strict=True)
        if depth and 0 < after <= depth
    ]
    assert empty == []


def test_targets_of_make():
    targets = set(re.findall(r"^([a-z]+):.*## ", _page("Makefile"), re.MULTILINE)) - {"help"}
    for name in NAMES:
        assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s].*)", "\n".join(_code(_page(name))))) <= (
            targets
        )
    told = {row[0].strip("`").removeprefix("make ") for row in _rows(_page("CONTRIBUTING.md"), "")}
    assert told == targets


def test_document_in_base64_has_padding():
    table = json.loads(statement.build_evidence("{}", b"four"))
    assert table["attestation"]["document"] == base64.b64encode(b"four").decode() == "Zm91cg=="
