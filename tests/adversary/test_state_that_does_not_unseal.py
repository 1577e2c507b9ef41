# SPDX-License-Identifier: Apache-2.0
"""State that cannot be unsealed is an error, and never a reason to make another account."""

import shutil

import pytest

from tests.support.world.host import Host

AGREED = ("--agree-tos", "--register-unsafely-without-email")


@pytest.fixture
def account(enclave, ca, owner):
    """The enclave's account; its records are published."""
    table = enclave.registered()
    owner.publish(table["records"])
    enclave.environment["REQUESTS_CA_BUNDLE"] = str(enclave.tls_root)  # for standalone
    return table["account"]


def _other_image(enclave):
    enclave.image.write_bytes(b"the measured application, version 2\n")


def _key_file(enclave):
    return next(enclave.config.rglob("private_key.json"))


def _spoil_sealed(enclave):
    text = _key_file(enclave).read_text()
    at = text.index('"sealed": "') + 500
    _key_file(enclave).chmod(0o600)
    _key_file(enclave).write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])


def _cut_key_file(enclave):
    _key_file(enclave).chmod(0o600)
    _key_file(enclave).write_text(_key_file(enclave).read_text()[:100])


def _lose_key_file(enclave):
    _key_file(enclave).unlink()


def _spoil_bundle(enclave):
    data = bytearray(enclave.bundle.read_bytes())
    data[len(data) // 2] ^= 1
    enclave.bundle.write_bytes(data)
    enclave.reboot()


def _cut_bundle(enclave):
    enclave.bundle.write_bytes(enclave.bundle.read_bytes()[:-1])
    enclave.reboot()


def _hide_store(enclave):
    enclave.bundle.parent.rename(enclave.bundle.parent.with_name("gone"))
    enclave.reboot()


def _other_image_after_reboot(enclave):
    _other_image(enclave)
    enclave.reboot()


# What happened, and whether certbot still sees an account by itself.
DAMAGES = {
    "another image": (_other_image, True),
    "sealed key changed": (_spoil_sealed, True),
    "key file cut short": (_cut_key_file, True),
    "key file lost": (_lose_key_file, False),
    "bundle changed": (_spoil_bundle, False),
    "bundle cut short": (_cut_bundle, False),
    "store not mounted": (_hide_store, False),
    "another image after a reboot": (_other_image_after_reboot, False),
}


@pytest.mark.parametrize(("damage", "visible"), DAMAGES.values(), ids=DAMAGES)
def test_no_new_account(enclave, ca, account, damage, visible):
    damage(enclave)
    for done in (enclave.issue(*AGREED), enclave.register()):
        assert done.code != 0
        assert "Traceback" not in done.text
    if visible:
        done = enclave.certbot("certonly", "--authenticator=standalone", *AGREED)
        assert done.code == 1
    assert [known["uri"] for known in ca.accounts()] == [account]
    assert ca.count("events", "accounts_created") == 1
    assert ca.count("requests", "newOrder") == 0


def test_withheld_bundle_is_noticed_when_the_settings_name_the_account(enclave, ca, account):
    """The host says that nothing was ever stored; only the measured account can contradict it."""
    enclave.bundle.unlink()
    enclave.reboot()
    done = enclave.register(f"--account={account}")
    assert done.code == 1
    assert f"the settings expect account {account}, but the store holds none" in done.err
    assert ca.count("events", "accounts_created") == 1


def test_bundle_of_another_directory_is_refused(enclave, ca, account, shm):
    other = shm / "elsewhere"
    enclave.reboot()
    directories = [f"--{name}-dir={other / name}" for name in ("config", "work", "logs")]
    words = [*directories, *enclave.settings("--"), f"--server={enclave.server}", "--agree-tos"]
    done = enclave.run("certbot-enclave", "register", "--domains=example.test", *words)
    assert done.code == 1
    assert f"the bundle belongs to {enclave.config}" in done.err
    assert len(ca.accounts()) == 1


def test_accounts_planted_beside_a_bundle_are_refused(enclave, ca, account, shm, http_port):
    """The enclave boots, and its config directory already holds an account: the host's."""
    host = Host(shm / "host", http_port)
    host.issue(ca)
    made = len(ca.accounts())
    enclave.reboot()
    shutil.copytree(host.accounts, enclave.config / "accounts")
    done = enclave.issue(*AGREED)
    assert done.code == 1
    assert "but this boot has not restored them" in done.text
    assert len(ca.accounts()) == made


def test_bundle_that_the_host_sealed_itself_is_refused(enclave, ca, account):
    """Sealing needs no attestation: the host sealed an account of its own with the same sealer."""
    same = ("root.key", "root.pem", "sealing.key")  # the same hardware, the same key service
    theirs = enclave.sibling("theirs", b"the host's own code\n", shared=same)
    theirs.register().ok()
    enclave.reboot()
    shutil.copy(theirs.bundle, enclave.bundle)
    done = enclave.issue(*AGREED)
    assert done.code == 1
    assert "the bundle was sealed by other code: its PCR0 is" in done.text
    assert len(ca.accounts()) == 2
