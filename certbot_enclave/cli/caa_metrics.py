# SPDX-License-Identifier: Apache-2.0
"""The last round of ``caa watch`` as Prometheus metrics; the extra ``metrics`` brings the library.

Whatever is not known does not hold: ``holds`` is 0 while ``told`` is 0, and both are 0 for every
name after a round that failed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from certbot_enclave.cli import outside
from certbot_enclave.cli.caa_rounds import Snapshot

PREFIX = "certbot_enclave_caa_"


def _gauge(
    name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None
) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value, labels=labels or None)


def _counter(
    name: str, text: str, labels: tuple[str, ...] = (), *, value: float | None = None
) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, value=value, labels=labels or None)


def _of_names(snapshot: Snapshot) -> Iterator[Metric]:
    by_name = ("name",)
    holds = _gauge("holds", "1 if nobody else can get a certificate; 0 too if unknown.", by_name)
    told = _gauge("told", "1 if the last look at the name could tell.", by_name)
    finding = _gauge("finding", "1 for each finding.", ("name", "finding", "severity"))
    ttl = _gauge("ttl_seconds", "For how long resolvers keep the records.", by_name)
    checked = _gauge("checked_timestamp_seconds", "When the name was looked at last.", by_name)
    window = _gauge(
        "window_end_timestamp_seconds", "When what is seen now binds every CA.", by_name
    )
    changes = _counter("changes", "How often a name was seen different from before.", by_name)
    for name, item in snapshot.known.items():
        look = item.look
        holds.add_metric([name], snapshot.fresh and look.code == 0)
        told.add_metric([name], snapshot.fresh and look.code != 3)
        for found, severity in look.findings:
            finding.add_metric([name, found, severity], 1)
        if look.ttl is not None:
            ttl.add_metric([name], look.ttl)
        checked.add_metric([name], look.at.timestamp())
        if look.code == 0:
            window.add_metric([name], item.settled.timestamp())
        changes.add_metric([name], item.changes)
    yield from (holds, told, finding, ttl, checked, window, changes)


class Families(Collector):
    """Gives the metrics of a snapshot, which is replaced as a whole after each round."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield all families; those of names are without samples until a round is completed."""
        snapshot = self.snapshot
        yield from _of_names(snapshot)
        yield _gauge("names", "How many names are watched.", value=len(snapshot.known))
        yield _gauge(
            "round_duration_seconds",
            "How long the last completed round took.",
            value=snapshot.duration or 0,
        )
        yield _counter("rounds", "Completed rounds.", value=snapshot.rounds)
        yield _counter(
            "failures", "Rounds that failed or could not write a file.", value=snapshot.failures
        )
        yield _gauge(
            "last_round_timestamp_seconds",
            "When the last round was completed; 0 for never.",
            value=snapshot.ended.timestamp() if snapshot.ended else 0,
        )


class Publisher:
    """Shows snapshots to whoever serves the registry, and in a file.

    Args:
        path: File for the textfile collector of node_exporter, or None.

    Attributes:
        registry: Has these metrics alone: nothing is told of the process or the platform.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._families = Families(Snapshot({}))
        self.registry = CollectorRegistry()
        self.registry.register(self._families)

    def publish(self, snapshot: Snapshot) -> None:
        """Replace what is shown.

        Raises:
            TransportError: The file cannot be written (``file-unwritable``).
        """
        self._families.snapshot = snapshot
        if self._path is not None:
            outside.replace(self._path, generate_latest(self.registry), mode=0o644)
