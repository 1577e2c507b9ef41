# SPDX-License-Identifier: Apache-2.0
"""Attestation documents per second, against the P-384 verifications that they cannot do without.

The limit is what the same build of cryptography needs for as many signature checks, each with its
key read afresh from DER. Ours and the limit take turns document by document, and what counts is the
time that the thread had the processor, so that whatever else the machine does hits both alike. Two
threads are compared with one by the clock on the wall, which needs an idle machine.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from certbot_enclave.attestation import cose, document
from certbot_enclave.attestation.chain import ChainCache
from tests.support import forge

COLD, CACHED = 5, 2  # signature checks per document


class Sample(NamedTuple):
    """A document, its root, and its signature in the form that cryptography checks."""

    document: bytes
    root: bytes | None
    key: bytes
    signature: bytes
    message: bytes


def _sample(data: bytes, root: bytes | None) -> Sample:
    message = cose.parse(data)
    leaf = x509.load_der_x509_certificate(document.parse(message.payload).certificate)
    half = len(message.signature) // 2
    r, s = (
        int.from_bytes(part, "big") for part in (message.signature[:half], message.signature[half:])
    )
    return Sample(
        data,
        root,
        leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        encode_dss_signature(r, s),
        cose.to_be_signed(message.payload),
    )


def samples(corpus: Path) -> list[Sample]:
    """Genuine documents if the corpus is there, forged ones of the same shape if not."""
    found = sorted((corpus / "nitro").glob("valid*.bin"))
    if found:
        return [_sample(path.read_bytes(), None) for path in found]
    return [_sample(forge.document(made), made.root) for made in (forge.chain() for _ in range(8))]


def _limit(sample: Sample, checks: int) -> None:
    for _ in range(checks):
        key = load_der_public_key(sample.key)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(sample.signature, sample.message, ec.ECDSA(SHA384()))


def _spent(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def _compare(found: Sequence[Sample], checks: int, cache: ChainCache | None, rounds: int) -> None:
    ours, limit = [], []
    for sample in found:  # warm up, and fill the cache
        document.authenticate(sample.document, trust_root=sample.root, cache=cache)
    for _ in range(rounds):
        for sample in found:
            limit.append(_spent(lambda one=sample: _limit(one, checks), time.thread_time))  # type: ignore[misc]
            ours.append(
                _spent(
                    lambda one=sample: document.authenticate(  # type: ignore[misc]
                        one.document, trust_root=one.root, cache=cache
                    ),
                    time.thread_time,
                )
            )
    mine, theirs = statistics.median(ours), statistics.median(limit)
    kind, aim = ("cached", 0.85) if cache else ("cold", 0.9)
    print(
        f"  {kind:6} {1 / mine:6.0f} documents/s, {mine * 1e6:.0f} us each; "
        f"limit {1 / theirs:6.0f} ({checks} checks of {theirs / checks * 1e6:.0f} us); "
        f"ratio {theirs / mine:.3f}, aim at least {aim}"
    )


def _bulk(found: Sequence[Sample], rounds: int, threads: int) -> float:
    """Return the seconds that each of so many threads needs for all documents, cold."""

    def work() -> None:
        for _ in range(rounds):
            for sample in found:
                document.authenticate(sample.document, trust_root=sample.root)

    pool = [threading.Thread(target=work) for _ in range(threads)]

    def together() -> None:
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()

    return _spent(together, time.perf_counter)


def run(corpus: Path, rounds: int) -> None:
    """Print the figures."""
    found = samples(corpus)
    print(f"\nattestation documents, {len(found)} in turn, {rounds} rounds; medians")
    _compare(found, COLD, None, rounds)
    _compare(found, CACHED, ChainCache(), rounds)
    gains = [2 * _bulk(found, 2, 1) / _bulk(found, 2, 2) for _ in range(rounds)]
    print(
        f"  two threads do {statistics.median(gains):.2f} times the work of one "
        f"(best {max(gains):.2f}), aim at least 1.8"
    )
