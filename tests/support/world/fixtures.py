# SPDX-License-Identifier: Apache-2.0
"""Fixtures over the real servers: DNS once for all tests, a CA and an enclave for each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from tests.support.ca.launcher import TestCA
from tests.support.world import derive, kms
from tests.support.world import localstack as amazon
from tests.support.world.derive import DeriveServer
from tests.support.world.dns import DnsWorld
from tests.support.world.enclave import Enclave
from tests.support.world.kms import KmsFront
from tests.support.world.localstack import LocalStack
from tests.support.world.owner import Owner
from tests.support.world.pebble import Pebble
from tests.support.world.process import free_port

DOMAIN = "example.test"


@pytest.fixture(scope="session")
def world() -> Iterator[DnsWorld]:
    """All of DNS: ``example.test`` and ``other.test`` are signed."""
    with (
        tempfile.TemporaryDirectory(prefix="world.", dir="/dev/shm") as folder,
        DnsWorld(
            Path(folder),
            signed=(DOMAIN, "other.test"),
            unsigned=("unsigned.test",),
            bogus=("bogus.test",),
        ) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def localstack() -> Iterator[LocalStack]:
    """KMS and S3; its tests are of the group ``localstack``, so that one is started."""
    with (
        tempfile.TemporaryDirectory(prefix="localstack.") as folder,
        LocalStack(Path(folder)) as started,
    ):
        yield started


@pytest.fixture
def shm() -> Iterator[Path]:
    """A directory of the test's own, in RAM."""
    with tempfile.TemporaryDirectory(prefix="enclave.", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def owner(world: DnsWorld) -> Iterator[Owner]:
    """The domain owner; the zones hold no CAA before and after."""
    person = Owner(world)
    person.withdraw()
    yield person
    person.withdraw()


@pytest.fixture
def http_port() -> int:
    """Where CAs validate http-01."""
    return free_port()


@pytest.fixture
def new_ca(world: DnsWorld, http_port: int) -> Iterator[Callable[..., TestCA]]:
    """Start a CAA-enforcing CA with settings of its own."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestCA:
            usual = {"resolver": world.resolver.address, "http_port": http_port, "retry_after": 0}
            return stack.enter_context(TestCA(**{**usual, **settings}))

        yield start


@pytest.fixture
def ca(new_ca: Callable[..., TestCA]) -> TestCA:
    """A CAA-enforcing CA."""
    return new_ca()


@pytest.fixture
def pebble(world: DnsWorld, shm: Path, http_port: int) -> Iterator[Pebble]:
    """The independent ACME server."""
    with Pebble(shm / "pebble", resolver=world.resolver.address, http_port=http_port) as started:
        yield started


@pytest.fixture
def enclave(shm: Path, ca: TestCA, world: DnsWorld, http_port: int) -> Enclave:
    """An enclave that talks to the CAA-enforcing CA and asks one validating resolver."""
    return Enclave(
        shm / "enclave", ca.directory_url, ca.tls_root, world.resolver.address, http_port
    )


@pytest.fixture
def registered(enclave: Enclave, owner: Owner) -> dict[str, Any]:
    """What ``register`` printed; the owner has published the records."""
    table = enclave.registered()
    owner.publish(table["records"])
    return table


@pytest.fixture
def issued(enclave: Enclave, registered: dict[str, Any]) -> Enclave:
    """An enclave that holds the domain's only certificate."""
    enclave.issue().ok()
    return enclave


# --- who seals, and where it is kept ---


@pytest.fixture
def derive_server(enclave: Enclave) -> Iterator[DeriveServer]:
    """Oyster's derive server beside the enclave, with the seed of an image; it seals."""
    with DeriveServer(derive.image_seed(b"i" * 32)) as started:
        enclave.extra["sealer"] = f"oysterkms:{started.address}"
        yield started


@pytest.fixture
def kms_front(enclave: Enclave) -> Iterator[KmsFront]:
    """A key service whose key is for this image; it seals."""
    root = SimulatedAttester(str(enclave.simulator)).trust_root
    with KmsFront(root, simulated.measure(enclave.simulator)) as started:
        enclave.extra |= {"sealer": f"awskms:{kms.ARN}", "aws-endpoint": started.url}
        enclave.environment |= {
            "AWS_ACCESS_KEY_ID": kms.ACCESS_ID,
            "AWS_SECRET_ACCESS_KEY": kms.SECRET,
            "AWS_SESSION_TOKEN": kms.TOKEN,
        }
        yield started


def _credentials(enclave: Enclave) -> None:
    enclave.environment.setdefault("AWS_ACCESS_KEY_ID", amazon.IDENTITY)
    enclave.environment.setdefault("AWS_SECRET_ACCESS_KEY", amazon.SECRET)


@pytest.fixture
def localstack_key(enclave: Enclave, localstack: LocalStack) -> str:
    """ARN of a key of LocalStack's, which seals for whoever asks."""
    arn = str(localstack.kms("CreateKey")["KeyMetadata"]["Arn"])
    enclave.extra |= {"sealer": f"awskms:{arn}", "aws-endpoint": localstack.url}
    _credentials(enclave)
    return arn


@pytest.fixture
def localstack_bucket(enclave: Enclave, localstack: LocalStack) -> str:
    """The store of the enclave, ``s3:…``, on LocalStack."""
    place = localstack.store()
    enclave.extra["store"] = place
    _credentials(enclave)
    return place
