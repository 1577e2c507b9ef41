# SPDX-License-Identifier: Apache-2.0
"""The measured settings file and the effective settings of this run (docs/settings.md).

Measurements cover the image, not arguments or environment. So what decides about security has one
home: ``/etc/certbot-enclave/settings.toml``, which is part of the image. The same names exist as
``--enclave-…`` options of certbot and as options of ``certbot-enclave``, for hand use and for
simulated enclaves; in a real enclave an option that contradicts or adds to the file is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from certbot_enclave import errors

MEASURED_FILE = "/etc/certbot-enclave/settings.toml"
MAX_FILE = 64 * 1024  # bytes

Value = str | bool | tuple[str, ...]


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: As in the settings file; the option is ``--`` + name with ``-`` for ``_``.
        default: Its type is the setting's type: text, switch, or list of text.
        help: One line.
        relevant: True if it is security-relevant, so that it stands in the statement.
        choices: What a text may be; empty for anything.
    """

    name: str
    default: Value
    help: str
    relevant: bool = True
    choices: tuple[str, ...] = ()


TABLE = (
    Setting(
        "attester",
        "auto",
        "who makes attestation documents: auto, nsm, oyster:URL, or simulated:DIR",
    ),
    Setting(
        "sealer",
        "",
        "who wraps the keys of sealed state: awskms:KEY-ARN, oysterkms:[HOST:PORT], or"
        " simulated:DIR",
    ),
    Setting("aws_endpoint", "", "URL of the AWS key service instead of the one of the key's ARN"),
    Setting("store", "", "where the host keeps the sealed bundle: file:PATH, s3://…, or none:"),
    Setting(
        "account_key",
        "random",
        "where the account key comes from: random, or derived from the sealer's secret",
        choices=("random", "derived"),
    ),
    Setting("server", "", "ACME directory URL, https (certbot's --server)"),
    Setting(
        "staging_rehearsal",
        "",
        "ACME directory URL of the CA's staging, where each image tries every order first",
    ),
    Setting("domains", (), "names this enclave may ask certificates for"),
    Setting(
        "bind_pcr",
        "",
        "PCR to extend with the account and lock: 16 to 31",
        choices=("", *(str(index) for index in range(16, 32))),
    ),
    Setting("account", "", "expected ACME account URI; any other is an error"),
    Setting("challenge", "http-01", "validation method", choices=("http-01",)),
    Setting("caa_issuer", "", "issuer domain name, if the directory names no CAA identity"),
    Setting(
        "resolver",
        ("tls://9.9.9.9#dns.quad9.net", "tls://1.1.1.1#one.one.one.one"),
        "validating resolvers that must agree: tls://IP#NAME, https://IP/PATH#NAME, or a loopback"
        " IP:PORT",
    ),
    Setting(
        "resolver_roots", "", "PEM file of roots for resolvers over TLS instead of the system's"
    ),
    Setting("ca_roots", "", "PEM file of roots for the ACME server instead of the built-in ones"),
    Setting("allow_unsigned_zone", False, "accept pinned CAA in a zone without DNSSEC"),
    Setting("allow_covering_wildcard", False, "accept that *.parent is open to others"),
    Setting("allow_alias_zone", (), "zones that a CNAME or DNAME on the path may lead into"),
    Setting(
        "allow_issuer",
        (),
        "issuers accepted though they are not known here to enforce RFC 8657",
    ),
    Setting("allow_disk", False, "accept directories that are not RAM-backed"),
    Setting("deploy", "", "where key and chain go for the TLS server: files:DIR"),
    Setting("deploy_check", "", "command that must succeed before a new certificate is used"),
    Setting("deploy_reload", "", "command that makes the TLS server use the new certificate"),
    Setting("hooks", (), "exact commands that certbot's hooks may run"),
    Setting("evidence", "", "where evidence is written (CONFIG_DIR/enclave/evidence.json)"),
    Setting(
        "budget",
        "",
        "what may be asked of the CA: one less than Let's Encrypt allows, or none for no limit",
        relevant=False,
        choices=("", "none"),
    ),
    Setting("wait_for_caa", "", "how long to wait for CAA records, e.g. 30m", relevant=False),
)
BY_NAME = {setting.name: setting for setting in TABLE}

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Settings(Mapping[str, Value]):
    """The effective settings: every name of `TABLE` with its value. Immutable."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._values = {setting.name: given.get(setting.name, setting.default) for setting in TABLE}

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str:
        """Return a text setting."""
        value = self._values[name]
        if not isinstance(value, str):
            raise TypeError(f"setting {name} is no text")
        return value

    def switch(self, name: str) -> bool:
        """Return a switch."""
        value = self._values[name]
        if not isinstance(value, bool):
            raise TypeError(f"setting {name} is no switch")
        return value

    def list(self, name: str) -> tuple[str, ...]:
        """Return a list setting."""
        value = self._values[name]
        if not isinstance(value, tuple):
            raise TypeError(f"setting {name} is no list")
        return value

    def stated(self) -> dict[str, Value]:
        """Return what the statement says: the security-relevant settings with their values."""
        return {name: value for name, value in self._values.items() if BY_NAME[name].relevant}


def split(text: str) -> tuple[str, ...]:
    """Split a comma-separated list; blanks around items and empty items are dropped."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def seconds(text: str) -> int:
    """Read a duration such as ``90s``, ``30m`` or ``2h``; empty text is 0.

    Raises:
        PolicyError: It is no duration (``setting-invalid``).
    """
    if not text:
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise errors.PolicyError(
            f"expected a duration such as 90s, 30m or 2h, got {text!r}", code="setting-invalid"
        )
    return int(match[1]) * _SECONDS[match[2]]


def _checked(name: str, value: Any, source: str) -> Value:
    setting = BY_NAME.get(name)
    if setting is None:
        known = ", ".join(BY_NAME)
        raise errors.PolicyError(
            f"{source}: unknown setting {name!r}", code="setting-unknown", hint=f"known: {known}"
        )
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = tuple(value)
    if type(value) is not type(setting.default):
        kinds = {str: "text", bool: "true or false", tuple: "a list of texts"}
        raise errors.PolicyError(
            f"{source}: {name} is {type(value).__name__}, expected {kinds[type(setting.default)]}",
            code="setting-invalid",
        )
    items = value if isinstance(value, tuple) else (str(value),)
    if any(not item.isprintable() or "," in item for item in items if isinstance(value, tuple)):
        raise errors.PolicyError(
            f"{source}: {name} has an item with a comma or a control character",
            code="setting-invalid",
        )
    if isinstance(value, str) and not value.isprintable():
        raise errors.PolicyError(
            f"{source}: {name} has a control character", code="setting-invalid"
        )
    if setting.choices and value not in setting.choices:
        raise errors.PolicyError(
            f"{source}: {name} is {value!r}, expected {' or '.join(filter(None, setting.choices))}",
            code="setting-invalid",
        )
    checked: Value = value
    return checked


def parse_file(data: bytes, source: str = MEASURED_FILE) -> dict[str, Value]:
    """Read a settings file.

    Args:
        data: TOML, UTF-8, at most `MAX_FILE` bytes.
        source: Its name, for errors.

    Returns:
        The settings that the file names.

    Raises:
        PolicyError: Not TOML, too large, an unknown name, or a value of another type.
    """
    if len(data) > MAX_FILE:
        raise errors.PolicyError(
            f"{source} has {len(data)} bytes, at most {MAX_FILE} are allowed", code="setting-size"
        )
    import tomllib  # verifiers need this module's table, and start faster without a parser

    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise errors.PolicyError(f"{source} is no TOML: {error}", code="setting-syntax") from error
    return {name: _checked(name, value, source) for name, value in table.items()}


def check_saved(table: Mapping[str, Any], source: str) -> dict[str, Value]:
    """Check settings that an earlier run saved, as `parse_file` checks a file."""
    return {name: _checked(name, value, source) for name, value in table.items()}


def effective(
    *,
    measured: Mapping[str, Value] | None,
    options: Mapping[str, Value],
    saved: Mapping[str, Value],
    simulated: bool,
) -> Settings:
    """Decide what rules this run.

    Args:
        measured: The settings file of the image; None if there is none.
        options: What the command line says.
        saved: What `register` saved; it speaks where the command line and the file are silent.
        simulated: True if the attester is a simulated one.

    Raises:
        PolicyError: An option has a value that it cannot have (``setting-invalid``); in a real
            enclave, there is no file (``settings-unmeasured``), or an option contradicts or adds to
            it (``settings-contradicted``).
    """
    options = {name: _checked(name, value, "command line") for name, value in options.items()}
    if simulated:
        return Settings({**saved, **(measured or {}), **options})
    if measured is None:
        raise errors.PolicyError(
            f"no measured settings: {MEASURED_FILE} is missing",
            code="settings-unmeasured",
            hint="put the settings file into the image, so that the measurements cover it",
        )
    rules = Settings(measured)
    for name, value in {**saved, **options}.items():
        if BY_NAME[name].relevant and rules[name] != value:
            raise errors.PolicyError(
                f"{name} is {value!r} on the command line or in saved settings, "
                f"but {rules[name]!r} in {MEASURED_FILE}",
                code="settings-contradicted",
                hint="in a real enclave only the measured file decides; drop the option",
            )
    free = {name: value for name, value in options.items() if not BY_NAME[name].relevant}
    return Settings({**measured, **free})
