# SPDX-License-Identifier: Apache-2.0
"""What is in the store, and what each replica serves, looked at from outside all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certbot_enclave.attestation import measurements, simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.interfaces import IStateStore
from certbot_enclave.sealing import bundle, carried
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.sealing.tree import File, Link
from certbot_enclave.thrift import ledger
from certbot_enclave.thrift.ledger import Entry
from tests.support.world.enclave import Enclave
from tests.support.world.machine import NAME, Machine


class Snapshot(NamedTuple):
    """One bundle.

    Attributes:
        generation: Of it.
        accounts: Account URIs.
        serial: Serial number of its certificate; None if it has none.
        whole: Whether the key beside it is its own.
        orders: Orders in its ledger.
    """

    generation: int
    accounts: tuple[str, ...]
    serial: int | None
    whole: bool
    orders: tuple[Entry, ...]


class Reader:
    """Opens bundles of one simulated enclave, as only the simulated hardware can.

    Args:
        enclave: Whose bundles they are.
        store: Where they are.
    """

    def __init__(self, enclave: Enclave, store: IStateStore) -> None:
        self._store = store
        self._sealer = SimulatedSealer(str(enclave.simulator))
        self._root = SimulatedAttester(str(enclave.simulator)).trust_root
        zero = bytes(measurements.SIZE)
        self._own = {
            **{index: zero for index in range(16)},
            **simulated.measure(enclave.simulator),
        }

    def version(self) -> str | None:
        """See `IStateStore.version`."""
        return self._store.version()

    def read(self) -> Snapshot:
        """Return what the store holds now."""
        stored = self._store.read()
        assert stored is not None, "the store holds nothing"
        found = bundle.open_(stored.data, sealer=self._sealer, trust_root=self._root, own=self._own)
        files = {entry.path: entry.data for entry in found.entries if isinstance(entry, File)}
        live = {
            entry.path: files[carried.target_of(entry.path, entry.target) or ""]
            for entry in found.entries
            if isinstance(entry, Link)
        }
        certificate = live.get(f"live/{NAME}/cert.pem")
        kept = ledger.parse(files[ledger.PATH])
        orders = tuple(entry for entry in kept if entry.kind == ledger.ORDER)
        if certificate is None:
            return Snapshot(found.generation, found.accounts, None, False, orders)
        leaf = x509.load_pem_x509_certificate(certificate)
        key = load_pem_private_key(live[f"live/{NAME}/privkey.pem"], None)
        whole = key.public_key() == leaf.public_key()
        return Snapshot(found.generation, found.accounts, leaf.serial_number, whole, orders)


class Watcher:
    """Looks on in a thread of its own; use it in a ``with`` statement.

    Args:
        reader: Reads the store.
        machines: The replicas.
        pause: Seconds between two looks.

    Attributes:
        arrivals: When another certificate was in the store for the first time, and which.
        served: Machine -> when it served another certificate, and which.
        broken: What a bundle must never hold, and held.
    """

    def __init__(self, reader: Reader, machines: Iterable[Machine], *, pause: float) -> None:
        self._reader, self._machines, self._pause = reader, tuple(machines), pause
        self.arrivals: list[tuple[float, int]] = []
        self.served: dict[str, list[tuple[float, int]]] = {item.name: [] for item in machines}
        self.broken: list[str] = []
        self._version: str | None = None
        self._places: dict[str, str | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause):
                self._look()
        except Exception as error:  # a test that is not looked at any more must fail
            self.broken.append(f"cannot look: {error!r}")

    def _look(self) -> None:
        version = self._reader.version()
        if version != self._version:
            self._version = version
            self._note(self._reader.read())
        for machine in self._machines:
            place = machine.place()
            if place != self._places.get(machine.name):
                serial = machine.served()
                if serial is not None and machine.place() == place:
                    self.served[machine.name].append((time.monotonic(), serial))
                    self._places[machine.name] = place
                elif place is None:
                    self._places[machine.name] = None

    def _note(self, found: Snapshot) -> None:
        if found.serial is None or not found.whole:
            self.broken.append(f"generation {found.generation} holds no whole certificate")
            return
        if not self.arrivals or self.arrivals[-1][1] != found.serial:
            self.arrivals.append((time.monotonic(), found.serial))
