# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks.caa` measures, each in a process of its own, and the proxy between.

``python -m benchmarks.caa_work WORK KIND ADDRESS COUNT`` prints one line of JSON; it counts neither
the start of Python nor imports.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from certbot_enclave.caa import issuers, question, resolvers, verdict

URI = "https://ca.test/acct/1"
SUBJECT = verdict.Subject("ca.test", URI, ("http-01",))
DELAY = 0.020  # seconds


def names(kind: str, count: int) -> Iterator[str]:
    """Give the names of a kind: all below one parent."""
    return (f"n{number}.{kind}.example.test" for number in range(count))


async def _ours(kind: str, address: str, count: int) -> None:
    from certbot_enclave.caa import bulk

    asked = resolvers.parse_resolvers([address])
    async with bulk.Bulk(asked) as asking:

        async def one(name: str) -> bulk.Looked:
            return await asking.judge(name, SUBJECT, verdict.Tolerance(), today=issuers.MANDATORY)

        async for found in bulk.in_order(names(kind, count), one):
            if found.verdict.word != "exclusive":
                raise RuntimeError(f"{found.verdict}")


def _loop(kind: str, address: str, count: int) -> None:
    import dns.flags
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    host, port = address.split(":")
    resolver.nameservers, resolver.port = [host], int(port)
    resolver.use_edns(0, dns.flags.DO, question.PAYLOAD)
    resolver.flags = dns.flags.RD | dns.flags.AD
    for name in names(kind, count):
        for start in verdict.looked_at(name):
            climbing = start
            while climbing:
                try:
                    if resolver.resolve(climbing + ".", "CAA", raise_on_no_answer=False).rrset:
                        break
                except dns.resolver.NXDOMAIN:
                    pass
                climbing = climbing.partition(".")[2]


class _Codec:
    """Counts the CPU time that dnspython needs to make questions and to read answers."""

    def __init__(self) -> None:
        import dns.message

        self.seconds = 0.0
        for owner, name in (
            *((dns.message, name) for name in ("make_query", "from_wire")),
            *((dns.message.Message, name) for name in ("to_wire", "is_response")),
        ):
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.thread_time() - started

        return counted


def _peak() -> float:
    """Return the peak resident set in MiB; that of getrusage has what the parent had at fork."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("the kernel tells no VmHWM")
    return int(found[1]) / 1024


def work(what: str, kind: str, address: str, count: int) -> dict[str, float]:
    """Do it; return names per second, MiB of memory, and microseconds of CPU time for a name.

    Args:
        what: ``ours``, ``loop``, or ``codec``: ours, with dnspython's part of the CPU time beside.
        kind: Of names.
        address: Of the resolver.
        count: Of names.
    """
    import dns.message  # nobody pays for imports
    import dns.query
    import dns.rdtypes.ANY.CAA
    import dns.rdtypes.ANY.NSEC
    import dns.rdtypes.ANY.RRSIG
    import dns.rdtypes.ANY.SOA
    import dns.resolver  # noqa: F401

    import certbot_enclave.caa.bulk  # noqa: F401

    codec = _Codec() if what == "codec" else None
    started, busy = time.perf_counter(), time.process_time()
    if what == "loop":
        _loop(kind, address, count)
    else:
        asyncio.run(_ours(kind, address, count))
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    found = {"rate": count / seconds, "memory": _peak(), "cpu": busy / count * 1e6}
    return found if codec is None else {**found, "codec": codec.seconds / count * 1e6}


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


if __name__ == "__main__":
    if sys.argv[1] == "proxy":
        asyncio.run(_proxy(int(sys.argv[2]), int(sys.argv[3])))
    else:
        print(json.dumps(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
