# SPDX-License-Identifier: Apache-2.0
"""A replica that follows says each change once, and goes on whatever a round brings."""

from certbot_enclave import errors
from certbot_enclave.following import Taken, follow


def _followed(*rounds):
    """What is said in these rounds, and how long the pauses are."""
    said, pauses, left = [], [], list(rounds)

    def look():
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def wait(seconds):
        pauses.append(seconds)
        return not left

    follow(look, pause=30, wait=wait, report=said.append, complain=said.append)
    assert pauses == [30] * len(rounds)
    return said


DOWN = errors.TransportError("the store is down", code="store-unreachable")
OLDER = errors.SealError("the store holds generation 1", code="bundle-older")
SAME = Taken(2, 2)


def test_what_is_taken_is_said_and_the_rest_is_not():
    assert _followed(SAME, Taken(3, 2), Taken(3, 3), Taken(5, 3)) == [Taken(3, 2), Taken(5, 3)]


def test_each_change_is_said_once():
    assert _followed(SAME, DOWN, DOWN, OLDER, OLDER, DOWN, SAME, SAME, DOWN) == [
        "not following (store-unreachable): the store is down",
        "not following (bundle-older): the store holds generation 1",
        "not following (store-unreachable): the store is down",
        "the store is followed again",
        "not following (store-unreachable): the store is down",
    ]


def test_what_comes_after_a_failure_is_said_too():
    assert _followed(DOWN, Taken(1, 0))[1:] == ["the store is followed again", Taken(1, 0)]


def test_wrong_settings_that_a_bundle_brought_do_not_end_it():
    wrong = errors.PolicyError("no domain is named", code="names-missing")
    assert len(_followed(wrong, SAME)) == 2
