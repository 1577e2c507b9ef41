# SPDX-License-Identifier: Apache-2.0
"""Credentials of the instance or container, by the usual chain.

The first of these that is there: the environment, the credentials endpoint of a container, the
instance's role by IMDSv2. They come from the host, and protect nothing that is ours: what the key
service gives out depends on the attestation document. Their endpoints may be named by the
environment, but must be link-local or loopback, unless TLS says who answers.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from certbot_enclave import errors
from certbot_enclave.aws import exchange

IMDS = "http://169.254.169.254"
CONTAINER = "http://169.254.170.2"
_CONTAINERS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")  # ECS, and EKS by its two names
_INSTANCES = ("169.254.169.254", "fd00:ec2::254")
_LIFE = "21600"  # seconds, of a token; the most that IMDSv2 allows
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")
_WORD = re.compile(r"[!-~]{1,16384}")  # printable, so that it cannot end a header field
_AHEAD = 300.0  # seconds before they expire when new ones are fetched
_TIMEOUT = (2.0, 5.0)  # seconds; these answer from the same machine


@dataclass(frozen=True)
class Credentials:
    """What signs requests.

    Attributes:
        access_id: Public name of the key.
        secret: The key.
        token: Of the session; empty if there is none.
        expires: Seconds since 1970; None for never.
    """

    access_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: float | None = None


def _broken(where: str, what: str) -> errors.TransportError:
    # `what` never quotes the reply: it may hold the secret.
    return errors.TransportError(
        f"credentials from {where}: {what}",
        code="aws-credentials",
        hint="is a role attached to the instance or the task?",
    )


def _made(table: Mapping[str, Any], names: tuple[str, str, str], where: str) -> Credentials:
    identity, secret, token = (table.get(name) or "" for name in names)
    words = (identity, secret, *([token] if token else []))
    if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words):
        raise _broken(where, f"expected {names[0]} and {names[1]}")
    return Credentials(identity, secret, token)


def _parsed(body: bytes, where: str) -> Credentials:
    try:
        table = json.loads(body)
        if not isinstance(table, dict) or table.get("Code", "Success") != "Success":
            raise ValueError("no success")
        expires = datetime.fromisoformat(table["Expiration"])
        if expires.tzinfo is None:
            raise ValueError("a time without zone")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _broken(where, "malformed reply") from None
    made = _made(table, ("AccessKeyId", "SecretAccessKey", "Token"), where)
    return Credentials(made.access_id, made.secret, made.token, expires.timestamp())


def _endpoint(url: str, name: str, allowed: tuple[str, ...]) -> str:
    """Return a URL that names no stranger; `name` is the variable that it stands in."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        good = parts.scheme == "https" and bool(host)
        if parts.scheme == "http":
            good = ipaddress.ip_address(host).is_loopback or host in allowed
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable():
        raise errors.PolicyError(
            f"{name} names no https URL, nor http on a loopback address or {', '.join(allowed)}",
            code="aws-credentials-url",
            hint=f"unset {name}, or name the address that AWS documents",
        )
    return url


class Chain:
    """Finds credentials and keeps them until shortly before they expire.

    Args:
        environ: Environment variables.
        clock: Seconds since 1970.
        send: Sends a request, as `exchange.send` does.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        send: Callable[..., exchange.Reply] = exchange.send,
    ) -> None:
        self._environ, self._clock, self._send = environ, clock, send
        self._kept: Credentials | None = None

    def get(self) -> Credentials:
        """Return credentials that are good now.

        Raises:
            PolicyError: An endpoint in the environment is not allowed (``aws-credentials-url``).
            TransportError: There are none, or they are malformed (``aws-credentials``), or who
                should have them does not answer (``aws-unreachable``).
        """
        kept = self._kept
        if kept is not None and (kept.expires is None or self._clock() < kept.expires - _AHEAD):
            return kept
        self._kept = self._find()
        return self._kept

    def forget(self) -> None:
        """Fetch new ones at the next call: the service refused these."""
        self._kept = None

    def _find(self) -> Credentials:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        if self._environ.get(names[0]) or self._environ.get(names[1]):
            return _made(self._environ, names, "the environment")
        full = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        relative = self._environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        if relative:  # comes first in AWS's own clients too
            full = f"{CONTAINER}/{relative.removeprefix('/')}"
        if full:
            return self._container(full)
        if self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise _broken("nowhere", "none in the environment, and the instance may not be asked")
        return self._instance()

    def _ask(self, method: str, url: str, headers: Mapping[str, str], where: str) -> bytes:
        reply = self._send(method, url, headers=headers, timeout=_TIMEOUT)
        if reply.status != 200:
            raise _broken(where, f"answer {reply.status}")
        return reply.body

    def _container(self, url: str) -> Credentials:
        _endpoint(url, "AWS_CONTAINER_CREDENTIALS_FULL_URI", _CONTAINERS)
        where = "the container endpoint"
        headers = {}
        token = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if token:
            if re.fullmatch(r"[ -~]{1,16384}", token) is None:
                raise _broken(where, "AWS_CONTAINER_AUTHORIZATION_TOKEN is no header field")
            headers["Authorization"] = token
        return _parsed(self._ask("GET", url, headers, where), where)

    def _instance(self) -> Credentials:
        name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        base = _endpoint(self._environ.get(name) or IMDS, name, _INSTANCES).rstrip("/")
        where = "the instance's metadata service"

        def text(method: str, path: str, headers: Mapping[str, str]) -> str:
            return self._ask(method, base + path, headers, where).decode("latin-1").strip()

        life = {"X-aws-ec2-metadata-token-ttl-seconds": _LIFE}
        token = text("PUT", "/latest/api/token", life)
        if _WORD.fullmatch(token) is None:
            raise _broken(where, "malformed token")
        shown = {"X-aws-ec2-metadata-token": token}
        role = text("GET", _ROLES, shown)
        if _ROLE.fullmatch(role) is None:
            raise _broken(where, "no role, or more than one")
        return _parsed(self._ask("GET", base + _ROLES + role, shown, where), where)
