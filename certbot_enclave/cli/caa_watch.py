# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa watch``: repeat ``caa check``, tell what changes, write metrics.

The first round prints one line for each name, or, with ``--state``, for each that is not as it was
remembered; later rounds print one line for each name that changed. ``--json`` prints one object a
line:

==============  ==================================================================================
``event``       ``first``, ``changed``, ``dropped`` (nobody asks for the name any more), or
                ``failure`` of a round or of a file, with ``error``, ``code`` and ``hint``
``at``          when; RFC 3339, UTC
``name``        the name
``was``         verdict of the look before, or null
``verdict``     verdict now, or null
``findings``    object of two arrays, ``gone`` and ``new``: names of findings
``conditions``  the same of conditions
``records``     the same of records; those before a failed look are not forgotten
``found_at``    whose records they are, or null
``why``         the worst finding in words
``result``      what ``caa check --json`` says of the name, or null
==============  ==================================================================================

A resolver that does not answer is the verdict ``could not tell``. What fails as a whole (the file
of names, the evidence, a file to write) ends the first round; in later ones it is told on stderr,
and counted; nothing is said to hold, and the next round comes all the same. Exit code: ``--once``
has that of ``caa check``; else 0 when SIGTERM or SIGINT asks for the end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from certbot_enclave import errors, settings
from certbot_enclave.cli import caa_judging, caa_names

if TYPE_CHECKING:
    from certbot_enclave.cli.caa_metrics import Publisher
    from certbot_enclave.cli.caa_rounds import Rounds

LEAST = 10  # seconds between two rounds: resolvers are other people's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    caa_judging.add_arguments(parser)
    watched = parser.add_argument_group("the watch")
    watched.add_argument(
        "--interval",
        metavar="TIME",
        default="5m",
        help="from round to round, such as 90s, 30m or 2h; at least 10s (default: %(default)s)",
    )
    watched.add_argument("--once", action="store_true", help="one round, and check's exit code")
    watched.add_argument(
        "--state",
        metavar="FILE",
        help="remember there what was seen, so that drift between two runs is noticed",
    )
    watched.add_argument(
        "--metrics-file",
        metavar="FILE.prom",
        help="write metrics there, for the textfile collector of node_exporter",
    )
    watched.add_argument(
        "--metrics-listen",
        metavar="IP:PORT",
        help="serve metrics there to Prometheus, at /metrics; e.g. 127.0.0.1:9464, [::1]:9464",
    )
    watched.add_argument("--json", action="store_true", help="print one JSON object a line")


def _interval(text: str) -> int:
    seconds = settings.seconds(text)
    if seconds < LEAST:
        raise errors.PolicyError(
            f"--interval is {seconds} seconds, expected {LEAST} at least", code="watch-interval"
        )
    return seconds


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what could not work, before anything is asked."""
    for name in ("state", "metrics_file"):
        if getattr(args, name) == "-":
            raise errors.PolicyError(
                f"--{name.replace('_', '-')} is -, expected a file", code="watch-file"
            )
    if not args.once and "-" in (
        *(args.file, args.policy, args.trust_root),
        *(args.evidence or ()),
    ):
        raise errors.PolicyError(
            "a file is stdin, which only the first round could read",
            code="watch-stdin",
            hint="name a file, or give --once",
        )
    if args.once and args.metrics_listen is not None:
        raise errors.PolicyError(
            "--metrics-listen ends with the only round of --once, before anybody asks",
            code="watch-once",
            hint="give --metrics-file",
        )
    if args.metrics_file is not None and not args.metrics_file.endswith(".prom"):
        raise errors.PolicyError(
            f"--metrics-file is {args.metrics_file!r}, expected a name that ends in .prom",
            code="metrics-file",
            hint="the textfile collector of node_exporter reads no others",
        )


def _publisher(path: str | None) -> Publisher:
    try:
        from certbot_enclave.cli import caa_metrics
    except ImportError as error:
        raise errors.PolicyError(
            f"metrics need the library prometheus_client: {error}",
            code="metrics-missing",
            hint="pip install 'certbot-enclave[metrics]'",
        ) from error
    return caa_metrics.Publisher(path)


def _note(line: str) -> None:
    print(f"certbot-enclave: note: {line}", file=sys.stderr, flush=True)


async def stay(
    rounds: Rounds,
    interval: float,
    *,
    clock: Callable[[], float],
    pause: Callable[[float], Awaitable[None]],
) -> None:
    """Look again and again, until it is cancelled; rounds never overlap.

    Args:
        rounds: Makes them.
        interval: Seconds from the begin of one to that of the next. A round that takes longer
            takes the place of those that it delays.
        clock: Seconds.
        pause: Waits for so many seconds.

    Raises:
        Error: What the first round raised.
    """
    begun = clock()
    await rounds.look()
    _note(f"watching {len(rounds.snapshot.known)} names, every {interval:g} seconds")
    while True:
        await pause(interval - (clock() - begun) % interval)
        begun = clock()
        try:
            await rounds.look()
        except errors.Error as error:
            rounds.failed(error)


async def _until_told(work: Coroutine[Any, Any, None]) -> int:
    """Work until SIGTERM or SIGINT comes, and not a moment longer."""
    import asyncio
    import signal

    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        _note("asked to end")
    return 0


def _run(args: argparse.Namespace) -> int:
    import asyncio

    from certbot_enclave.cli import caa_memory, caa_rounds

    interval = _interval(args.interval)
    _check_files(args)
    caa_names.chosen(args)
    with contextlib.ExitStack() as stack:
        publisher = None
        if args.metrics_file is not None or args.metrics_listen is not None:
            publisher = _publisher(args.metrics_file)
        known = {} if args.state is None else caa_memory.read(args.state)
        if publisher is not None and args.metrics_listen is not None:
            from certbot_enclave.cli import caa_scrape

            address = caa_scrape.parse(args.metrics_listen)
            stack.enter_context(caa_scrape.Scraped(address, publisher.registry))
            _note(f"metrics are at http://{args.metrics_listen}{caa_scrape.PATH}")
        rounds = caa_rounds.Rounds(args, known, publisher, time.monotonic)
        if args.once:
            return asyncio.run(rounds.look())
        staying = stay(rounds, interval, clock=time.monotonic, pause=asyncio.sleep)
        return asyncio.run(_until_told(staying))


def run(args: argparse.Namespace) -> int:
    """Watch; with ``--once`` look once."""
    try:
        return _run(args)
    except errors.Error as error:
        if args.json:
            from certbot_enclave.cli import caa_rounds

            args.json = False  # one line here; stderr gets it too
            print(caa_rounds.failure(error), flush=True)
        raise
