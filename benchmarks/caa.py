# SPDX-License-Identifier: Apache-2.0
"""Names checked per second by ``caa check``, next to a plain loop over dnspython's `Resolver`.

Both ask the same Unbound, with DNSSEC's records, for what the verdict needs: the climb from each
name and that from its parent. The loop asks one question after the other and judges nothing. There
are two kinds of names, all below one parent: with records of their own (the loop asks two
questions for each, we ask one: the parent's answer is shared), and without, as most hosts are (the
loop asks three, we one).

Through a proxy that adds 20 ms to each reply, round trips decide. One name alone costs us one of
them, since a name and its parent are asked about together, and the loop two or three: 2 or 3 times
the loop is all that can be had there, and the aim of 20 times is for many names, whose round trips
are shared. On warm loopback, with everything in Unbound's cache, CPU time decides: most of it is
dnspython making questions and reading answers, which both do, so the ratio is about that of the
questions asked. What a C library could gain is bounded by that part, which is measured by itself.
One name alone pays for the event loop and its sockets, some milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

from benchmarks import alternating
from benchmarks.caa_work import URI, names
from certbot_enclave.caa import formats
from tests.support.world.dns import KEY, SECRET, DnsWorld
from tests.support.world.process import Process, free_port

COUNTS = (1, 100, 10_000)
OWN, HOSTS = "own", "hosts"
STARTS = 20  # runs of ``caa emit``
_TTL = 86400  # seconds; outlasts the run
_SERIAL = 1_000_000  # above what signing counted up to, or the server ignores it
_TOGETHER = 200  # records in one update
_LE = "https://acme-v02.api.letsencrypt.org/acme/acct/1"


class _Figures(NamedTuple):
    """Medians: names per second, peak resident set in MiB, CPU time of a name in microseconds."""

    rate: float
    memory: float
    cpu: float


def _work(what: str, kind: str, address: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.caa_work", what, kind, address, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _median(found: list[dict[str, float]]) -> _Figures:
    return _Figures(*(statistics.median(item[key] for item in found) for key in _Figures._fields))


def _compare(
    title: str, kind: str, address: str, *, aim: float, most: int, runs: int
) -> dict[int, _Figures]:
    """Print a table.

    Args:
        title: Above it.
        kind: Of names.
        address: Of the resolver.
        aim: Least ratio.
        most: Names for the loop at most; its rate does not depend on how many.
        runs: Of each, in turn.
    """
    print(f"\n{title}: names/s, medians of {runs} alternating runs; aim {aim:g} times the loop")
    found = {}
    for count in COUNTS:
        mine, theirs = [], []
        for _ in range(runs):
            mine.append(_work("ours", kind, address, count))
            theirs.append(_work("loop", kind, address, min(count, most)))
        ours, loop = _median(mine), _median(theirs)
        found[count] = ours
        print(
            f"  {count:6} names: ours {ours.rate:8.1f}  loop {loop.rate:8.1f}"
            f"  ratio {ours.rate / loop.rate:6.1f}  peak {ours.memory:.1f} MiB"
            f"  CPU of a name {ours.cpu:.0f} and {loop.cpu:.0f} µs"
        )
    return found


def _dnsperf(kind: str, port: int, folder: Path) -> str:
    if shutil.which("dnsperf") is None:
        return "dnsperf is missing: apt-get install dnsperf"
    questions = folder / kind
    questions.write_text("".join(f"{name}. CAA\n" for name in names(kind, COUNTS[-1])))
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(questions), "-D", "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if "Queries per second" in line)
    return f"dnsperf: {float(line.split()[-1]):.0f} questions/s of the same, none of them read"


def _library(kind: str, address: str, runs: int) -> str:
    """Tell what a C library could gain: it would replace dnspython's part, the rest stays."""
    found = [_work("codec", kind, address, COUNTS[-1]) for _ in range(runs)]
    cpu, codec = (statistics.median(item[key] for item in found) for key in ("cpu", "codec"))
    return (
        f"dnspython makes questions and reads answers in {codec:.0f} of {cpu:.0f} µs of a name "
        f"({codec / cpu:.0%}): a C library in its place (libunbound, getdns, ldns) would gain a "
        f"factor of {cpu / (cpu - codec):.1f} at most"
    )


def _fill(world: DnsWorld) -> None:
    """Publish all names, with records that outlast the run in a cache, denials too."""
    records = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI)
    texts = [record.text() for record in records]
    top = "example.test"
    world.update(top, "SOA", f"ns.{top}. owner.{top}. {_SERIAL} 3600 600 {_TTL} {_TTL}", ttl=_TTL)
    for name in (top, f"{OWN}.{top}", f"{HOSTS}.{top}"):
        world.update(name, "CAA", *texts, ttl=_TTL)
    added = [(name, "CAA", text) for name in names(OWN, COUNTS[-1]) for text in texts]
    added += [(name, "A", "127.0.0.1") for name in names(HOSTS, COUNTS[-1])]
    keyring = dns.tsigkeyring.from_text({KEY: ("hmac-sha256", SECRET)})
    for at in range(0, len(added), _TOGETHER):
        change = dns.update.UpdateMessage(top, keyring=keyring)
        for name, rdtype, text in added[at : at + _TOGETHER]:
            change.add(f"{name}.", _TTL, rdtype, text)
        answer = dns.query.tcp(change, "127.0.0.1", timeout=60, port=world.port)
        if answer.rcode() != dns.rcode.NOERROR:
            raise RuntimeError(f"update: {dns.rcode.to_text(answer.rcode())}")


def check(folder: Path, runs: int) -> None:
    """Print the figures of ``caa check``."""
    with DnsWorld(folder / "dns") as world:
        _fill(world)
        unbound = world.start_resolver(caching=True)
        for kind, title in ((HOSTS, "hosts below records"), (OWN, "records of their own")):
            _work("ours", kind, unbound.address, COUNTS[-1])  # into the cache
            title = f"caa check on warm loopback, {title}"
            found = _compare(title, kind, unbound.address, aim=2, most=1000, runs=runs)
            print(f"  {_dnsperf(kind, unbound.port, folder)}")
            print(f"  {_library(kind, unbound.address, runs)}")
            few = _median([_work("ours", kind, unbound.address, 1000) for _ in range(runs)]).memory
            many = found[COUNTS[-1]].memory
            print(
                f"  peak {few:.1f} MiB at 1000 names, {many:.1f} at 10000: aim less than 10 % more"
            )
        port = free_port()
        log = folder / "proxy"
        proxy = Process(
            [sys.executable, "-m", "benchmarks.caa_work", "proxy", str(port), str(unbound.port)],
            log=log,
            ready=lambda: log.is_file() and bool(log.stat().st_size),
        )
        try:
            for kind in (HOSTS, OWN):
                title = f"caa check, 20 ms to the resolver, {kind}"
                _compare(title, kind, f"127.0.0.1:{port}", aim=20, most=100, runs=runs)
        finally:
            proxy.stop()


def emit(folder: Path, runs: int) -> None:
    """Print what ``caa emit`` costs beyond the start of Python."""
    words = ["caa", "emit", "example.com", f"--account-uri={_LE}", "--method=dns-01"]
    mine, bare = alternating.compare(
        lambda: ([sys.executable, "-m", "certbot_enclave", *words], os.environ),
        lambda: ([sys.executable, "-c", "pass"], os.environ),
        runs=runs,
        log=folder / "log",
    )
    alternating.report("caa emit, against bare Python", mine, bare, {})
    more = statistics.median(cost.wall for cost in mine)
    more -= statistics.median(cost.wall for cost in bare)
    print(f"  caa emit takes {more * 1000:.0f} ms more than bare Python, aim under 100")


def run(runs: int) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(prefix="caa.") as folder:
        emit(Path(folder), max(runs, STARTS))
        check(Path(folder), runs)


def main() -> int:
    """Run them alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    run(parser.parse_args().runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
