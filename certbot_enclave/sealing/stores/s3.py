# SPDX-License-Identifier: Apache-2.0
"""The store ``s3://BUCKET/PREFIX``: one object, and beside it the one before.

``PREFIX/bundle`` is replaced only if its ETag is still the one that was read (``If-Match``), or
made only if nothing is there (``If-None-Match: *``). Before that the store itself copies it to
``PREFIX/bundle.previous``, on the same condition, so that what is kept is always what was replaced.
A store that lies about ETags can make an enclave lose a bundle to another one, or to nothing: a
rollback, which a host can have more cheaply (docs/threat-model.md).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.interfaces import IStateStore, Stored
from certbot_enclave.sealing.stores import s3_location
from certbot_enclave.sealing.stores.file import MAX_FILE
from certbot_enclave.sealing.stores.s3_exchange import Exchange, Reply

_CURRENT, _PREVIOUS = "bundle", "bundle.previous"
# RFC 9110 section 8.8.3, strong only: a weak one never matches in If-Match (section 13.1.1).
_ETAG = re.compile(r'"[!#-~]{1,256}"')
# RFC 9110 section 13.1; 409 is what S3 answers if it finds two writers at the same time.
_LOST = (412, 409)


@implementer(IStateStore)
class S3Store:
    """Keeps the bundle in one object; its version is the object's ETag.

    Args:
        argument: ``//BUCKET/PREFIX?region=REGION&endpoint=URL``; with an endpoint the bucket stands
            in the path.
        credentials: Where credentials come from; None for the usual chain.
        clock: Seconds since 1970.
        sleep: Waits so many seconds.

    Raises:
        PolicyError: The argument has another form (``store-url``), or the image lacks the library
            that signs (``aws-extra-missing``).
    """

    def __init__(
        self,
        argument: str,
        credentials: Chain | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._location = s3_location.parse(argument)
        self._exchange = Exchange(self._location, credentials, clock=clock, sleep=sleep)

    def _version(self, reply: Reply) -> str:
        if not _ETAG.fullmatch(reply.etag):
            raise errors.TransportError(
                f"store {self._location} gave no ETag that it could be asked for again",
                code="store-reply",
                hint="is its endpoint S3, and nothing in between that changes replies?",
            )
        return reply.etag

    def _conflict(self, generation: int) -> errors.SealError:
        return errors.SealError(
            f"{self._location} holds another bundle than generation {generation - 1}, "
            "which this one would replace",
            code="store-conflict",
            hint="take what another enclave wrote, with "
            "`certbot-enclave follow --once`, and try again",
        )

    def read(self) -> Stored | None:
        """See `IStateStore.read`."""
        try:
            reply = self._exchange.send("GET", _CURRENT, most=MAX_FILE)
        except errors.TransportError as error:
            if error.code != "aws-reply-size":
                raise
            raise errors.FormatError(
                f"{self._location} is larger than {MAX_FILE} bytes", code="bundle-size"
            ) from error
        # Only this says that the store is there and has no bundle.
        if reply.status == 404 and reply.code == "NoSuchKey":
            return None
        if reply.status != 200:
            raise self._exchange.refusal(reply)
        return Stored(reply.body, self._version(reply))

    def version(self) -> str | None:
        """See `IStateStore.version`."""
        reply = self._exchange.send("HEAD", _CURRENT)
        if reply.status == 200:
            return self._version(reply)
        # Without a body nothing says why: whether there is no bundle or no bucket, reading tells.
        stored = self.read()
        return stored.version if stored else None

    def write(self, data: bytes, *, generation: int, replaces: str) -> str:
        """See `IStateStore.write`."""
        if replaces and not self._keep(replaces):
            raise self._conflict(generation)
        condition = {"If-Match": replaces} if replaces else {"If-None-Match": "*"}
        reply = self._exchange.send("PUT", _CURRENT, headers=condition, body=data)
        if reply.status in _LOST or (replaces and reply.code == "NoSuchKey"):
            # A try whose reply was lost may have been heard. Two seals are never the same bytes.
            present = self.read()
            if present is None or present.data != data:
                raise self._conflict(generation)
            return present.version
        if reply.status != 200 or reply.code:
            raise self._exchange.refusal(reply)
        return self._version(reply)

    def _keep(self, version: str) -> bool:
        """Have the store copy what is there; False if that is another version."""
        source = f"/{self._location.bucket}/{self._location.key(_CURRENT)}"
        reply = self._exchange.send(
            "PUT",
            _PREVIOUS,
            headers={"x-amz-copy-source": source, "x-amz-copy-source-if-match": version},
        )
        if reply.status in _LOST or reply.code == "NoSuchKey":
            return False
        if reply.status != 200 or reply.code:
            raise self._exchange.refusal(reply)
        return True
