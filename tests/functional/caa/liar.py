# SPDX-License-Identifier: Apache-2.0
"""A resolver that answers with whatever bytes a test wants."""

import contextlib
import socket
import threading

from certbot_enclave.caa.resolvers import DnsResolver


def _receive(stream, size):
    data = b""
    while len(data) < size and (more := stream.recv(size - len(data))):
        data += more
    return data


class Liar:
    """Answers over UDP and TCP with what two functions make of the question; None is silence."""

    def __init__(self):
        while True:
            self._tcp = socket.create_server(("127.0.0.1", 0))
            self.port = self._tcp.getsockname()[1]
            self._udp = socket.socket(type=socket.SOCK_DGRAM)
            with contextlib.suppress(OSError):
                self._udp.bind(("127.0.0.1", self.port))
                break
            self._udp.close()
            self._tcp.close()
        self.udp = self.tcp = lambda question: None
        self.asked = []
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                wire, peer = self._udp.recvfrom(4096)
                if not wire:
                    return
                self.asked.append("udp")
                if (answer := self.udp(wire)) is not None:
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._tcp.accept()
                with stream, contextlib.suppress(OSError):
                    stream.settimeout(2)
                    self.asked.append("tcp")
                    wire = _receive(stream, int.from_bytes(_receive(stream, 2), "big"))
                    # Whoever hung up before it asked has no answer coming.
                    if wire and (answer := self.tcp(wire)) is not None:
                        stream.sendall(len(answer).to_bytes(2, "big") + answer)

    def ask(self, name, timeout=2.0):
        self.asked.clear()
        return DnsResolver("liar", "127.0.0.1", self.port, timeout=timeout).ask(name)

    def close(self):
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._udp.close()
        self._tcp.close()
