# SPDX-License-Identifier: Apache-2.0
"""Remove each check in turn: a named test must turn red (``make mutate``).

``tests/mutations.toml`` lists, for each module, the tests that hold its checks, and the name of
every check: the ``code`` of the error that it raises, or the first words of its message. A check
in the module without a row, or a row without a check, fails. A check is removed by putting
``pass`` in the place of its ``raise`` in a scratch copy.
"""

import argparse
import ast
import os
import shutil
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
COPIED = ("certbot_enclave", "tests", "pyproject.toml", "setup.py", "README.md", "docs")


@dataclass(frozen=True)
class Check:
    """One ``raise`` in one module."""

    file: str
    name: str
    line: int
    end: int
    indent: int

    def removed_from(self, source: str) -> str:
        lines = source.splitlines(keepends=True)
        lines[self.line - 1 : self.end] = [" " * self.indent + "pass\n"]
        return "".join(lines)


def _name(node: ast.Raise) -> str | None:
    if not isinstance(node.exc, ast.Call):
        return None
    for keyword in node.exc.keywords:
        if keyword.arg == "code":
            return ast.unparse(keyword.value).strip("'\"f")
    texts = [
        part.value
        for argument in node.exc.args
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    codes = [text for text in texts if text.replace("-", "").isalnum() and "-" in text]
    return (codes or texts or [ast.unparse(node.exc)])[-1 if codes else 0].strip()


def checks(file: str, source: str) -> list[Check]:
    """Find every check of a module, in order."""
    found = [
        Check(file, name, node.lineno, node.end_lineno or 0, node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise) and (name := _name(node)) is not None
    ]
    return sorted(found, key=lambda check: check.line)


def _survives(check: Check, tests: list[str], scratch: Path) -> bool:
    """Return True if no test notices that the check is gone."""
    with tempfile.TemporaryDirectory(dir=scratch) as copy:
        for name in COPIED:
            source = TOP / name
            if source.is_dir():
                shutil.copytree(
                    source, Path(copy, name), ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(source, Path(copy, name))
        target = Path(copy, check.file)
        target.write_text(check.removed_from(target.read_text(encoding="utf-8")), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly", *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": copy, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
    if done.returncode not in (0, 1, 2):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"{check.file}: {check.name}: pytest exit code {done.returncode}")
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
