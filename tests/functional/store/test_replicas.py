# SPDX-License-Identifier: Apache-2.0
"""Replicas that share a bundle in S3."""

import pytest

from tests.support.world.replica import replica

pytestmark = pytest.mark.xdist_group("localstack")


@pytest.fixture(params=["", "localstack_key"], ids=["simulated", "awskms"])
def sealed(request, enclave, localstack_bucket):
    """An enclave whose store is S3, and who seals: simulated, or a key that looks at no PCRs."""
    if request.param:
        request.getfixturevalue(request.param)
    return enclave


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
