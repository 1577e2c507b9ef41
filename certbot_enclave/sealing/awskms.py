# SPDX-License-Identifier: Apache-2.0
"""The sealer ``awskms:KEY-ARN``: data keys under a key of AWS that only this image may use.

``wrap`` is ``Encrypt``, over TLS to the endpoint that the ARN gives. ``unwrap`` is ``Decrypt`` with
a fresh attestation document around an RSA key that lives for this one call; the key's policy
compares the PCRs in it, and the reply is encrypted to that key. Anybody whom the policy lets
encrypt can wrap a key: what is sealed so is secret, not authentic (bundle.py sees to that).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.aws import arn, cms, endpoint
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.aws.kms import Kms
from certbot_enclave.interfaces import IAttestedSealer, IAttester, ISealer

_DATA_KEY = 32  # bytes


def _endpoint(url: str) -> str:
    """Return the setting ``aws_endpoint``; empty if the ARN says where the service is."""
    try:
        return endpoint.base(url) if url else ""
    except ValueError as error:
        raise errors.PolicyError(
            f"aws_endpoint is {error}",
            code="aws-endpoint",
            hint="leave it empty: the ARN of the key says where the service is",
        ) from error


@implementer(ISealer, IAttestedSealer)
class KmsSealer:
    """Wraps data keys under one key of AWS.

    Args:
        argument: ARN of the key.

    Raises:
        PolicyError: It is none (``sealer-arn``).
    """

    simulated = False
    scheme = "awskms"

    def __init__(self, argument: str) -> None:
        self._arn = arn.parse(argument)
        self.key = self._arn.text
        self._attester: IAttester | None = None
        self._kms: Kms | None = None

    def attach(self, attester: IAttester, settings: Mapping[str, object]) -> None:
        """See `IAttestedSealer.attach`.

        Raises:
            PolicyError: The attester's documents are not what the key service takes
                (``sealer-attester``), or ``aws_endpoint`` is no endpoint (``aws-endpoint``).
        """
        if attester.format != "aws-nitro":
            raise errors.PolicyError(
                f"the key service takes aws-nitro documents, this attester makes {attester.format}",
                code="sealer-attester",
                hint="seal with awskms where /dev/nsm is",
            )
        url = _endpoint(str(settings.get("aws_endpoint", "")))
        chain, proxy = Chain(os.environ, time.time), endpoint.proxy(os.environ)
        self._attester = attester
        self._kms = Kms(self._arn, chain, endpoint=url, proxy=proxy)

    def _attached(self) -> tuple[IAttester, Kms]:
        if self._attester is None or self._kms is None:
            raise errors.SealError("the sealer has no attester yet", code="sealer-unattached")
        return self._attester, self._kms

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.wrap`."""
        _, kms = self._attached()
        return kms.encrypt(data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.unwrap`."""
        attester, kms = self._attached()
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        document = attester.attest(user_data=b"", public_key=public, nonce=None)
        data_key = cms.decrypt(kms.decrypt(wrapped, context, document), private)
        if len(data_key) != _DATA_KEY:
            raise errors.SealError(
                f"the key service gave out {len(data_key)} bytes, expected {_DATA_KEY}",
                code="kms-data-key",
                hint="somebody else wrapped this key: find out who may encrypt under it",
            )
        return data_key
