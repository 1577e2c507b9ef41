# SPDX-License-Identifier: Apache-2.0
"""nginx as the TLS server inside the enclave."""

from __future__ import annotations

from pathlib import Path

import trustme

from tests.support.world.process import Process, Server, accepts, free_port, program

_CONFIG = """
daemon off;
master_process on;
user root;
pid {state}/nginx.pid;
error_log {state}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {state}/body;
    proxy_temp_path {state}/proxy;
    fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi;
    scgi_temp_path {state}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        location / {{ return 200 "hello from the enclave\\n"; }}
        location = /.well-known/certbot-enclave/evidence {{
            default_type application/json;
            alias {evidence};
        }}
    }}
}}
"""


class Nginx(Server):
    """A running nginx, first with a certificate that it made for itself.

    Args:
        state: Directory for state, made if missing.
        deploy: Directory that the plugin deploys to.
        name: Name of the certificate there.
        evidence: File that it serves at the well-known place.

    Attributes:
        port: HTTPS.
        check: Command that checks the configuration.
        reload: Command that makes it use new certificates.
    """

    def __init__(self, state: Path, *, deploy: Path, name: str, evidence: Path) -> None:
        self._state, self._deploy, self._name, self._evidence = state, deploy, name, evidence
        self.port = free_port()
        config = state / "nginx.conf"
        command = f"{program('nginx')} -p {state} -e {state}/error.log -c {config}"
        self.check, self.reload = f"{command} -t -q", f"{command} -s reload"
        self._config = config

    def __enter__(self) -> Nginx:
        """Start, and wait until it listens."""
        self._state.mkdir(parents=True, exist_ok=True)
        where = self._deploy / self._name
        if not where.exists():
            # nginx starts with some certificate only; the first deployment replaces it.
            own = trustme.CA().issue_cert("placeholder.invalid")
            first = self._deploy / ".versions" / self._name / "placeholder"
            first.mkdir(parents=True)
            own.private_key_pem.write_to_path(str(first / "privkey.pem"))
            own.cert_chain_pems[0].write_to_path(str(first / "fullchain.pem"))
            where.symlink_to(first.relative_to(self._deploy))
        self._config.write_text(
            _CONFIG.format(
                state=self._state,
                port=self.port,
                chain=where / "fullchain.pem",
                key=where / "privkey.pem",
                evidence=self._evidence,
            )
        )
        self._process = Process(
            ["nginx", "-p", self._state, "-e", self._state / "error.log", "-c", self._config],
            log=self._state / "log",
            ready=lambda: accepts(self.port),
        )
        return self
