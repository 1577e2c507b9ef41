# SPDX-License-Identifier: Apache-2.0
"""Evidence and the statement in it: two layers of JSON."""

from __future__ import annotations

import json
from random import Random

from certbot_enclave import errors, statement
from tests.fuzz import changes, seeds, trees
from tests.support import forge

STATEMENT = statement.build(forge.STATEMENT._replace(conditions=("alias-zone:a.b", "simulated")))
DOCUMENT = seeds.read("document-short")
EVIDENCE = (
    statement.build_evidence(STATEMENT, DOCUMENT),
    statement.build_evidence(STATEMENT, DOCUMENT, bytes(range(64))),
)


def make(random: Random) -> bytes:
    """Make evidence whose statement, envelope or bytes are changed."""
    choice = random.random()
    if choice < 0.6:
        text = trees.change(random, STATEMENT)
        if random.random() < 0.1:
            text = changes.change(random, text.encode(), trees.TOKENS).decode("utf-8", "replace")
        return statement.build_evidence(text, b"\x84")
    made = EVIDENCE[random.random() < 0.4]
    if choice < 0.8:
        return trees.change(random, made.decode()).encode()
    return changes.change(random, made, trees.TOKENS)


def judge(data: bytes) -> None:
    """Take evidence apart and read its statement.

    Raises:
        FormatError: It is refused.
        AssertionError: It was accepted, and says something else when it is written anew.
    """
    taken = statement.parse_evidence(data)
    if taken.text != json.loads(data)["statement"]:
        raise AssertionError("the text is not that of the evidence")
    said = statement.parse(taken.text)
    try:
        again = statement.parse(statement.build(said))
    except errors.FormatError as error:
        raise AssertionError(f"accepted, but not in the form that is written: {error}") from error
    if again != said._replace(not_understood=()):
        raise AssertionError(f"{said} is written as {again}")
