# SPDX-License-Identifier: Apache-2.0
"""The host hands over state of its own making: sealed by itself, mixed, foreign, or older."""

import base64
import hashlib
import json
import re
import shutil

import pytest
import requests
from cryptography.hazmat.primitives.serialization import load_der_public_key
from requests_aws4auth import AWS4Auth
from zope.interface import implementer

from certbot_enclave import statement
from certbot_enclave.attestation import document, simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.interfaces import IAttester, ISealer
from certbot_enclave.sealing import bundle, envelope, tree
from certbot_enclave.sealing.simulated import SimulatedSealer
from tests.support import cms
from tests.support.world import derive, kms
from tests.support.world.host import Host

ONE_LOCALSTACK = pytest.mark.xdist_group("localstack")
AGREED = ("--agree-tos", "--register-unsafely-without-email")


def _refused(done, code):
    assert (done.code, "Traceback" in done.text) == (1, False), done.text
    assert json.loads(done.out)["code"] == code, done.text


def _parts(data):
    """Return header, ciphertext and attestation of a bundle."""
    end = 4 + int.from_bytes(data[:4], "big")
    sealed, start = data[4:end], len(envelope.MAGIC) + 4
    head = start + int.from_bytes(sealed[start - 4 : start], "big")
    return sealed[:head], sealed[head:], data[end:]


def _joined(header, ciphertext, attestation):
    return (len(header) + len(ciphertext)).to_bytes(4, "big") + header + ciphertext + attestation


# --- forged: sealed by the host around its own account key, and a hook ---


@implementer(ISealer)
class PlainEncrypt:
    """What the host does with its role: ``kms:Encrypt``, for which no key policy asks PCRs."""

    simulated, scheme = False, "awskms"

    def __init__(self, enclave):
        self.key = enclave.extra["sealer"].removeprefix("awskms:")
        self._url = enclave.extra["aws-endpoint"]
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        identity, secret, token = (enclave.environment.get(name) for name in names)
        self._auth = AWS4Auth(identity, secret, kms.REGION, "kms", session_token=token)

    def wrap(self, data_key, context):
        asked = {
            "KeyId": self.key,
            "Plaintext": base64.b64encode(data_key).decode(),
            "EncryptionContext": dict(context),
        }
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "TrentService.Encrypt",
        }
        reply = requests.post(
            self._url, data=json.dumps(asked), headers=headers, auth=self._auth, timeout=30
        )
        reply.raise_for_status()
        return base64.b64decode(reply.json()["CiphertextBlob"])

    def unwrap(self, wrapped, context):
        raise NotImplementedError


@implementer(ISealer)
class OwnDataKey(PlainEncrypt):
    """The host's key service, which will say that it unwrapped what the host wants."""

    def wrap(self, data_key, context):
        self.chosen = data_key
        return b"anything at all"


@implementer(IAttester)
class Says:
    """Puts one attestation beside everything."""

    simulated, format, trust_root = True, "aws-nitro", None

    def __init__(self, given):
        self._given = given

    def attest(self, *, user_data, public_key, nonce):
        return self._given(user_data) if callable(self._given) else self._given


@pytest.fixture
def loot(enclave, ca, shm, http_port):
    """What the host wants inside: its own account, its certificate, and a hook that runs code."""
    host = Host(shm / "host", http_port)
    host.issue(ca).ok()
    enclave.environment["REQUESTS_CA_BUNDLE"] = str(ca.tls_root)
    config = host.accounts.parent
    renewal = config / "renewal" / "example.test.conf"
    text = renewal.read_text().replace(str(config), str(enclave.config))
    hook = f"[renewalparams]\nrenew_hook = touch {shm / 'hook-ran'}\n"
    renewal.write_text(text.replace("[renewalparams]\n", hook))
    (account,) = ca.accounts()
    contents = bundle.Contents(
        "ee" * 16, 1000, str(enclave.config), (account["uri"],), tree.collect(config)
    )
    assert b"touch " in contents.entries[-1].data
    assert b'"kty": "RSA"' in b"".join(getattr(entry, "data", b"") for entry in contents.entries)
    return contents


def _forged(contents, sealer, attester):
    return bundle.make(contents, sealer=sealer, attester=attester, public_key=b"key")


def _attestations(enclave, genuine):
    """Attestations that a host can have, and what is said of each beside a forged bundle."""
    same = ("root.key", "root.pem")  # the same hardware
    theirs = enclave.sibling("theirs", b"the host's own code\n", shared=same)
    made_up = enclave.sibling("made-up", enclave.image.read_bytes())

    def with_nonce(user_data):
        words = [*enclave.directories, *enclave.settings("--"), f"--nonce={user_data.hex()}"]
        evidence = enclave.run("certbot-enclave", "attest", *words).ok().out.encode()
        return statement.parse_evidence(evidence).document

    evidence = statement.parse_evidence(enclave.evidence.read_bytes())
    return {
        "nobody": (Says(b""), "bundle-truncated"),
        "nobody, in so many words": (Says(b"trust me"), "cbor-truncated"),
        "a root of its own": (SimulatedAttester(str(made_up.simulator)), "chain-root"),
        "other code": (SimulatedAttester(str(theirs.simulator)), "bundle-foreign"),
        "that of a genuine bundle": (Says(_parts(genuine)[2]), "bundle-unattested"),
        "that of our evidence": (Says(evidence.document), "bundle-unattested"),
        "one with a nonce that the host chose": (Says(with_nonce), "bundle-unattested"),
    }


@pytest.mark.parametrize(
    "service", ["kms_front", pytest.param("localstack_key", marks=ONE_LOCALSTACK)]
)
def test_bundle_forged_with_plain_encrypt_around_the_hosts_account_and_a_hook(
    request, enclave, ca, owner, loot, shm, service
):
    front = request.getfixturevalue(service)
    owner.publish(enclave.registered()["records"])
    genuine, sealer = enclave.bundle.read_bytes(), PlainEncrypt(enclave)
    accounts, ran = ca.accounts(), shm / "hook-ran"
    forged = {
        name: (_forged(loot, sealer, attester), code)
        for name, (attester, code) in _attestations(enclave, genuine).items()
    }
    enclave.reboot()
    asked = len(getattr(front, "asked", ()))
    for name, (data, code) in forged.items():
        enclave.bundle.write_bytes(data)
        _refused(enclave.restore(), code)
        assert not (enclave.config / "accounts").exists(), name
    done = enclave.issue(*AGREED)
    assert (done.code, "Traceback" in done.text) == (1, False)
    assert enclave.certbot("renew", "--force-renewal", names=False, server=False).code == 0
    assert (ca.accounts(), ran.exists(), len(ca.certificates())) == (accounts, False, 1)
    # The key service was never asked to unwrap any of it.
    assert len(getattr(front, "asked", ())) == asked
    enclave.reboot()
    enclave.bundle.write_bytes(genuine)
    enclave.restore().ok()
    # Nothing but the attestation was wrong: with ours, the host would be in.
    enclave.reboot()
    ours = SimulatedAttester(str(enclave.simulator))
    enclave.bundle.write_bytes(_forged(loot, sealer, ours))
    assert json.loads(enclave.restore().ok().out)["accounts"] == list(loot.accounts)
    owner.withdraw()
    enclave.certbot("renew", "--force-renewal", names=False, server=False).ok()
    assert ran.exists()


def test_key_service_that_gives_out_a_data_key_of_the_hosts_choosing(
    enclave, ca, owner, loot, kms_front
):
    """The host answers in place of the key service, for the very RSA key in our document."""
    enclave.register().ok()
    genuine, sealer = enclave.bundle.read_bytes(), OwnDataKey(enclave)
    same = ("root.key", "root.pem")
    theirs = enclave.sibling("theirs", b"the host's own code\n", shared=same)
    forged = _forged(loot, sealer, SimulatedAttester(str(theirs.simulator)))

    def chosen(members):
        raw = base64.b64decode(kms_front.requests[-1]["Recipient"]["AttestationDocument"])
        seen = document.authenticate(raw, trust_root=kms_front.root)
        sealed = cms.seal(load_der_public_key(seen.public_key), sealer.chosen)
        members["CiphertextForRecipient"] = base64.b64encode(sealed).decode()

    enclave.reboot()
    asked = len(kms_front.asked)
    enclave.bundle.write_bytes(forged)
    _refused(enclave.restore(), "bundle-foreign")
    assert len(kms_front.asked) == asked
    # In place of the key of a genuine bundle it opens nothing.
    enclave.bundle.write_bytes(genuine)
    kms_front.fault(change=chosen)
    _refused(enclave.restore(), "envelope-forged")
    assert not (enclave.config / "accounts").exists()
    enclave.restore().ok()


# --- genuine, but not this one ---


@pytest.fixture
def generations(enclave, ca, registered):
    """Two bundles of one enclave: the older has no certificate."""
    older = enclave.bundle.read_bytes()
    enclave.issue().ok()
    return older, enclave.bundle.read_bytes()


def _generation(data):
    (found,) = re.findall(rb'"generation":[0-8](?![0-9])', data)
    return found


def test_mix_of_two_bundles_is_refused(enclave, ca, generations):
    older, newer = generations
    (head, text, attested), (new_head, new_text, new_attested) = map(_parts, generations)
    assert _joined(head, text, attested) == older
    mixed = {
        "attestation of the newer one": _joined(head, text, new_attested),
        "attestation of the older one": _joined(new_head, new_text, attested),
        "header of the older one": _joined(head, new_text, new_attested),
        "ciphertext of the older one": _joined(new_head, text, new_attested),
        "only its ciphertext": _joined(head, new_text, attested),
        "another generation": newer.replace(_generation(newer), b'"generation":9', 1),
    }
    enclave.reboot()
    for name, data in mixed.items():
        enclave.bundle.write_bytes(data)
        _refused(enclave.restore(), "bundle-unattested")
        assert not (enclave.config / "accounts").exists(), name
    enclave.bundle.write_bytes(_joined(head, text, attested + new_attested))
    _refused(enclave.restore(), "cbor-trailing")
    enclave.bundle.write_bytes(newer)
    enclave.restore().ok()
    assert len(ca.accounts()) == 1


def test_mix_that_our_own_image_attests_is_refused_by_its_seal(enclave, ca, generations):
    """Header and ciphertext belong together for the sealer and the cipher too."""
    (head, text, _), (new_head, new_text, _) = map(_parts, generations)
    attester = SimulatedAttester(str(enclave.simulator))
    enclave.reboot()
    for one, other in ((head, new_text), (new_head, text)):
        binding = hashlib.sha512(bundle.TAG + one + other).digest()
        attested = attester.attest(user_data=binding, public_key=b"key", nonce=None)
        enclave.bundle.write_bytes(_joined(one, other, attested))
        _refused(enclave.restore(), "envelope-forged")


def test_rollback_to_an_older_bundle_is_shown(enclave, ca, owner, generations, shm):
    older, _ = generations
    uri, before = enclave.said().account_uri, enclave.said().generation
    enclave.reboot()
    enclave.bundle.write_bytes(older)
    generation = json.loads(enclave.restore().ok().out)["generation"]
    assert 0 < generation < before
    assert enclave.registered()["account"] == uri
    assert (enclave.said().restored_from, enclave.said().account_uri) == (generation, uri)
    # Whoever verified before sees that it goes back.
    policy = owner.policy(shm / "policy.toml", enclave)
    words = [str(enclave.evidence), "--domain=example.test", f"--policy={policy}", "--json"]
    root = f"--trust-root={enclave.simulator / 'root.pem'}"
    found = json.loads(enclave.run("certbot-enclave", "verify", *words, root).ok().out)
    assert found["state"]["restored_from"] == generation < before
    assert len(ca.accounts()) == 1


@pytest.mark.parametrize("command", ["issue", "registered"])
def test_rollback_by_one_generation_is_shown(enclave, ca, registered, command):
    """Evidence names the newest generation, so that the one before is less than what was seen."""
    if command == "issue":
        enclave.issue().ok()
    seen = enclave.said().generation
    before = enclave.bundle.with_name("bundle.previous").read_bytes()
    enclave.reboot()
    assert json.loads(enclave.restore().ok().out)["generation"] == seen
    enclave.reboot()
    enclave.bundle.write_bytes(before)
    enclave.registered()
    assert enclave.said().restored_from == seen - 1


def test_rollback_under_a_running_enclave_is_not_written_over(enclave, ca, generations):
    """It has not seen that bundle, so it cannot know what it would destroy; no order is spent."""
    older, _ = generations
    enclave.bundle.write_bytes(older)
    certificate, asked = enclave.certificate(), ca.count("requests", "newOrder")
    done = enclave.renew()
    assert done.code == 1
    assert "holds another bundle than generation" in done.text
    _refused(enclave.ours("follow", "--once", "--json"), "bundle-older")
    assert enclave.bundle.read_bytes() == older
    assert enclave.certificate() == certificate  # it stays in RAM, and in use
    assert ca.count("requests", "newOrder") == asked


@pytest.fixture
def two_accounts(enclave, ca, owner):
    """Bundles of two enclaves of one image with one key service; CAA names the first account."""
    made = []
    for _ in range(2):
        table = enclave.registered()
        made.append((table["account"], table["records"], enclave.bundle.read_bytes()))
        enclave.reboot()
        enclave.bundle.unlink()
    (first, records, bundle_of_first), (second, _, bundle_of_second) = made
    owner.publish(records)
    assert first != second
    return first, bundle_of_first, bundle_of_second


def test_foreign_bundle_of_the_same_image_is_refused_if_the_account_is_measured(
    enclave, ca, two_accounts
):
    first, own, foreign = two_accounts
    measured = enclave.state / "settings.toml"
    measured.write_text(f'account = "{first}"\n')
    enclave.extra["settings"] = str(measured)
    enclave.bundle.write_bytes(foreign)
    _refused(enclave.restore(), "bundle-account")
    done = enclave.issue(*AGREED)
    said = " ".join(done.text.split())
    assert (done.code, f"the settings expect {first}" in said) == (1, True), said
    assert not (enclave.config / "accounts").exists()
    assert ca.count("requests", "newOrder") == 0
    enclave.bundle.write_bytes(own)
    enclave.issue().ok()


def test_foreign_bundle_of_the_same_image_opens_no_gate(enclave, ca, two_accounts):
    """Where nobody measured the account: CAA names the other one, and evidence says which it is."""
    first, _, foreign = two_accounts
    enclave.bundle.write_bytes(foreign)
    done = enclave.issue(*AGREED)
    assert (done.code, "the gate is closed" in done.text) == (1, True)
    assert ca.count("requests", "newOrder") == 0
    assert enclave.said().account_uri != first
    assert len(ca.accounts()) == 2


def test_doctored_account_file_within_a_bundle_is_refused(enclave, ca, registered):
    """The host cannot change what is sealed; what it seals itself, nobody attests."""
    data = enclave.bundle.read_bytes()
    genuine = SimulatedAttester(str(enclave.simulator))
    own = {index: bytes(48) for index in range(16)} | simulated.measure(enclave.simulator)
    opened = bundle.open_(
        data,
        sealer=_sealer(enclave),
        trust_root=genuine.trust_root,
        own=own,
    )
    theirs = registered["account"] + "0"

    def doctored(entry):
        if not getattr(entry, "path", "").endswith("/regr.json"):
            return entry
        changed = entry.data.replace(registered["account"].encode(), theirs.encode())
        assert changed != entry.data
        return tree.File(entry.path, entry.mode, changed)

    contents = bundle.Contents(
        opened.bundle_id,
        opened.generation + 1,
        opened.config_dir,
        (theirs,),
        tuple(map(doctored, opened.entries)),
    )
    same = ("root.key", "root.pem", "sealing.key")
    other = enclave.sibling("theirs", b"the host's own code\n", shared=same)
    enclave.reboot()
    for attester, code in [
        (SimulatedAttester(str(other.simulator)), "bundle-foreign"),
        (Says(_parts(data)[2]), "bundle-unattested"),
    ]:
        enclave.bundle.write_bytes(_forged(contents, _sealer(enclave), attester))
        _refused(enclave.restore(), code)
    # And if our own code had sealed it: the CA's answer decides, and no order is signed.
    enclave.bundle.write_bytes(_forged(contents, _sealer(enclave), genuine))
    done = enclave.issue(*AGREED)
    said = f"our key belongs to {registered['account']}, the file says {theirs}"
    assert (done.code, said in done.text) == (1, True), done.text
    assert (ca.count("requests", "newOrder"), len(ca.accounts())) == (0, 1)


def _sealer(enclave):
    return SimulatedSealer(str(enclave.simulator))


@pytest.mark.parametrize("sealer", ["simulated", "oysterkms of a contract"])
def test_replica_with_an_older_image_neither_opens_nor_overwrites(
    request, enclave, ca, owner, registered, sealer
):
    """A contract's seed unseals for every image that was ever approved; attestation does not."""
    if sealer != "simulated":
        enclave.reboot()
        enclave.bundle.unlink()
        request.getfixturevalue("derive_server").seed = derive.contract_seed(1, "0x" + "ab" * 20)
        enclave.registered()
    accounts, newer = ca.accounts(), enclave.bundle.read_bytes()
    same = ("root.key", "root.pem", "sealing.key")
    older = enclave.sibling("older", b"the measured application, version 0\n", shared=same)
    older.extra = {**enclave.extra, "store": f"file:{enclave.bundle}"}
    _refused(older.restore(), "bundle-foreign")
    _refused(older.register("--json"), "bundle-foreign")
    done = older.issue(*AGREED)
    assert (done.code, "was sealed by other code" in done.text) == (1, True), done.text
    assert not (older.config / "accounts").exists()
    assert (ca.accounts(), enclave.bundle.read_bytes()) == (accounts, newer)
    assert sorted(path.name for path in enclave.bundle.parent.iterdir())[0] == "bundle"
    enclave.reboot()
    enclave.restore().ok()
    shutil.rmtree(older.state)
