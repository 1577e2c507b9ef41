# SPDX-License-Identifier: Apache-2.0
"""Run a console script at a later time: ``python later.py SECONDS SCRIPT ARGUMENTS``.

The clock that is put forward is that of the enclave, as of the simulated hardware; the CA, DNS and
everybody else live in the present.
"""

import runpy
import sys
from datetime import UTC, datetime, timedelta


def main() -> None:
    """Put every clock of Python's forward, then run the script as if it had been called."""
    del sys.path[0]  # this directory, where a module has the name of a library
    import time_machine

    # It is never stopped: what runs at exit sees that time too.
    time_machine.travel(datetime.now(UTC) + timedelta(seconds=float(sys.argv[1]))).start()
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
