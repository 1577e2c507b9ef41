# SPDX-License-Identifier: Apache-2.0
"""The acme library, certbot's own, gets a certificate: an independent client agrees with the CA."""

from datetime import datetime, timedelta

from acme import challenges, client, messages
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from tests.support.ca_client import make_csr, new_key


def test_the_acme_library_gets_a_certificate(ca, web, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.tls_root))
    key = JWKEC(key=new_key())
    network = client.ClientNetwork(key, alg=ES256)
    directory = client.ClientV2.get_directory(ca.directory_url, network)
    acme = client.ClientV2(directory, network)
    registration = messages.NewRegistration.from_data(
        email="ops@example.com", terms_of_service_agreed=True
    )
    account = acme.new_account(registration)
    assert directory.meta.caa_identities == ("ca.test",)
    ca.change(zone={"lib.test": {"caa": [f'0 issue "ca.test;accounturi={account.uri}"']}})
    names = ["lib.test", "www.lib.test"]
    csr = x509.load_der_x509_csr(make_csr(names, new_key()))
    order = acme.new_order(csr.public_bytes(Encoding.PEM))
    for authorization in order.authorizations:
        (body,) = authorization.body.challenges
        assert isinstance(body.chall, challenges.HTTP01)
        response, text = body.response_and_validation(key)
        web.responses[body.chall.encode("token")] = text
        acme.answer_challenge(body, response)
    done = acme.poll_and_finalize(order, datetime.now() + timedelta(seconds=15))
    (leaf, issuing) = x509.load_pem_x509_certificates(done.fullchain_pem.encode())
    leaf.verify_directly_issued_by(issuing)
    acme.revoke(leaf, 0)
    assert ca.certificates()[-1]["revoked"] == 0
    network.session.close()
