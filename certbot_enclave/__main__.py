# SPDX-License-Identifier: Apache-2.0
"""``python -m certbot_enclave`` is the console script."""

import sys

from certbot_enclave.cli import main

if __name__ == "__main__":
    sys.exit(main())
