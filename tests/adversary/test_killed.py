# SPDX-License-Identifier: Apache-2.0
"""Killed at any instant: the same command again has the same account, and gets its certificate.

Points are reached from outside: the CA holds a named request, or the kernel kills at a named system
call on a named file. The CA must never see a second account.
"""

import json
import os
import signal

import pytest
from acme import messages
from certbot._internal.account import Account

from certbot_enclave.account.key import EnclaveJWK
from certbot_enclave.thrift import ledger
from tests.support.world.process import program

# Request at the CA, phase, and how many such requests pass before.
AT_THE_CA = {
    "asking for a nonce, the key being sealed": ("newNonce", "before", 0),
    "asking whether the account exists": ("newAccount", "before", 0),
    "registering, not yet heard": ("newAccount", "before", 1),
    "registered, the answer lost": ("newAccount", "after", 1),
    "ordering, not yet heard": ("newOrder", "before", 0),
    "ordered, the answer lost": ("newOrder", "after", 0),
    "reading the authorization": ("authz", "before", 0),
    "answering the challenge": ("challenge", "after", 0),
    "finalizing, not yet heard": ("finalize", "before", 0),
    "issued, the answer lost": ("finalize", "after", 0),
    "fetching the certificate": ("certificate", "before", 0),
    "fetched, the answer lost": ("certificate", "after", 0),
}
# System call, and the file below the enclave's directory; ACCOUNT is certbot's for this account.
# strace looks at the first path of a rename. Nobody but the store calls fsync.
AT_A_FILE = {
    "key made, not yet written": ("rename", "config/enclave/.pending.json.new"),
    "key written, not yet in the bundle": ("fsync", ""),
    "writing certbot's key file": ("openat", "ACCOUNT/private_key.json"),
    "writing certbot's account file": ("openat", "ACCOUNT/regr.json"),
    "account written, still pending": ("unlink", "config/enclave/pending.json"),
    "writing evidence": ("rename", "config/enclave/.evidence.json.new"),
    "writing the certificate's key": ("openat", "config/archive/example.test/privkey1.pem"),
    "linking the certificate": ("symlink", "config/live/example.test/cert.pem"),
}


@pytest.fixture
def words(enclave, ca, owner):
    """The command, with CAA that awaits the first account of this CA."""
    account = ca.directory_url.replace("directory", "account/1")
    value = f"ca.test;validationmethods=http-01;accounturi={account}"
    owner.caa("example.test", f'0 issue "{value}"', '0 issuewild ";"')
    return enclave.words("certonly", "--authenticator=enclave", "--agree-tos", "--email=ops@a.test")


def _again(enclave, ca, words):
    enclave.run("certbot", *words).ok()
    (account,) = ca.accounts()
    assert account["uri"].endswith("/account/1")
    assert enclave.registered()["account"] == account["uri"]
    assert b"BEGIN CERTIFICATE" in next(enclave.config.glob("live/*/cert.pem")).read_bytes()


def _killed_at_the_ca(enclave, ca, words, resource, phase, passing):
    ca.stall(resource, phase, times=passing + 1)
    with enclave.start("certbot", *words) as run:
        for _ in range(passing):
            ca.wait_stalled(60)
            ca.release()
        ca.wait_stalled(60)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    assert run.returncode == -signal.SIGKILL
    ca.release()
    ca.clear()


@pytest.mark.parametrize(("resource", "phase", "passing"), AT_THE_CA.values(), ids=AT_THE_CA)
def test_killed_while_the_ca_holds_a_request(enclave, ca, words, resource, phase, passing):
    _killed_at_the_ca(enclave, ca, words, resource, phase, passing)
    _again(enclave, ca, words)


@pytest.mark.parametrize(
    ("resource", "phase", "passing"),
    [("newAccount", "before", 1), ("newAccount", "after", 1), ("finalize", "after", 0)],
)
def test_killed_and_everything_in_ram_is_lost(enclave, ca, words, resource, phase, passing):
    _killed_at_the_ca(enclave, ca, words, resource, phase, passing)
    enclave.reboot()
    # Nobody can tell it from a replica, so it waits for the end of its own lease.
    _again(enclave.later(ledger.LEASE.total_seconds()), ca, words)


def _account_folder(enclave):
    """Return where certbot will keep the account whose key is pending."""
    pending = json.loads((enclave.config / "enclave/pending.json").read_text())
    key = EnclaveJWK.from_json(pending["key"])
    name = Account(messages.RegistrationResource(body=None), key).id
    server = enclave.server.removeprefix("https://")
    return f"config/accounts/{server}/{name}"


@pytest.mark.parametrize(("call", "name"), AT_A_FILE.values(), ids=AT_A_FILE)
def test_killed_at_a_file(enclave, ca, words, call, name):
    if "ACCOUNT" in name:
        _killed_at_the_ca(enclave, ca, words, "newAccount", "before", 0)
        name = name.replace("ACCOUNT", _account_folder(enclave))
    _killed_at_a_file(enclave, words, call, name)
    _again(enclave, ca, words)


def _killed_at_a_file(enclave, words, call, name):
    trace = enclave.state.parent / "trace"
    options = ["-f", "-qq", "-o", str(trace), "-e", f"trace={call}"]
    options += ["-e", f"inject={call}:signal=KILL"]
    options += ["-P", str(enclave.state / name)] if name else []
    enclave.wrapper = (program("strace"), *options)
    done = enclave.run("certbot", *words)
    enclave.wrapper = ()
    assert done.code == -signal.SIGKILL, done.text
    assert name.rpartition("/")[2] in trace.read_text()
