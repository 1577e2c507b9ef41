# SPDX-License-Identifier: Apache-2.0
"""Remove each check in turn: a named test must turn red (``make mutate``).

``tests/mutations.toml`` lists, for each module, the tests that hold its checks, and the name of
every check. A check in the module without a row, or a row without a check, fails. What counts as a
check, how it is named, and what takes its place:

=============================================  ===========================  ================
check                                          name                         in its place
=============================================  ===========================  ================
``raise``                                      code, or words of it         ``pass``
``refuse(…)``, ``require…(…)``, ``check…(…)``  the call                     ``pass``
``x.append(Finding("name", …))``               name of the finding          ``pass``
``x += _judge…(…)``                            the call                     ``pass``
``return (Finding("name", …),)``               name of the finding          ``return ()``
=============================================  ===========================  ================

The changed file is mounted over the module while the tests run, in a mount namespace of their own
(this needs root): so it is also what a ``certbot`` runs that a test starts.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parent.parent
ROWS = TOP / "tests" / "mutations.toml"


# Names of functions that are called for nothing but their refusal.
_REFUSING = re.compile(r"_?(check|require|verify|refuse|malformed|forbid|open_gate|gate)(_|$)")


@dataclass(frozen=True)
class Check:
    """One check in one module."""

    file: str
    name: str
    line: int
    end: int
    indent: int
    instead: str = "pass"

    def removed_from(self, source: str) -> str:
        lines = source.splitlines(keepends=True)
        lines[self.line - 1 : self.end] = [" " * self.indent + self.instead + "\n"]
        return "".join(lines)


def _words(node: ast.expr) -> str:
    texts = [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    codes = [text for text in texts if text.replace("-", "").isalnum() and "-" in text]
    return (codes or texts or [ast.unparse(node)])[-1 if codes else 0].strip()


def _raised(call: ast.Call) -> str:
    for keyword in call.keywords:
        if keyword.arg == "code":
            code = keyword.value
            return str(code.value) if isinstance(code, ast.Constant) else ast.unparse(code)
    arguments = ast.Tuple(call.args, ast.Load()) if call.args else call
    return _words(arguments)


def _called(call: ast.Call) -> str | None:
    """Return the name of a call that refuses, or of the finding that it appends."""
    function = call.func
    last = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
    if last == "append" and call.args and _finding(call.args[0]):
        return _finding(call.args[0])
    if _REFUSING.match(last):
        telling = "refuse" in last or "malformed" in last
        words = _words(ast.Tuple(call.args, ast.Load())) if telling else ""
        return f"{ast.unparse(function)}: {words}" if words else f"{ast.unparse(function)}()"
    return None


def _finding(node: ast.expr) -> str | None:
    if isinstance(node, ast.Tuple) and len(node.elts) == 1:
        node = node.elts[0]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
        name = node.args[0]
        return str(name.value) if isinstance(name, ast.Constant) else None
    return None


def _check(node: ast.AST) -> tuple[str, str] | None:
    """Return a check's name and what takes its place."""
    name = None
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        name = _raised(node.exc)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = _called(node.value)
    elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Call):
        function = ast.unparse(node.value.func)
        name = f"{function}()" if function.startswith("_judge") else None
    elif isinstance(node, ast.Return) and node.value is not None:
        name = _finding(node.value)
        return None if name is None else (name, "return ()")
    return None if name is None else (name, "pass")


def checks(file: str, source: str) -> list[Check]:
    """Find every check of a module, in order."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and (check := _check(node)) is not None:
            name, instead = check
            end = node.end_lineno or node.lineno
            found.append(Check(file, name, node.lineno, end, node.col_offset, instead))
    return sorted(found, key=lambda check: check.line)


# The changed file over the module, and no bytecode of another version of it.
_MOUNTED = 'mount --bind "$1" "$2" && mount -t tmpfs tmpfs "$3" && shift 3 && exec "$@"'


def _survives(check: Check, tests: list[str], scratch: Path) -> bool:
    """Return True if no test notices that the check is gone."""
    target = TOP / check.file
    bytecode = target.parent / "__pycache__"
    bytecode.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        changed = Path(folder, target.name)
        changed.write_text(check.removed_from(target.read_text(encoding="utf-8")), encoding="utf-8")
        namespace = ["unshare", "--mount", "sh", "-c", _MOUNTED, "sh"]
        done = subprocess.run(
            [
                *(*namespace, str(changed), str(target), str(bytecode)),
                *(sys.executable, "-m", "pytest", "-q", "-x", *tests),
            ],
            cwd=TOP,
            capture_output=True,
            text=True,
            timeout=600,
        )
    if done.returncode not in (0, 1, 2):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"{check.file}: {check.name}: pytest ended with {done.returncode}")
    return done.returncode == 0


def main() -> int:
    """Run the table, or the rows of the modules named as arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the checks as rows and stop")
    parser.add_argument("files", nargs="*", help="modules; default: all in the table")
    args = parser.parse_args()
    table = tomllib.loads(ROWS.read_text(encoding="utf-8"))
    failures, todo = [], []
    for file, row in table.items():
        if args.files and file not in args.files:
            continue
        found = checks(file, (TOP / file).read_text(encoding="utf-8"))
        if args.list:
            names = "".join(f'    "{check.name}",\n' for check in found)
            tests = ", ".join(f'"{test}"' for test in row["tests"])
            print(f'["{file}"]\ntests = [{tests}]\nchecks = [\n{names}]\n')
            continue
        there, listed = Counter(check.name for check in found), Counter(row["checks"])
        failures += [f"missing row: {file}: {name}" for name in there - listed]
        failures += [f"stale row: {file}: {name}" for name in listed - there]
        todo += [(check, row["tests"]) for check in found]
    with tempfile.TemporaryDirectory(prefix="mutate.") as scratch, ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda item: _survives(item[0], item[1], Path(scratch)), todo)
        for number, ((check, _), survived) in enumerate(zip(todo, results, strict=True), 1):
            verdict = "SURVIVED" if survived else "red"
            print(f"{number}/{len(todo)} {check.file}:{check.line} {check.name}: {verdict}")
            if survived:
                failures.append(f"no test notices: {check.file}:{check.line} {check.name}")
    for failure in failures:
        print(failure, file=sys.stderr)
    if not args.list:
        print(f"{len(todo)} checks removed in turn, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
