# SPDX-License-Identifier: Apache-2.0
"""The metrics of ``caa watch``: what they say of a snapshot, as a file and over HTTP."""

import http.client
import os
import socket
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certbot_enclave import errors
from certbot_enclave.caa.drift import Known, Look
from certbot_enclave.cli import caa_metrics, caa_scrape
from certbot_enclave.cli.caa_rounds import Snapshot
from tests.support.world.process import free_port, listener

NOW = datetime(2026, 11, 25, 20, tzinfo=UTC)
STAMP = NOW.timestamp()
LABELS = ("name", "finding", "severity")
PREFIX = "certbot_enclave_caa_"
GOOD = Look("a.test", "exclusive", 0, (), "", (), "a.test", ("x",), 60, NOW)
OPEN = GOOD._replace(
    name="b.test",
    verdict="open",
    code=1,
    findings=(("no-caa", "critical"), ("not-allowed", "medium")),
    ttl=None,
)
DOWN = OPEN._replace(name="c.test", code=3, findings=(("lookup-failed", "medium"),))
SNAPSHOT = Snapshot(
    {
        "a.test": Known(GOOD, 2, NOW + timedelta(hours=8), 60),
        "b.test": Known(OPEN, 0, NOW, 0),
        "c.test": Known(DOWN, 5, NOW, 0),
    },
    fresh=True,
    rounds=3,
    failures=1,
    duration=0.5,
    ended=NOW,
)


def _read(data):
    """Every sample by its name without prefix and its labels."""
    found = {}
    for family in text_string_to_metric_families(data.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = sample.labels
            key = (
                sample.name.removeprefix(PREFIX),
                *(labels[name] for name in LABELS if name in labels),
            )
            assert sample.name.startswith(PREFIX)
            assert key not in found
            found[key] = sample.value
    return found


@pytest.fixture
def published(tmp_path):
    """Publish a snapshot, and read what is in the file then."""
    publisher = caa_metrics.Publisher(str(tmp_path / "caa.prom"))

    def publish(snapshot):
        publisher.publish(snapshot)
        return _read((tmp_path / "caa.prom").read_bytes())

    return publish


def test_every_metric_of_a_snapshot(published):
    assert published(SNAPSHOT) == {
        ("holds", "a.test"): 1,
        ("holds", "b.test"): 0,
        ("holds", "c.test"): 0,
        ("told", "a.test"): 1,
        ("told", "b.test"): 1,
        ("told", "c.test"): 0,
        ("finding", "b.test", "no-caa", "critical"): 1,
        ("finding", "b.test", "not-allowed", "medium"): 1,
        ("finding", "c.test", "lookup-failed", "medium"): 1,
        ("ttl_seconds", "a.test"): 60,
        ("checked_timestamp_seconds", "a.test"): STAMP,
        ("checked_timestamp_seconds", "b.test"): STAMP,
        ("checked_timestamp_seconds", "c.test"): STAMP,
        ("window_end_timestamp_seconds", "a.test"): STAMP + 8 * 3600,
        ("changes_total", "a.test"): 2,
        ("changes_total", "b.test"): 0,
        ("changes_total", "c.test"): 5,
        ("names",): 3,
        ("round_duration_seconds",): 0.5,
        ("rounds_total",): 3,
        ("failures_total",): 1,
        ("last_round_timestamp_seconds",): STAMP,
    }


def test_after_a_round_that_failed_nothing_is_said_to_hold(published):
    found = published(SNAPSHOT._replace(fresh=False, failures=2))
    for name in ("a.test", "b.test", "c.test"):
        assert (found["holds", name], found["told", name]) == (0, 0)
    assert found["last_round_timestamp_seconds",] == STAMP
    assert found["failures_total",] == 2


def test_before_the_first_round_there_are_no_names(published):
    assert published(Snapshot({})) == {
        ("names",): 0,
        ("round_duration_seconds",): 0,
        ("rounds_total",): 0,
        ("failures_total",): 0,
        ("last_round_timestamp_seconds",): 0,
    }


def test_a_name_cannot_add_a_line(published):
    name = r'\010"} 1 x\\'
    look = GOOD._replace(name=name, code=1)
    found = published(SNAPSHOT._replace(known={name: Known(look, 0, NOW, 0)}))
    assert found["holds", name] == 0
    assert found["told", name] == 1


def test_the_file_is_whole_and_for_everybody_to_read(tmp_path, published):
    mask = os.umask(0o077)
    try:
        published(SNAPSHOT)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "caa.prom").stat().st_mode) == 0o644
    before = (tmp_path / "caa.prom").open("rb")
    with before:
        published(SNAPSHOT._replace(rounds=4))
        # Whoever reads has the old one, to its end.
        assert _read(before.read())["rounds_total",] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["caa.prom"]


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "caa.prom").mkdir()
    for path in (tmp_path / "absent" / "caa.prom", tmp_path / "caa.prom"):
        with pytest.raises(errors.TransportError) as caught:
            caa_metrics.Publisher(str(path)).publish(SNAPSHOT)
        assert caught.value.code == "file-unwritable"
        assert f"cannot write {path}: " in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["caa.prom"]


# --- over HTTP ---


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:1", ("::1", 1)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::]:9464", ("::", 9464)),
    ],
)
def test_an_address_to_listen_on(text, address):
    assert caa_scrape.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"),
        *("127.0.0.1:123456", "localhost:9464", "::1:9464", "[127.0.0.1]:9464", "[::1]", "[]:1"),
        *(
            "127.0.0.256:1",
            "1.2.3:1",
            "[:::]:1",
            "127.0.0.1:９４６４",
            "127.0.0.1:1\n",
            "[::1%lo]:1",
        ),
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(errors.PolicyError) as caught:
        caa_scrape.parse(text)
    assert caught.value.code == "metrics-address"


def _get(address, path="/metrics", method="GET"):
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_metrics_are_served_at_their_path_alone(host):
    publisher = caa_metrics.Publisher(None)
    address = (host, free_port())
    with caa_scrape.Scraped(address, publisher.registry):
        status, body, _ = _get(address)
        assert (status, _read(body)["rounds_total",]) == (200, 0)
        publisher.publish(SNAPSHOT)
        status, body, headers = _get(address)
        assert (status, _read(body)["rounds_total",]) == (200, 3)
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert headers["Server"] == "certbot-enclave"
        assert _get(address, "/metrics?x=1")[0] == 200
        for path in ("/", "/metrics/", "/metricsx", "/favicon.ico", "http://x/y"):
            assert _get(address, path)[0] == 404
        assert _get(address, method="POST")[0] == 501
    # The port is free again.
    with listener(address[1]):
        pass


def test_a_port_in_use_is_an_error_that_names_it():
    port = free_port()
    with listener(port), pytest.raises(errors.TransportError) as caught:
        caa_scrape.Scraped(("127.0.0.1", port), caa_metrics.Publisher(None).registry)
    assert caught.value.code == "metrics-port"
    assert str(caught.value) == (
        f"cannot listen for Prometheus on 127.0.0.1 port {port}: Address already in use"
    )
    assert "--metrics-listen" in caught.value.hint


def test_silent_clients_keep_nobody_out_and_are_not_many(capfd):
    address = ("127.0.0.1", free_port())
    with caa_scrape.Scraped(address, caa_metrics.Publisher(None).registry):
        count = caa_scrape._CLIENTS + 1
        silent = [socket.create_connection(address, timeout=10) for _ in range(count)]
        # One more than there is room for: it is hung up on, the others are not.
        assert silent[-1].recv(1) == b""
        silent.pop(0).close()
        status = 0
        while status != 200:  # until the thread has seen the end
            try:
                status = _get(address)[0]
            except (ConnectionError, http.client.HTTPException):
                continue
        for client in silent:
            client.close()
    assert capfd.readouterr() == ("", "")
