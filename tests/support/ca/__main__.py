# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.support.ca --config FILE.json``: run one CA until it is stopped."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from tests.support.ca.authority import Authority
from tests.support.ca.config import load
from tests.support.ca.control import Control
from tests.support.ca.control_port import Calls, ControlServer
from tests.support.ca.server import AcmeServer

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Bind, write the root, say the ports in one line of JSON on stdout, and serve."""
    parser = argparse.ArgumentParser(prog="tests.support.ca", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the settings")
    parser.add_argument("--parent", type=int, help="process id; die when this process dies")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != arguments.parent:
            return 1
    try:
        config = load(arguments.config)
    except (OSError, ValueError, TypeError) as e:
        parser.error(f"settings expected in {arguments.config}: {e}")
    address = (config.host, config.port)
    server = AcmeServer(address, config.tls_certificate, config.tls_key)
    control_server = ControlServer(config.control_port)
    base_url = f"https://{config.hostname}:{server.server_port}"
    control = Control(config.stall_limit)
    server.authority = Authority(config, base_url, control, lambda: datetime.now(UTC))
    control_server.calls = Calls(server.authority)
    if config.issuer_root_file is not None:
        Path(config.issuer_root_file).write_bytes(server.authority.issuer.root_pem)
    threading.Thread(target=control_server.serve_forever, daemon=True).start()
    ready = {"port": server.server_port, "control_port": control_server.server_port}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
