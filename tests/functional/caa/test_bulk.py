# SPDX-License-Identifier: Apache-2.0
"""The driver for many names: what a server sends, loses or ends costs a try, never a verdict."""

import asyncio
import contextlib

import dns.flags
import dns.message
import dns.rrset
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import bulk, channels
from certbot_enclave.caa.resolvers import DnsResolver

CAA = '0 issue "ca.test"'


class Server:
    """A DNS server in the test's own loop; `udp` and `tcp` make answers, None is silence.

    Attributes:
        asked: ``udp NAME`` or ``tcp NAME`` for each question.
        accepted: How many connections were made.
        limit: Answers on one connection before it is ended.
    """

    def __init__(self, udp=None, tcp=None, limit=None):
        self.udp, self.tcp, self.limit = udp or answer, tcp or answer, limit
        self.asked, self.accepted, self._tasks = [], 0, set()

    async def __aenter__(self):
        self._streams = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._streams.sockets[0].getsockname()[1]
        server = self

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, addr):
                if (found := server._answer("udp", data)) is not None:
                    self.transport.sendto(found, addr)

        self._socket, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Protocol, local_addr=("127.0.0.1", self.port)
        )
        return self

    async def __aexit__(self, *_):
        self._socket.close()
        self._streams.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _answer(self, way, wire):
        query = dns.message.from_wire(wire)
        self.asked.append(f"{way} {query.question[0].name.to_text(omit_final_dot=True)}")
        return getattr(self, way)(query)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.accepted += 1
        given = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.limit is None or given < self.limit:
                size = int.from_bytes(await reader.readexactly(2), "big")
                found = self._answer("tcp", await reader.readexactly(size))
                if found is not None:
                    writer.write(len(found).to_bytes(2, "big") + found)
                    given += 1
        writer.close()

    def resolver(self, timeout=2.0):
        return DnsResolver("server", "127.0.0.1", self.port, timeout=timeout)


def answer(query, flags=0, change=lambda found: None):
    found = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name
    found.answer.append(dns.rrset.from_text(name, 300, "IN", "CAA", CAA))
    found.flags |= dns.flags.AD | flags
    change(found)
    return found.to_wire()


def truncated(query):
    return answer(query, dns.flags.TC)


def _ask(server, *names, timeout=2.0, kept=bulk.KEPT):
    async def run():
        async with server, bulk.Bulk([server.resolver(timeout)], kept=kept) as asking:
            found = await asyncio.gather(*(asking._answer(name) for name in names))
            return [item for (item,) in found]

    return asyncio.run(run())


def test_the_truth_is_believed_over_udp():
    server = Server()
    (found,) = _ask(server, "a.test")
    assert (found.failure, found.authenticated, found.ttl) == (None, True, 300)
    assert [record.text() for record in found.records] == [CAA]
    assert server.asked == ["udp a.test"]


def test_truncated_answers_come_again_over_few_connections():
    server = Server(udp=truncated)
    names = [f"n{number}.test" for number in range(100)]
    found = _ask(server, *names)
    assert [item.name for item in found] == names
    assert all(item.failure is None and item.records for item in found)
    assert server.accepted == channels.STREAMS


def test_questions_at_once_share_few_sockets():
    async def run():
        server = Server()
        async with server, bulk.Bulk([server.resolver()]) as asking:
            await asyncio.gather(*(asking._answer(f"n{number}.test") for number in range(100)))
            assert len(asking._lines[0]._datagrams._sockets) == channels.SOCKETS

    asyncio.run(run())


def test_truncated_over_tcp_too_is_a_failure():
    (found,) = _ask(Server(udp=truncated, tcp=truncated), "a.test")
    assert found.failure == "truncated answer"


@pytest.mark.parametrize("limit", [1, 7])
def test_a_server_that_ends_connections_after_some_answers_loses_none(limit):
    server = Server(udp=truncated, limit=limit)
    found = _ask(server, *(f"n{number}.test" for number in range(60)), timeout=20.0)
    assert [item.failure for item in found] == [None] * 60
    assert server.accepted > channels.STREAMS


def test_a_connection_that_ends_without_any_answer_is_tried_twice():
    server = Server(udp=truncated, limit=0)
    (found,) = _ask(server, "a.test")
    # Which of the two it is depends on whether the question was read.
    assert found.failure in (
        "the connection ended before the answer",
        "Connection reset by peer",
    )
    assert server.asked.count("udp a.test") == 2


def test_silence_is_a_failure_after_two_tries():
    server = Server(udp=lambda query: None)
    (found,) = _ask(server, "a.test", timeout=0.1)
    assert found.failure == "no answer within 0.1 seconds"
    assert server.asked == ["udp a.test"] * 2


def test_the_second_try_counts():
    turns = iter([None, True])
    server = Server(udp=lambda query: answer(query) if next(turns) else None)
    (found,) = _ask(server, "a.test", timeout=0.5)
    assert found.failure is None


def test_one_that_is_silent_does_not_hold_up_the_others():
    server = Server(udp=lambda query: None if b"a" in query.question[0].name[0] else answer(query))
    found = _ask(server, "a.test", "b.test", "c.test", timeout=0.2)
    assert [item.failure is None for item in found] == [False, True, True]


def _other_question(found):
    found.question[0] = dns.rrset.RRset(dns.name.from_text("other.com."), 1, 257)


def _no_response(found):
    found.flags &= ~dns.flags.QR


@pytest.mark.parametrize("change", [_other_question, _no_response], ids=["question", "response"])
@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_what_answers_something_else_is_a_failure(change, way):
    def wrong(query):
        return answer(query, change=change)

    server = Server(udp=wrong if way == "udp" else truncated, tcp=wrong)
    (found,) = _ask(server, "a.test")
    assert found.failure.startswith("malformed answer: ")
    assert found.records == ()


@pytest.mark.parametrize("cut", [0, 1, 11, -1])
def test_half_an_answer_is_a_failure(cut):
    (found,) = _ask(Server(udp=lambda query: answer(query)[:cut]), "a.test", timeout=0.1)
    # Without an id nobody knows whose it is.
    assert found.failure is not None
    assert found.failure.startswith("no answer" if cut in (0, 1) else "malformed answer: ")


def test_an_id_is_never_taken_twice():
    async def run():
        waiting = channels._Waiting()
        queries = [dns.message.make_query("a.test", "CAA", id=7) for _ in range(50)]
        futures = [waiting.add(query) for query in queries]
        assert len({query.id for query in queries}) == 50
        waiting.answered((7).to_bytes(2, "big") + b"x")
        assert [future.done() for future in futures] == [True] + [False] * 49
        # A second answer, or one to nothing, is lost.
        waiting.answered((7).to_bytes(2, "big") + b"y")
        assert futures[0].result()[2:] == b"x"
        waiting.drop(queries[0])
        waiting.answered((7).to_bytes(2, "big") + b"z")

    asyncio.run(run())


def test_a_name_is_asked_about_once_and_what_is_kept_is_bounded():
    async def run():
        server = Server()
        async with server, bulk.Bulk([server.resolver()], kept=10) as asking:
            for number in range(30):
                await asyncio.gather(asking._answer(f"n{number}.test"), asking._answer("p.test"))
                assert len(asking._answers) <= 10
            assert asking.asked == len(server.asked) == 31
            await asking._answer("n0.test")
            assert asking.asked == 32

    asyncio.run(run())


def test_what_is_in_progress_is_never_dropped():
    async def run():
        server = Server()
        async with server, bulk.Bulk([server.resolver()], kept=2) as asking:
            tasks = [asking._answer(f"n{number}.test") for number in range(20)]
            assert len(asking._answers) == 20
            await asyncio.gather(*tasks)
            await asking._answer("m.test")
            assert len(asking._answers) == 2

    asyncio.run(run())


def test_after_some_failures_nobody_connects_any_more():
    async def run():
        server = Server(udp=truncated)
        async with server, bulk.Bulk([server.resolver()]) as asking:
            server._streams.close()
            for number in range(20):
                (found,) = await asking._answer(f"n{number}.test")
                assert found.failure == "Connection refused"
            streams = asking._lines[0]._streams
            assert streams._failures == channels.CONNECTS

    asyncio.run(run())


def _where(server, name, kind="NS", timeout=2.0):
    async def run():
        async with server, bulk.Bulk([server.resolver(timeout)], authoritative=True) as asking:
            return await asking._told(name, kind)

    return asyncio.run(run())


def _servers(*names):
    def answered(query):
        found = dns.message.make_response(query, recursion_available=True)
        owner = query.question[0].name
        found.answer.append(dns.rrset.from_text(owner, 300, "IN", "NS", *names))
        return found.to_wire()

    return answered


def test_a_resolver_tells_where_servers_are():
    server = Server(udp=_servers("ns2.net.", "ns1.net."))
    assert sorted(_where(server, "a.test")) == ["ns1.net", "ns2.net"]
    assert server.asked == ["udp a.test"]
    assert _where(Server(udp=truncated, tcp=_servers("ns1.net.")), "a.test") == ("ns1.net",)


def test_what_any_resolver_tells_counts():
    async def run():
        one, two = (
            Server(udp=_servers("a.net.", "b.net.")),
            Server(udp=_servers("c.net.", "b.net.")),
        )
        async with one, two:
            both = [one.resolver(), two.resolver()]
            async with bulk.Bulk(both, authoritative=True) as asking:
                return await asking._told("a.test", "NS")

    assert sorted(asyncio.run(run())) == ["a.net", "b.net", "c.net"]


@pytest.mark.parametrize(
    ("udp", "failure", "tries"),
    [
        (lambda query: None, "no answer within 0.1 seconds", 2),
        (lambda query: _servers("a.net.")(query)[:-1], "malformed answer: ", 1),
    ],
)
def test_a_resolver_that_does_not_tell_where_servers_are_is_a_failure(udp, failure, tries):
    server = Server(udp=udp)
    with pytest.raises(errors.TransportError) as caught:
        _where(server, "a.test", timeout=0.1)
    assert caught.value.code == "lookup-failed"
    told = f"server could not tell the NS records of a.test: {failure}"
    assert str(caught.value).startswith(told)
    assert len(server.asked) == tries
