# SPDX-License-Identifier: Apache-2.0
"""Asking servers: what they lose, spoil or keep to themselves, and where a zone may not lead us."""

import asyncio
import subprocess
import sys

import dns.flags
import dns.message
import dns.rrset
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import authoritative, direct
from certbot_enclave.caa.authoritative import Served
from certbot_enclave.caa.direct import Direct
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climb, Step

RECORD = Record(0, b"issue", b"ca.test")
NS = {("a.test", "NS"): ("ns.a.test",), ("test", "NS"): ("ns.test",)}
HERE = {("ns.a.test", "A"): ("127.0.0.1",), ("ns.test", "A"): ("127.0.0.1",)}


class Server(asyncio.DatagramProtocol):
    """Servers of ``test`` and ``a.test``, on loopback; `change` spoils what it says of CAA.

    Attributes:
        asked: Name and type of each question.
    """

    def __init__(self, change=lambda wire: wire):
        self.change, self.asked = change, []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        query = dns.message.from_wire(data)
        name, kind = query.question[0].to_text().split(" IN ")
        self.asked.append(f"{name} {kind}")
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        content = {"CAA": '0 issue "ca.test"', "NS": "ns.a.test."}[kind]
        answer.answer.append(dns.rrset.from_text(name, 1, "IN", kind, content))
        wire = answer.to_wire()
        wire = self.change(wire) if kind == "CAA" else wire
        if wire is not None:
            self.transport.sendto(wire, addr)


def _climb(name="a.test"):
    return Climb(name, name, (RECORD,), (Step(name, (RECORD,), True, ()),), ("one",))


def _compare(told, *names, server=None, askable=lambda address: True, timeout=2.0):
    """Compare names one after the other; `told` is what resolvers say."""

    async def where(name, kind):
        found = told.get((name, kind), ())
        if isinstance(found, Exception):
            raise found
        return found

    async def run():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: server or Server(), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        asking = Direct(where, port=port, askable=askable, timeout=timeout, kept=64)
        try:
            return [await asking.compare([_climb(name)]) for name in names or ("a.test",)]
        finally:
            await asking.close()
            transport.close()
            await asyncio.sleep(0)

    return asyncio.run(run())


def test_a_server_is_asked_once_and_the_parent_for_its_delegation():
    server = Server()
    found, again = _compare({**NS, **HERE}, "a.test", "a.test", server=server)
    assert (found.findings, found.notes, found.error) == ((), (), None)
    assert [state.agrees for state in found.servers] == [True]
    assert again == found
    assert server.asked == ["a.test. NS", "a.test. CAA"]


@pytest.mark.parametrize(
    "change",
    [
        lambda wire: wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:],
        lambda wire: wire[:-1],
        lambda wire: wire + b"\0",
        lambda wire: wire[:14] + b"x" + wire[15:],
    ],
    ids=["no response", "cut", "more", "other question"],
)
def test_what_cannot_be_read_disagrees(change):
    (found,) = _compare({**NS, **HERE}, server=Server(change))
    (finding,) = found.findings
    assert finding.name == "servers-disagree"
    assert "ns.a.test (127.0.0.1) answered: malformed answer: " in finding.why


def test_an_answer_that_contradicts_itself_disagrees():
    def foreign(wire):
        answer = dns.message.from_wire(wire)
        answer.answer[0].name = dns.name.from_text("b.test.")
        return answer.to_wire()

    (found,) = _compare({**NS, **HERE}, server=Server(foreign))
    assert "of a name that was not asked about" in found.findings[0].why


def test_one_that_stays_silent_is_asked_no_more():
    server = Server(lambda wire: None)
    names = [f"n{number}.a.test" for number in range(direct.SILENT + 2)]
    found = _compare({**NS, **HERE}, *names, server=server, timeout=0.05)
    told = [item.notes[0].why for item in found]
    assert ["no answer within 0.05 seconds" in why for why in told] == [True] * 3 + [False] * 2
    assert all("it was silent 3 times, and is asked no more" in why for why in told[3:])
    assert all(item.error is not None for item in found)
    assert server.asked[1:] == [f"{name}. CAA" for name in names[:3] for _ in range(2)]


def test_one_that_is_silent_now_and_then_is_asked_on():
    turns = iter(range(100))
    server = Server(lambda wire: None if next(turns) % 3 < 2 else wire)
    names = [f"n{number}.a.test" for number in range(8)]
    found = _compare({**NS, **HERE}, *names, server=server, timeout=0.05)
    # Two tries for one name are lost, the try for the next is not.
    assert [item.error is None for item in found] == [False, True] * 4


def test_what_is_kept_of_silent_servers_is_bounded():
    async def run():
        async def nowhere(name, kind):
            return ()

        asking = Direct(nowhere, port=9, askable=lambda _: True, timeout=2.0, kept=5)
        for number in range(1, 20):
            server = authoritative.Server("ns.test", f"127.0.0.{number}")
            assert (await asking._ask(server, "a.test")).failure == "Connection refused"
            assert len(asking._silent) <= 5

    asyncio.run(run())


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
def test_a_zone_does_not_lead_us_to_what_is_not_on_the_internet(address):
    server = Server()
    kind = "AAAA" if ":" in address else "A"
    told = {**NS, **HERE, ("ns.a.test", "A"): (), ("ns.a.test", kind): (address,)}
    reachable = {"127.0.0.1"} if address != "127.0.0.1" else set()
    (found,) = _compare(
        told,
        server=server,
        # Of the world outside, loopback is all there is.
        askable=lambda item: item in reachable or authoritative.askable(item),
    )
    assert found.error.code == "lookup-failed"
    assert [line for line in server.asked if "CAA" in line] == []
    if reachable:
        assert found.servers[0][:3] == ("ns.a.test", address, None)
        assert "not on the public Internet" in found.servers[0].failure


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "no zone holds a.test"),
        (
            {("a.test", "NS"): [f"ns{number}.net" for number in range(16)]},
            "a.test has 17 servers, and no more than 16 are asked",
        ),
        (
            {("ns.a.test", "A"): [f"127.0.1.{number}" for number in range(33)]},
            "the servers of a.test have 33 addresses, and no more than 32 are asked",
        ),
        ({("a.test", "NS"): authoritative.unknown("why")}, "why"),
        (
            {("ns.test", "A"): ()},
            "no server of test could be asked who the servers of a.test are",
        ),
        (
            # Whoever listens there does not.
            {("ns.test", "A"): [f"127.0.2.{number}" for number in range(1, 9)]},
            "no server of test could be asked who the servers of a.test are",
        ),
    ],
)
def test_what_cannot_be_found_or_has_no_bounds_could_not_be_told(told, why):
    server = Server()
    (found,) = _compare({**NS, **HERE, **told} if told else {}, server=server)
    assert str(found.error) == why
    assert found.error.code == "lookup-failed"
    assert found.servers == ()
    assert [line for line in server.asked if "CAA" in line] == []


def test_too_many_aliases_could_not_be_told():
    async def run():
        async def nowhere(name, kind):
            raise AssertionError

        asking = Direct(nowhere, port=9, askable=lambda _: True, timeout=2.0, kept=5)
        step = Step("a.test", (RECORD,), True, tuple(f"x{number}.net" for number in range(17)))
        return await asking.compare([Climb("a.test", "a.test", (RECORD,), (step,), ("one",))])

    assert "17 in a row" in str(asyncio.run(run()).error)


def test_a_server_whose_address_nobody_tells_is_lame():
    told = {**NS, **HERE, ("a.test", "NS"): ("ns.a.test", "ns1.net", "ns2.net")}
    told["ns2.net", "A"] = errors.TransportError("SERVFAIL of it", code="lookup-failed")
    (found,) = _compare(told)
    assert found.error is None
    assert sorted((state.name, state.failure) for state in found.servers if not state.agrees) == [
        ("ns1.net", "it has no address"),
        ("ns2.net", "SERVFAIL of it"),
    ]
    assert [note.name for note in found.notes] == ["server-lame"] * 2


ALONE = """
import asyncio
from certbot_enclave.caa import authoritative, direct
async def run():
    asking = direct.Direct(None, port=53, askable=authoritative.askable, timeout=5.0, kept=9)
    for address in ("9.9.9.9", "2620:fe::fe"):
        server = authoritative.Server("ns.test", address)
        reply = await asking._ask(server, "a.test")
        print(reply.away, reply.failure)
asyncio.run(run())
"""


def test_where_there_is_no_network_a_server_is_out_of_reach_and_not_lame():
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == (
        "True Network is unreachable from here\nTrue Cannot assign requested address from here\n"
    )


def test_what_a_server_has_is_read_as_records():
    async def run():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        asking = Direct(None, port=port, askable=lambda _: True, timeout=2.0, kept=5)
        reply = await asking._ask(authoritative.Server("ns.test", "127.0.0.1"), "a.test")
        transport.close()
        await asyncio.sleep(0)
        return reply

    assert asyncio.run(run()).served == Served(None, (RECORD,))
