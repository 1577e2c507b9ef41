# SPDX-License-Identifier: Apache-2.0
"""Certificates through the plugin with the gate on: issued, renewed, stated, or refused early."""

import hashlib
import re
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.world.enclave import Enclave

PINNED = "ca.test;validationmethods=http-01;accounturi={account}"


def test_issues_at_the_ca_that_enforces_caa(enclave, ca, registered):
    enclave.issue().ok()
    (made,) = ca.certificates()
    assert (made["account"], made["names"]) == (registered["account"], ["example.test"])
    decisions = [(entry["phase"], entry["status"]) for entry in ca.caa_log()]
    assert ("validation", "allowed") in decisions
    assert ("finalize", "allowed") in decisions


def test_issues_at_pebble(shm, pebble, world, http_port, owner):
    enclave = Enclave(
        shm / "enclave",
        pebble.directory_url,
        pebble.tls_root,
        world.resolver.address,
        http_port,
        extra={"caa-issuer": "pebble.test"},
        issuer="pebble.test",
    )
    table = enclave.registered()
    refused = enclave.issue()
    assert refused.code == 1
    assert "the gate is closed" in refused.text
    owner.publish(table["records"])
    enclave.issue().ok()
    enclave.renew().ok()
    assert enclave.registered()["account"] == table["account"]
    assert enclave.said().caa_identities == ("pebble.test",)


def test_directory_without_caa_identity_needs_a_named_issuer(enclave, ca, owner):
    ca.change(caa_identities=[])
    done = enclave.register()
    assert done.code == 2
    assert "--enclave-caa-issuer" in done.err


def test_issuer_that_the_directory_does_not_name_is_refused(enclave, ca, owner):
    enclave.extra["caa-issuer"] = "other.test"
    done = enclave.register()
    assert done.code == 2
    assert "caa_issuer is other.test, the directory says ca.test" in done.err


def test_evidence_names_the_certificate_that_is_served(enclave, ca, registered):
    enclave.issue().ok()
    held = x509.load_pem_x509_certificate(enclave.certificate())
    spki = held.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    (said,) = enclave.said().certificates
    assert said.serial == f"{held.serial_number:x}"
    assert said.spki_sha256 == hashlib.sha256(spki).hexdigest()
    (domain,) = enclave.said().domains
    assert (domain.name, domain.verdict) == ("example.test", "exclusive")


def test_renewal_keeps_account_and_renews_evidence(enclave, ca, registered):
    enclave.issue().ok()
    before = enclave.said()
    enclave.renew().ok()
    after = enclave.said()
    assert after.account_uri == before.account_uri
    assert after.certificates[0].serial != before.certificates[0].serial
    assert after.generation > before.generation
    assert len(ca.accounts()) == 1
    assert len(ca.certificates()) == 2


def test_renewal_is_refused_when_caa_is_withdrawn(enclave, ca, registered, owner):
    enclave.issue().ok()
    old = enclave.certificate()
    owner.withdraw()
    done = enclave.renew()
    assert done.code == 1
    assert "the gate is closed" in done.text
    assert ca.count("requests", "newOrder") == 1
    assert enclave.certificate() == old
    assert enclave.said().domains[0].verdict == "open"


def test_reused_authorization_does_not_pass_the_gate(enclave, ca, registered, owner):
    ca.change(reuse_authorizations=True)
    enclave.issue().ok()
    challenges = ca.count("requests", "challenge")
    enclave.issue("--force-renewal").ok()
    assert ca.count("requests", "challenge") == challenges  # the CA validated nothing again
    owner.withdraw()
    orders = ca.count("requests", "newOrder")
    assert enclave.issue("--force-renewal").code == 1
    assert ca.count("requests", "newOrder") == orders


def test_finalize_looks_again(enclave, ca, registered, owner):
    ca.stall("challenge", "after")
    with enclave.start("certbot", *enclave.words("certonly", "--authenticator=enclave")) as run:
        ca.wait_stalled(60)
        owner.withdraw()
        ca.change(caa=False)  # a CA that ignores CAA, so that only the key can refuse
        ca.release()
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "the gate is closed" in out
    assert ca.count("requests", "newOrder") == 1
    assert ca.count("requests", "finalize") == 0


def test_waiting_for_caa_shows_progress_and_ends_well(enclave, ca, owner):
    enclave.extra["wait-for-caa"] = "60s"
    words = enclave.words(
        "certonly", "--authenticator=enclave", "--agree-tos", "--email=ops@a.test"
    )
    with enclave.start("certbot", *words) as run:
        seen = []
        for line in run.stdout:
            seen.append(line)
            if "waiting" in line:
                break
        assert enclave.said().domains[0].verdict == "open"
        owner.publish([line.strip() for line in seen if " IN CAA " in line])
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, "".join(seen) + out
    assert len(ca.certificates()) == 1


def test_waiting_for_caa_ends_when_time_is_up(enclave, ca, registered, owner):
    owner.withdraw()
    enclave.extra["wait-for-caa"] = "5s"
    done = enclave.issue()
    assert done.code == 1
    assert re.search("waiting [0-5] seconds", done.text)
    assert ca.count("requests", "newOrder") == 0


def test_renewal_waits_only_when_it_is_told_itself(enclave, ca, registered, owner):
    """What the first command waited for stands in the renewal file; a timer asks again anyway."""
    enclave.extra["wait-for-caa"] = "90s"
    enclave.issue().ok()
    conf = enclave.config / "renewal" / "example.test.conf"
    assert "enclave_wait_for_caa = 90s" in conf.read_text()
    owner.withdraw()
    for options, waits in ([], False), (["--enclave-wait-for-caa=1s"], True):
        enclave.terse = True
        done = enclave.renew(*options)
        assert done.code == 1
        assert "the gate is closed" in done.text
        assert ("waiting" in done.text) is waits


CLOSED = {
    "absent": ((), "without CAA records every CA may issue"),
    "foreign issuer beside ours": (
        (f'0 issue "{PINNED}"', '0 issue "other.test"', '0 issuewild ";"'),
        "another CA, other.test, is allowed",
    ),
    "unpinned": (('0 issue "ca.test"', '0 issuewild ";"'), "every account at our CA is allowed"),
    "another account": (
        ('0 issue "ca.test;validationmethods=http-01;accounturi={account}0"', '0 issuewild ";"'),
        "another account at our CA is allowed",
    ),
    "another method": (
        ('0 issue "ca.test;validationmethods=dns-01;accounturi={account}"', '0 issuewild ";"'),
        "other methods are allowed, and ours are not: dns-01",
    ),
    "parameter in capitals": (
        ('0 issue "ca.test;validationmethods=http-01;AccountURI={account}"', '0 issuewild ";"'),
        "sees no accounturi here",
    ),
    "open to wildcards": (
        (f'0 issue "{PINNED}"', '0 issuewild "ca.test"'),
        "every account at our CA is allowed",
    ),
    "critical": (
        (f'0 issue "{PINNED}"', '0 issuewild ";"', '128 tbs "unknown"'),
        "critical property",
    ),
    "contact only": (('0 iodef "mailto:a@example.test"',), "restrict nobody"),
}


@pytest.mark.parametrize(("texts", "why"), CLOSED.values(), ids=CLOSED)
def test_closed_gate_says_why_and_what_to_publish(enclave, ca, owner, texts, why):
    table = enclave.registered()
    owner.caa("example.test", *(text.format(account=table["account"]) for text in texts))
    done = enclave.issue()
    assert done.code == 1
    assert why in done.text
    assert table["records"] == [line for line in done.text.splitlines() if " IN CAA " in line]
    assert ca.count("requests", "newOrder") == 0


def test_covering_wildcard_closes_the_gate_unless_it_is_accepted(enclave, ca, owner, world):
    enclave.domains = ("www.example.test",)
    owner.publish(enclave.registered()["records"])
    world.update("www.example.test", "A", "127.0.0.1")
    done = enclave.issue()
    assert done.code == 1
    assert "*.example.test covers www.example.test" in done.text
    assert 'have these CAA records and no others at example.test: 0 issuewild ";"' in done.text
    enclave.extra["allow-covering-wildcard"] = True
    enclave.issue().ok()
    assert "covering-wildcard-open" in enclave.said().conditions


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("192.0.2.1", "is an IP address"),
        ("localhost", "has a single label"),
        ("co.uk", "is a public suffix"),
        ("abc.onion", "is an onion name"),
        ("*.example.test", "http-01 cannot validate the wildcard"),
    ],
)
def test_names_that_caa_or_the_method_cannot_bind(enclave, ca, owner, name, why):
    enclave.domains = (name,)
    done = enclave.register()
    assert (done.code, ca.accounts()) == (2, [])
    assert why in done.err


def test_names_that_were_not_registered_are_refused(enclave, ca, registered):
    enclave.domains = ("example.test", "www.example.test")
    done = enclave.issue()
    assert done.code == 1
    assert "www.example.test is not among the domains example.test" in done.text
    assert ca.count("requests", "newOrder") == 0


def test_evidence_speaks_of_every_domain_of_the_enclave(enclave, ca, owner):
    enclave.domains = ("example.test", "other.test")
    owner.publish(enclave.registered()["records"])
    enclave.domains = ("other.test",)
    enclave.terse = True
    enclave.issue().ok()
    said = {domain.name: domain.verdict for domain in enclave.said().domains}
    assert said == {"example.test": "exclusive", "other.test": "exclusive"}


def test_evidence_says_since_when_over_reboots_and_changes(enclave, ca, registered, owner, shm):
    window = timedelta(hours=8)
    enclave.issue().ok()
    (first,) = enclave.said().domains
    assert (first.verdict, first.since is None) == ("exclusive", False)
    assert first.checked_at < first.since <= first.checked_at + window
    verify = [
        *("verify", str(enclave.evidence), "--domain=example.test"),
        f"--policy={owner.policy(shm / 'policy.toml', enclave)}",
        f"--trust-root={enclave.simulator / 'root.pem'}",
    ]
    out = enclave.run("certbot-enclave", *verify).ok().out
    assert f"Z, not before {first.since:%Y-%m-%dT%H:%M:%SZ}\n" in out
    # Another boot, from the bundle.
    enclave.reboot()
    enclave.register().ok()
    (second,) = enclave.said().domains
    assert (second.verdict, second.since) == ("exclusive", first.since)
    # Others' records, and ours again.
    attest = ["attest", *enclave.directories]
    owner.caa("example.test", '0 issue "ca.test"')
    enclave.run("certbot-enclave", *attest).ok()
    (third,) = enclave.said().domains
    assert (third.verdict, third.since) == ("open", None)
    owner.publish(registered["records"])
    enclave.run("certbot-enclave", *attest).ok()
    (fourth,) = enclave.said().domains
    assert (fourth.verdict, fourth.since) == ("exclusive", fourth.checked_at + window)


def test_unwritable_store_after_issuance_is_a_failure(enclave, ca, registered):
    ca.stall("certificate", "after")
    with enclave.start("certbot", *enclave.words("certonly", "--authenticator=enclave")) as run:
        ca.wait_stalled(60)
        enclave.bundle.parent.rename(enclave.bundle.parent.with_name("gone"))
        ca.release()
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "certbot-enclave: error: store" in out
    assert (enclave.config / "live" / "example.test" / "cert.pem").exists()
