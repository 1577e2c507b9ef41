# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong with stored state has its own code, and the certificate in use stays.

One enclave for each sealer goes through all of it: it boots, or runs, while one thing is wrong.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_enclave import cli, continuity, errors, runtime
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.issuance import Issuance
from certbot_enclave.sealing import archive, bundle, envelope
from certbot_enclave.sealing.simulated import SimulatedSealer
from tests.support import cms
from tests.support.world.kms import ARN
from tests.support.world.s3 import S3

HOURS = 3 * 3600


class World:
    """An enclave whose TLS server has a certificate; `reset` mends what a row broke.

    Args:
        enclave: It has registered, and has a certificate.
        tls: What its TLS server has; that stays while the enclave's own part restarts.
        kms: Its key service, if it has one.
        s3: Its store, if it is not a file.
        mend: Mends the key service.
    """

    def __init__(self, enclave, tls, *, kms=None, s3=None, mend=lambda: None):
        self.enclave, self.tls, self.kms, self.s3, self._mend = enclave, tls, kms, s3, mend
        self._extra = dict(enclave.extra)
        self.account = enclave.said().account_uri
        self.kept = s3.newest if s3 else enclave.bundle.read_bytes()
        self.served = self.serving()

    def serving(self):
        """Return names and content of what the TLS server has."""
        return {path: path.read_bytes() for path in self.tls.glob("*/*.pem")}

    def put(self, data):
        """The host has these bytes in the store."""
        if self.s3:
            self.s3.kept["bundle"].append(data)
        else:
            self.enclave.bundle.write_bytes(data)

    def reset(self):
        """Mend everything, and lose what was in RAM."""
        self.enclave.extra, self.enclave.wrapper = dict(self._extra), ()
        self.enclave.bundle.parent.mkdir(exist_ok=True)
        self.put(self.kept)
        self._mend()
        if self.s3:
            self.s3.refuses = None
        self.enclave.reboot()


def _boots(world):
    return world.enclave.restore()


def _seals(world):
    """It runs, and something that matters has changed."""
    world.enclave.extra["wait-for-caa"] = "1s"
    return world.enclave.register("--json")


class Row(NamedTuple):
    """One thing that is wrong.

    Attributes:
        code: What the command says.
        exit: Its exit code.
        spoil: Does it.
        drive: Starts the command; `_seals` runs in an enclave that has booted before.
    """

    code: str
    exit: int
    spoil: Callable[[Any], Any]
    drive: Callable[[Any], Any] = _boots


# --- with a simulated sealer, in a file ---


def _flip(at):
    def spoil(world):
        data = bytearray(world.kept)
        data[at] ^= 1
        world.put(data)

    return spoil


def _other_account(world):
    world.enclave.extra["account"] = f"{world.enclave.server}/another"


def _attested(world, sealed):
    """A bundle around these bytes that our own image vouches for."""
    attester = SimulatedAttester(str(world.enclave.simulator))
    binding = bundle._binding(sealed)
    document = attester.attest(user_data=binding, public_key=b"key", nonce=None)
    world.put(len(sealed).to_bytes(4, "big") + sealed + document)


def _sealed(world, plain):
    return envelope.seal(
        plain,
        kind=bundle.KIND,
        fields={"bundle_id": "ab" * 16, "generation": 1},
        sealer=SimulatedSealer(str(world.enclave.simulator)),
    )


def _another_version(world):
    sealed = _sealed(world, archive.pack(b"{}", ()))
    _attested(world, sealed.replace(b"sealed-v1\n", b"sealed-v2\n", 1))


def _bomb(world):
    import gzip

    bomb = gzip.compress(bytes(archive.MAX_TREE + 1), 9)
    assert len(bomb) < archive.MAX_TREE / 1000
    _attested(world, _sealed(world, bomb))


def _other_code(world):
    same = ("root.key", "root.pem", "sealing.key")  # the same hardware, the same key service
    theirs = world.enclave.sibling("theirs", b"the host's own code\n", shared=same)
    theirs.register().ok()
    world.put(theirs.bundle.read_bytes())
    shutil.rmtree(theirs.state)


def _other_root(world):
    theirs = world.enclave.sibling("theirs", world.enclave.image.read_bytes())
    theirs.register().ok()
    world.put(theirs.bundle.read_bytes())
    shutil.rmtree(theirs.state)


def _boots_elsewhere(world):
    state = world.enclave.state
    places = [f"--{name}-dir={state / 'tmp' / name}" for name in ("config", "work", "logs")]
    settings = world.enclave.settings("--")
    return world.enclave.run("certbot-enclave", "restore", *places, *settings, "--json")


def _hours_off(world):
    """The system's clock differs from the attester's."""
    where = f"simulated:{world.enclave.simulator}"
    options = {"attester": where, "sealer": where, "store": f"file:{world.enclave.bundle}"}
    places = [world.enclave.state / name for name in ("config", "work", "logs")]
    started = runtime.start(
        options, runtime.Directories(*places), clock=lambda: time.time() + HOURS
    )
    with pytest.raises(errors.Error) as caught:
        continuity.restore(Issuance(started, report=print))
    return caught.value


def _small(folder, room):
    """Have commands see a small file system there, with what was there before."""
    script = (
        'cp -a "$0" "$1" && mount -t tmpfs -o size="$2" tmpfs "$0" && cp -a "$1/." "$0" || exit 99;'
        ' shift 2; exec "$@"'
    )

    def spoil(world):
        place = world.enclave.state / folder
        place.mkdir(exist_ok=True)
        before = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        size = before // 4096 * 4096 + room
        copy = world.enclave.state / "tmp" / f"{folder}.before"
        world.enclave.wrapper = (
            *("unshare", "-m", "sh", "-c", script),
            *(str(place), str(copy), str(size)),
        )

    return spoil


IN_FILE = {
    "nothing stored": Row("bundle-missing", 1, lambda world: world.enclave.bundle.unlink()),
    "store not mounted": Row(
        "store-unreachable", 3, lambda world: shutil.rmtree(world.enclave.bundle.parent)
    ),
    "store full": Row("store-full", 3, _small("host", 8192), _seals),
    "no room in RAM": Row("state-unwritable", 3, _small("config", 8192)),
    "too large": Row("bundle-size", 1, lambda world: world.put(bytes(33 << 20))),
    "truncated": Row("bundle-truncated", 1, lambda world: world.put(world.kept[:100])),
    "bit of the ciphertext flipped": Row("bundle-unattested", 1, _flip(2000)),
    "bit of the attestation flipped": Row("cose-signature", 1, _flip(-1)),
    "attested under another root": Row("chain-root", 1, _other_root),
    "attested by other code": Row("bundle-foreign", 1, _other_code),
    "from another account": Row("bundle-account", 1, _other_account),
    "from another directory": Row("bundle-directory", 1, lambda world: None, _boots_elsewhere),
    "from another version": Row("envelope-version", 1, _another_version),
    "decompression bomb": Row("bundle-content", 1, _bomb),
    "clock hours off": Row("clock-wrong", 3, lambda world: None, _hours_off),
}


# --- with AWS KMS, in S3 ---


def _changed(**changes):
    """Attributes of the key service."""

    def spoil(world):
        for name, value in changes.items():
            setattr(world.kms, name, value)

    return spoil


def _fault(count=1, **fault):
    return lambda world: world.kms.fault(count=count, **fault)


def _other_hardware(world):
    folder = world.enclave.state / "tmp" / "other"
    simulated.create(folder, [world.enclave.image])
    world.kms.root = SimulatedAttester(str(folder)).trust_root


def _other_region(world):
    """A new enclave, with a key in another region than the endpoint."""
    world.enclave.extra["sealer"] = f"awskms:{ARN.replace('eu-central-1', 'eu-west-1')}"
    _other_place(world, "enclave", "enclave/enclave")


def _other_place(world, what, instead):
    world.enclave.extra["store"] = world.s3.place.replace(what, instead, 1)


def _registers(world):
    return world.enclave.register("--json")


def _nobody_there(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    world.enclave.extra["store"] = f"s3://bucket/enclave?endpoint=http://127.0.0.1:{port}"


def _refuses(status, code):
    def spoil(world):
        world.s3.refuses = (status, code)

    return spoil


THROTTLED = {"kind": "ThrottlingException", "message": "Rate exceeded"}


def _envelope(data):
    """The key service answers with this."""
    text = base64.b64encode(data).decode()
    return _fault(change=lambda members: members.update(CiphertextForRecipient=text))


STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
FOR_A_STRANGER = cms.seal(STRANGER, bytes(32))
IN_S3 = {
    "denied by the key's policy": Row("kms-denied", 1, _changed(pcrs={0: bytes(48)})),
    "throttled": Row("kms-busy", 3, _fault(4, **THROTTLED)),
    "wrong region": Row("kms-region", 1, _other_region, _registers),
    "attestation refused": Row("kms-attestation", 1, _other_hardware),
    "envelope malformed": Row("ber-malformed", 1, _envelope(FOR_A_STRANGER[:-1])),
    "envelope of another shape": Row("kms-envelope-format", 1, _envelope(b"\x30\x00")),
    "envelope for somebody else": Row("kms-envelope", 1, _envelope(FOR_A_STRANGER)),
    "wrapped key damaged": Row("kms-ciphertext", 1, _fault(kind="InvalidCiphertextException")),
    "clock hours off, says the key service": Row(
        "kms-clock", 1, _changed(clock=lambda: time.time() + HOURS)
    ),
    "precondition lost": Row(
        "store-conflict", 1, lambda world: world.put(b"written in between"), _seals
    ),
    "S3 full": Row("store-full", 3, _refuses(507, "InsufficientStorage"), _seals),
    "S3 refuses": Row("store-refused", 3, _refuses(403, "AccessDenied"), _seals),
    "no such bucket": Row("store-bucket", 3, lambda world: _other_place(world, "bucket", "buckle")),
    "nobody there": Row("aws-unreachable", 3, _nobody_there),
}

# --- with Oyster's key service ---


def _answers(**fault):
    return lambda world: world.kms.fault(**fault)


OF_OYSTER = {
    "zeros and an error": Row("sealer-refused", 1, _answers(status=500, body=bytes(64))),
    "zeros": Row("oyster-kms-answer", 1, _answers(body=bytes(64))),
    "derive server away": Row("oyster-kms-unreachable", 3, _answers(raw=b"")),
    "seed of other code": Row("sealed-elsewhere", 1, _changed(seed=bytes(64)[:-1] + b"s")),
}


def _through(world, rows):
    """Go through the rows, and begin and end with an enclave that is well."""
    for name, row in rows.items():
        world.reset()
        if row.drive is _seals:
            world.enclave.restore().ok()
        row.spoil(world)
        done = row.drive(world)
        if isinstance(done, errors.Error):
            said = (cli.exit_code(done), done.code)
        else:
            assert "Traceback" not in done.text, (name, done.text)
            said = (done.code, json.loads(done.out)["code"])
        assert said == (row.exit, row.code), (name, getattr(done, "text", done))
        if row.drive is not _seals:
            assert not (world.enclave.config / "accounts").exists(), name
        assert world.serving() == world.served, name
    world.reset()
    table = json.loads(world.enclave.restore().ok().out)
    assert table["accounts"] == [world.account]


@pytest.fixture
def tls(enclave, shm):
    """Where the TLS server has key and chain; they stay while the enclave's own part restarts."""
    folder = shm / "tls"
    folder.mkdir()
    enclave.extra["deploy"] = f"files:{folder}"
    return folder


def _ready(enclave, owner):
    owner.publish(enclave.registered()["records"])
    enclave.issue("--installer=enclave", verb="run").ok()


def test_stored_in_a_file(enclave, ca, owner, tls):
    _ready(enclave, owner)
    _through(World(enclave, tls), IN_FILE)
    assert len(ca.accounts()) == 3  # with those of other code and under another root


def test_sealed_by_kms_and_stored_in_s3(enclave, ca, owner, tls, kms_front):
    with S3() as store:
        enclave.extra["store"] = store.place
        _ready(enclave, owner)
        well = (kms_front.pcrs, kms_front.clock, kms_front.root)

        def mend():
            kms_front.pcrs, kms_front.clock, kms_front.root = well

        _through(World(enclave, tls, kms=kms_front, s3=store, mend=mend), IN_S3)
    assert len(ca.accounts()) == 1


def test_sealed_by_oyster(enclave, ca, owner, tls, derive_server):
    _ready(enclave, owner)
    seed = derive_server.seed

    def mend():
        derive_server.seed = seed
        derive_server.fault()

    _through(World(enclave, tls, kms=derive_server, mend=mend), OF_OYSTER)
    assert len(ca.accounts()) == 1


def test_each_cause_has_its_own_code():
    rows = {**IN_FILE, **IN_S3, **OF_OYSTER}
    assert len(rows) == len(IN_FILE) + len(IN_S3) + len(OF_OYSTER)
    assert rows.pop("S3 full").code == rows["store full"].code  # the same, of another store
    codes = [row.code for row in rows.values()]
    assert sorted(set(codes)) == sorted(codes)
