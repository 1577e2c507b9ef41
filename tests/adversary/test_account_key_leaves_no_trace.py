# SPDX-License-Identifier: Apache-2.0
"""The account key is nowhere but in memory: not after success, not after failure.

Searched are all files (state, bundle, logs, TMPDIR), what the processes wrote on the way, and
arguments and environments while they run. A control plants the key and must be found.
"""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.jwk import JWKEC

from certbot_enclave.account import jws
from certbot_enclave.account.key import EnclaveJWK
from certbot_enclave.sealing import envelope
from certbot_enclave.sealing.simulated import SimulatedSealer
from tests.support import traces
from tests.support.world.process import program


def _secret(enclave):
    """Unseal the account key as the enclave does; return its private number."""
    path = next(enclave.config.rglob("private_key.json"))
    key = EnclaveJWK.json_loads(path.read_text()).key
    sealer = SimulatedSealer(str(enclave.simulator))
    return envelope.unseal(
        envelope.parse(jws.decode(key.sealed)), kind="account-key", sealer=sealer
    )


def _register(enclave):
    """Arguments of ``certbot-enclave register``."""
    words = [*enclave.directories, *enclave.settings("--"), "--agree-tos"]
    return ["register", f"--server={enclave.server}", "--domains=example.test", *words]


def _assert_clean(enclave):
    secret = _secret(enclave)
    assert traces.search([enclave.state], secret) == []
    return secret


def test_after_register_issue_renew_and_failures(enclave, ca, owner):
    enclave.environment["CERTBOT_ENCLAVE_TEST"] = "seen"
    enclave.extra["budget"] = "none"  # more orders than a CA in the wild would take
    table = enclave.registered()
    _assert_clean(enclave)
    assert enclave.issue("-vv").code == 1  # the gate is closed
    _assert_clean(enclave)
    owner.publish(table["records"])
    enclave.issue("-vv").ok()
    _assert_clean(enclave)
    enclave.renew("-vv").ok()
    _assert_clean(enclave)
    ca.fault("finalize", status=500)
    assert enclave.issue("-vv", "--force-renewal").code == 1
    secret = _assert_clean(enclave)

    for program_, words, resource in (
        ("certbot-enclave", _register(enclave), "newAccount"),
        (
            "certbot",
            enclave.words("certonly", "--authenticator=enclave", "--force-renewal"),
            "newOrder",
        ),
        (
            "certbot",
            enclave.words("renew", "--force-renewal", names=False, server=False),
            "finalize",
        ),
    ):
        ca.stall(resource, "after")
        with enclave.start(program_, *words) as run:
            ca.wait_stalled(60)  # the key is unsealed: it has just signed
            assert traces.processes(run.pid, secret) == []
            assert traces.processes(run.pid, b"seen") != []  # these are the right processes
            ca.release()
            run.communicate(timeout=60)
        assert run.returncode == 0
    _assert_clean(enclave)

    private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    planted = enclave.state / "logs" / "planted"
    for data in (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        JWKEC(key=private).json_dumps().encode(),
    ):
        planted.write_bytes(data)
        assert traces.search([enclave.state], secret) == [planted]


_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def _written(trace):
    """Return the bytes of every write that strace saw, one system call each."""
    for line in trace.read_text(errors="replace").splitlines():
        yield bytes(int(pair, 16) for pair in _ESCAPED.findall(line))


def test_no_process_ever_writes_it(enclave, ca, owner):
    """Files that are removed again, pipes and sockets count too."""
    trace = enclave.state.parent / "trace"
    calls = "trace=write,writev,pwrite64,sendto,sendmsg"
    options = ["-f", "-qq", "-xx", "-s", "1000000", "-e", calls, "-o", str(trace)]
    enclave.wrapper = (program("strace"), *options)
    owner.publish(enclave.registered()["records"])
    secret = _secret(enclave)
    first = list(_written(trace))
    enclave.issue().ok()
    written = [*first, *_written(trace)]
    assert any(b"certbot-enclave-sealed" in data for data in written)
    assert [data for data in written if traces.holds(data, secret)] == []


@pytest.mark.parametrize("verb", ["register", "certonly"])
def test_crash_leaves_no_core(enclave, ca, owner, verb):
    """Core dumps are off before the key is made (docs/operator.md)."""
    ca.stall("newNonce")
    started = (
        enclave.start("certbot-enclave", *_register(enclave))
        if verb == "register"
        else enclave.start(
            "certbot",
            *enclave.words(
                "certonly", "--authenticator=enclave", "--agree-tos", "--email=ops@a.test"
            ),
        )
    )
    with started as run:
        ca.wait_stalled(60)
        limits = Path(f"/proc/{run.pid}/limits").read_text()
        run.kill()
        run.communicate()
    assert re.search(r"Max core file size\s+0\s+0\s", limits)
