# SPDX-License-Identifier: Apache-2.0
"""What our own commands ask the CA about the account (RFC 8555 §7.1.1, §7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import josepy.errors
import requests
from acme import errors as acme_errors
from acme import messages
from acme.client import ClientNetwork, ClientV2
from josepy.jwa import ES256

from certbot_enclave import errors
from certbot_enclave.account.guard import Capability
from certbot_enclave.account.key import Attached, EnclaveJWK

USER_AGENT = "certbot-enclave"
_ENDPOINTS = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "newAuthz")


@dataclass(frozen=True)
class ExternalAccount:
    """Credentials of an account at the CA's own shop (RFC 8555 §7.3.4).

    Attributes:
        kid: Key identifier.
        hmac_key: base64url; a secret, and never part of a repr.
    """

    kid: str
    hmac_key: str

    def __repr__(self) -> str:
        return f"ExternalAccount(kid={self.kid!r})"


def origin(url: str) -> str:
    """Return ``https://host[:port]`` of a directory URL.

    Raises:
        PolicyError: It is no https URL with a host (``directory-url``).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise errors.PolicyError(f"{url!r} is no URL", code="directory-url") from error
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query:
        raise errors.PolicyError(
            f"ACME directory is {url!r}, expected an https URL",
            code="directory-url",
            hint="name it with --server URL",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}" if port is None else f"https://{host}:{port}"


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Translate what can go wrong between us and the CA."""
    try:
        yield
    except requests.exceptions.InvalidJSONError as error:
        raise _broken(url, error) from error
    except requests.exceptions.RequestException as error:
        raise errors.TransportError(
            f"cannot reach the ACME server {url}: {_reason(error)}",
            code="ca-unreachable",
            hint="check --server, the network path, and the roots the server's certificate needs",
        ) from error
    except messages.Error as error:
        raise errors.AccountError(
            f"the ACME server refused: {error.typ}: {error.detail}",
            code="ca-refused",
            hint="these are the CA's own words; often it is a rate limit: wait, or ask the CA",
        ) from error
    except (acme_errors.Error, josepy.errors.Error, ValueError, TypeError) as error:
        if isinstance(error, errors.Error):
            raise
        raise _broken(url, error) from error


def _broken(url: str, error: Exception) -> errors.AccountError:
    return errors.AccountError(
        f"the ACME server {url} did not answer as RFC 8555 says: {error}", code="ca-broken"
    )


def _reason(error: BaseException) -> str:
    # requests wraps urllib3 wraps ssl or socket: the innermost says what happened.
    while error.__context__ is not None or error.args:
        inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return " ".join(str(error).split())


class CA:
    """One ACME directory, reached over TLS with the roots of the image.

    Args:
        url: The directory's URL.
        timeout: Seconds for each request.

    Raises:
        PolicyError: The URL is not usable.
        TransportError: The server cannot be reached (``ca-unreachable``).
        AccountError: The directory is malformed (``ca-broken``), or an endpoint is elsewhere
            (``ca-origin``).
    """

    def __init__(self, url: str, timeout: int = 30) -> None:
        self.url = url
        self.origin = origin(url)
        self._timeout = timeout
        with _asking(url):
            network = ClientNetwork(user_agent=USER_AGENT, timeout=timeout)
            self.directory = ClientV2.get_directory(url, network)
            self._jobj: dict[str, Any] = self.directory.to_json()
        for endpoint in _ENDPOINTS:
            target = self._jobj.get(endpoint)
            if target is not None and not str(target).startswith(self.origin + "/"):
                raise errors.AccountError(
                    f"directory {url} sends {endpoint} to {target}, expected {self.origin}/…",
                    code="ca-origin",
                )

    @property
    def caa_identities(self) -> tuple[str, ...]:
        """Issuer domain names that the directory says it looks for in CAA (RFC 8555 §7.1.1)."""
        found: Any = getattr(self.directory.meta, "caa_identities", None)
        return tuple(sorted(found or ()))

    @property
    def terms_of_service(self) -> str | None:
        """URL of the terms of service."""
        found: str | None = getattr(self.directory.meta, "terms_of_service", None)
        return found

    @property
    def external_account_required(self) -> bool:
        """True if newAccount needs an external account binding."""
        return bool(getattr(self.directory.meta, "external_account_required", False))

    def _network(self, key: EnclaveJWK) -> ClientNetwork:
        return ClientNetwork(key, alg=ES256, user_agent=USER_AGENT, timeout=self._timeout)

    def _post_account(self, key: EnclaveJWK, body: messages.NewRegistration) -> str:
        with _asking(self.url):
            response = self._network(key).post(
                self._jobj["newAccount"], body, new_nonce_url=self._jobj["newNonce"]
            )
            found: Any = response.json()
            if not isinstance(found, dict):
                raise TypeError("the account is no JSON object")
        status = found.get("status", "valid")
        uri: str = response.headers.get("Location", "")
        if not uri.startswith(self.origin + "/"):
            raise errors.AccountError(
                f"the ACME server returned account URI {uri!r}, expected one at {self.origin}",
                code="account-origin",
            )
        if status != "valid":
            raise errors.AccountError(
                f"account {uri} is {status} at the CA, expected valid",
                code="account-status",
                hint="a deactivated account cannot come back; the owner must pin a new one",
            )
        return uri

    def find_account(self, key: EnclaveJWK, handle: Attached) -> str | None:
        """Ask which account belongs to this key (onlyReturnExisting, RFC 8555 §7.3.1).

        Returns:
            The account URI, or None if the CA knows no account with this key.

        Raises:
            AccountError: The CA refused, or the account is not valid any more.
            TransportError: The CA cannot be reached.
        """
        handle.bind(capability=Capability("only-return-existing"))
        try:
            return self._post_account(key, messages.NewRegistration(only_return_existing=True))
        except errors.AccountError as error:
            problem = error.__cause__
            if isinstance(problem, messages.Error) and problem.code == "accountDoesNotExist":
                return None
            raise
        finally:
            handle.bind(capability=None)

    def new_account(
        self,
        key: EnclaveJWK,
        *,
        email: str | None,
        external_account: ExternalAccount | None,
    ) -> str:
        """Register the key; the caller has the user's agreement to the terms of service.

        Returns:
            The account URI.

        Raises:
            AccountError: The CA refused.
            TransportError: The CA cannot be reached.
        """
        binding = None
        if external_account is not None:
            with _asking(self.url):
                binding = messages.ExternalAccountBinding.from_data(
                    account_public_key=key.public_key(),
                    kid=external_account.kid,
                    hmac_key=external_account.hmac_key,
                    directory=self.directory,
                    hmac_alg="HS256",
                )
        body = messages.NewRegistration.from_data(
            email=email, terms_of_service_agreed=True, external_account_binding=binding
        )
        return self._post_account(key, body)
