# SPDX-License-Identifier: Apache-2.0
"""States of real zones, and the verdict on each, by both drivers of the climb."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from certbot_enclave import errors
from certbot_enclave.caa import assessment, lookup, resolvers
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from tests.functional.caa.asking import (
    BOTH,
    ISSUER,
    METHOD,
    NOBODY_WILD,
    OTHER,
    PAIR,
    URI,
    checked,
    findings_of,
)
from tests.support.world.dns import DnsWorld

SIGNED = (
    *("example.test", "child.example.test", "heir.example.test", "shade.example.test"),
    *("other.test", "bare.test", "hash.test"),
)
RECORDS = {
    # Zones that are bound, and one that is bound below a bound one.
    "example.test": PAIR,
    "other.test": PAIR,
    "hash.test": PAIR,
    "plain.test": PAIR,
    "bogus.test": PAIR,
    "child.example.test": PAIR,
    "loose.example.test": PAIR,
    # Zones and names whose own records hide those above.
    "shade.example.test": [OTHER],
    "own.shade.example.test": PAIR,
    "sub.example.test": [OTHER],
    "iodef.example.test": ['0 iodef "mailto:a@example.test"'],
    "guard.example.test": [NOBODY_WILD],
    "tag.example.test": ['0 tbs ""'],
    "closed.example.test": ['0 issue ";"'],
    # Wildcards: of DNS, and of certificates.
    "*.wild.example.test": PAIR,
    "*.wopen.example.test": [OTHER],
    "star.example.test": BOTH,
    "own.bare.test": PAIR,
    # What aliases lead to.
    "open.other.test": [OTHER],
}
OTHERS = [
    ("leaf.ent.example.test", "TXT", "x"),
    ("leaf.ent.hash.test", "TXT", "x"),
    ("alias.example.test", "CNAME", "www.other.test."),
    ("inside.example.test", "CNAME", "www.example.test."),
    ("toopen.example.test", "CNAME", "open.other.test."),
    ("tobare.example.test", "CNAME", "www.bare.test."),
    ("chain.example.test", "CNAME", "link.plain.test."),
    ("link.plain.test", "CNAME", "www.other.test."),
    ("dangling.example.test", "CNAME", "gone.nothere.test."),
    ("tobogus.example.test", "CNAME", "www.bogus.test."),
    ("one.example.test", "CNAME", "two.example.test."),
    ("two.example.test", "CNAME", "one.example.test."),
    ("*.cn.example.test", "CNAME", "www.other.test."),
    ("moved.example.test", "DNAME", "other.test."),
]


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(
            Path(state, "dns"),
            signed=SIGNED,
            unsigned=("plain.test", "part.example.test", "loose.example.test"),
            bogus=("bogus.test", "bad.example.test"),
            nsec3=("hash.test",),
        ) as world,
    ):
        for name, records in RECORDS.items():
            world.caa(name, *records)
        for name, kind, content in OTHERS:
            world.update(name, kind, content)
        yield world


class Row(NamedTuple):
    """One name.

    Attributes:
        name: It.
        word: The verdict.
        found_at: Whose record set is relevant.
        findings: Their names; each may be there several times.
        zones: Zones of aliases that are accepted.
        conditions: What is said of what was accepted.
    """

    name: str
    word: str
    found_at: str | None
    findings: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


_HIDDEN = ("not-allowed", "shadowed-by-closer-set", "unbound-issuer")
_ALIAS = ("alias-target-controls-policy",)
_TO_OTHER = (("other.test",), ("alias-zone:other.test",))

SIGNED_ROWS = [
    Row("example.test", "exclusive", "example.test"),
    Row("www.example.test", "exclusive", "example.test"),
    # Denials, each with its proof: no record of this type, by a DNS wildcard that stands for the
    # name, of an empty non-terminal, and of a name that does not exist; by NSEC and by NSEC3.
    *(
        Row(f"{name}.{zone}", "exclusive", zone)
        for zone in ("example.test", "hash.test")
        for name in ("ns", "a.b.c", "ent", "x.ent", "x.leaf.ent", "x.ns")
    ),
    Row("bare.test", "open", None, ("no-caa",)),
    Row("www.bare.test", "open", None, ("covering-wildcard-open", "no-caa")),
    Row("gone.nothere.test", "open", None, ("covering-wildcard-open", "no-caa")),
]
UNSIGNED_ROWS = [
    Row("plain.test", "open", "plain.test", ("insecure-zone",)),
    Row("a.b.plain.test", "open", "plain.test", ("insecure-zone",)),
    # Below a signed zone, and without or with records of its own.
    Row("part.example.test", "open", "example.test", ("insecure-zone",)),
    Row("www.part.example.test", "open", "example.test", ("insecure-zone",)),
    Row("loose.example.test", "open", "loose.example.test", ("insecure-zone",)),
]
BOGUS_ROWS = [
    Row(name, "could not tell", None, ("lookup-failed",))
    for name in ("bogus.test", "x.bogus.test", "bad.example.test", "www.bad.example.test")
]
DELEGATED_ROWS = [
    Row("child.example.test", "exclusive", "child.example.test"),
    Row("www.child.example.test", "exclusive", "child.example.test"),
    # Without records of its own a signed child inherits over the cut.
    Row("heir.example.test", "exclusive", "example.test"),
    Row("a.b.heir.example.test", "exclusive", "example.test"),
]
SHADOWING_ROWS = [
    # A child zone, and names of the zone itself.
    Row("shade.example.test", "open", "shade.example.test", _HIDDEN),
    Row(
        "www.shade.example.test",
        "open",
        "shade.example.test",
        ("covering-wildcard-open", *_HIDDEN),
    ),
    Row(
        "own.shade.example.test",
        "open",
        "own.shade.example.test",
        ("covering-wildcard-open",),
    ),
    Row("sub.example.test", "open", "sub.example.test", _HIDDEN),
    Row("a.sub.example.test", "open", "sub.example.test", ("covering-wildcard-open", *_HIDDEN)),
    *(
        Row(name, "open", name, ("no-issue", "shadowed-by-closer-set"))
        for name in ("iodef.example.test", "guard.example.test", "tag.example.test")
    ),
    Row(
        "closed.example.test",
        "open",
        "closed.example.test",
        ("not-allowed", "shadowed-by-closer-set"),
    ),
]
WILDCARD_ROWS = [
    Row("*.example.test", "open", "example.test", ("not-allowed",)),
    Row("*.star.example.test", "exclusive", "star.example.test"),
    Row("star.example.test", "exclusive", "star.example.test"),
    Row("www.star.example.test", "exclusive", "star.example.test"),
    Row("own.bare.test", "open", "own.bare.test", ("covering-wildcard-open",)),
    # Records that a DNS wildcard has, and a name of its own below.
    Row("any.wild.example.test", "exclusive", "any.wild.example.test", ("dns-wildcard",)),
    Row("wild.example.test", "exclusive", "example.test"),
    Row(
        "any.wopen.example.test",
        "open",
        "any.wopen.example.test",
        ("dns-wildcard", *_HIDDEN),
    ),
]
ALIAS_ROWS = [
    # By CNAME: into another zone, within the zone, to others' records, to none.
    Row("alias.example.test", "open", "example.test", _ALIAS),
    Row("alias.example.test", "exclusive", "example.test", (), *_TO_OTHER),
    Row("inside.example.test", "open", "example.test", _ALIAS),
    Row(
        "inside.example.test",
        "exclusive",
        "example.test",
        (),
        ("example.test",),
        ("alias-zone:example.test",),
    ),
    Row("toopen.example.test", "open", "toopen.example.test", (*_ALIAS, *_HIDDEN)),
    Row("toopen.example.test", "open", "toopen.example.test", _HIDDEN, *_TO_OTHER),
    # The climb goes on from the name, never from the target.
    Row(
        "tobare.example.test",
        "exclusive",
        "example.test",
        (),
        ("bare.test",),
        ("alias-zone:bare.test",),
    ),
    Row("dangling.example.test", "open", "example.test", _ALIAS),
    Row("tobogus.example.test", "could not tell", None, ("lookup-failed",)),
    Row("one.example.test", "could not tell", None, ("lookup-failed",)),
    # Each link counts, and so does the one of a parent.
    Row("chain.example.test", "open", "example.test", (*_ALIAS, "insecure-zone"), *_TO_OTHER),
    Row("below.alias.example.test", "open", "example.test", _ALIAS),
    Row("below.alias.example.test", "exclusive", "example.test", (), *_TO_OTHER),
    # By DNAME, which redirects what is below it and not itself.
    Row("moved.example.test", "exclusive", "example.test"),
    Row("x.moved.example.test", "open", "example.test", _ALIAS),
    Row("a.b.moved.example.test", "open", "example.test", _ALIAS),
    Row("a.b.moved.example.test", "exclusive", "example.test", (), *_TO_OTHER),
    # By a CNAME that a DNS wildcard has.
    Row("any.cn.example.test", "open", "example.test", _ALIAS),
    Row("any.cn.example.test", "exclusive", "example.test", (), *_TO_OTHER),
    Row("cn.example.test", "exclusive", "example.test"),
]
ROWS = [
    *(*SIGNED_ROWS, *UNSIGNED_ROWS, *BOGUS_ROWS, *DELEGATED_ROWS),
    *(*SHADOWING_ROWS, *WILDCARD_ROWS, *ALIAS_ROWS),
]
CODES = {"exclusive": 0, "open": 1, "could not tell": 3}


def _without_issuer(conditions):
    """Those that are not about the CA."""
    return tuple(line for line in conditions if not line.startswith("issuer-"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join([row.name, *row.zones]))
def test_each_state_of_a_zone_is_its_verdict_by_both_drivers(world, row):
    accept = ["--allow-alias-zone", ",".join(row.zones)] if row.zones else []
    code, (item,) = checked(world.resolver.address, row.name, *accept)
    assert (item["verdict"], item["found_at"]) == (row.word, row.found_at)
    assert set(findings_of(item)) == set(row.findings)
    assert (code, item["holds"]) == (CODES[row.word], row.word == "exclusive")
    if row.word == "could not tell":
        # Nothing was judged, so nothing was accepted.
        assert (item["records"], item["ttl"], item["settled"]) == ([], None, None)
    else:
        assert _without_issuer(item["conditions"]) == row.conditions
    # The gate's driver, over the other transport.
    asked = [resolvers.parse_resolver(world.resolver.tls_address, roots=str(world.tls_root))]
    subject, tolerance = (
        Subject(ISSUER, URI, (METHOD,)),
        Tolerance(alias_zones=frozenset(row.zones), issuers=frozenset([ISSUER])),
    )

    def climb(name):
        return lookup.climb(name, asked)

    today = datetime.now(UTC).date()
    if row.word == "could not tell":
        with pytest.raises(errors.TransportError, match="SERVFAIL"):
            judge_name(row.name, subject, tolerance, climb, today=today)
        return
    judged = judge_name(row.name, subject, tolerance, climb, today=today)
    assert (judged.word, judged.found_at) == row[1:3]
    assert _without_issuer(judged.conditions) == row.conditions
    told = [finding for finding in item["findings"] if finding["severity"] != "note"]
    assert [(finding["name"], finding["record"], finding["why"]) for finding in told] == [
        (finding.name, finding.record, finding.why) for finding in judged.findings
    ]


@pytest.mark.parametrize("way", ["address", "tls_address", "https_address"])
def test_all_states_in_one_run_come_in_the_order_of_their_names(world, way):
    rows = [row for row in ROWS if not row.zones]
    roots = ["--resolver-roots", world.tls_root]
    code, found = checked(getattr(world.resolver, way), *roots, *(row.name for row in rows))
    assert [(item["name"], item["verdict"], set(findings_of(item))) for item in found] == [
        (row.name, row.word, set(row.findings)) for row in rows
    ]
    assert code == 1


def test_only_notes_stand_beside_exclusive():
    for row in ROWS:
        if row.word == "exclusive":
            assert {assessment.SEVERITIES[name] for name in row.findings} <= {"note"}
