# SPDX-License-Identifier: Apache-2.0
"""Run a console script at a later time: ``python later.py SECONDS SCRIPT ARGUMENTS``.

The clock that is put forward is that of the enclave, as of the simulated hardware; the CA, DNS and
everybody else live in the present.
"""

import runpy
import sys
import time


def main() -> None:
    """Put `time.time` forward, then run the script as if it had been called."""
    ahead, now = float(sys.argv[1]), time.time
    time.time = lambda: now() + ahead
    del sys.path[0]  # this directory, where a module has the name of a library
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
