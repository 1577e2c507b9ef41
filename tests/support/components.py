# SPDX-License-Identifier: Apache-2.0
"""Our own components for tests, held to the same interfaces as real ones."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer
from zope.interface.verify import verifyObject

from certbot_enclave import errors
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.interfaces import IAttester, ISealer, IStateStore, Stored


@implementer(IAttester)
class HardwareAttester(SimulatedAttester):
    """Says that it is real, so that the rules of real enclaves apply; its root is its own."""

    simulated = False


@implementer(IAttester)
class BrokenAttester:
    """Returns what it was given instead of documents."""

    simulated = True
    format = "aws-nitro"

    def __init__(self, document: bytes = b"", trust_root: bytes | None = None) -> None:
        self.trust_root = trust_root
        self._document = document

    def attest(self, *, user_data, public_key, nonce):
        return self._document


@implementer(ISealer)
class MemorySealer:
    """Seals with one key in memory; `name` tells sealers apart."""

    simulated = True
    scheme = "memory"

    def __init__(self, name: str = "one") -> None:
        self.key = name
        self.contexts: list[dict[str, str]] = []
        self._cipher = AESGCM(name.encode().ljust(32, b"."))

    def wrap(self, data_key, context):
        self.contexts.append(dict(context))
        return self._cipher.encrypt(bytes(12), data_key, repr(sorted(context.items())).encode())

    def unwrap(self, wrapped, context):
        try:
            text = repr(sorted(context.items())).encode()
            return self._cipher.decrypt(bytes(12), wrapped, text)
        except InvalidTag as error:
            raise errors.SealError("not ours", code="sealed-elsewhere") from error


@implementer(ISealer)
class RealSealer(MemorySealer):
    """Says that it protects."""

    simulated = False


@implementer(IStateStore)
class MemoryStore:
    """Keeps every bundle that was written, and can be unreachable."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.down = False

    def _reach(self):
        if self.down:
            raise errors.TransportError("store is down", code="store-unreachable")

    def read(self):
        self._reach()
        return Stored(self.written[-1], str(len(self.written))) if self.written else None

    def version(self):
        found = self.read()
        return found.version if found else None

    def write(self, data, *, generation, replaces):
        self._reach()
        if replaces != (str(len(self.written)) if self.written else ""):
            raise errors.SealError("something else is there", code="store-conflict")
        self.written.append(data)
        return str(len(self.written))


verifyObject(IAttester, BrokenAttester())
verifyObject(ISealer, MemorySealer())
verifyObject(IStateStore, MemoryStore())
