# SPDX-License-Identifier: Apache-2.0
"""Orders, from newOrder to the certificate and its end."""

import base64
from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from tests.support.ca_client import Refused, b64, make_csr, new_key


def ready_order(client, names):
    _, order = client.order(names)
    client.prove(order)
    return order


def test_a_certificate_leads_to_the_root(ca, client):
    names = ["www.issue.test", "issue.test"]
    leaf, *chain = x509.load_pem_x509_certificates(client.issue(names).encode())
    root = x509.load_pem_x509_certificate(ca.issuer_root.read_bytes())
    verifier = PolicyBuilder().store(Store([root])).build_server_verifier(x509.DNSName(names[1]))
    assert verifier.verify(leaf, chain) == [leaf, *chain, root]
    alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == names
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90)
    issued = ca.certificates()[-1]
    assert (issued["account"], issued["names"]) == (client.kid, names)
    assert issued["serial"] == format(leaf.serial_number, "x")


def test_the_order_and_its_parts_can_be_read(client):
    url, order = client.order(["parts.test"])
    assert order["status"] == "pending"
    (authorization_url,) = order["authorizations"]
    authorization = client.ask(authorization_url)
    assert authorization.json["identifier"] == {"type": "dns", "value": "parts.test"}
    assert authorization.headers["retry-after"] == "1"
    client.prove(order)
    (challenge,) = client.ask(authorization_url).json["challenges"]
    assert challenge["status"] == "valid"
    answer = client.ask(challenge["url"])
    assert f'<{authorization_url}>;rel="up"' in answer.headers["link"]
    assert client.ask(url).json["status"] == "ready"
    client.finalize(order, make_csr(["parts.test"], new_key()))
    assert client.ask(url).json["status"] == "valid"
    assert url in client.ask(f"{client.kid}/orders").json["orders"]


def test_another_account_reads_nothing(client, new_client):
    url, order = client.order(["mine.test"])
    stranger = new_client()
    stranger.register()
    challenge = client.ask(order["authorizations"][0]).json["challenges"][0]["url"]
    for private in (url, order["authorizations"][0], challenge, client.kid):
        assert stranger.post(private).problem == "unauthorized"
    assert stranger.post(order["finalize"], {"csr": ""}).problem == "unauthorized"


@pytest.mark.parametrize("answer", ["", "TOKEN.another-thumbprint"])
def test_a_wrong_response_ends_the_authorization(client, web, answer):
    url, order = client.order(["wrong.test"])
    authorization = client.ask(order["authorizations"][0]).json
    (challenge,) = authorization["challenges"]
    web.responses[challenge["token"]] = answer.replace("TOKEN", challenge["token"])
    client.ask(challenge["url"], {})
    assert client.wait(order["authorizations"][0], "pending")["status"] == "invalid"
    assert client.ask(challenge["url"]).json["error"]["type"].endswith(":unauthorized")
    assert client.ask(url).json["status"] == "invalid"


def test_a_right_response_with_a_wrong_status_is_refused(client, web):
    web.status = 403
    with pytest.raises(Refused) as caught:
        client.issue(["status.test"])
    assert caught.value.type == "unauthorized"


def test_nobody_at_the_port_is_a_connection_problem(ca, client):
    ca.change(http_port=1)
    with pytest.raises(Refused) as caught:
        client.issue(["nobody.test"])
    assert caught.value.type == "connection"


@pytest.mark.parametrize(
    ("identifiers", "type_"),
    [
        ([], "malformed"),
        ("x.test", "malformed"),
        ([{"type": "dns"}], "malformed"),
        ([{"type": "ip", "value": "192.0.2.1"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": "192.0.2.1"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "single"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "a_b.test"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "-a.test"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "a.test."}], "rejectedIdentifier"),
        ([{"type": "dns", "value": ".".join(["a" * 60] * 5)}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "*.wild.test"}], "rejectedIdentifier"),  # no challenge type
    ],
)
def test_names_that_cannot_be_ordered(client, identifiers, type_):
    url = client.directory["newOrder"]
    assert client.post(url, {"identifiers": identifiers}).problem == type_


@pytest.mark.parametrize("member", ["notBefore", "notAfter"])
def test_validity_cannot_be_chosen(client, member):
    payload = {
        "identifiers": [{"type": "dns", "value": "time.test"}],
        member: "2030-01-01T00:00:00Z",
    }
    assert client.post(client.directory["newOrder"], payload).problem == "malformed"


def test_finalize_waits_for_the_authorizations(client):
    _, order = client.order(["early.test"])
    csr = b64(make_csr(["early.test"], new_key()))
    assert client.post(order["finalize"], {"csr": csr}).problem == "orderNotReady"


ADDRESS = x509.IPAddress(IPv4Address("192.0.2.1"))


def spoilt(csr: bytes) -> bytes:
    return csr[:-1] + bytes([csr[-1] ^ 1])


@pytest.mark.parametrize(
    "make",
    [
        lambda client: make_csr(["csr.test"], new_key()),  # a name short
        lambda client: make_csr(["csr.test", "www.csr.test", "x.test"], new_key()),
        lambda client: make_csr(["csr.test", "www.csr.test"], client.key),  # the account key
        lambda client: spoilt(make_csr(["csr.test", "www.csr.test"], new_key())),
        lambda client: make_csr(
            ["csr.test", "www.csr.test"], ec.generate_private_key(ec.SECP256K1())
        ),
        lambda client: make_csr(
            ["csr.test", "www.csr.test"], rsa.generate_private_key(65537, 1024)
        ),
        lambda client: make_csr(["csr.test", "www.csr.test"], new_key(), ADDRESS),
        lambda client: b"no CSR",
    ],
)
def test_a_csr_that_is_not_the_order_is_refused(client, make):
    order = ready_order(client, ["csr.test", "www.csr.test"])
    assert client.post(order["finalize"], {"csr": b64(make(client))}).problem == "badCSR"
    good = make_csr(["www.csr.test", "csr.test"], new_key())
    assert "BEGIN CERTIFICATE" in client.finalize(order, good)


@pytest.mark.parametrize(("reuse", "status"), [(True, "ready"), (False, "pending")])
def test_valid_authorizations_are_used_again_if_the_switch_is_on(ca, client, reuse, status):
    ca.change(reuse_authorizations=reuse)
    names = [f"reuse-{status}.test"]
    first = ready_order(client, names)
    _, second = client.order(names)
    assert second["status"] == status
    assert (second["authorizations"] == first["authorizations"]) is reuse


def test_a_deactivated_authorization_is_not_used_again(ca, client):
    ca.change(reuse_authorizations=True)
    first = ready_order(client, ["given-up.test"])
    url = first["authorizations"][0]
    assert client.post(url, {"status": "valid"}).problem == "malformed"
    assert client.ask(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert client.post(url, {"status": "deactivated"}).problem == "malformed"
    csr = b64(make_csr(["given-up.test"], new_key()))
    assert client.post(first["finalize"], {"csr": csr}).problem == "orderNotReady"
    _, second = client.order(["given-up.test"])
    assert second["status"] == "pending"


def leaf_der(chain: str) -> str:
    leaf = x509.load_pem_x509_certificate(chain.encode())
    return b64(leaf.public_bytes(Encoding.DER))


def test_revocation_by_account_and_by_certificate_key(ca, client, new_client):
    url, key = client.directory["revokeCert"], new_key()
    stranger = new_client()
    stranger.register()
    der = leaf_der(client.issue(["revoke.test"]))
    assert stranger.post(url, {"certificate": der}).problem == "unauthorized"
    bad = client.post(url, {"certificate": der, "reason": 7})
    assert bad.problem == "badRevocationReason"
    assert client.post(url, {"certificate": b64(b"other")}).problem == "malformed"
    assert client.ask(url, {"certificate": der, "reason": 1}).body == b""
    assert client.post(url, {"certificate": der}).problem == "alreadyRevoked"
    order = ready_order(client, ["revoke.test"])
    second = leaf_der(client.finalize(order, make_csr(["revoke.test"], key)))
    assert new_client(key=new_key()).post(url, {"certificate": second}).problem == "unauthorized"
    new_client(key=key).ask(url, {"certificate": second})
    assert [made["revoked"] for made in ca.certificates()[-2:]] == [1, 0]


def test_the_issuing_account_may_revoke_without_its_authorizations(client):
    order = ready_order(client, ["lapsed.test"])
    der = leaf_der(client.finalize(order, make_csr(["lapsed.test"], new_key())))
    client.ask(order["authorizations"][0], {"status": "deactivated"})
    client.ask(client.directory["revokeCert"], {"certificate": der})


def test_an_account_that_holds_the_names_may_revoke(client, new_client):
    der = leaf_der(client.issue(["moved.test"]))
    heir = new_client()
    heir.register()
    ready_order(heir, ["moved.test"])
    heir.ask(heir.directory["revokeCert"], {"certificate": der})


def test_the_chain_is_two_certificates_in_pem(client):
    blocks = client.issue(["pem.test"]).split("-----BEGIN CERTIFICATE-----")[1:]
    assert len(blocks) == 2
    for block in blocks:
        base64.b64decode(block.partition("-----")[0], validate=False)
