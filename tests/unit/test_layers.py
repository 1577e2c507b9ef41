# SPDX-License-Identifier: Apache-2.0
"""Imports point down (CONTRIBUTING.md), and the owner's commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import certbot_enclave

PACKAGE = Path(certbot_enclave.__file__).parent
# Each may import what stands below it, and its own layer.
LAYERS = (
    ("errors",),
    ("interfaces",),
    ("registry", "settings"),
    ("options",),
    ("attestation", "caa", "aws"),
    ("fields",),
    ("statement",),
    ("policy", "matching"),
    ("verification",),
    ("sealing", "challenges", "deploy", "lineages", "looks", "rehearsed", "unfinished"),
    ("thrift",),
    ("runtime",),
    ("account",),
    ("locks",),
    (
        *("child", "continuity", "doors", "evidence", "following", "issuance"),
        *("rehearsal", "requested_names", "watch"),
    ),
    ("plugin", "cli", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LIGHT = ("attestation", "caa", "fields", "statement", "policy", "matching", "verification")
HEAVY = {"certbot", "acme", "josepy", "requests", "asyncio"}
# The driver for many names, on asyncio, and who may load it: not the plugin, and not the gate.
BULK = ("caa.bulk", "caa.channels", "caa.direct", "caa.kept")
USES_BULK = ("caa.bulk", "caa.direct", "cli.caa_judging")


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("module", "path"), list(_modules()))
def test_imports_point_down(module, path):
    layer = module.split(".")[0]
    if layer == "__init__":
        assert list(_imports(path)) == []
        return
    assert layer in RANK, f"{module} is in no layer"
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "certbot_enclave" and len(parts) > 1:
            assert RANK[parts[1]] <= RANK[layer], f"{module} imports {name}, which is above it"
        elif layer in LIGHT:
            heavy = HEAVY - {"asyncio"} if module in BULK else HEAVY
            assert parts[0] not in heavy, f"{module} imports {name}"


def test_only_caa_check_loads_the_driver_for_many_names():
    bulk = {f"certbot_enclave.{name}" for name in BULK}
    users = {
        module
        for module, path in _modules()
        for name in _imports(path)
        if any(name == item or name.startswith(f"{item}.") for item in bulk)
    }
    assert users == set(USES_BULK)


def test_only_metrics_load_the_library_for_them():
    users = {
        module
        for module, path in _modules()
        for name in _imports(path)
        if name.split(".")[0] == "prometheus_client"
    }
    assert users == {"cli.caa_metrics", "cli.caa_scrape"}


def test_only_signing_loads_the_library_for_it():
    users = {
        module
        for module, path in _modules()
        for name in _imports(path)
        if name.split(".")[0] == "requests_aws4auth"
    }
    assert users == {"aws.signing"}


def test_modules_have_one_concept_each():
    sizes = {module: len(path.read_text().splitlines()) for module, path in _modules()}
    assert {module: size for module, size in sizes.items() if size > 400} == {}


def _loaded(code):
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


# Old namespace packages put their root into every interpreter.
BARE = _loaded("pass")


@pytest.mark.parametrize(
    "module",
    [
        "certbot_enclave.verification",
        "certbot_enclave.cli.verify",
        "certbot_enclave.caa",
        "certbot_enclave.cli.caa_check",
        "certbot_enclave.cli.caa_diff",
        "certbot_enclave.cli.caa_apply",
        "certbot_enclave.caa.primary",
        "certbot_enclave.cli.caa_watch",
        "certbot_enclave.cli.caa_rounds",
        "certbot_enclave.cli.kms_policy",
        "certbot_enclave.aws.key_policy",
    ],
)
def test_owner_commands_load_nothing_heavy(module):
    loaded = _loaded(f"import {module}") - BARE
    assert loaded & (HEAVY | {"zope", "dns", "prometheus_client"}) == set()


HTTP = {"h2", "hpack", "hyperframe", "httpcore2", "httpx2"}


@pytest.mark.parametrize(
    ("named", "loaded"),
    [
        (["127.0.0.1", "tls://9.9.9.9#dns.quad9.net"], set()),
        (["https://9.9.9.9/dns-query#dns.quad9.net"], {"h2", "hpack", "hyperframe"}),
    ],
)
def test_only_a_resolver_over_https_loads_http(named, loaded):
    code = "from certbot_enclave.caa import bulk, resolvers\n"
    assert _loaded(f"{code}resolvers.parse_resolvers({named})") & HTTP == loaded


def test_plugin_import_is_light():
    script = "import certbot_enclave.plugin, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("certbot_enclave.")}
    assert ours == {
        f"certbot_enclave.{name}"
        for name in (
            "account",
            "account.guard",
            "account.jws",
            "account.key",
            "errors",
            "options",
            "plugin",
            "sealing",
            "sealing.envelope",
            "settings",
        )
    }
