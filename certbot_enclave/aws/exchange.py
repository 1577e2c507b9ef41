# SPDX-License-Identifier: Apache-2.0
"""One bounded HTTP request: no redirect, no cookie, nothing from the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from certbot_enclave import errors

if TYPE_CHECKING:
    import requests

MAX_REPLY = 64 * 1024  # bytes
TIMEOUT = (5.0, 15.0)  # seconds, to connect and between bytes

Sign = Callable[["requests.PreparedRequest"], "requests.PreparedRequest"]


class Reply(NamedTuple):
    """What a server answered. Hostile.

    Attributes:
        status: HTTP status.
        body: As many bytes as were allowed, at most.
        headers: Its header fields; names in any case.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    most: int = MAX_REPLY,
    sign: Sign | None = None,
    roots: str = "",
    proxy: str = "",
    timeout: tuple[float, float] = TIMEOUT,
) -> Reply:
    """Send a request.

    Args:
        method: HTTP method.
        url: http or https.
        headers: Header fields.
        body: What to send.
        most: Bytes of a good reply. Of others `MAX_REPLY` are read, and the rest is left.
        sign: Adds what authenticates the request.
        roots: PEM file of roots; empty for the built-in ones.
        proxy: URL of a proxy that TLS is tunnelled through; empty for none.
        timeout: Seconds to connect, and between bytes.

    Raises:
        TransportError: No answer (``aws-unreachable``), or a good one that is too large
            (``aws-reply-size``).
    """
    import requests

    host = urlsplit(url).hostname
    fields = {"Accept-Encoding": "identity", **headers}
    try:
        with requests.Session() as session:
            session.trust_env = False  # neither proxies, nor roots, nor ~/.netrc
            request = requests.Request(method, url, headers=fields, data=body, auth=sign)
            with session.send(
                session.prepare_request(request),
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                verify=roots or True,
                proxies={"https": proxy} if proxy else {},
            ) as answer:
                good = answer.status_code == 200
                left = most + 1 if good else MAX_REPLY
                parts: list[bytes] = []
                # Until nothing comes: urllib3 tells only then that there should have been more.
                while left and (part := answer.raw.read(left, decode_content=False)):
                    parts.append(part)
                    left -= len(part)
                reply = Reply(answer.status_code, b"".join(parts), answer.headers)
    # urllib3's own errors come through where the body is read.
    except (OSError, ValueError, _http_error()) as error:
        # The type only: a message may hold the URL, and with it what was secret in it.
        raise errors.TransportError(
            f"{host} does not answer: {type(error).__name__}",
            code="aws-unreachable",
            hint="is there a way from here to it? an enclave needs a proxy on its host",
        ) from None
    if good and len(reply.body) > most:
        raise errors.TransportError(
            f"{host} answered more than {most} bytes", code="aws-reply-size"
        )
    return reply


def _http_error() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError
