# SPDX-License-Identifier: Apache-2.0
"""The climb asks about each name up to the TLD, and takes nothing but agreement for an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import lookup
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer, Climbing
from tests.unit.caa.told import Told

ONE = Record(0, b"issue", b"ca.test")
TWO = Record(0, b"issue", b"other.test")


def test_it_asks_every_name_up_to_the_tld_and_not_the_root():
    one, two = Told({}, "one"), Told({}, "two")
    found = lookup.climb("a.b.example.com", [one, two])
    names = ["a.b.example.com", "b.example.com", "example.com", "com"]
    assert one.asked == two.asked == names
    assert [step.name for step in found.steps] == names
    assert (found.name, found.found_at, found.records) == ("a.b.example.com", None, ())
    assert found.resolvers == ("one", "two")


@pytest.mark.parametrize(
    ("holder", "asked"),
    [
        ("www.example.com", ["www.example.com"]),
        ("example.com", ["www.example.com", "example.com"]),
        ("com", ["www.example.com", "example.com", "com"]),
    ],
)
def test_it_stops_at_the_first_set_that_is_not_empty(holder, asked):
    told = Told({holder: {"records": (TWO, ONE)}, "com": {"records": (ONE, TWO)}})
    found = lookup.climb("www.example.com", [told])
    assert told.asked == asked
    assert (found.found_at, found.records) == (holder, (ONE, TWO))


@pytest.mark.parametrize("record", [Record(0, b"iodef", b""), Record(0, b"", b"")])
def test_any_record_at_all_ends_the_climb(record):
    told = Told({"www.example.com": {"records": (record,)}})
    assert lookup.climb("www.example.com", [told]).found_at == "www.example.com"


def test_after_an_alias_it_goes_on_at_the_parent_of_the_name_itself():
    told = Told({"www.example.com": {"aliases": ("lb.other.net", "x.third.org")}})
    found = lookup.climb("www.example.com", [told])
    assert told.asked == ["www.example.com", "example.com", "com"]
    assert [step.aliases for step in found.steps] == [("lb.other.net", "x.third.org"), (), ()]


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("name", ["www.example.com", "example.com", "com"])
def test_failure_is_never_permission(failing, name):
    tables = [{}, {}]
    tables[failing][name] = {"failure": "SERVFAIL"}
    asked = [Told(table, f"r{number}") for number, table in enumerate(tables)]
    with pytest.raises(errors.TransportError) as caught:
        lookup.climb("www.example.com", asked)
    assert caught.value.code == "lookup-failed"
    assert str(caught.value) == f"r{failing} could not tell the CAA records of {name}: SERVFAIL"


def test_failure_counts_before_records_and_before_disagreement():
    tables = {"records": (ONE,), "failure": "Connection refused"}, {"records": (TWO,)}
    asked = [Told({"example.com": table}, str(n)) for n, table in enumerate(tables)]
    with pytest.raises(errors.TransportError, match="Connection refused"):
        lookup.climb("example.com", asked)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"records": (ONE,)}, {}),
        ({}, {"records": (ONE,)}),
        ({"records": (ONE,)}, {"records": (TWO,)}),
        ({"records": (ONE,)}, {"records": (ONE, TWO)}),
        ({"aliases": ("x.net",)}, {}),
        ({"aliases": ("x.net", "y.net")}, {"aliases": ("z.net", "y.net")}),
    ],
)
@pytest.mark.parametrize("others", [0, 1])
def test_disagreement_closes(first, second, others):
    tables = [{"example.com": first}] * (1 + others) + [{"example.com": second}]
    asked = [Told(table, f"r{number}") for number, table in enumerate(tables)]
    with pytest.raises(errors.GateError) as caught:
        lookup.climb("example.com", asked)
    assert caught.value.code == "servers-disagree"
    assert str(caught.value) == f"r0 and r{1 + others} disagree about example.com"


def test_order_and_repetition_of_records_are_no_disagreement():
    one = Told({"example.com": {"records": (ONE, TWO)}})
    two = Told({"example.com": {"records": (TWO, ONE, ONE)}}, "two")
    assert lookup.climb("example.com", [one, two]).records == (ONE, TWO)


@pytest.mark.parametrize("words", [(True, True), (True, False), (False, True), (False, False)])
def test_authenticated_means_that_every_resolver_says_so(words):
    asked = [Told({}, str(n), authenticated=word) for n, word in enumerate(words)]
    steps = lookup.climb("example.com", asked).steps
    assert [step.authenticated for step in steps] == [all(words)] * 2


def test_one_resolver_at_least():
    with pytest.raises(ValueError, match="at least one resolver"):
        Climbing("example.com", [])


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Answer("example.com", "one")],
        [Answer("example.com", "one"), Answer("example.com", "one")],
        [Answer("example.com", "two"), Answer("example.com", "one")],
        [Answer("example.com", "one"), Answer("com", "two")],
        [Answer("Example.com", "one"), Answer("example.com", "two")],
        [Answer("example.com", "one"), Answer("example.com", "two"), Answer("com", "three")],
    ],
)
def test_answers_to_something_else_are_refused(answers):
    climbing = Climbing("example.com", ["one", "two"])
    with pytest.raises(ValueError, match="not those to the question"):
        climbing.feed(answers)
    assert climbing.question == "example.com"


def test_there_is_no_result_before_the_end_and_no_question_after_it():
    climbing = Climbing("example.com", ["one"])
    for name in ("example.com", "com"):
        with pytest.raises(ValueError, match="not over"):
            climbing.result  # noqa: B018
        assert climbing.question == name
        climbing.feed([Answer(name, "one")])
    assert climbing.question is None
    assert climbing.result.found_at is None
    with pytest.raises(ValueError, match="not those to the question"):
        climbing.feed([Answer("com", "one")])


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.sets(st.integers(0, 5)),
)
def test_the_closest_set_wins(labels, holders):
    names = [".".join(labels[start:]) for start in range(len(labels))]
    sets = {
        name: Record(0, b"issue", str(depth).encode())
        for depth, name in enumerate(names)
        if depth in holders
    }
    found = lookup.climb(
        names[0], [Told({name: {"records": (item,)} for name, item in sets.items()})]
    )
    closest = next((name for name in names if name in sets), None)
    assert found.found_at == closest
    assert found.records == ((sets[closest],) if closest else ())
