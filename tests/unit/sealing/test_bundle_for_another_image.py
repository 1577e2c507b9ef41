# SPDX-License-Identifier: Apache-2.0
"""A bundle sealed for one measurement cannot be opened under another, whatever sealed it.

Twice so: an image refuses what other code sealed, and code that refuses nothing gets no key.
"""

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.sealing import bundle, envelope, tree
from certbot_enclave.sealing.awskms import KmsSealer
from certbot_enclave.sealing.oyster import OysterSealer
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.settings import Settings
from tests.support.world import derive
from tests.support.world.derive import DeriveServer
from tests.support.world.kms import ACCESS_ID, ARN, SECRET, TOKEN, KmsFront

CONTENTS = bundle.Contents(
    "ab" * 16,
    1,
    "/etc/letsencrypt",
    ("https://ca.test/account/1",),
    (tree.File("accounts/ca/1/private_key.json", 0o400, b"sealed"),),
)


@pytest.fixture
def simulated_sealer():
    """One secret for all; the measurements differ."""
    return lambda image: SimulatedSealer(str(image))


@pytest.fixture
def oysterkms():
    """Root servers that give each image its own seed."""
    with DeriveServer(derive.ROOT) as server:

        def make(image):
            pcrs = simulated.measure(image)
            server.seed = derive.image_seed(b"".join(pcrs[index] for index in sorted(pcrs)))
            return OysterSealer(server.address)

        yield make


@pytest.fixture
def awskms(ours, monkeypatch):
    """A key whose policy names our image."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    root = SimulatedAttester(str(ours)).trust_root
    with KmsFront(root, simulated.measure(ours)) as front:

        def make(image):
            sealer = KmsSealer(ARN)
            settings = Settings({"aws_endpoint": front.url})
            sealer.attach(SimulatedAttester(str(image)), settings)
            return sealer

        yield make


@pytest.fixture(params=["simulated_sealer", "oysterkms", "awskms"])
def sealer(request):
    """Make a sealer for the image that runs."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def made(ours, sealer):
    """A bundle of our image."""
    attester = SimulatedAttester(str(ours))
    return bundle.make(CONTENTS, sealer=sealer(ours), attester=attester, public_key=b"account key")


def _open(image, made, sealer):
    zeros = {index: bytes(48) for index in range(16)}
    return bundle.open_(
        made,
        sealer=sealer(image),
        trust_root=SimulatedAttester(str(image)).trust_root,
        own=zeros | simulated.measure(image),
    )


def test_the_image_that_sealed_it_opens_it(ours, made, sealer):
    assert _open(ours, made, sealer) == CONTENTS


def test_another_image_refuses_it(theirs, made, sealer):
    with pytest.raises(errors.SealError, match="sealed by other code: its PCR0") as caught:
        _open(theirs, made, sealer)
    assert caught.value.code == "bundle-foreign"


def test_code_that_refuses_nothing_gets_no_key(theirs, made, sealer):
    sealed = envelope.parse(made[4 : 4 + int.from_bytes(made[:4], "big")])
    with pytest.raises(errors.SealError) as caught:
        envelope.unseal(sealed, kind=bundle.KIND, sealer=sealer(theirs))
    assert caught.value.code in ("sealed-elsewhere", "kms-denied")
