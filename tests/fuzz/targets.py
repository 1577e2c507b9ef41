# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed, and how much of it ``make soak`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tests.fuzz import caa, device, differential, documents, envelopes, evidence, images, policies
from tests.fuzz.engine import Target

TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "cbor": Target(differential.make, differential.judge),
        "cose": Target(documents.make_cose, documents.judge_cose),
        "document": Target(documents.make_document, documents.judge_document),
        "policy": Target(policies.make, policies.judge),
        "evidence": Target(evidence.make, evidence.judge),
        "eif": Target(images.make, images.judge),
        "nsm": Target(device.make, device.judge),
        "cms": Target(envelopes.make, envelopes.judge),
        "caa": Target(caa.make, caa.judge),
        "answer": Target(caa.make_answer, caa.judge_answer),
    }
)
# Targets that coverage guides where it can (`guided`), and the pieces that changes put in.
GUIDED: Mapping[str, Sequence[bytes]] = MappingProxyType({"caa": caa.PIECES, "answer": caa.WIRE})

# Ten million inputs together for the enclave's own formats, most where an input is small and the
# format is not our own; and ten million for CAA.
SOAK: Mapping[str, int] = MappingProxyType(
    {
        "cbor": 4_500_000,
        "cose": 1_000_000,
        "document": 1_500_000,
        "policy": 700_000,
        "evidence": 500_000,
        "eif": 800_000,
        "nsm": 500_000,
        "cms": 500_000,
        "caa": 6_000_000,
        "answer": 4_000_000,
    }
)
SEED = 20261123  # of the runs that make soak and the sample do
