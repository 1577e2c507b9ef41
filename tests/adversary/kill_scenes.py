# SPDX-License-Identifier: Apache-2.0
"""What there is when a command is killed, and what has to hold ever after.

Scenes are made once and put back from a copy for each kill; the CA goes on, as CAs do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certbot_enclave import registry
from certbot_enclave.attestation import document
from certbot_enclave.runtime import spki
from certbot_enclave.sealing import bundle, tree
from certbot_enclave.thrift import ledger
from tests.support.ca.launcher import TestCA
from tests.support.world import killing
from tests.support.world.enclave import Enclave
from tests.support.world.owner import Owner

# Whoever was killed while it held the lease, and lost its RAM, waits for its end.
LEASE = ledger.LEASE.total_seconds() + 60

_CONSENT = ("--agree-tos", "--email=ops@a.test")
COMMANDS: dict[str, Callable[[Enclave], tuple[str, list[str]]]] = {
    "register": lambda e: ("certbot-enclave", e.registering("--json")),
    "certbot certonly": lambda e: (
        "certbot",
        e.words("certonly", "--authenticator=enclave", "--installer=enclave", *_CONSENT),
    ),
    "certbot renew": lambda e: (
        "certbot",
        e.words("renew", "--force-renewal", names=False, server=False),
    ),
    "run certonly": lambda e: ("certbot-enclave", e.letting("certonly")),
    "run renew": lambda e: ("certbot-enclave", e.letting("renew", "--force-renewal")),
    "restore": lambda e: ("certbot-enclave", e.our_words("restore", "--json")),
    "follow": lambda e: ("certbot-enclave", e.our_words("follow", "--once")),
    "seal": lambda e: ("certbot-enclave", e.our_words("seal")),
}


@dataclass
class Scene:
    """An enclave, its CA, and what was acknowledged.

    Attributes:
        enclave: At the time of the scene.
        ca: Its CA.
        records: CAA records that bind issuance to the account.
        account: URI that a command ended with 0 for; empty for none.
        certificate: The newest one that a command ended with 0 for, PEM; empty for none.
        here: The newest one in RAM, if it is newer; whoever keeps his RAM keeps it.
        served: True if the TLS server's directory holds the certificate.
        ahead: Seconds between the enclave's clock and everybody's.
        newer: What another enclave will have sealed when this one was killed.
        newest: The certificate in that bundle.
        stored: Returns the bundle that the store holds, and the one before.
    """

    enclave: Enclave
    ca: TestCA
    records: list[str]
    account: str = ""
    certificate: bytes = b""
    here: bytes = b""
    served: bool = False
    ahead: float = 0.0
    newer: bytes = b""
    newest: bytes = b""
    stored: Callable[[], tuple[bytes | None, bytes | None]] = lambda: (None, None)

    @property
    def tls(self) -> Path:
        """The TLS server's directory."""
        return self.enclave.state / "tls"

    def command(self, name: str) -> tuple[str, list[str]]:
        """Program and arguments."""
        return COMMANDS[name](self.enclave)

    def again(self, name: str) -> None:
        """The same command comes to its end."""
        program, words = self.command(name)
        self.enclave.later(self.ahead).run(program, *words).ok()

    def overtake(self) -> None:
        """Another enclave of the same image, with its own RAM, has sealed once more."""
        self.enclave.bundle.write_bytes(self.newer)
        self.certificate = self.newest

    def restart(self) -> None:
        """All RAM is lost, that of the TLS server too."""
        self.enclave.reboot()
        shutil.rmtree(self.tls, ignore_errors=True)
        self.served, self.here = False, b""

    def order(self, pem: bytes) -> int:
        """Return which certificate of the CA this is, from 1; 0 for none."""
        if not pem:
            return 0
        serial = x509.load_pem_x509_certificate(pem).serial_number
        issued = [int(item["serial"], 16) for item in self.ca.certificates()]
        return issued.index(serial) + 1

    def check_account(self) -> None:
        """The CA knows one account at most, and the one that was acknowledged."""
        uris = [item["uri"] for item in self.ca.accounts()]
        assert len(uris) <= 1, uris
        assert self.account in ("", *uris), uris

    def check_kept(self) -> None:
        """Nothing acknowledged is lost: the bundle opens and has it, and the server serves it."""
        self.check_account()
        for data in self.stored():
            if data is not None:
                opened(self.enclave, data)
        current, _ = self.stored()
        if self.account:
            assert current is not None
            contents = opened(self.enclave, current)
            assert contents.accounts == (self.account,)
            assert self.order(self.certificate) <= self.order(newest(carried(contents), self.order))
        if self.served:
            assert self.order(self.certificate) <= self.order(newest(pairs(self.tls), self.order))
        elif self.tls.exists():
            list(pairs(self.tls))

    def check_here(self, at_least: bytes, *, evidence: bool = True, served: bool = True) -> bytes:
        """A command has just ended with 0: account, evidence, files, bundle and server agree.

        Args:
            at_least: A certificate, PEM; the one that is here must be this one or a newer one.
            evidence: The command makes some.
            served: The command hands certificates over.

        Returns:
            The certificate that is here.
        """
        (account,) = self.ca.accounts()
        assert self.account in ("", account["uri"])
        held = newest(finished(self.enclave.config), self.order)
        assert self.order(held) >= self.order(at_least)
        current, _ = self.stored()
        assert current is not None
        contents = opened(self.enclave, current)
        assert contents.accounts == (account["uri"],)
        assert newest(carried(contents), self.order) == held
        if evidence:
            assert self.enclave.said().account_uri == account["uri"]
        if served and held:
            assert newest(pairs(self.tls), self.order) == held
        return held


def opened(enclave: Enclave, data: bytes) -> bundle.Contents:
    """Open a bundle as the enclave would."""
    attester = registry.load_attester(f"simulated:{enclave.simulator}")
    public = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    raw = attester.attest(user_data=b"", public_key=spki(public), nonce=None)
    return bundle.open_(
        data,
        sealer=registry.load_sealer(f"simulated:{enclave.simulator}"),
        trust_root=attester.trust_root,
        own=document.authenticate(raw, trust_root=attester.trust_root).pcrs,
    )


def _pair(key: bytes, chain: bytes) -> bytes:
    certificate = x509.load_pem_x509_certificate(chain)
    assert load_pem_private_key(key, None).public_key() == certificate.public_key()
    return chain


def pairs(folder: Path) -> Iterator[bytes]:
    """Yield the certificate of each pair in a directory; its key must fit."""
    for path in sorted(folder.glob("[!.]*/privkey.pem")):
        yield _pair(path.read_bytes(), (path.parent / "fullchain.pem").read_bytes())


def finished(config: Path) -> Iterator[bytes]:
    """Yield the certificate of each lineage that certbot knows; its key must fit."""
    for conf in sorted((config / "renewal").glob("*.conf")):
        live = config / "live" / conf.stem
        if conf.stat().st_size:
            yield _pair((live / "privkey.pem").read_bytes(), (live / "fullchain.pem").read_bytes())


def carried(contents: bundle.Contents) -> Iterator[bytes]:
    """Yield the certificate of each lineage in a bundle; its key must fit."""
    files = {entry.path: entry.data for entry in contents.entries if isinstance(entry, tree.File)}
    for entry in contents.entries:
        if isinstance(entry, tree.Link) and entry.path.endswith("/privkey.pem"):
            key = entry.target.removeprefix("../../")
            yield _pair(files[key], files[key.replace("/privkey", "/fullchain")])


def newest(found: Iterator[bytes], order: Callable[[bytes], int]) -> bytes:
    """Return the certificate that was issued last; empty for none."""
    return max(found, key=order, default=b"")


def file_stored(enclave: Enclave) -> Callable[[], tuple[bytes | None, bytes | None]]:
    """Return what reads the store ``file:``."""

    def read() -> tuple[bytes | None, bytes | None]:
        paths = (enclave.bundle, enclave.bundle.with_name("bundle.previous"))
        first, second = (path.read_bytes() if path.exists() else None for path in paths)
        return first, second

    return read


def first_scene(enclave: Enclave, ca: TestCA, owner: Owner) -> Scene:
    """Return the scene ``nothing``, with CAA that awaits the first account of this CA."""
    account = ca.directory_url.replace("directory", "account/1")
    value = f"ca.test;validationmethods=http-01;accounturi={account}"
    owner.caa("example.test", f'0 issue "{value}"', '0 issuewild ";"')
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    return Scene(enclave, ca, [], stored=file_stored(enclave))


class Stage:
    """All scenes of one enclave and one CA; each is made when it is asked for.

    Args:
        enclave: With nothing in it.
        ca: Its CA.
        copies: A directory for the copies.
    """

    def __init__(self, enclave: Enclave, ca: TestCA, copies: Path) -> None:
        enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
        self._base = Scene(enclave, ca, [], stored=file_stored(enclave))
        self._copies = copies
        self._made: dict[str, Scene] = {}

    def set(self, name: str, owner: Owner) -> Scene:
        """Put a scene back as it was made."""
        owner.publish(self._base.records)
        if name not in self._made:
            made = getattr(self, f"_{name.replace(' ', '_')}")(owner)
            shutil.copytree(self._state, self._copies / name, symlinks=True)
            self._made[name] = made
        shutil.rmtree(self._state)
        shutil.copytree(self._copies / name, self._state, symlinks=True)
        return replace(self._made[name])

    @property
    def _state(self) -> Path:
        return self._base.enclave.state

    def _registered(self, owner: Owner) -> Scene:
        table = self._base.enclave.registered()
        self._base.records = table["records"]
        owner.publish(table["records"])
        return replace(self._base, account=table["account"])

    def _issued(self, owner: Owner) -> Scene:
        scene = self.set("registered", owner)
        scene.again("run certonly")
        return replace(scene, certificate=scene.enclave.certificate(), served=True)

    def _restarted(self, owner: Owner) -> Scene:
        newer, newest = self._newer("issued", owner)
        scene = self.set("issued", owner)
        scene.restart()
        return replace(scene, newer=newer, newest=newest)

    def _newer(self, name: str, owner: Owner) -> tuple[bytes, bytes]:
        scene = self.set(name, owner)
        scene.again("certbot renew")
        return scene.enclave.bundle.read_bytes(), scene.enclave.certificate()

    def _behind(self, owner: Owner) -> Scene:
        """It stands where another one stood before that renewed."""
        scene = self.set("issued", owner)
        first, ram = scene.certificate, self._copies / "ram"
        scene.enclave.reboot()
        scene.again("restore")
        shutil.copytree(scene.enclave.config, ram, symlinks=True)
        tls = shutil.copytree(scene.tls, self._copies / "tls", symlinks=True)
        second, held = self._newer("issued", owner)
        scene.again("certbot renew")
        third, newest = scene.enclave.bundle.read_bytes(), scene.enclave.certificate()
        for copy, folder in ((ram, scene.enclave.config), (tls, scene.tls)):
            shutil.rmtree(folder)
            shutil.copytree(copy, folder, symlinks=True)
        assert scene.enclave.certificate() == first
        scene.enclave.bundle.write_bytes(second)
        # What it serves is older than what the other one acknowledged.
        return replace(scene, certificate=held, served=False, newer=third, newest=newest)

    def _unsealed(self, owner: Owner) -> Scene:
        """certbot was killed before its certificate was in the store."""
        scene = self.set("issued", owner)
        fresh = scene.enclave.bundle.with_name(".bundle.new")
        words = scene.command("certbot renew")
        killing.at_a_call(scene.enclave, words, "rename", fresh, nth=2)
        here = scene.enclave.certificate()
        assert here != scene.certificate
        return replace(scene, here=here)

    def _expired_lease(self, owner: Owner) -> Scene:
        scene = self.set("issued", owner)
        scene.ca.stall("newOrder", "after")
        killing.at_a_request(scene.enclave, scene.command("run renew"), scene.ca)
        scene.restart()
        scene.enclave.let("renew").ok()
        return replace(scene, ahead=LEASE, served=True)


def account_folder(scene: Scene) -> str:
    """Return where certbot keeps the account, or will keep the one whose key is pending."""
    server = scene.enclave.server.removeprefix("https://")
    pending = scene.enclave.config / "enclave" / "pending.json"
    if pending.exists():
        from acme import messages
        from certbot._internal.account import Account

        from certbot_enclave.account.key import EnclaveJWK

        key = EnclaveJWK.from_json(json.loads(pending.read_text())["key"])
        name = Account(messages.RegistrationResource(body=None), key).id
    else:
        current, _ = scene.stored()
        assert current is not None
        contents = opened(scene.enclave, current)
        (name,) = {
            entry.path.split("/")[-2]
            for entry in contents.entries
            if entry.path.endswith("/regr.json")
        }
    return f"config/accounts/{server}/{name}"
