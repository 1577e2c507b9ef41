# SPDX-License-Identifier: Apache-2.0
"""Examples of policies, settings and output are what the code takes and prints."""

import re
import shlex
from importlib.metadata import entry_points

import pytest

from certbot_enclave import (
    cli,
    doors,
    errors,
    policy,
    registry,
    rehearsal,
    settings,
    verification,
)
from certbot_enclave.account import derived
from certbot_enclave.attestation import measurements, nsm, oyster
from certbot_enclave.caa import assessment, formats, held, issuers
from certbot_enclave.sealing import oyster as oysterkms
from tests import docs
from tests.support import forge
from tests.support.forge import CHAIN, NOW, POLICY
from tests.unit.docs.pages import (
    MANUAL,
    blocks_of,
    rows_below,
    text_of,
)

MEASURED = "".join(f'PCR{index} = "{digest.hex()}"\n' for index, digest in forge.PCRS.items())


def test_json_policy():
    (text,) = blocks_of("docs/policy.md", "json")
    found = policy.parse(text.encode(), "measurements.json")
    assert {0, 1, 2} == found.sets["measurements.json"].keys()
    assert (found.settings, found.conditions) == ({}, frozenset())


POLICIES = [
    (name, text)
    for name in ("docs/policy.md", "docs/domain-owner.md")
    for text in blocks_of(name, "toml")
]


@pytest.mark.parametrize(("name", "text"), POLICIES)
def test_toml_policies(name, text):
    if "[measurements." not in text:  # a part of one
        text += f"\n[measurements.release-1]\n{MEASURED}"
    found = policy.parse(text.encode(), name)
    assert "release-1" in {*found.sets, *found.images}
    assert found != policy.Policy(sets=found.sets)


def test_image_ids_are_those_of_the_measurements_shown():
    page = text_of("docs/policy.md")
    (text,) = blocks_of("docs/policy.md", "json")
    pcrs = policy.parse(text.encode(), "shown").sets["shown"]
    found = re.findall(r"(?:image_id = \"|--image-id )([0-9a-f]+)", page)
    assert len(found) == 2
    assert set(found) == {measurements.image_id(pcrs).hex()}
    flags = f"{measurements._IMAGE_ID_FLAGS:08x}"
    shown = " ".join(flags[index : index + 2] for index in range(0, 8, 2))
    assert f"SHA256({shown} ‖ PCR0 ‖ PCR1 ‖ PCR2 ‖ PCR16)" in page


def test_forms_of_a_policy_are_options_of_verify():
    rows = rows_below("\n" + text_of("docs/policy.md"), "# Policies")
    assert [row[0] for row in rows] == [
        "the enclave image",
        "what nitro-cli prints",
        "an Oyster image id",
        "TOML",
    ]
    for _form, option, _names in rows:
        words = ["verify", "evidence.json", "--domain", "a.example", *option.strip("`").split()]
        assert cli._parser("verify").parse_args(words).command == "verify"


@pytest.mark.parametrize(("name", "fits"), [("1.2", True), ("a b", False), ("a" * 101, False)])
def test_names_of_sets(name, fits):
    assert "letters, digits and `._-`, at most 100" in text_of("docs/policy.md")
    text = f'[measurements."{name}"]\n{MEASURED}'
    if fits:
        assert name in policy.parse(text.encode(), "policy.toml").sets
    else:
        with pytest.raises(errors.PolicyError):
            policy.parse(text.encode(), "policy.toml")


def test_attesters_are_those_that_are_installed():
    rows = rows_below(text_of("docs/operator.md"), "## Attesters")
    shown = {re.match(r"`([a-z]+)", row[0])[1]: row[2] for row in rows}
    found = {point.name: point for point in entry_points(group="certbot_enclave.attesters")}
    assert shown.keys() - {"auto"} == found.keys()
    for name, point in found.items():
        assert f"`{point.load().format}`" in shown[name]
    page = text_of("docs/operator.md")
    for text in (nsm.PATH, oyster.URL, oyster.KEY_FILE):
        assert f"`{text}`" in page


def test_sealers_and_stores_are_those_that_are_installed():
    part = text_of("docs/operator.md").split("## Sealers and stores", 1)[1].split("\n## ", 1)[0]
    for line, group in [
        ("The setting `sealer` says who wraps the keys of sealed state.", "sealers"),
        ("The setting `store` says where the host keeps the bundle.", "stores"),
    ]:
        rows = rows_below(part, line)
        shown = {re.match(r"`([a-z0-9]+)", row[0])[1] for row in rows}
        assert shown == {point.name for point in entry_points(group=f"certbot_enclave.{group}")}
    for text in (oysterkms.CONTRACT_ADDRESS, oysterkms.ADDRESS):
        assert f"{text}`" in part
    page = text_of("docs/oyster-account.md")
    for text in (oysterkms.SEAL_PATH, oysterkms._INFO.decode(), derived.PATH):
        assert f"`{text}`" in page


def test_components_that_may_be_brought():
    rows = rows_below("\n" + text_of("docs/extending.md"), "# Components of your own")
    shown = {tuple(cell.strip("`") for cell in row[1:]) for row in rows}
    groups = registry._GROUPS.items()
    assert shown == {(known.__name__, group, kind) for known, (group, kind) in groups}


def test_policy_members_are_all_described():
    described = {
        row[0].strip("`").split(".")[0] for row in rows_below(text_of("docs/policy.md"), "## TOML")
    }
    with pytest.raises(errors.PolicyError) as caught:
        policy.parse(b"other = 1", "policy.toml")
    assert described == set(re.search(r"known: (.*)", str(caught.value))[1].split(", "))
    examples = "\n".join(text for _, text in POLICIES)
    for member in described | {"conditions", "sealing", "accept.settings"}:
        assert member in examples


def test_settings_that_are_not_judged_by_name():
    part = text_of("docs/policy.md").split("### Settings", 1)[1].split("```", 1)[0]
    listed = re.search(r"order\.\n(.*?)\s+are\s+not\s+judged here", part, re.DOTALL)[1]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == verification._JUDGED_ELSEWHERE
    for name in verification._NEUTRAL:
        assert f"`{name}` weakens" in part


def test_conditions_are_those_of_the_code():
    listed = {row[0].strip("`") for row in rows_below(text_of("docs/policy.md"), "### Conditions")}
    source = (docs.PACKAGE / "caa" / "verdict.py").read_text()
    source += (docs.PACKAGE / "evidence.py").read_text()
    made = re.findall(r'conditions\.add\(f?"([a-z-]+:?)', source)
    made += [issuers.condition(""), held.condition("")]
    assert {re.sub("NAME|URI", "", name) for name in listed} == set(made)


def _operators_settings():
    text, _more = blocks_of("docs/operator.md", "toml")
    return settings.parse_file(text.encode())


def test_settings_of_a_rehearsal_work():
    _first, text = blocks_of("docs/operator.md", "toml")
    found = settings.parse_file(text.encode())
    assert found.keys() == {"server", "staging_rehearsal"}
    assert rehearsal.check(settings.Settings(found)) is None


def test_settings_of_the_examples():
    found = _operators_settings()
    assert found["domains"] == ("example.com", "www.example.com")
    (block,) = re.findall(r"code-block:: toml\n.*?\n\n(.*?)\n\n[A-Z]", MANUAL, re.DOTALL)
    shorter = settings.parse_file("\n".join(line[3:] for line in block.splitlines()).encode())
    assert {**found, **shorter, "domains": found["domains"]} == found


def test_owners_policy_accepts_the_operators_settings():
    (text,) = blocks_of("docs/domain-owner.md", "toml")
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
    return re.sub(r"\bthe (named|AWS Nitro) root", "…", line)


def test_output_of_verify_is_as_shown():
    shown = next(text for text in blocks_of("docs/domain-owner.md", "console") if "proved:" in text)
    lines = []
    (domain,) = forge.STATEMENT.domains
    verification.verify(
        forge.evidence(domains=(domain._replace(verdict="open"),)),
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


@pytest.mark.parametrize("name", ["docs/domain-owner.md", "docs/operator.md", "docs/providers.md"])
def test_records_are_as_the_product_prints_them(name):
    found = re.findall(r"^ *(([a-z.]+)\. 3600 IN CAA .*)$", text_of(name), re.MULTILINE)
    (account,) = {uri for uri in re.findall(r"accounturi=([^\"]+)\"", text_of(name))}
    records = formats.records_for(
        issuer="letsencrypt.org", methods=["http-01"], account_uri=account
    )
    owners = list(dict.fromkeys(owner for _, owner in found))
    assert "example.com" in owners
    assert [line for line, _ in found] == [
        line for owner in owners for line in formats.zone(owner, records)
    ]


URI = "https://acme-v02.api.letsencrypt.org/acme/acct/1234567890"
EMITS = [
    (name, line)
    for name in (
        *("README.md", "docs/domain-owner.md", "docs/providers.md", "docs/caa.md"),
        *("docs/nitro.md", "docs/oyster-image.md", "docs/recovery.md"),
    )
    for line in re.findall(r"^\$ certbot-enclave (caa emit .*--format .*)$", text_of(name), re.M)
]


def _emitted(line, capsys):
    """What a command of a page prints, with the account of the evidence that it names."""
    proved = r"--evidence \w+\.json --policy policy\.toml"
    line = re.sub(proved, f"--account-uri {URI} --method http-01", line.partition(" >")[0])
    assert cli.main(shlex.split(line)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("name", "line"), EMITS)
def test_records_can_be_emitted_as_the_pages_say(name, line, capsys):
    out = _emitted(line, capsys)
    assert URI in out or URI.encode().hex() in out


def test_every_form_has_a_provider():
    named = {re.search(r"--format (\S+)", line)[1] for page, line in EMITS if "prov" in page}
    assert named == formats.FORMATS.keys() - {"json"}
    heading = "## 7. Make the records in your provider's form"
    rows = rows_below(text_of("docs/domain-owner.md"), heading)
    listed = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row[1])}
    assert listed == named - {"ens"}


@pytest.mark.parametrize(
    ("name", "form", "start"),
    [
        ("docs/domain-owner.md", "nsupdate", "$ cat caa.txt\n"),
        ("docs/providers.md", "zone", "--format zone\n"),
    ],
)
def test_what_emit_prints_is_as_shown(name, form, start, capsys):
    (line,) = {line for page, line in EMITS if page == name and line.split()[8] == form}
    shown = [text.partition(start)[2] for text in blocks_of(name, "console")]
    assert _emitted(line, capsys) in shown


def test_findings_that_owners_meet_and_dates():
    rows = rows_below(text_of("docs/domain-owner.md"), "## 9. Check")
    found = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])}
    assert found
    assert found <= assessment.SEVERITIES.keys()
    page = " ".join(text_of("docs/domain-owner.md").split())
    assert f"every public CA has to from {issuers.MANDATORY}" in page
    assert assessment.WINDOW.total_seconds() == 8 * 3600
    assert "eight hours and the old TTL" in page
    assert policy.Policy(sets={}).max_age == 24 * 3600
    assert "older than 24 hours" in page


def test_every_door_is_listed():
    page = text_of("docs/guard.md")
    source = (docs.PACKAGE / "doors.py").read_text()
    assert set(re.findall(r"`(door-[a-z-]+)`", page)) == set(
        re.findall(r'"(door-[a-z-]+)"', source)
    )
    names = [*doors.TRUST_STORES, *doors.CODE_VARIABLES]
    names += [f"--{name.replace('_', '-')}" for name in doors.HOOKS]
    assert [name for name in names if f"`{name}`" not in page] == []
    for verb in doors.ORDERING:
        assert f"`{verb}`" in page
