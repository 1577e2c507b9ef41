# SPDX-License-Identifier: Apache-2.0
"""The host puts a key service of its own in place of AWS's: it hears nothing, and is not believed.

Whoever is asked to encrypt sees a data key, and whoever is asked at all sees a session token.
"""

import json
import time

import pytest
import trustme

from certbot_enclave import errors
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.aws import arn
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.aws.kms import Kms
from tests.support.world import kms
from tests.support.world.kms import KmsFront
from tests.support.world.tunnel import Tunnel

ENVIRON = {
    "AWS_ACCESS_KEY_ID": kms.ACCESS_ID,
    "AWS_SECRET_ACCESS_KEY": kms.SECRET,
    "AWS_SESSION_TOKEN": kms.TOKEN,
}
GENUINE = "kms.eu-central-1.amazonaws.com"


def _code(done, exit):
    assert (done.code, "Traceback" in done.text) == (exit, False), done.text
    return json.loads(done.out)["code"]


@pytest.fixture
def theirs(enclave):
    """A key service that knows our image and our credentials, and is the host's."""
    root = SimulatedAttester(str(enclave.simulator)).trust_root
    with KmsFront(root, simulated.measure(enclave.simulator)) as started:
        yield started


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"])
def test_endpoint_in_the_environment_is_refused(enclave, ca, owner, kms_front, theirs, name):
    enclave.registered()
    enclave.reboot()
    asked = len(kms_front.asked)
    enclave.environment[name] = theirs.url
    assert _code(enclave.restore(), 2) == "door-environment"
    assert _code(enclave.register("--json"), 2) == "door-environment"
    done = enclave.issue("--agree-tos", "--register-unsafely-without-email")
    assert (done.code, f"{name} is set to" in done.text) == (1, True), done.text
    assert (theirs.asked, len(kms_front.asked)) == ([], asked)
    assert len(ca.accounts()) == 1


def test_endpoint_that_is_measured_is_accepted_by_name_only(enclave, ca, owner, kms_front, shm):
    """It is in the image, so the statement says it, and a policy that does not know it refuses."""
    enclave.registered()
    words = [str(enclave.evidence), "--domain=example.test", "--json"]
    words.append(f"--trust-root={enclave.simulator / 'root.pem'}")
    path = owner.policy(shm / "policy.toml", enclave)
    sealing = f'[accept]\nsealing = ["{enclave.extra["sealer"]}"]\n'
    text = path.read_text().replace("[accept]\n", sealing)
    named = [line for line in text.splitlines(keepends=True) if line.startswith("aws_endpoint")]
    assert len(named) == 1
    for content, exit in [(text, 0), (text.replace(named[0], ""), 1)]:
        path.write_text(content)
        done = enclave.run("certbot-enclave", "verify", *words, f"--policy={path}")
        assert done.code == exit, done.text
    assert _code(done, 1) == "setting"
    assert kms_front.url in done.err


def test_name_that_leads_to_the_host_ends_at_tls(enclave, ca, owner, theirs, shm):
    """With the name server in its hand, and a certificate for that name by a CA of its own."""
    root, pcrs = theirs.root, theirs.pcrs
    with KmsFront(root, pcrs, trustme.CA(), name=GENUINE) as lying:
        with Tunnel(int(lying.url.rpartition(":")[2])) as tunnel:
            enclave.extra["sealer"] = f"awskms:{kms.ARN}"
            enclave.environment |= {**ENVIRON, "HTTPS_PROXY": tunnel.url, "NO_PROXY": "localhost"}
            done = enclave.register("--json")
            assert _code(done, 3) == "aws-unreachable"
            assert "SSLError" in done.err
            assert set(tunnel.asked) == {f"{GENUINE}:443"}
        assert lying.asked == []
    assert ca.accounts() == []


CERTIFICATES = {
    "its name, by a trusted CA": (GENUINE, True, ""),
    "its name, by a CA of the host's": (GENUINE, False, "SSLError"),
    "another name, by a trusted CA": ("kms.eu-west-1.amazonaws.com", True, "SSLError"),
    "the host's own name, by a trusted CA": ("host.test", True, "SSLError"),
    "its name as a part, by a trusted CA": (f"{GENUINE}.host.test", True, "SSLError"),
}


@pytest.mark.parametrize(("name", "trusted", "error"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificate_must_be_of_a_trusted_ca_and_for_the_service(theirs, shm, name, trusted, error):
    authority, waited = trustme.CA(), []
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(shm / "roots.pem"))
    with KmsFront(theirs.root, {}, authority, name=name) as lying:
        with Tunnel(int(lying.url.rpartition(":")[2])) as tunnel:
            service = Kms(
                arn.parse(kms.ARN),
                Chain(ENVIRON, time.time),
                roots=str(shm / "roots.pem"),
                proxy=tunnel.url,
                sleep=waited.append,
            )
            if not error:
                assert service.encrypt(bytes(32), {})
                assert lying.asked == ["Encrypt"]
                return
            with pytest.raises(errors.TransportError, match=error) as caught:
                service.encrypt(bytes(32), {})
            assert caught.value.code == "aws-unreachable"
        assert lying.asked == []
