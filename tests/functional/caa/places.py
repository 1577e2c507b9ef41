# SPDX-License-Identifier: Apache-2.0
"""States of one name and of the zones around it, each made by one step and undone by another."""

from datetime import UTC, datetime, timedelta

from certbot_enclave.caa import assessment, issuers, lookup
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Subject, Tolerance, judge_name
from certbot_enclave.cli import caa_judging
from certbot_enclave.cli.caa_judging import Judged
from certbot_enclave.cli.caa_names import Asked
from tests.functional.caa.asking import (
    BLUE_PAIR,
    ISSUER,
    METHOD,
    NOBODY_WILD,
    PAIR,
    SUBJECT,
    URI,
    checked,
    findings_of,
)
from tests.support.world.process import eventually
from tests.unit.caa.told import Told


class Place:
    """One name, the zones around it, and how it is checked.

    Attributes:
        name: What is checked; no other place has it.
        subject: Options that say whose account it is.
        more: Further options.
        resolver: Who is asked; None for one that was never asked before.
        held: What stands in the zones, as far as `put` put it there.
    """

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.subject, self.more, self.resolver = SUBJECT, [], world.resolver.address
        self.held = {}

    def put(self, name, *records):
        self.held[name] = list(records)
        self.world.caa(name, *records)

    def look(self):
        """Return what is said now."""
        resolver = self.resolver or self.world.start_resolver().address
        _, (item,) = checked(resolver, self.name, *self.more, subject=self.subject)
        return item

    def publish(self, change):
        """Have exactly the records that are printed at the name that is printed."""
        assert sorted(change["before"]) == sorted(self.held.get(change["name"], []))
        assert change["before"] != change["after"]
        self.put(change["name"], *change["after"])

    def clear(self):
        for name in self.held:
            self.world.caa(name)


class InMemory(Place):
    """The same without servers, for what dnspython does not read: it fails such an answer."""

    def __init__(self, _world, name):
        self.name, self.held = name, {"example.test": PAIR}

    def put(self, name, *records):
        self.held[name] = list(records)

    def look(self):
        told = Told({name: tuple(map(_record, texts)) for name, texts in self.held.items()})
        subject, now = Subject(ISSUER, URI, (METHOD,)), datetime.now(UTC)

        def climb(name):
            return lookup.climb(name, [told])

        found = assessment.assess(
            judge_name(self.name, subject, Tolerance(), climb, today=issuers.MANDATORY),
            climb(self.name),
            climb(self.name.partition(".")[2]),
            subject=subject,
            about_accounts=(),
            now=now,
        )
        return caa_judging.table(Judged(Asked(self.name, None), found, now), simulated=False)

    def clear(self):
        """Nothing is left."""


def _record(text):
    flags, tag, value = text.split(" ", 2)
    return Record(int(flags), tag.replace(r"\045", "-").encode(), value[1:-1].encode())


def steps(*them):
    def act(place):
        for step in them:
            step(place)

    return act


def own(*records):
    return lambda place: place.put(place.name, *records)


def issue(value):
    return own(f'0 issue "{value}"', NOBODY_WILD)


def at(name, *records):
    return lambda place: place.put(name, *records)


def below(*records):
    """The parent has these records, the name itself ours."""
    return lambda place: (
        place.put(place.name.partition(".")[2], *records),
        place.put(place.name, *PAIR),
    )


def deeper(place):
    place.name = f"www.{place.name}"


def star(place):
    place.name = f"*.{place.name}"


def having(kind, content=None, *, prefix=""):
    """Have a record of another type at the name or beside it, or none; Unbound may have kept it."""

    def act(place):
        place.world.update(prefix + place.name, kind, *([content] if content else []))
        place.resolver = None

    return act


def named(name):
    def act(place):
        place.name = name

    return act


def subject(*options):
    def act(place):
        place.subject = [*options]

    return act


def more(*options):
    def act(place):
        place.more = [*place.more, *options]

    return act


def asking(resolver):
    def act(place):
        place.resolver = resolver(place.world)

    return act


def secure(place):
    place.world.secure(place.name)
    place.resolver = None  # the other one remembers for a minute


def old_answer(place):
    old = place.world.start_resolver(caching=True).address
    place.world.update(place.name, "CAA", *BLUE_PAIR, ttl=1)
    checked(old, place.name)
    place.put(place.name, *PAIR)
    place.resolver = f"{place.world.resolver.address},{old}"


def wait(place):
    assert eventually(lambda: "servers-disagree" not in findings_of(place.look()), 5)


def published(hours):
    when = datetime.now(UTC) - timedelta(hours=hours)
    return more("--published", f"{when:%Y-%m-%dT%H:%M:%SZ}")


def behind(zone):
    """The name is an alias into an accepted zone."""
    return steps(
        lambda place: having("CNAME", f"{place.name.partition('.')[0]}.{zone}.")(place),
        more("--allow-alias-zone", zone),
    )


def target(*records):
    """What stands there."""
    return lambda place: place.put(f"{place.name.partition('.')[0]}.lb.test", *records)


def gone_above(kind):
    """The record of another type above the name goes."""
    return lambda place: place.world.update(place.name.partition(".")[2], kind)


def loop(place):
    having("CNAME", f"loop.{place.name}.")(place)
    place.world.update(f"loop.{place.name}", "CNAME", f"{place.name}.")
