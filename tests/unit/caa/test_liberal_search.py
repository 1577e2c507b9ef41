# SPDX-License-Identifier: Apache-2.0
"""No record set is called ours alone with which one of three CAs would let somebody else pass."""

import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from certbot_enclave.caa.evaluate import liberal
from tests import replay_caa
from tests.support import caa_oracle, caa_vectors
from tests.unit.caa.record_sets import ISSUER, questions

# File -> how many cases have a lookup that does not fail, and at how many of these one of the three
# CAs lets in somebody else than the case's account by the case's method.
OWN = {"boulder-differential.json": (1375, 1161), "rfc-examples.json": (42, 33)}
CORPUS = {
    "boulder.json": (48, 43),
    "caatestsuite.json": (23, 20),
    "open-mpic.json": (45, 41),
    "opencertserver.json": (18, 14),
}


def _both(records, issuer, account, methods, wildcard):
    """Return what the liberal reading finds, and who else the oracle says could."""
    found = liberal(records, issuer=issuer, account_uri=account, methods=methods, wildcard=wildcard)
    who = caa_oracle.others(
        [(record.flags, record.tag, record.value) for record in records],
        issuer=issuer,
        account=account,
        methods=methods,
        wildcard=wildcard,
    )
    return found, who


def _check_vectors(path):
    judged = somebody = 0
    for case in caa_vectors.read(path):
        try:
            records = replay_caa.climb(case).records
        except replay_caa.errors.TransportError:
            continue
        account = case.account_uris[0]
        # Read for the name and for its wildcard, whichever the case asks for.
        for wildcard in (not case.wildcard, case.wildcard):
            found, who = _both(records, case.issuer, account, (case.method,), wildcard)
            assert found or who is None, (case.name, wildcard, who)
        judged += 1
        somebody += who is not None
    return judged, somebody


@pytest.mark.parametrize(("file", "counts"), OWN.items(), ids=OWN)
def test_own_vectors(vectors, file, counts):
    assert _check_vectors(vectors / "caa" / file) == counts


@pytest.mark.corpus
@pytest.mark.parametrize(("file", "counts"), CORPUS.items(), ids=CORPUS)
def test_corpus(corpus, file, counts):
    assert _check_vectors(corpus / "caa" / file) == counts


def _search(count):
    """Search `count` record sets; return how each reading judged them."""
    tally = Counter()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(questions())
    def search(question):
        records, account, methods, wildcard = question
        found, who = _both(records, ISSUER, account, methods, wildcard)
        tally["finding" if found else "none", "somebody" if who else "nobody"] += 1
        assert found or who is None, who

    search()
    return tally


def _check(tally, count):
    assert tally.total() >= count
    # Neither answer is rare, or the search would prove nothing.
    assert tally["none", "nobody"] > count // 50
    assert tally["finding", "somebody"] > count // 4
    assert tally["finding", "nobody"] > count // 50
    assert tally["none", "somebody"] == 0


def test_sample_of_the_search():
    _check(_search(3000), 3000)


@pytest.mark.soak
def test_the_search(capsys):
    start = time.monotonic()
    tally = _search(200_000)
    with capsys.disabled():
        print(
            f"\ncaa search: record sets={tally.total()} missed={tally['none', 'somebody']} "
            f"ours alone={tally['none', 'nobody']} "
            f"open={tally['finding', 'somebody']} "
            f"stricter than the oracle={tally['finding', 'nobody']} "
            f"seconds={time.monotonic() - start:.0f}"
        )
    _check(tally, 200_000)
