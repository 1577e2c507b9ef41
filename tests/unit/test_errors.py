# SPDX-License-Identifier: Apache-2.0
"""Errors keep one form: a tree drawn as it is, stable codes, messages without decoration."""

import ast
import re
from pathlib import Path

import pytest

import certbot_enclave
from certbot_enclave import cli, errors

PACKAGE = Path(certbot_enclave.__file__).parent
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.Error)
}


def _raised():
    """Yield place and call of every error of ours that the package makes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("errors."):
                if ast.unparse(node.func).removeprefix("errors.") in CLASSES:
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_tree_is_drawn_as_it_is():
    drawn, stack = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^ {4}([│ ]*)(?:[├└]── )?([A-Z]\w+Error|Error)\b", line)
        if match is None:
            continue
        depth = 0 if match[2] == "Error" else 1 + len(match[1]) // 4
        stack = [*stack[:depth], match[2]]
        drawn[match[2]] = stack[-2] if depth else None
    real = {
        name: next((base.__name__ for base in made.__bases__ if base in CLASSES.values()), None)
        for name, made in CLASSES.items()
    }
    assert drawn == real


def test_every_error_has_a_stable_code():
    wrong = []
    for place, call in _raised():
        code = next((item.value for item in call.keywords if item.arg == "code"), None)
        if code is None or (
            isinstance(code, ast.Constant)
            and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(code.value))
        ):
            wrong.append(place)
    assert wrong == []
    assert len(list(_raised())) > 100


def test_messages_start_lower_case_and_have_no_full_stop():
    wrong = []
    for place, call in _raised():
        first = call.args[0]
        parts = [
            str(part.value)
            for part in (first.values if isinstance(first, ast.JoinedStr) else [first])
            if isinstance(part, ast.Constant)
        ]
        literal = isinstance(first, ast.Constant) or isinstance(
            getattr(first, "values", [None])[0], ast.Constant
        )
        # Proper names and abbreviations keep their capitals: ACME, COSE, PCR0.
        word = parts[0].split()[0] if literal and parts and parts[0].split() else "x"
        if (word[:1].isupper() and word[1:2].islower()) or (parts and parts[-1].endswith(".")):
            wrong.append(place)
    assert wrong == []


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"Error", "VerificationError"}))
def test_every_error_says_what_to_do(name):
    made = CLASSES[name]("message", code="code")
    assert made.hint == CLASSES[name].advice
    assert re.fullmatch(r"[a-z].*[^.]", made.hint)
    assert CLASSES[name]("message", code="code", hint="do this").hint == "do this"


@pytest.mark.parametrize("name", CLASSES)
def test_exit_codes(name):
    made = CLASSES[name]("message", code="code")
    expected = {
        "PolicyError": 2,
        "ExtensionError": 2,
        "TransportError": 3,
        "EnclaveError": 3,
    }.get(name, 1)
    assert cli.exit_code(made) == expected


def test_complaint_has_one_form(capsys):
    cli.complain(errors.GateError("it is closed", code="caa-open", hint="open it"))
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "certbot-enclave: error: it is closed\ncertbot-enclave: hint: open it\n",
    )


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    assert "usage: certbot-enclave" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["verify"]])
def test_usage_errors_are_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: certbot-enclave" in capsys.readouterr().err


def test_interruption_is_told(capsys, monkeypatch):
    def interrupted(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("certbot_enclave.cli.simulate.run", interrupted)
    assert cli.main(["simulate", "x", "--image", "y"]) == 130
    assert "interrupted" in capsys.readouterr().err
