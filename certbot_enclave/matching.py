# SPDX-License-Identifier: Apache-2.0
"""Which measurement set of a policy a document matches."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from certbot_enclave import errors
from certbot_enclave.attestation import measurements
from certbot_enclave.attestation.document import Document

_OF_AN_IMAGE_ID = (0, 1, 2, 16)


def match(
    found: Document,
    sets: Mapping[str, Mapping[int, bytes]],
    images: Mapping[str, bytes],
    *,
    bound: int | None = None,
) -> str:
    """Find the set that a document matches.

    A set that matches must also name every PCR of 16 or more that the document carries: what
    arrives at run time may be measured there, and nobody would have looked at it.

    Args:
        found: The document, authenticated.
        sets: Name -> PCR index -> digest; each has PCR0-2.
        images: Name -> Oyster image id.
        bound: A PCR that the caller judges, or None.

    Returns:
        The set's name.

    Raises:
        MeasurementError: None matches (``pcr-mismatch``), one does but for a further PCR
            (``pcr-extra``), or there are no sets at all (``image-id-missing``).
    """
    image = measurements.image_id(found.pcrs)
    matching: dict[str, Collection[int]] = {
        name: expected
        for name, expected in sets.items()
        if all(found.pcrs.get(index) == digest for index, digest in expected.items())
    }
    matching |= {name: _OF_AN_IMAGE_ID for name, expected in images.items() if expected == image}
    further = [index for index in found.pcrs if index >= 16 and index != bound]
    for name, named in matching.items():
        if all(index in named for index in further):
            return name
    for name, named in matching.items():
        index = next(index for index in further if index not in named)
        raise errors.MeasurementError(
            f"PCR{index} is {found.pcrs[index].hex()}, "
            f"and measurement set {name} does not say what it must be",
            code="pcr-extra",
        )
    if not sets and not images:
        raise errors.MeasurementError(
            "evidence that Oyster signed needs an image id in the policy",
            code="image-id-missing",
            hint="give it with --image-id, or in the policy: [measurements.NAME] image_id",
        )
    raise _mismatch(found, sets, images, image)


def _mismatch(
    found: Document,
    sets: Mapping[str, Mapping[int, bytes]],
    images: Mapping[str, bytes],
    image: bytes,
) -> errors.MeasurementError:
    """Say how the first set differs."""
    if sets:
        name, expected = next(iter(sets.items()))
        index = next(index for index in expected if found.pcrs.get(index) != expected[index])
        digest = found.pcrs.get(index)
        what, actual = f"PCR{index}", "none" if digest is None else digest.hex()
        wanted = expected[index].hex()
    else:
        name, expected_image = next(iter(images.items()))
        what, actual, wanted = "the image id", image.hex(), expected_image.hex()
    return errors.MeasurementError(
        f"{what} is {actual}, policy {name} expects {wanted}",
        code="pcr-mismatch",
        expected=wanted,
        actual=actual,
        hint="this is other code than the policy names",
    )
