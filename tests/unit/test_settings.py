# SPDX-License-Identifier: Apache-2.0
"""What is measured rules; the host's arguments may not contradict it."""

import pytest

from certbot_enclave import errors, settings
from certbot_enclave.settings import Settings, effective, parse_file, seconds, split

MEASURED = {"server": "https://ca.test/dir", "deploy": "files:/run/tls", "hooks": ("/bin/true",)}


def _code(call, *args, **kwargs):
    with pytest.raises(errors.PolicyError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_file_is_read():
    text = b'server = "https://ca.test/dir"\nhooks = ["/bin/true"]\nallow_disk = true\n'
    assert parse_file(text) == {
        "server": "https://ca.test/dir",
        "hooks": ("/bin/true",),
        "allow_disk": True,
    }


BAD_FILES = {
    "no TOML": (b"server", "setting-syntax"),
    "not UTF-8": (b"\xff", "setting-syntax"),
    "unknown name": (b'servr = "x"', "setting-unknown"),
    "text for a switch": (b'allow_disk = "no"', "setting-invalid"),
    "number for a text": (b"server = 7", "setting-invalid"),
    "text for a list": (b'hooks = "/bin/true"', "setting-invalid"),
    "list of numbers": (b"hooks = [1]", "setting-invalid"),
    "comma in an item": (b'hooks = ["a,b"]', "setting-invalid"),
    "newline in an item": (b'hooks = ["a\\nb"]', "setting-invalid"),
    "newline in a text": (b'server = "a\\nb"', "setting-invalid"),
    "unknown method": (b'challenge = "dns-01"', "setting-invalid"),
    "table": (b"[server]\nx = 1", "setting-invalid"),
    "too large": (b"#" * (settings.MAX_FILE + 1), "setting-size"),
}


@pytest.mark.parametrize(("data", "code"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused(data, code):
    assert _code(parse_file, data) == code


def test_saved_settings_are_checked_alike():
    assert _code(settings.check_saved, {"servr": "x"}, "saved") == "setting-unknown"
    assert settings.check_saved({"hooks": ["a"]}, "saved") == {"hooks": ("a",)}


def test_real_enclave_needs_the_measured_file():
    assert (
        _code(effective, measured=None, options={}, saved={}, simulated=False)
        == "settings-unmeasured"
    )


@pytest.mark.parametrize("source", ["options", "saved"])
@pytest.mark.parametrize(
    "given", [{"deploy": "files:/tmp/x"}, {"deploy_reload": "sh -c x"}, {"allow_disk": True}]
)
def test_real_enclave_refuses_what_contradicts_or_adds(source, given):
    arguments = {"options": {}, "saved": {}, source: given}
    assert (
        _code(effective, measured=MEASURED, simulated=False, **arguments) == "settings-contradicted"
    )


def test_real_enclave_accepts_what_repeats_or_does_not_matter():
    options = {"deploy": "files:/run/tls", "wait_for_caa": "5m"}
    found = effective(measured=MEASURED, options=options, saved={}, simulated=False)
    assert found.text("wait_for_caa") == "5m"
    assert found.list("hooks") == ("/bin/true",)


def test_simulated_enclave_options_win_then_file_then_saved():
    found = effective(
        measured={"server": "file", "deploy": "file"},
        options={"server": "option"},
        saved={"server": "saved", "deploy": "saved", "store": "saved"},
        simulated=True,
    )
    assert [found.text(name) for name in ("server", "deploy", "store")] == [
        "option",
        "file",
        "saved",
    ]


def test_statement_carries_every_relevant_setting():
    stated = Settings(MEASURED).stated()
    assert stated["deploy"] == "files:/run/tls"
    assert stated["allow_unsigned_zone"] is False
    assert not {"budget", "wait_for_caa"} & stated.keys()
    assert len(stated) == len(settings.TABLE) - 2


@pytest.mark.parametrize(
    ("name", "read"), [("server", "switch"), ("hooks", "text"), ("deploy", "list")]
)
def test_wrong_kind_is_a_mistake_of_ours(name, read):
    with pytest.raises(TypeError):
        getattr(Settings({}), read)(name)


@pytest.mark.parametrize(("text", "value"), [("", 0), ("90s", 90), ("30m", 1800), ("2h", 7200)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0m", "30", "m", "1d", "-1m", "1m30s", "9999999s"])
def test_bad_durations(text):
    assert _code(seconds, text) == "setting-invalid"


def test_lists_are_split():
    assert split(" a, b,,c ") == ("a", "b", "c")
