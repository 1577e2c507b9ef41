# SPDX-License-Identifier: Apache-2.0
"""A document matches one named set or image id as a whole, and nothing in it goes unjudged."""

import hashlib

import pytest

from certbot_enclave import errors, matching
from certbot_enclave.attestation import document
from tests.support.forge import BANK, IMAGE_ID, PCRS, payload

SOME, OTHER = bytes([7]) * 48, bytes([8]) * 48
STRANGE = dict.fromkeys((0, 1, 2), SOME)


def _id(pcr16=bytes(48), pcrs=PCRS):
    return hashlib.sha256(b"\0\1\0\7" + b"".join(pcrs.values()) + pcr16).digest()


def _match(sets=None, images=None, *, bound=None, **pcrs):
    """Match a document with these PCRs, given as ``PCR16=digest``."""
    more = {int(name.removeprefix("PCR")): digest for name, digest in pcrs.items()}
    found = document.parse(payload(pcrs={**BANK, **more}))
    return matching.match(found, sets or {}, images or {}, bound=bound)


def _refused(*args, **kwargs):
    with pytest.raises(errors.MeasurementError) as caught:
        _match(*args, **kwargs)
    return caught.value


MATCHES = {
    "a set": ({"one": PCRS}, {}, {}, "one"),
    "an image id": ({}, {"oyster": IMAGE_ID}, {}, "oyster"),
    "the second of two sets": ({"one": STRANGE, "two": PCRS}, {}, {}, "two"),
    "the second of two image ids": ({}, {"one": _id(SOME), "two": IMAGE_ID}, {}, "two"),
    "a set beside a foreign image id": ({"one": PCRS}, {"oyster": _id(SOME)}, {}, "one"),
    "an image id beside a foreign set": ({"one": STRANGE}, {"oyster": IMAGE_ID}, {}, "oyster"),
    "both, and the set is named": ({"one": PCRS}, {"oyster": IMAGE_ID}, {}, "one"),
    "parameters that the image id covers": (
        {},
        {"oyster": _id(SOME)},
        {"PCR16": SOME},
        "oyster",
    ),
    "an image id, though the set names no PCR16": (
        {"one": PCRS},
        {"oyster": _id(SOME)},
        {"PCR16": SOME},
        "oyster",
    ),
    "a set, though no image id covers PCR17": (
        {"one": {**PCRS, 17: SOME}},
        {"oyster": IMAGE_ID},
        {"PCR17": SOME},
        "one",
    ),
}


@pytest.mark.parametrize(("sets", "images", "pcrs", "name"), MATCHES.values(), ids=MATCHES)
def test_one_that_matches_is_named(sets, images, pcrs, name):
    assert _match(sets, images, **pcrs) == name


REFUSED = {
    "another set": ({"one": STRANGE}, {}, {}, "pcr-mismatch"),
    "another image id": ({}, {"oyster": _id(SOME)}, {}, "pcr-mismatch"),
    "half of a set and half of another": (
        {"one": {**STRANGE, 0: PCRS[0]}, "two": {**PCRS, 0: SOME}},
        {},
        {},
        "pcr-mismatch",
    ),
    "image id of no parameters": ({}, {"oyster": IMAGE_ID}, {"PCR16": SOME}, "pcr-mismatch"),
    "image id of parameters, and there are none": (
        {},
        {"oyster": _id(SOME)},
        {},
        "pcr-mismatch",
    ),
    "PCR16 that the set does not name": ({"one": PCRS}, {}, {"PCR16": SOME}, "pcr-extra"),
    "PCR17 that the set does not name": ({"one": PCRS}, {}, {"PCR17": SOME}, "pcr-extra"),
    "PCR17 that no image id covers": ({}, {"oyster": IMAGE_ID}, {"PCR17": SOME}, "pcr-extra"),
    "PCR31 of zeros": ({}, {"oyster": IMAGE_ID}, {"PCR31": bytes(48)}, "pcr-extra"),
    "PCR16 and PCR17, each named by another": (
        {"one": {**PCRS, 17: OTHER}},
        {"oyster": _id(SOME)},
        {"PCR16": SOME, "PCR17": OTHER},
        "pcr-extra",
    ),
    "nothing to match": ({}, {}, {}, "image-id-missing"),
}


@pytest.mark.parametrize(("sets", "images", "pcrs", "code"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(sets, images, pcrs, code):
    assert _refused(sets, images, **pcrs).code == code


# --- a PCR that the caller judges ---


@pytest.mark.parametrize("policy", [({"x": PCRS}, {}), ({}, {"x": IMAGE_ID})], ids=["set", "image"])
def test_bound_pcr_need_not_be_named_and_every_other_still(policy):
    assert _match(*policy, bound=17, PCR17=SOME) == "x"
    assert _match(*policy, bound=17) == "x"  # whether it is there is the caller's to judge too
    assert _refused(*policy, bound=17, PCR18=SOME).code == "pcr-extra"
    refused = _refused(*policy, bound=17, PCR17=SOME, PCR18=OTHER)
    assert (refused.code, str(refused).startswith("PCR18 is ")) == ("pcr-extra", True)


def test_bound_pcr_that_a_set_names_is_compared_all_the_same():
    named = {"x": {**PCRS, 17: SOME}}
    assert _match(named, bound=17, PCR17=SOME) == "x"
    assert _refused(named, bound=17, PCR17=OTHER).code == "pcr-mismatch"
    assert _refused(named, bound=17).code == "pcr-mismatch"


def test_bound_pcr16_is_part_of_the_image_id_all_the_same():
    assert _match({}, {"x": _id(SOME)}, bound=16, PCR16=SOME) == "x"
    assert _refused({}, {"x": IMAGE_ID}, bound=16, PCR16=SOME).code == "pcr-mismatch"


# --- what the error says ---


def test_error_names_the_pcr_that_differs():
    refused = _refused({"one": {**PCRS, 2: SOME}, "two": STRANGE})
    assert str(refused) == f"PCR2 is {PCRS[2].hex()}, policy one expects {SOME.hex()}"
    assert (refused.expected, refused.actual) == (SOME.hex(), PCRS[2].hex())


def test_error_names_the_pcr_that_is_not_there():
    refused = _refused({"one": {**PCRS, 16: SOME}}, {"oyster": IMAGE_ID[::-1]})
    assert str(refused) == f"PCR16 is none, policy one expects {SOME.hex()}"
    assert (refused.expected, refused.actual) == (SOME.hex(), "none")


def test_error_names_the_image_id():
    refused = _refused({}, {"one": _id(SOME), "two": _id(OTHER)})
    assert str(refused) == f"the image id is {IMAGE_ID.hex()}, policy one expects {_id(SOME).hex()}"
    assert (refused.expected, refused.actual) == (_id(SOME).hex(), IMAGE_ID.hex())


def test_error_names_the_further_pcr_and_the_first_that_matches_but_for_it():
    refused = _refused({"one": STRANGE, "two": PCRS}, {"three": IMAGE_ID}, PCR17=SOME)
    assert str(refused).startswith(f"PCR17 is {SOME.hex()}, and measurement set two does not say")


def test_hint_says_how_to_name_an_image():
    assert "--image-id" in _refused().hint
