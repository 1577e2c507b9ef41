# SPDX-License-Identifier: Apache-2.0
"""What a third party may bring: an attester, a sealer, a state store.

A component declares ``@implementer(IAttester)`` (or one of the others), is published through the
entry-point group named below, and takes one positional argument: the text after the first colon
of its name (``simulated:/run/enclave`` gives ``"/run/enclave"``; without a colon, ``""``).

It may declare more, which has to be kept as well: an attester `ISecurityModule`; a sealer
`IAttestedSealer`, `IDerivingSealer`, or both.
"""

from collections.abc import Mapping
from typing import NamedTuple

from zope.interface import Attribute, Interface


class IAttester(Interface):
    """Makes attestation documents inside the enclave. Group ``certbot_enclave.attesters``.

    Made where it does not belong, it raises EnclaveError with the code ``attester-absent``, and
    ``auto`` asks the next one; any other EnclaveError means that this is its place, and broken.
    """

    simulated: bool = Attribute("True if no hardware stands behind the documents.")
    format: str = Attribute(
        "What `attest` returns: `aws-nitro` or `oyster-signed`, as in attestation/proof.py."
    )
    trust_root: bytes | None = Attribute(
        "DER of the root certificate of the documents; None means the built-in AWS Nitro root."
    )

    def attest(*, user_data: bytes, public_key: bytes, nonce: bytes | None) -> bytes:
        """Make one attestation document now.

        Args:
            user_data: At most 512 bytes.
            public_key: DER SubjectPublicKeyInfo, at most 1024 bytes; never empty.
            nonce: At most 512 bytes, or None for none.

        Returns:
            The document as the hardware delivers it (Nitro: untagged COSE_Sign1); in the format
            ``oyster-signed`` a signature behind it.

        Raises:
            EnclaveError: The device is missing, broken or refused.
        """


class ISecurityModule(Interface):
    """What security hardware offers beside documents. An attester may provide it too.

    Every method raises EnclaveError if the device is missing, broken or refused.
    """

    def random() -> bytes:
        """Return fresh random bytes of the device: 16 to 4096, as many as it likes."""

    def pcr(index: int) -> tuple[bool, bytes]:
        """Return whether PCR `index` (0 to 31) is locked, and its 48 bytes."""

    def extend(index: int, data: bytes) -> bytes:
        """Extend PCR `index` (16 to 31): new = SHA384(old ‖ data).

        Args:
            index: Not locked.
            data: 1 to 512 bytes.

        Returns:
            The new value, 48 bytes.
        """

    def lock(index: int) -> None:
        """Lock PCR `index` (16 to 31) until the enclave ends; documents carry it from now on."""


class ISealer(Interface):
    """Wraps data keys so that only the same measured code unwraps them.

    Group ``certbot_enclave.sealers``.
    """

    simulated: bool = Attribute("True if the protection is for demonstration only.")
    scheme: str = Attribute("Name of the scheme as it stands in the statement, e.g. `simulated`.")
    key: str = Attribute("Public name of the wrapping key (an ARN, an image id), never a secret.")

    def wrap(data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Wrap a data key.

        Args:
            data_key: 32 bytes.
            context: Public names that `unwrap` must be given again, exactly.

        Returns:
            The wrapped key, at most 4096 bytes.

        Raises:
            SealError: The service refused (``sealer-refused``) or the key is bound elsewhere.
            TransportError: The service cannot be reached.
        """

    def unwrap(wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwrap a data key.

        Args:
            wrapped: What `wrap` returned. Hostile until proven otherwise.
            context: The same names as at `wrap`.

        Returns:
            The 32 bytes.

        Raises:
            SealError: Another measurement, another context, or damaged bytes.
            TransportError: The service cannot be reached.
        """


class IDerivingSealer(Interface):
    """Secrets that are there again after any restart. A sealer may provide it too."""

    def derive(path: str) -> bytes:
        """Derive a secret.

        Args:
            path: What it is for. Different paths give independent secrets.

        Returns:
            64 bytes, always the same for the code that the sealer's key is bound to.

        Raises:
            SealError: The service refused (``sealer-refused``), or gave no secret.
            TransportError: The service cannot be reached.
        """


class IAttestedSealer(Interface):
    """A sealer whose service wants attestation documents. A sealer may provide it too."""

    def attach(attester: IAttester, settings: Mapping[str, object]) -> None:
        """Tell the sealer who attests; called once, before anything is wrapped or unwrapped.

        Args:
            attester: Makes the documents.
            settings: The effective settings of this run, by name.

        Raises:
            PolicyError: The sealer cannot work with this attester (``sealer-attester``), or with a
                setting.
        """


class Stored(NamedTuple):
    """What a store holds.

    Attributes:
        data: The bytes. Hostile.
        version: What the store calls this content, for `IStateStore.write`; never empty.
    """

    data: bytes
    version: str


class IStateStore(Interface):
    """Where the untrusted host keeps the sealed bundle. Group ``certbot_enclave.stores``.

    A bundle that somebody else wrote in between is never overwritten. That saves work and requests
    to the CA; no security property rests on it, since the host can do what it likes.
    """

    def read() -> Stored | None:
        """Read the newest bundle.

        Returns:
            What was last written, or None if nothing was ever stored.

        Raises:
            FormatError: It is larger than any bundle (``bundle-size``).
            TransportError: The store cannot be reached; never reported as "nothing stored".
        """

    def version() -> str | None:
        """Say what is there without reading all of it; replicas ask this every few seconds.

        Returns:
            The version that `read` would return with it, or None if nothing was ever stored.

        Raises:
            TransportError: As `read`.
            FormatError: As `read`, from stores that have to look at the content.
        """

    def write(data: bytes, *, generation: int, replaces: str) -> str:
        """Replace the bundle atomically: afterwards a reader sees the old bytes or the new.

        The one that was replaced is kept as well, for people to go back to.

        Args:
            data: The sealed bundle.
            generation: Its generation, from 1; it is one more than that of what it replaces.
            replaces: Version of what it replaces; empty if nothing was there.

        Returns:
            The version of what is there now; empty if this store keeps nothing.

        Raises:
            SealError: Something else is there (``store-conflict``).
            TransportError: The store cannot be reached or is full; whether the bundle arrived is
                not known.
        """
