# SPDX-License-Identifier: Apache-2.0
"""nginx serves what certbot got: at first, renewed, after a failed check, by run and install."""

import json
import os
import socket
import ssl
import stat
import urllib.request

import pytest
from cryptography import x509

from tests.support.world.nginx import Nginx
from tests.support.world.process import eventually


@pytest.fixture
def nginx(enclave, ca, owner):
    """The enclave's TLS server; the owner has published the records."""
    deploy = enclave.state / "tls"
    with Nginx(
        enclave.state / "nginx", deploy=deploy, name="example.test", evidence=enclave.evidence
    ) as server:
        enclave.extra |= {
            "deploy": f"files:{deploy}",
            "deploy-check": server.check,
            "deploy-reload": server.reload,
        }
        owner.publish(enclave.registered()["records"])
        yield server


def _served(nginx):
    """Return the certificate that a client is shown; it trusts nothing about it."""
    return ssl.get_server_certificate(("127.0.0.1", nginx.port), timeout=10)


def _becomes(nginx, pem):
    """nginx reloads in its own time; every connection is answered by the old or the new worker."""
    return eventually(lambda: _served(nginx).encode() == pem)


@pytest.mark.parametrize("verb", ["certonly", "run"])
def test_first_certificate_is_served_with_plain_tls(enclave, ca, nginx, verb):
    enclave.issue("--installer=enclave", verb=verb).ok()
    context = ssl.create_default_context(cafile=str(ca.issuer_root))
    name = ("DNS", "example.test")
    assert eventually(lambda: name in _verified(nginx, context)["subjectAltName"])


def _verified(nginx, context):
    """Shake hands as a browser does, and return the certificate that was accepted."""
    try:
        with (
            socket.create_connection(("127.0.0.1", nginx.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="example.test") as tls,
        ):
            return tls.getpeercert()
    except ssl.SSLCertVerificationError:  # the worker from before has not gone yet
        return {"subjectAltName": ()}


def test_key_is_private_and_the_pair_belongs_together(enclave, ca, nginx):
    enclave.issue("--installer=enclave").ok()
    where = enclave.state / "tls" / "example.test"
    assert stat.S_IMODE(os.stat(where / "privkey.pem").st_mode) == 0o600
    live = enclave.config / "live" / "example.test"
    for name in ("privkey.pem", "fullchain.pem"):
        assert (where / name).read_bytes() == (live / name).read_bytes()


def test_renewal_is_deployed(enclave, ca, nginx):
    enclave.issue("--installer=enclave").ok()
    first = enclave.certificate()
    enclave.renew().ok()
    assert enclave.certificate() != first
    assert _becomes(nginx, enclave.certificate())


def test_failed_check_keeps_the_old_certificate_and_says_so(enclave, ca, nginx):
    enclave.issue("--installer=enclave").ok()
    first = enclave.certificate()
    assert _becomes(nginx, first)
    done = enclave.renew("--enclave-deploy-check=/bin/false")
    assert done.code == 1
    assert "deploy check failed with exit code 1" in done.text
    assert "the old certificate stays in place" in done.text
    where = enclave.state / "tls" / "example.test"
    assert (where / "fullchain.pem").read_bytes().startswith(first)
    assert _becomes(nginx, first)
    enclave.certbot(
        "install", "--installer=enclave", "--cert-name=example.test", names=False, server=False
    ).ok()
    assert _becomes(nginx, enclave.certificate())


def test_evidence_is_served_at_the_well_known_place(enclave, ca, nginx, owner, shm):
    enclave.issue("--installer=enclave").ok()
    assert _becomes(nginx, enclave.certificate())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{nginx.port}/.well-known/certbot-enclave/evidence"
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        evidence = answer.read()
    path = shm / "fetched.json"
    path.write_bytes(evidence)
    policy = owner.policy(shm / "policy.toml", enclave)
    words = [str(path), "--domain=example.test", f"--policy={policy}", "--json"]
    root = f"--trust-root={enclave.simulator / 'root.pem'}"
    found = json.loads(enclave.run("certbot-enclave", "verify", *words, root).ok().out)
    served = ssl.PEM_cert_to_DER_cert(_served(nginx))
    serial = x509.load_der_x509_certificate(served).serial_number
    assert [item["serial"] for item in found["certificates"]] == [f"{serial:x}"]
    assert found["verdict"] == "exclusive"
