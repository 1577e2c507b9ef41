# SPDX-License-Identifier: Apache-2.0
"""While anybody could get the certificate, the enclave orders none: the key refuses."""

import pytest


@pytest.mark.parametrize("agree", [True, False])
def test_without_caa_the_ca_sees_no_order(enclave, ca, owner, agree):
    account = enclave.registered()["account"]
    done = enclave.issue(*(["--agree-tos"] if agree else []))
    assert done.code == 1
    assert "the gate is closed: somebody else could get this certificate" in done.text
    assert f"accounturi={account}" in done.text
    assert ca.count("requests", "newOrder") == 0


def test_host_that_reopens_the_zone_stops_renewal(enclave, ca, owner):
    """Somebody adds a record for another CA beside ours: the next order is refused."""
    records = enclave.registered()["records"]
    owner.publish(records)
    enclave.issue().ok()
    ours = [record.split(" IN CAA ", 1)[1] for record in records]
    owner.caa("example.test", *ours, '0 issue "other-ca.test"')
    done = enclave.renew()
    assert done.code == 1
    assert "another CA, other-ca.test, is allowed" in done.text
    assert ca.count("requests", "newOrder") == 1


def test_ca_that_ignores_caa_gets_no_signature_either(enclave, ca, owner):
    """The gate does not trust the CA to enforce what the records say."""
    ca.change(caa=False)
    enclave.register().ok()
    assert enclave.issue().code == 1
    assert ca.certificates() == []
