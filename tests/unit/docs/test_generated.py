# SPDX-License-Identifier: Apache-2.0
"""Generated tables are current, and complete."""

import re

import pytest

from certbot_enclave import cli, errors, settings
from tests import docs
from tests.unit.docs.pages import (
    MANUAL,
    rows_below,
    text_of,
)


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
    rows = rows_below(text_of("docs/settings.md"), "<!-- settings: begin -->")
    stated = settings.Settings({}).stated()
    assert {row[0].strip("`"): row[3] for row in rows} == {
        item.name: "yes" if item.name in stated else "no" for item in settings.TABLE
    }


def test_every_error_code_is_explained():
    listed = set(re.findall(r"^\| `([^`]+)` \|", text_of("docs/errors.md"), re.MULTILINE))
    source = "\n".join(path.read_text() for path in docs.PACKAGE.rglob("*.py"))
    found = set(re.findall(r'\bcode="([a-z0-9-]+)"', source))
    # Those that a helper is given, and those that a `Raises` section names.
    found |= set(re.findall(r'"((?:jws|payload|csr|cbor|door)-[a-z-]+)"', source))
    assert len(found) > 120
    assert found - listed == set()


def test_error_codes_stand_under_their_class_with_its_exit_code():
    page = text_of("docs/errors.md")
    for row in docs.rows():
        part = re.split(r"^## ", page.split(f"\n## {row.kind}\n", 1)[1], flags=re.MULTILINE)[0]
        assert f"| `{row.code}` |" in part
        error = getattr(errors, row.kind)("", code=row.code)
        assert f"Exit code {cli.exit_code(error)}." in part
