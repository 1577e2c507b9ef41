# SPDX-License-Identifier: Apache-2.0
"""CAA decides at validation, and again at finalize."""

import pytest

from tests.support.ca_client import Refused, b64, make_csr, new_key

NAME = "www.bound.test"


def zone(*records, at="bound.test"):
    return {at: {"caa": list(records)}}


def pinned(uri, method="http-01"):
    return f'0 issue "ca.test;validationmethods={method};accounturi={uri}"'


def refusal(client, name=NAME):
    with pytest.raises(Refused) as caught:
        client.issue([name])
    return caught.value


def test_the_pinned_account_is_served_and_another_is_not(ca, client, new_client):
    ca.change(zone=zone(pinned(client.kid), '0 issuewild ";"'))
    assert "BEGIN" in client.issue([NAME])
    host = new_client()
    host.register()
    refused = refusal(host)
    assert refused.type == "caa"
    assert host.kid in refused.problem["detail"]
    decision = ca.caa_log()[-1]
    assert (decision["phase"], decision["status"]) == ("validation", "denied")
    assert (decision["found_at"], decision["account"]) == ("bound.test", host.kid)


@pytest.mark.parametrize(
    ("records", "type_"),
    [
        (['0 issue "other.test"'], "caa"),
        (['0 issue ";"'], "caa"),
        (['0 issue "ca.test;accounturi=https://localhost/account/1"'], "caa"),
        (['0 issue "ca.test;validationmethods=dns-01"'], "caa"),
        (['128 unknown "x"'], "caa"),
        ([{"rdata": "0009697373"}], "dns"),  # a tag that runs past the end
    ],
)
def test_records_that_do_not_allow_us(ca, client, records, type_):
    ca.change(zone=zone(*records))
    assert refusal(client).type == type_


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "truncated", "http500"])
def test_a_failed_lookup_is_never_permission(ca, client, rcode):
    ca.change(zone={"bound.test": {"rcode": rcode}})
    assert refusal(client).type == "dns"


def test_the_rules_are_asked_again_at_finalize(ca, client):
    ca.change(zone=zone(pinned(client.kid)))
    url, order = client.order([NAME])
    client.prove(order)
    issued = ca.count("events", "certificates_issued")
    ca.change(zone=zone(pinned(client.kid + "0")))
    csr = b64(make_csr([NAME], new_key()))
    answer = client.post(order["finalize"], {"csr": csr})
    assert (answer.status, answer.problem) == (403, "caa")
    assert ca.caa_log()[-1]["phase"] == "finalize"
    ca.change(zone={"test": {"rcode": "SERVFAIL"}})
    assert client.post(order["finalize"], {"csr": csr}).problem == "dns"
    assert ca.count("events", "certificates_issued") == issued
    assert client.ask(url).json["status"] == "ready"
    ca.change(zone=zone(pinned(client.kid)))
    client.ask(order["finalize"], {"csr": csr})


def test_a_reused_authorization_meets_the_new_record(ca, client):
    ca.change(reuse_authorizations=True)
    client.issue([NAME])
    ca.change(zone=zone(pinned(client.kid + "0")))
    assert refusal(client).type == "caa"


def test_every_name_of_an_order_is_checked_at_finalize(ca, client):
    ca.change(reuse_authorizations=True)
    names = ["one.test", "two.test"]
    client.issue(names)
    ca.change(zone=zone('0 issue ";"', at="two.test"))
    with pytest.raises(Refused) as caught:
        client.issue(names)
    assert "two.test" in caught.value.problem["detail"]


def test_enforcement_can_be_turned_off(ca, client):
    ca.change(zone=zone('0 issue ";"'), caa=False)
    assert "BEGIN" in client.issue([NAME])


def test_the_issuer_name_is_a_setting(ca, client):
    ca.change(zone=zone('0 issue "another-ca.test"'), issuer_name="another-ca.test")
    try:
        assert "BEGIN" in client.issue([NAME])
        again = type(client)(ca.directory_url, ca.tls_root)
        assert again.directory["meta"]["caaIdentities"] == ["another-ca.test"]
    finally:
        ca.change(issuer_name="ca.test")
