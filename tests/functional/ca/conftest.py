# SPDX-License-Identifier: Apache-2.0
"""One test CA for all these tests, set back before each, and a web server for challenges."""

import functools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.ca.launcher import TestCA
from tests.support.ca_client import Client


class Web(ThreadingHTTPServer):
    """Serves key authorizations: ``responses`` maps token to text, sent with ``status``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Responder)
        self.responses = {}
        self.status = 200


class Responder(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self):
        token = self.path.removeprefix("/.well-known/acme-challenge/")
        body = self.server.responses.get(token, "").encode()
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="session")
def web():
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


BASE: dict[str, Any] = {
    "resolve_all_to": "127.0.0.1",
    "zone": {},
    "caa": True,
    "caa_identities": None,
    "reuse_authorizations": False,
    "external_account_required": False,
    "terms_of_service": True,
    "eab_keys": {},
    "overrides": {},
    "account_location_origin": None,
}


@pytest.fixture(scope="session")
def running_ca(web):
    with TestCA(http_port=web.server_port, **BASE) as running:
        yield running
        assert running.log_file.read_text() == ""


@pytest.fixture
def ca(running_ca, web):
    """The CA with its settings as in BASE."""
    web.status = 200
    running_ca.clear()
    running_ca.change(http_port=web.server_port, **BASE)
    return running_ca


@pytest.fixture
def new_client(ca, web):
    """Makes clients with a key of their own, not registered yet."""
    return functools.partial(Client, ca.directory_url, ca.tls_root, responses=web.responses)


@pytest.fixture
def client(new_client):
    """A client with an account."""
    made = new_client()
    made.register()
    return made
