# SPDX-License-Identifier: Apache-2.0
"""What becomes of output that nobody reads any more."""

import os
import subprocess
import sys

EMIT = ["caa", "emit", "example.com", "--account-uri", "https://ca.test/acct/1"]
COMMAND = [sys.executable, "-m", "certbot_enclave", *EMIT, "--issuer", "ca.test", "--method"]


def test_reader_that_has_enough_is_no_failure():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "dns-01"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 141  # as a shell tells of SIGPIPE
    assert [line for line in done.stderr.splitlines() if "certbot-enclave: note:" not in line] == []
