# SPDX-License-Identifier: Apache-2.0
"""The generated parts of the documentation: ``python -m tests.docs`` checks, ``--write`` writes.

Each part stands between two marks, ``NAME: begin`` and ``NAME: end``, in a page or a docstring.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from certbot_enclave import cli, errors, settings
from certbot_enclave import options as enclave_options
from certbot_enclave.settings import Setting, Value

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "certbot_enclave"
WIDTH = 58  # of the second column of the options


# --- settings ---


def _default(value: Value) -> str:
    if value in ("", ()):
        return "(none)"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return ", ".join(f"`{item}`" for item in (value if isinstance(value, tuple) else (value,)))


def settings_table() -> str:
    """Return the settings as a table in Markdown."""
    lines = ["| name | default | meaning | in the statement |", "|---|---|---|---|"]
    for setting in settings.TABLE:
        stated = "yes" if setting.relevant else "no"
        meaning = setting.help.replace("|", "\\|")
        lines.append(f"| `{setting.name}` | {_default(setting.default)} | {meaning} | {stated} |")
    return "\n".join(lines)


def options() -> dict[str, Setting | None]:
    """Return certbot's options for our settings, as the plugin declares them."""
    found: dict[str, Setting | None] = {}

    def add(name: str, **_arguments: object) -> None:
        found[f"--enclave-{name}"] = settings.BY_NAME.get(name.replace("-", "_"))

    enclave_options.add(add)
    return found


def options_table() -> str:
    """Return certbot's options as a simple table in reStructuredText."""
    names = options()
    first = max(len(name) for name in names) + 4
    rule = "=" * first + "  " + "=" * WIDTH
    lines = [rule]
    for name, setting in names.items():
        text = "another settings file; simulated enclaves only" if setting is None else setting.help
        if setting is not None and setting.default:
            default = setting.default
            shown = ", ".join(default) if isinstance(default, tuple) else str(default)
            text += f" (default: {shown})"
        for index, part in enumerate(textwrap.wrap(text, WIDTH, break_on_hyphens=False)):
            lines.append(f"{'' if index else f'``{name}``':{first}}  {part}")
    return "\n".join([*lines, rule])


# --- error codes ---


SHOWN = 3  # messages of one code


class Row(NamedTuple):
    """One place that raises an error."""

    kind: str
    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class _Helper:
    """A function that makes errors out of its own arguments."""

    parameters: tuple[str, ...]
    defaults: Mapping[str, ast.expr]
    call: ast.Call


def _text(node: ast.expr | None, given: Mapping[str, ast.expr]) -> str:
    """Return a message as far as the source tells it; what comes at run time is ``…``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, given) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, given)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, given) + _text(node.right, given)
    if isinstance(node, ast.Name) and node.id in given:
        return _text(given[node.id], {})
    if (isinstance(node, ast.Constant) and node.value is None) or node is None:
        return ""
    return "…"


def _code(node: ast.expr, given: Mapping[str, ast.expr]) -> str | None:
    """Return a code; the part that differs from case to case is in capitals."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name) and node.id in given:
        return _code(given[node.id], {})
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            value = part.value if isinstance(part, ast.FormattedValue) else part
            known = _code(value, given) if isinstance(value, (ast.Constant, ast.Name)) else None
            parts.append(known or ast.unparse(value).upper())
        return "".join(parts)
    return None


def _kind(call: ast.Call) -> str | None:
    name = ast.unparse(call.func).rpartition(".")[2]
    made = getattr(errors, name, None)
    return name if isinstance(made, type) and issubclass(made, errors.Error) else None


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (item for item in ast.walk(node) if isinstance(item, ast.Call))


def _helpers(trees: Mapping[str, ast.Module]) -> dict[str, _Helper]:
    """Find the functions whose own arguments decide the code or the message."""
    found = {}
    for module, tree in trees.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            names = tuple(item.arg for item in function.args.args)
            defaults = function.args.defaults
            for call in _calls(function):
                used = {item.id for item in ast.walk(call) if isinstance(item, ast.Name)}
                short = len(function.body) <= 2 + (ast.get_docstring(function) is not None)
                if _kind(call) and _argument(call, "code") and used & {*names} and short:
                    at_end = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
                    helper = _Helper(names, at_end, call)
                    found[f"{module}.{function.name}"] = helper
    return found


def _row(call: ast.Call, given: Mapping[str, ast.expr]) -> Row | None:
    kind, code = _kind(call), _argument(call, "code")
    named = None if code is None else _code(code, given)
    if kind is None or named is None or not call.args:
        return None
    return Row(kind, named, _text(call.args[0], given), _text(_argument(call, "hint"), given))


def rows() -> list[Row]:
    """Find every place in the package that raises an error with a code."""
    trees = {
        path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    helpers = _helpers(trees)
    inner = {id(helper.call) for helper in helpers.values()}
    used, found = set(), []
    for module, tree in trees.items():
        for call in _calls(tree):
            name = ast.unparse(call.func)
            own = f"{module}.{name}"
            other = next((key for key in helpers if "." in name and key.endswith(name)), own)
            helper = helpers.get(own) or helpers.get(other)
            if helper is not None:
                given = {**helper.defaults, **dict(zip(helper.parameters, call.args, strict=False))}
                given |= {item.arg: item.value for item in call.keywords if item.arg}
                row = _row(helper.call, given)
                if row is not None:
                    used.add(id(helper.call))
            else:
                row = None if id(call) in inner else _row(call, {})
            if row is not None:
                found.append(row)
    for helper in helpers.values():
        row = None if id(helper.call) in used else _row(helper.call, {})
        if row is not None:
            found.append(row)
    return found


def _cell(texts: list[str]) -> str:
    unique = [text for text in dict.fromkeys(" ".join(text.split()) for text in texts) if text]
    more = ["and others"] if len(unique) > SHOWN else []
    return (
        "; or: ".join([*unique[:SHOWN], *more])
        .replace("; or: and", "; and")
        .replace("|", "\\|")
        .replace("<", "&lt;")
    )


def error_tables() -> str:
    """Return the codes, grouped by the class of the error, as tables in Markdown."""
    found = rows()
    order = [name for name in vars(errors) if any(row.kind == name for row in found)]
    parts = []
    for kind in order:
        made: type[errors.Error] = getattr(errors, kind)
        exit_code = cli.exit_code(made("", code=""))
        about = re.sub(r" \(docs/[^)]*\)", "", str(made.__doc__).splitlines()[0])
        advice = made.advice[0].upper() + made.advice[1:]
        parts += [f"## {kind}", "", f"{about} Exit code {exit_code}. {advice}.", ""]
        parts += ["| code | says | what to do |", "|---|---|---|"]
        codes = sorted({row.code for row in found if row.kind == kind})
        for code in codes:
            same = [row for row in found if (row.kind, row.code) == (kind, code)]
            says = _cell([row.message for row in same])
            hint = _cell([row.hint for row in same])
            parts.append(f"| `{code}` | {says} | {hint} |")
        parts.append("")
    return "\n".join(parts).rstrip()


# --- pages ---


class Part(NamedTuple):
    """One generated part: its page, its marks, and what makes it."""

    path: Path
    begin: str
    end: str
    make: Callable[[], str]


PARTS = {
    "settings": Part(
        TOP / "docs" / "settings.md",
        "<!-- settings: begin -->",
        "<!-- settings: end -->",
        settings_table,
    ),
    "errors": Part(
        TOP / "docs" / "errors.md",
        "<!-- errors: begin -->",
        "<!-- errors: end -->",
        error_tables,
    ),
    "options": Part(
        PACKAGE / "__init__.py",
        ".. options: begin",
        ".. options: end",
        options_table,
    ),
}


def current(part: Part) -> str:
    """Return the page as it should be."""
    text = part.path.read_text(encoding="utf-8")
    pattern = re.escape(part.begin) + ".*?" + re.escape(part.end)
    made = f"{part.begin}\n\n{part.make()}\n\n{part.end}"
    replaced, count = re.subn(pattern, lambda _match: made, text, count=1, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{part.path} lacks the marks {part.begin!r} and {part.end!r}")
    return replaced


def main(arguments: list[str]) -> int:
    """Check the generated parts, or write them."""
    code = 0
    for part in PARTS.values():
        text, wanted = part.path.read_text(encoding="utf-8"), current(part)
        if text == wanted:
            continue
        if arguments == ["--write"]:
            part.path.write_text(wanted, encoding="utf-8")
            continue
        code = 1
        sys.stdout.writelines(
            difflib.unified_diff(
                text.splitlines(keepends=True),
                wanted.splitlines(keepends=True),
                str(part.path),
                "generated",
            )
        )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
