# SPDX-License-Identifier: Apache-2.0
"""Policies: nitro-cli's JSON and our TOML."""

from __future__ import annotations

from random import Random

from certbot_enclave import policy
from certbot_enclave.attestation import measurements
from tests.fuzz import changes, trees
from tests.fuzz.changes import below
from tests.support import forge

JSON = measurements.to_json({**forge.PCRS, 8: bytes(range(48))})
_SET = "".join(f'PCR{index} = "{digest.hex()}"\n' for index, digest in forge.PCRS.items())
TOML = f"""max_age = 3600
staging = true

[measurements.first]
{_SET}
[measurements.oyster]
image_id = "{"ab" * 32}"

[accept]
conditions = ["alias-zone:a.b"]
sealing = ["awskms:key"]

[accept.settings]
allow_unsigned_zone = true
resolvers = ["tls://9.9.9.9#dns.quad9.net"]

[directories."https://ca.test/dir"]
account_prefix = "https://ca.test/acct/"
issuers = ["ca.test"]
"""
_LINES = TOML.splitlines(keepends=True)
_VALUES = (
    *("0", "1", "-1", "1_000", "0x10", "1e999", "nan", "inf", "0.5", "31622400", "31622401"),
    *("9" * 5000, "true", "false", '""', "''", '"x"', '"\\u0000"', '"\\ud800"', '"\\n"', "[]"),
    *("[[]]", "[1]", '["a", 1]', "{}", "{a = 1}", '{"PCR0" = ""}', "2026-01-01", "07:32:00"),
    *("2026-13-01T00:00:00Z", "1979-05-27 07:32:00+01:00", '"""\n"""', f'"{"0" * 96}"'),
    *(
        f'"{"0" * 64}"',
        f'"{"A" * 64}"',
        f'"{"a" * 95}"',
        "[" * 400,
        "{a=" * 200,
        '"https://ca.test/x"',
        '["a", "a"]',
    ),
)
_LINES_MORE = (
    *("[measurements]\n", "[measurements.second]\n", "[[measurements]]\n", "[accept]\n", "[]\n"),
    *('image_id = ""\n', f'image_id = "{"0" * 64}"\n', "[measurements.oyster.more]\n"),
    *("[a.b.c]\n", "unknown = 1\n", 'PCR8 = "00"\n', "PCR0.x = 1\n", "accept.settings = 1\n"),
    *("directories = 1\n", '[directories."http://a"]\n', '[directories."a\\nb"]\n', "= 1\n", "a\n"),
    *('[measurements.""]\n', '[measurements."\\u001b"]\n', f"PCR1 = {'[' * 3000}\n", "# é\n"),
)
TOKENS = (
    *trees.TOKENS,
    *(value.encode() for value in _VALUES),
    *(line.encode() for line in _LINES_MORE),
)


def _change_lines(random: Random) -> str:
    lines = list(_LINES)
    for _ in range(1 + int(3 * random.random() ** 2)):
        at, choice = below(random, len(lines)), random.random()
        name, equals, _value = lines[at].partition(" = ")
        if choice < 0.6 and equals:
            lines[at] = f"{name} = {_VALUES[below(random, len(_VALUES))]}\n"
        elif choice < 0.7 and len(lines) > 1:
            del lines[at]
        elif choice < 0.8:
            lines.insert(below(random, len(lines) + 1), lines[at])
        else:
            lines.insert(at, _LINES_MORE[below(random, len(_LINES_MORE))])
    return "".join(lines)


def make(random: Random) -> bytes:
    """Make a policy with changes to its values or bytes."""
    choice = random.random()
    if choice < 0.3:
        return trees.change(random, JSON).encode("utf-8", "surrogatepass")
    if choice < 0.6:
        return changes.change(random, JSON.encode(), trees.TOKENS)
    if choice < 0.9:
        return _change_lines(random).encode()
    return changes.change(random, TOML.encode(), TOKENS)


def judge(data: bytes) -> None:
    """Read a policy.

    Raises:
        PolicyError: It is refused.
        AssertionError: It was accepted, and demands too little.
    """
    found = policy.parse(data, "policy")
    if not (found.sets or found.images) or not 1 <= found.max_age <= 366 * policy.DAY:
        raise AssertionError(f"demands too little: {found}")
    if any(len(image) != 32 for image in found.images.values()):
        raise AssertionError(f"demands no image: {found}")
    for pcrs in found.sets.values():
        sizes = {len(digest) for digest in pcrs.values()}
        if not {0, 1, 2} <= pcrs.keys() or sizes != {48} or not max(pcrs) < 32:
            raise AssertionError(f"demands too little: {found}")
        if any(pcrs[index] == bytes(48) for index in (0, 1, 2)):
            raise AssertionError(f"accepts a debug enclave: {found}")
