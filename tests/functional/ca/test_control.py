# SPDX-License-Identifier: Apache-2.0
"""Stall points, faults, hostile answers and counts: what other tests lean on."""

import os
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.ca.launcher import TOP, TestCA
from tests.support.ca_client import b64, make_csr, new_key


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def ready_order(client, name):
    _, order = client.order([name])
    client.prove(order)
    return order["finalize"], {"csr": b64(make_csr([name], new_key()))}


@pytest.mark.parametrize(("phase", "issued_while_stalled"), [("before", 0), ("after", 1)])
def test_a_stalled_request_waits_until_it_is_released(
    ca, client, pool, phase, issued_while_stalled
):
    url, payload = ready_order(client, f"stall-{phase}.test")
    before = ca.count("events", "certificates_issued")
    ca.stall("finalize", phase)
    pending = pool.submit(client.post, url, payload)
    assert ca.wait_stalled() == {"resource": "finalize", "phase": phase}
    assert not pending.done()
    assert ca.count("events", "certificates_issued") == before + issued_while_stalled
    ca.release()
    assert pending.result(10).json["status"] == "valid"


HANG_UP = """
import sys
from pathlib import Path
from tests.support.ca_client import Client
client = Client(sys.argv[1], Path(sys.argv[2]))
client.register()
"""


def dropped(ca, resource, timeout=10.0):
    """Whether the latest request of the log became one of this resource without an answer."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        last = ca.log()[-1]
        if (last["resource"], last["status"]) == (resource, 0):
            return True
    return False


@pytest.mark.parametrize("release", [True, False])
@pytest.mark.parametrize(("phase", "created"), [("before", 0), ("after", 1)])
def test_a_client_killed_while_stalled_counts_as_gone(ca, phase, created, release):
    before = ca.count("events", "accounts_created")
    ca.stall("newAccount", phase)
    command = [sys.executable, "-c", HANG_UP, ca.directory_url, str(ca.tls_root)]
    with subprocess.Popen(command, cwd=TOP) as process:
        try:
            ca.wait_stalled()
        finally:
            process.kill()
    if release:
        ca.release()
    assert dropped(ca, "newAccount")
    assert ca.count("events", "accounts_created") == before + created


def test_no_stall_is_a_timeout(ca):
    with pytest.raises(TimeoutError):
        ca.wait_stalled(0.05)


def test_faults_come_as_often_as_told(ca, client):
    ca.fault("newOrder", status=503, type="rateLimited", times=2, headers={"Retry-After": "1"})
    url = client.directory["newOrder"]
    orders = ca.count("events", "orders_created")
    for _ in range(2):
        answer = client.post(url, {})
        assert (answer.status, answer.problem) == (503, "rateLimited")
        assert answer.headers["retry-after"] == "1"
    assert client.post(url, {}).problem == "malformed"
    assert ca.count("events", "orders_created") == orders


def test_a_fault_after_the_work_hides_that_it_was_done(ca, client):
    orders = ca.count("events", "orders_created")
    ca.fault("newOrder", phase="after", status=500)
    payload = {"identifiers": [{"type": "dns", "value": "lost.test"}]}
    assert client.post(client.directory["newOrder"], payload).status == 500
    assert ca.count("events", "orders_created") == orders + 1


def test_a_fault_can_drop_the_connection_or_send_anything(ca, client):
    ca.fault("newNonce", status=0)
    with pytest.raises(ConnectionError):
        client.nonce()
    ca.fault("account", status=200, body="no JSON", content_type="text/plain")
    answer = client.post(client.kid)
    assert (answer.body, answer.headers["content-type"]) == (b"no JSON", "text/plain")


def test_a_hostile_directory(ca, new_client):
    ca.change(
        overrides={"newOrder": "https://elsewhere.test/order", "keyChange": None},
        account_location_origin="https://elsewhere.test",
        caa_identities=[],
    )
    client = new_client()
    assert client.directory["newOrder"] == "https://elsewhere.test/order"
    assert "keyChange" not in client.directory
    assert "caaIdentities" not in client.directory["meta"]
    assert client.register().startswith("https://elsewhere.test/account/")
    assert ca.accounts()[-1]["uri"].startswith("https://localhost:")


def test_requests_are_counted_and_logged(ca, client):
    before = ca.count("requests", "newOrder")
    client.order(["counted.test"])
    client.post(client.directory["newOrder"], {})
    assert ca.count("requests", "newOrder") == before + 2
    good, bad = (entry for entry in ca.log()[-4:] if entry["resource"] == "newOrder")
    assert (good["status"], good["account"], good["problem"]) == (201, client.kid, None)
    assert (bad["status"], bad["problem"]) == (400, "malformed")


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 1},
        {"no_such": 1},
        {"zone": {"a.test": {"caa": ["0 issue"]}}},
        {"zone": {"a.test": {"rcode": "?"}}},
        {"zone": None},
        {"resolve_all_to": None},
        {"resolver": "localhost"},
        {"eab_keys": {"k": "="}},
    ],
)
def test_settings_are_checked(ca, changes):
    with pytest.raises(ValueError):
        ca.change(**changes)


@pytest.mark.parametrize(
    "rule", [("nothing", "before", 1), ("order", "x", 1), ("order", "after", 0)]
)
def test_stall_points_are_checked(ca, rule):
    with pytest.raises(ValueError, match="expected"):
        ca.stall(*rule)


def test_a_bad_config_is_said(tmp_path):
    with pytest.raises(RuntimeError, match="known settings expected"), TestCA(no_such=1):
        pass


def test_a_port_can_be_chosen_and_is_free_again():
    with TestCA(resolve_all_to="127.0.0.1", zone={}) as first:
        port, folder = first.port, first.tls_root.parent
    assert not folder.exists()
    with TestCA(resolve_all_to="127.0.0.1", zone={}, port=port) as second:
        assert second.port == port


def ended(pid, timeout):
    """Whether a process, not our child, is over in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


ORPHAN = """
import os
from tests.support.ca.launcher import TestCA
ca = TestCA(resolve_all_to="127.0.0.1", zone={})
ca.__enter__()
print(ca._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_ca_dies_with_its_parent(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN],
        cwd=TOP,
        capture_output=True,
        env={"TMPDIR": str(tmp_path)},
        timeout=30,
        check=False,
    )
    assert ended(int(done.stdout), 10)
