# SPDX-License-Identifier: Apache-2.0
"""After a restart everything is back from S3, and the CA hears nothing of it."""

import uuid

import pytest

from tests.support.world.localstack import IDENTITY, REGION, SECRET
from tests.support.world.replica import replica

pytestmark = pytest.mark.xdist_group("localstack")


@pytest.fixture
def stored(enclave, localstack):
    """An enclave whose store is S3."""
    bucket = localstack.bucket(f"b-{uuid.uuid4()}")
    place = f"s3://{bucket}/enclave?region={REGION}&endpoint={localstack.url}"
    enclave.extra["store"] = place
    enclave.environment |= {"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return enclave


@pytest.fixture(params=["simulated", "awskms"])
def sealed(request, stored, localstack):
    """The same, and who seals: for the recipient in a document, without a look at its PCRs."""
    if request.param == "awskms":
        arn = localstack.kms("CreateKey")["KeyMetadata"]["Arn"]
        stored.extra |= {"sealer": f"awskms:{arn}", "aws-endpoint": localstack.url}
    return stored


def _restore(enclave):
    return enclave.run(
        "certbot-enclave", "restore", *enclave.directories, *enclave.settings("--"), "--json"
    )


def test_account_and_certificate_are_back_and_renew(sealed, owner, ca):
    done = _restore(sealed)
    assert (done.code, "holds no bundle" in done.err) == (1, True), done.err
    table = sealed.registered()
    owner.publish(table["records"])
    sealed.issue().ok()
    certificate, asked = sealed.certificate(), ca.counts()["requests"]
    sealed.reboot()
    _restore(sealed).ok()
    assert sealed.certificate() == certificate
    assert ca.counts()["requests"] == asked, "the CA was asked"
    sealed.renew().ok()
    renewed = sealed.certificate()
    assert renewed != certificate
    assert sealed.said().account_uri == table["account"]
    assert sealed.said().sealing_scheme == sealed.extra.get("sealer", "simulated").split(":")[0]
    sealed.reboot()
    _restore(sealed).ok()
    assert sealed.certificate() == renewed
    assert len(ca.accounts()) == 1
    assert list(sealed.bundle.parent.iterdir()) == []


def test_replicas_share_it(sealed, owner, ca):
    sealed.extra["deploy"] = f"files:{sealed.state / 'tls'}"
    other = replica(sealed, "other")
    owner.publish(sealed.registered()["records"])
    sealed.let("certonly").ok()
    for _ in range(2):
        asked = ca.count("requests", "newOrder")
        other.ours("follow", "--once").ok()
        assert other.certificate() == sealed.certificate()
        served = other.config.parent / "tls" / "example.test" / "fullchain.pem"
        assert served.read_bytes().startswith(sealed.certificate())
        assert "nothing newer" in other.ours("follow", "--once").ok().out
        assert ca.count("requests", "newOrder") == asked
        sealed.let("renew", "--force-renewal").ok()
    # Two that go on from the same generation: one of them is told, and they agree again.
    done = other.let("renew", "--force-renewal").ok()
    sealed.certbot("delete", "--cert-name=example.test", names=False, server=False).ok()
    done = sealed.ours("seal")
    assert (done.code, "certbot-enclave follow --once" in done.err) == (1, True), done.text
    sealed.ours("follow", "--once").ok()
    assert sealed.certificate() == other.certificate()
    assert len(ca.accounts()) == 1


def test_store_that_is_away_is_no_empty_store(stored):
    place = stored.extra["store"]
    for store, words in [
        (place.replace("s3://b-", "s3://c-"), "no such bucket"),
        (place[: place.rindex(":")] + ":1", "does not answer"),
    ]:
        stored.extra["store"] = store
        done = _restore(stored)
        assert (done.code, words in done.err) == (3, True), done.err
        done = stored.register()
        assert (done.code, words in done.err) == (3, True), done.err
        assert not (stored.config / "accounts").exists()
