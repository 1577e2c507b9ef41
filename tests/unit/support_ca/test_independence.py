# SPDX-License-Identifier: Apache-2.0
"""The test CA is a second reading of the rules: no code is shared."""

import ast
import sys
from pathlib import Path

from tests.support import ca

ALLOWED = {"cryptography", "dns", "trustme"}  # beside the standard library and itself


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_ca_imports_neither_the_product_nor_the_acme_library():
    own = "tests.support.ca"
    modules = sorted(Path(ca.__file__).parent.glob("*.py"))
    assert len(modules) > 10
    for path in modules:
        for name in imported(path):
            top = name.partition(".")[0]
            assert name.startswith(own) or top in sys.stdlib_module_names | ALLOWED, (
                path.name,
                name,
            )
