# SPDX-License-Identifier: Apache-2.0
"""Where requests to AWS may go, and through what."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def base(url: str) -> str:
    """Return a URL that requests may be sent to, without a slash at its end.

    Whoever sees a request sees a session token and a signature for it, and with ``Encrypt`` a data
    key. So it is https, or http that does not leave this enclave.

    Args:
        url: https://HOST[:PORT], or http on a loopback address.

    Raises:
        ValueError: It is neither.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        good = parts.scheme == "https" and bool(host)
        if parts.scheme == "http":
            good = ipaddress.ip_address(host).is_loopback
        good = good and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or {*"?#@"} & {*url}:
        raise ValueError("neither https://HOST[:PORT] nor http on a loopback address")
    return url.rstrip("/")


def proxy(environ: Mapping[str, str]) -> str:
    """Return the URL of the proxy on the host; empty for none.

    TLS goes through it to the endpoint, so it is no more than the host's network.
    """
    return environ.get("HTTPS_PROXY") or environ.get("https_proxy") or ""
