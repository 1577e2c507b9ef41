# SPDX-License-Identifier: Apache-2.0
"""Knot signs a root, ``test.`` and zones below it; Unbound validates from that root."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsigkeyring
import dns.update
import trustme

from tests.support.world.process import Process, accepts, eventually, free_port, program

KEY = "owner"
SECRET = "b3duZXItb2YtdGhlLXpvbmUtc2VjcmV0LWtleSE="
RESOLVER_NAME = "resolver.test"

_KNOT = """
server:
    rundir: "{state}/run"
    listen: 127.0.0.1@{port}
    user: root
log:
  - target: stderr
    any: warning
database:
    storage: "{state}/db"
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: owner
    key: {key}
    action: update
policy:
  - id: nsec
    algorithm: ecdsap256sha256
    manual: on
  - id: nsec3
    algorithm: ecdsap256sha256
    manual: on
    nsec3: on
template:
  - id: default
    storage: "{state}"
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all
zone:
"""
_KNOT_ZONE = """  - domain: {zone}
    file: "{file}"
    acl: owner
"""
_SIGNED = """    dnssec-signing: on
    dnssec-policy: {policy}
"""
_UNBOUND = """
server:
    interface: 127.0.0.1@{port}
    interface: 127.0.0.1@{tls_port}
    tls-port: {tls_port}
    interface: 127.0.0.1@{https_port}
    https-port: {https_port}
    tls-service-key: "{tls}"
    tls-service-pem: "{tls}"
    do-daemonize: no
    do-not-query-localhost: no
    do-ip6: no
    chroot: ""
    username: ""
    pidfile: ""
    directory: "{state}"
    use-syslog: no
    logfile: ""
    module-config: "{modules}"
    {anchor}
    local-zone: "test." nodefault
    ede: yes
    {cache}
    harden-referral-path: no
    aggressive-nsec: no
    trust-anchor-signaling: no
    num-threads: 1
remote-control:
    control-enable: no
"""
# Room for what a benchmark asks about, and for its denials as long as for its records.
_CACHE = """msg-cache-size: 64m
    rrset-cache-size: 128m
    neg-cache-size: 16m
    cache-max-negative-ttl: 86400"""


class Unbound:
    """One resolver: UDP, TCP, DNS over TLS and over HTTPS.

    Attributes:
        port: Of UDP and TCP.
        tls_port: Of DNS over TLS.
        https_port: Of DNS over HTTPS.
        name: What the certificate is for.
    """

    def __init__(
        self, state: Path, world: DnsWorld, *, validating: bool, name: str, caching: bool
    ) -> None:
        state.mkdir()
        self.name = name
        self.port, self.tls_port, self.https_port = free_port(), free_port(), free_port()
        pem = state / "tls.pem"
        world.authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(pem))
        text = _UNBOUND.format(
            port=self.port,
            tls_port=self.tls_port,
            https_port=self.https_port,
            tls=pem,
            state=state,
            cache=_CACHE if caching else "cache-max-ttl: 0\n    cache-max-negative-ttl: 0",
            modules="validator iterator" if validating else "iterator",
            anchor=f'trust-anchor-file: "{world.anchor}"' if validating else "",
        )
        for zone in world.zones:
            text += f'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{world.port}\n'
        config = state / "unbound.conf"
        config.write_text(text)
        self._process = Process(
            ["unbound", "-d", "-c", config],
            log=state / "log",
            ready=lambda: all(map(accepts, (self.port, self.tls_port, self.https_port))),
        )

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        """``tls://127.0.0.1:PORT#NAME``."""
        return f"tls://127.0.0.1:{self.tls_port}#{self.name}"

    @property
    def https_address(self) -> str:
        """``https://127.0.0.1:PORT/dns-query#NAME``."""
        return f"https://127.0.0.1:{self.https_port}/dns-query#{self.name}"

    def stop(self) -> None:
        """Stop it."""
        self._process.stop()


class DnsWorld:
    """The whole of DNS on loopback. A zone may lie below another: that one delegates it.

    Args:
        state: Directory for state, made if missing.
        signed: Zones below ``test.`` with a chain of trust.
        unsigned: Zones below ``test.`` without one.
        bogus: Zones below ``test.`` whose DS at the parent is wrong.
        nsec3: Which of them deny names by their hashes (RFC 5155).

    Attributes:
        port: Where the authoritative server listens.
        resolver: Validates.
        tls_root: PEM file of the root for DNS over TLS.
    """

    def __init__(
        self,
        state: Path,
        *,
        signed: Iterable[str] = ("example.test",),
        unsigned: Iterable[str] = (),
        bogus: Iterable[str] = (),
        nsec3: Iterable[str] = (),
    ) -> None:
        self.state = state
        signed, self._unsigned, self._bogus = tuple(signed), set(unsigned), tuple(bogus)
        self._children = (*signed, *self._unsigned, *self._bogus)
        self._nsec3 = frozenset(nsec3)
        self.zones = (".", "test.", *(f"{zone}." for zone in self._children))
        self._stack = ExitStack()
        self._resolvers = 0

    def __enter__(self) -> DnsWorld:
        """Make keys and zones, start both servers."""
        with ExitStack() as stack:
            self._stack = stack
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both."""
        self._stack.close()

    def _start(self) -> None:
        for name in ("", "db", "run"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._configure()
        self.key_file = self.state / "owner.key"
        self.key_file.write_text(f"hmac-sha256:{KEY}:{SECRET}\n")
        self._write_zones()
        self.authority = trustme.CA()
        self.tls_root = self.state / "tls-root.pem"
        self.authority.cert_pem.write_to_path(str(self.tls_root))
        self._knot = Process(
            ["knotd", "-c", self.state / "knot.conf"],
            log=self.state / "knot.log",
            ready=self._authoritative,
        )
        self._stack.callback(self._knot.stop)
        self.resolver = self.start_resolver()

    def _configure(self) -> None:
        text = _KNOT.format(state=self.state, port=self.port, key=KEY, secret=SECRET)
        for zone in self.zones:
            text += _KNOT_ZONE.format(zone=zone, file=self._file(zone).name)
            if zone.rstrip(".") not in self._unsigned:
                policy = "nsec3" if zone.rstrip(".") in self._nsec3 else "nsec"
                text += _SIGNED.format(policy=policy)
        (self.state / "knot.conf").write_text(text)

    def start_resolver(
        self, *, validating: bool = True, name: str = RESOLVER_NAME, caching: bool = False
    ) -> Unbound:
        """Start another resolver.

        Args:
            validating: One that does not validate never sets the AD bit.
            name: What its certificate proves.
            caching: One that does not answers with TTL 0.
        """
        self._resolvers += 1
        state = self.state / f"unbound-{self._resolvers}"
        resolver = Unbound(state, self, validating=validating, name=name, caching=caching)
        self._stack.callback(resolver.stop)
        return resolver

    def _file(self, zone: str) -> Path:
        return self.state / f"{zone.rstrip('.') or 'root'}.zone"

    def _keymgr(self, zone: str, *words: str) -> str:
        command = [program("keymgr"), "-c", str(self.state / "knot.conf"), zone, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout

    def _ds(self, zone: str) -> list[str]:
        """Return the DS records of a zone that has keys, as lines of a zone file."""
        found = self._keymgr(zone, "ds").splitlines()
        return [line for line in found if " 13 2 " in line]

    def _make_keys(self, zone: str) -> None:
        for role in ("ksk=yes", "zsk=yes"):
            self._keymgr(zone, "generate", "algorithm=ecdsap256sha256", role)

    def _holder(self, name: str) -> str:
        """Return the innermost zone that holds a name."""
        holders = ("test", *self._children)
        return max((zone for zone in holders if f".{name}".endswith(f".{zone}")), key=len)

    def _write_zones(self) -> None:
        head = "{zone} 1 SOA ns.{zone} owner.{zone} 1 3600 600 86400 1\n{zone} 1 NS ns.{zone}\n"
        head += "ns.{zone} 1 A 127.0.0.1\n"
        texts = {"test": head.format(zone="test.")}
        for child in self._children:
            zone = f"{child}."
            texts[child] = (
                head.format(zone=zone) + f"{zone} 1 A 127.0.0.1\n*.{zone} 1 A 127.0.0.1\n"
            )
        for child in self._children:
            zone, parent = f"{child}.", self._holder(child.partition(".")[2])
            texts[parent] += f"{zone} 1 NS ns.{zone}\nns.{zone} 1 A 127.0.0.1\n"
            if child in self._unsigned:
                continue
            self._make_keys(zone)
            if child in self._bogus:
                wrong = self._ds(zone)[0].split()
                texts[parent] += " ".join([*wrong[:-1], "00" * 32]) + "\n"
            else:
                texts[parent] += "\n".join(self._ds(zone)) + "\n"
        for name, text in texts.items():
            self._file(f"{name}.").write_text(text)
        self._make_keys("test.")
        root = ". 1 SOA ns. owner. 1 3600 600 86400 1\n. 1 NS ns.\nns. 1 A 127.0.0.1\n"
        root += "test. 1 NS ns.test.\nns.test. 1 A 127.0.0.1\n" + "\n".join(self._ds("test."))
        self._file(".").write_text(root + "\n")
        self._make_keys(".")
        self.anchor = self.state / "root.ds"
        self.anchor.write_text("\n".join(self._ds(".")) + "\n")

    def secure(self, zone: str) -> None:
        """Sign a zone that is unsigned, and have its parent publish the right DS.

        A resolver that was asked before remembers for a minute that it was not secure.
        """
        if zone in self._unsigned:
            self._make_keys(f"{zone}.")
            self._unsigned.remove(zone)
            self._configure()
            os.kill(self._knot.pid, signal.SIGHUP)
            if not eventually(lambda: self._has(zone, "DNSKEY")):
                raise RuntimeError(f"{zone} was not signed")
        ds = [line.split(" DS ", 1)[1] for line in self._ds(f"{zone}.")]
        self.update(zone, "DS", *ds)

    def _has(self, name: str, kind: str) -> bool:
        query = dns.message.make_query(name, kind)
        return bool(dns.query.tcp(query, "127.0.0.1", timeout=1, port=self.port).answer)

    def _authoritative(self) -> bool:
        try:
            for zone in self.zones:
                query = dns.message.make_query(zone, "SOA")
                answer = dns.query.udp(query, "127.0.0.1", timeout=1, port=self.port)
                if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
                    return False
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def update(self, name: str, kind: str, *contents: str | bytes, ttl: int = 1) -> None:
        """Replace the records of one type at a name, by RFC 2136 with TSIG; none deletes.

        Args:
            name: Below one of the zones.
            kind: Record type.
            contents: Presentation text, or RDATA as bytes, which may be malformed.
            ttl: In seconds.
        """
        # That of a delegation stands above it.
        zone = self._holder(name.partition(".")[2] if kind == "DS" else name)
        keyring = dns.tsigkeyring.from_text({KEY: ("hmac-sha256", SECRET)})
        change = dns.update.UpdateMessage(zone, keyring=keyring)
        change.delete(f"{name}.", kind)
        for content in contents:
            if isinstance(content, str):
                change.add(f"{name}.", ttl, kind, content)
            else:
                rdtype = dns.rdatatype.from_text(kind)
                rdata = dns.rdata.GenericRdata(dns.rdataclass.IN, rdtype, content)
                change.add(f"{name}.", ttl, rdata)
        answer = dns.query.tcp(change, "127.0.0.1", timeout=10, port=self.port)
        if answer.rcode() != dns.rcode.NOERROR:
            raise RuntimeError(f"update of {name}: {dns.rcode.to_text(answer.rcode())}")

    def caa(self, name: str, *contents: str | bytes) -> None:
        """Replace the CAA records of a name; each like ``0 issue "ca.test"``, or RDATA."""
        self.update(name, "CAA", *contents)
