# SPDX-License-Identifier: Apache-2.0
"""The pages about platforms, and the one about recovery, say what the code takes and does."""

import ipaddress
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from certbot_enclave import cli, doors, errors, policy, registry, settings, verification
from certbot_enclave.attestation import measurements
from certbot_enclave.aws import credentials, endpoint
from certbot_enclave.caa import formats, issuers, lookup, resolvers, verdict
from tests.support import forge
from tests.support.forge import CHAIN, NOW, POLICY
from tests.unit.caa.told import Told
from tests.unit.docs.pages import blocks_of, text_of

NITRO, IMAGE, CONTRACT = (
    f"docs/{name}.md" for name in ("nitro", "oyster-image", "oyster-contract")
)
RECOVERY = "docs/recovery.md"
PLATFORMS = (NITRO, IMAGE, CONTRACT)
LANGUAGES = ("console", "sh", "json", "yaml", "toml", "dockerfile", "text")

each_platform = pytest.mark.parametrize("page", PLATFORMS)


def _toml(page, part):
    """The one block of TOML with this text in it."""
    (found,) = [text for text in blocks_of(page, "toml") if part in text]
    return found


def _settings(page):
    return settings.Settings(settings.parse_file(_toml(page, "\ndomains = ").encode()))


def _json(page):
    return [json.loads(text) for text in blocks_of(page, "json")]


def _printed(page, tmp_path, monkeypatch, capsys):
    """What the page's own ``kms-policy`` prints, of the files that the page shows."""
    (line,) = re.findall(
        r"^\$ certbot-enclave (kms-policy .*) > key-policy.json$", text_of(page), re.M
    )
    for name, found in (
        ("measurements.json", blocks_of(NITRO, "json")),
        ("both.toml", blocks_of(page, "toml")),
    ):
        for text in found:
            if "Measurements" in text or "[measurements.release-2]" in text:
                (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(line)) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


@pytest.mark.parametrize("page", [*PLATFORMS, RECOVERY])
def test_every_block_is_in_a_language_that_is_looked_at(page):
    found = re.findall(r"^ *```(.*)$", text_of(page), re.MULTILINE)
    assert set(found[::2]) <= {*LANGUAGES}
    assert set(found[1::2]) == {""}
    assert not re.search(r"^ +```", text_of(page), re.MULTILINE)


def test_key_policy_is_what_the_command_prints(tmp_path, monkeypatch, capsys):
    made, notes = _printed(NITRO, tmp_path, monkeypatch, capsys)
    shown = [text for text in _json(NITRO) if text.get("Id") == "certbot-enclave"]
    assert shown == [{**made, "Statement": made["Statement"][:1]}, made]
    assert notes
    assert notes in text_of(NITRO)


def test_key_policy_of_two_images_has_the_values_of_both(tmp_path, monkeypatch, capsys):
    made, _ = _printed(RECOVERY, tmp_path, monkeypatch, capsys)
    one, _ = _printed(NITRO, tmp_path, monkeypatch, capsys)
    sets = policy.parse(_toml(RECOVERY, "release-2").encode(), "both.toml").sets
    (opens,) = [item for item in made["Statement"] if item["Sid"] == "TheImageUnseals"]
    assert opens["Condition"]["StringEqualsIgnoreCase"] == {
        f"kms:RecipientAttestation:PCR{index}": sorted(
            {found[index].hex() for found in sets.values()}
        )
        for index in range(3)
    }
    assert [item["Sid"] for item in made["Statement"]] == [item["Sid"] for item in one["Statement"]]


def test_first_image_is_the_same_on_all_pages():
    (text,) = [text for text in blocks_of(NITRO, "json") if "Measurements" in text]
    pcrs = policy.parse(text.encode(), "shown").sets["shown"]
    for page, part in ((NITRO, "[accept]"), (RECOVERY, "release-2")):
        assert policy.parse(_toml(page, part).encode(), page).sets["release-1"] == pcrs
    ids = {
        found
        for page in (IMAGE, CONTRACT)
        for found in re.findall(r"\b[0-9a-f]{64}\b", text_of(page))
    }
    assert ids == {measurements.image_id(pcrs).hex()}


def test_role_may_do_what_the_operators_page_lists_and_use_the_key():
    (listed,) = _json("docs/operator.md")
    told = json.dumps(listed).replace("BUCKET", "example-enclave").replace("PREFIX", "release-1")
    (role,) = [text for text in _json(NITRO) if "s3:GetObject" in json.dumps(text)]
    use, *store = role["Statement"]
    assert store == json.loads(told)["Statement"]
    assert f"awskms:{use['Resource']}" == _settings(NITRO).text("sealer")
    assert use["Action"] == ["kms:Encrypt", "kms:Decrypt"]
    assert set(re.findall(r"arn:aws:kms:[\w:/-]+", text_of(NITRO))) == {use["Resource"]}
    assert set(re.findall(r"s3://([\w-]+)/([\w-]+)", text_of(NITRO))) == {
        ("example-enclave", "release-1")
    }


SEALING = {NITRO: "awskms", IMAGE: "image", CONTRACT: "contract"}


@each_platform
def test_settings_name_parts_that_are_there(page):
    found = _settings(page)
    sealer = registry.load_sealer(found.text("sealer"))
    assert SEALING[page] in (sealer.scheme, sealer.key)
    registry.load_store(found.text("store"))
    assert not sealer.simulated
    assert found.text("account") == ""


def test_further_settings_of_the_pages():
    more = settings.parse_file(_toml(CONTRACT, 'account = "https').encode())
    assert more.keys() == {"account"}
    for spec in re.findall(r'store = "([^"]+)"', text_of(IMAGE)):
        registry.load_store(spec)


@each_platform
def test_owners_policy_accepts_these_settings_and_no_others(page):
    demanded = policy.parse(_toml(page, "[accept]").encode(), page)
    sealer = registry.load_sealer(_settings(page).text("sealer"))
    said = {
        "settings": _settings(page).stated(),
        "sealing_scheme": sealer.scheme,
        "sealing_key": sealer.key,
    }
    asked = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}
    accepting = demanded._replace(sets=POLICY.sets, images={})
    found = verification.verify(forge.evidence(**said), accepting, **asked)
    assert found.statement.settings == said["settings"]
    for name in demanded.settings:
        kept = {key: value for key, value in demanded.settings.items() if key != name}
        with pytest.raises(errors.StatementError) as caught:
            verification.verify(forge.evidence(**said), accepting._replace(settings=kept), **asked)
        assert caught.value.code == "setting"
    with pytest.raises(errors.StatementError) as caught:
        verification.verify(forge.evidence(**{**said, "sealing_key": "other"}), accepting, **asked)
    assert caught.value.code == "sealing"


@pytest.mark.parametrize("page", [*PLATFORMS, RECOVERY])
def test_scripts_are_scripts(page):
    for text in blocks_of(page, "sh"):
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), text


@pytest.mark.parametrize("page", [NITRO, IMAGE])
def test_start_restores_before_it_asks_and_renews_by_run(page):
    (script,) = [text for text in blocks_of(page, "sh") if "certbot-enclave restore" in text]
    steps = ["nginx\n", "certbot-enclave restore", "certbot-enclave register"]
    steps += ["run -- certonly", "run -- renew"]
    places = [script.index(f"\n{step}" if step == "nginx\n" else step) for step in steps]
    assert places == sorted(places)
    for text in (text_of(page) for page in (*PLATFORMS, RECOVERY)):
        assert not re.search(r"^\s*(?:\$ )?certbot renew", text, re.MULTILINE)
    served = settings.parse_file(_toml(page, "\ndomains = ").encode())
    assert re.findall(r"--domain (\S+)", script) == list(served["domains"])
    assert f"--server {served['server']} " in script.replace("\\\n", " ")
    assert f" {served['deploy'].removeprefix('files:')}\n" in script


def _relays():
    """The relays of both sides: (where from, where to) by vsock port, and what may be reached."""
    inside, outside = (
        next(text for text in blocks_of(NITRO, "sh") if part in text)
        for part in ("VSOCK-CONNECT:3:3128", "vsock-proxy --num_workers")
    )
    out = re.findall(
        r"^socat TCP-LISTEN:(\d+),bind=([\d.]+),\S+ VSOCK-CONNECT:3:(\d+) &$", inside, re.M
    )
    host = re.findall(r"^vsock-proxy (?:--num_workers \d+ )?(\d+) ([\d.]+) (\d+) &$", outside, re.M)
    return inside, outside, out, host


def test_relays_of_both_sides_fit():
    inside, outside, out, host = _relays()
    assert len(out) == inside.count("VSOCK-CONNECT") == 4
    targets = {port: (address, int(end)) for port, address, end in host}
    assert {port for *_, port in out} == targets.keys()
    # What has its own address inside is what the host reaches; the other two are named by URL.
    for end, address, port in out:
        if address != "127.0.0.1":
            assert targets[port] == (address, int(end))
            assert f"\nip addr add {address}/32 dev lo\n" in inside
    allowed = next(text for text in blocks_of(NITRO, "yaml") if "allowlist" in text)
    listed = [(item["address"], item["port"]) for item in yaml.safe_load(allowed)["allowlist"]]
    assert sorted(listed) == sorted(targets.values())
    for port in re.findall(r"^socat VSOCK-LISTEN:(\d+),\S+ TCP:127.0.0.1:\1 &$", inside, re.M):
        assert f"socat TCP-LISTEN:{port},fork,reuseaddr VSOCK-CONNECT:16:{port} &\n" in outside
    assert outside.count("VSOCK-CONNECT:16") == inside.count("\nsocat VSOCK-LISTEN") == 2
    assert text_of(NITRO).count("--enclave-cid 16") == text_of(NITRO).count("nitro-cli run-enclave")
    assert "VSOCK-CONNECT:3:5000" in text_of(NITRO)
    assert "VSOCK-LISTEN:5000," in outside


def test_relays_lead_to_the_resolvers_that_are_asked():
    *_, out, _ = _relays()
    asked = resolvers.parse_resolvers(_settings(NITRO).list("resolver"))
    wanted = {(str(item.port), item.address) for item in asked}
    assert wanted == {
        (end, address) for end, address, _ in out if not ipaddress.ip_address(address).is_loopback
    }


def test_environment_of_the_image_is_allowed():
    environ = dict(
        re.findall(r"^ENV (\w+)=(\S+)$", "\n".join(blocks_of(NITRO, "dockerfile")), re.M)
    )
    doors.check_environment(environ, _settings(NITRO))
    *_, out, _ = _relays()
    local = {f"http://{address}:{end}" for end, address, _ in out}
    assert endpoint.proxy(environ) in local
    name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
    assert credentials._endpoint(environ[name], name, ()) in local


def test_compose_file_gives_what_is_needed():
    (text,) = blocks_of(IMAGE, "yaml")
    (service,) = yaml.safe_load(text)["services"].values()
    (shown,) = blocks_of("docs/operator.md", "yaml")
    (listed,) = yaml.safe_load(shown)["services"].values()
    assert {name: service[name] for name in listed} == listed
    args = cli._parser("restore").parse_args(["restore"])
    found = _settings(IMAGE)
    needed = [args.config_dir, args.work_dir, args.logs_dir, "/tmp"]
    needed += [found.text("deploy").removeprefix("files:"), found.text("evidence")]
    for path in needed:
        assert any(Path(path).is_relative_to(mount) for mount in service["tmpfs"]), path
    assert "env_file" not in service
    assert "environment" not in service
    (volume,) = service["volumes"]
    source, target, _ = volume.split(":")
    assert f"--init-params {source.removeprefix('/init-params/')}:0:1:file:" in text_of(IMAGE)
    (script,) = [text for text in blocks_of(IMAGE, "sh") if "AWS_ACCESS_KEY_ID" in text]
    assert script.count(target) == 3


def test_errors_that_the_pages_quote_are_there():
    known = text_of("docs/errors.md") + text_of("docs/operator.md")
    for page in (*PLATFORMS, RECOVERY):
        for code in re.findall(r"`(bundle-[a-z-]+)`", text_of(page)):
            assert f"| `{code}` |" in known
        prose = " ".join(re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S).split())
        for message in re.findall(r"`((?:… )?the [^`]*…[^`]*)`", prose):
            assert message in known, message


BLUE, GREEN = (f"https://acme-v02.api.letsencrypt.org/acme/acct/{number}" for number in (1, 2))


def _pair(uri):
    return formats.records_for(issuer="letsencrypt.org", methods=["http-01"], account_uri=uri)


@pytest.mark.parametrize("uri", [BLUE, GREEN])
@pytest.mark.parametrize("published", [[BLUE], [GREEN], [BLUE, GREEN]])
def test_gate_is_open_only_for_the_records_of_one_account(uri, published):
    """Recovery, step 5: with the records of both, neither could order."""
    records = tuple(dict.fromkeys(record for named in published for record in _pair(named)))
    told = Told({"example.com": records})
    found = verdict.judge_name(
        "example.com",
        verdict.Subject("letsencrypt.org", uri, ("http-01",)),
        verdict.Tolerance(),
        lambda name: lookup.climb(name, [told]),
        today=issuers.MANDATORY,
    )
    assert found.opens_gate == (published == [uri])
