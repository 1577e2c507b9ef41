# SPDX-License-Identifier: Apache-2.0
"""Names checked per second by ``caa check``, next to a plain loop over dnspython's `Resolver`.

Both ask the same Unbound, with DNSSEC's records, for what the verdict needs: the climb from each
name and that from its parent. The loop asks one question after the other and judges nothing. Each
run is a process of its own that counts neither its start nor its imports. Once through a proxy
that adds 20 ms to each reply, once on loopback with everything in Unbound's cache.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from certbot_enclave.caa import formats, issuers, resolvers, verdict
from tests.support.world.dns import DnsWorld
from tests.support.world.process import Process, free_port

URI = "https://ca.test/acct/1"
SUBJECT = verdict.Subject("ca.test", URI, ("http-01",))
DELAY = 0.020  # seconds
COUNTS = (1, 100, 10_000)
MOST_OF_LOOP = 100  # names; its rate does not depend on how many


def _names(count: int) -> Iterator[str]:
    return (f"n{number}.bulk.example.test" for number in range(count))


# --- what is measured; each in a process of its own ---


async def _ours(address: str, count: int) -> None:
    from certbot_enclave.caa import bulk

    asked = resolvers.parse_resolvers([address])
    async with bulk.Bulk(asked) as asking:

        async def one(name: str) -> bulk.Looked:
            return await asking.judge(name, SUBJECT, verdict.Tolerance(), today=issuers.MANDATORY)

        async for found in bulk.in_order(_names(count), one):
            if found.verdict.word != "exclusive":
                raise RuntimeError(f"{found.verdict}")


def _loop(address: str, count: int) -> None:
    import dns.flags
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    host, port = address.split(":")
    resolver.nameservers, resolver.port = [host], int(port)
    resolver.use_edns(0, dns.flags.DO, resolvers.PAYLOAD)
    resolver.flags = dns.flags.RD | dns.flags.AD
    for name in _names(count):
        for start in verdict.looked_at(name):
            climbing = start
            while climbing:
                try:
                    if resolver.resolve(climbing + ".", "CAA", raise_on_no_answer=False).rrset:
                        break
                except dns.resolver.NXDOMAIN:
                    pass
                climbing = climbing.partition(".")[2]


class _Proxy(asyncio.DatagramProtocol):
    """Hands questions on at once, and answers 20 ms after they came."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._clients: dict[int, tuple[bytes, object]] = {}
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        send = self.transport.sendto  # type: ignore[attr-defined]
        if addr[1] != self._upstream:
            self._next = (self._next + 1) % 65536
            self._clients[self._next] = (data[:2], addr)
            send(self._next.to_bytes(2, "big") + data[2:], ("127.0.0.1", self._upstream))
        else:
            original, client = self._clients.pop(int.from_bytes(data[:2], "big"))
            asyncio.get_running_loop().call_later(DELAY, send, original + data[2:], client)


async def _proxy(port: int, upstream: int) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Proxy(upstream), local_addr=("127.0.0.1", port)
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


def _work(kind: str, address: str, count: int) -> None:
    import dns.message  # neither pays for imports
    import dns.query
    import dns.rdtypes.ANY.CAA
    import dns.rdtypes.ANY.RRSIG
    import dns.resolver  # noqa: F401

    import certbot_enclave.caa.bulk  # noqa: F401

    started, busy = time.perf_counter(), time.process_time()
    if kind == "ours":
        asyncio.run(_ours(address, count))
    else:
        _loop(address, count)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": count / seconds, "memory": memory, "cpu": busy / count * 1e6}))


# --- the report ---


class _Figures(NamedTuple):
    """Medians: names per second, peak resident set in MiB, CPU time of a name in microseconds."""

    rate: float
    memory: float
    cpu: float


def _measure(kind: str, address: str, count: int, runs: int) -> _Figures:
    found = []
    for _ in range(runs):
        command = [sys.executable, "-m", "benchmarks.caa", "--work", kind, address, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return _Figures(
        *(statistics.median(item[key] for item in found) for key in ("rate", "memory", "cpu"))
    )


def _dnsperf(port: int, folder: Path) -> str:
    if shutil.which("dnsperf") is None:
        return "dnsperf is not installed"
    questions = folder / "questions"
    questions.write_text("".join(f"{name}. CAA\n" for name in _names(COUNTS[-1])))
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(questions), "-D", "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if "Queries per second" in line)
    return f"dnsperf: {float(line.split()[-1]):.0f} questions/s of the same, none of them read"


def _compare(title: str, address: str, aim: str, runs: int) -> None:
    print(f"\n{title}; names/s, medians of {runs} runs; {aim}")
    loop = {
        count: _measure("loop", address, count, runs)
        for count in {min(count, MOST_OF_LOOP) for count in COUNTS}
    }
    for count in COUNTS:
        ours = _measure("ours", address, count, runs)
        peer = loop[min(count, MOST_OF_LOOP)]
        print(
            f"  {count:6} names: ours {ours.rate:8.1f}  loop {peer.rate:8.1f}"
            f"  ratio {ours.rate / peer.rate:6.1f}  peak {ours.memory:.1f} MiB"
            f"  CPU of a name {ours.cpu:.0f} and {peer.cpu:.0f} µs"
        )


def run(runs: int) -> None:
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="caa.") as folder,
        DnsWorld(Path(folder, "dns")) as world,
    ):
        records = formats.records_for(issuer="ca.test", methods=["http-01"], account_uri=URI)
        texts = [record.text() for record in records]
        # A DNS wildcard gives each name a set of its own, with a TTL that outlasts the run.
        for name in ("example.test", "bulk.example.test", "*.bulk.example.test"):
            world.update(name, "CAA", *texts, ttl=86400)
        unbound = world.start_resolver(caching=True)
        _measure("ours", unbound.address, COUNTS[-1], 1)
        _compare("caa check on warm loopback", unbound.address, "aim 2 times the loop", runs)
        print(f"  {_dnsperf(unbound.port, Path(folder))}")
        memory = {
            count: _measure("ours", unbound.address, count, runs).memory for count in (1000, 10000)
        }
        print(f"  peak at 1000 names {memory[1000]:.1f} MiB, at 10000 {memory[10000]:.1f} MiB")
        port = free_port()
        words = [sys.executable, "-m", "benchmarks.caa", "--proxy", str(port), str(unbound.port)]
        log = Path(folder, "proxy")
        proxy = Process(words, log=log, ready=lambda: log.is_file() and bool(log.stat().st_size))
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(proxy.stop)
            aim = "aim 20 times the loop"
            _compare("caa check, 20 ms to the resolver", f"127.0.0.1:{port}", aim, runs)


def main() -> int:
    """Run, or do the work of one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--proxy", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        _work(args.work[0], args.work[1], int(args.work[2]))
    elif args.proxy:
        asyncio.run(_proxy(*args.proxy))
    else:
        run(args.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
