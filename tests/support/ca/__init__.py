# SPDX-License-Identifier: Apache-2.0
"""A CA for tests that enforces CAA with RFC 8657, at validation and at finalize.

No packaged ACME server does. The rules are Boulder's, held to Boulder's own verdicts; the protocol
is RFC 8555. It imports neither the product nor the acme library: a second reading of both.

::

    from tests.support.ca.launcher import TestCA

    with TestCA(resolver="127.0.0.1:5353", http_port=5002) as ca:
        ...  # ca.directory_url, ca.tls_root, ca.issuer_root, ca.counts(), ca.stall("finalize")

or ``python -m tests.support.ca --config FILE.json``, which prints ``{"port", "control_port"}``.

Settings (JSON members, or keyword arguments of TestCA); those marked * cannot change later
through ``change``:

=========================  ================  ======================================================
name                       default           meaning
=========================  ================  ======================================================
tls_certificate*           (from TestCA)     PEM file of the server's TLS certificate
tls_key*                   (from TestCA)     PEM file of its key
host*, port*               127.0.0.1, 0      where to listen; port 0: a free one
hostname*                  localhost         name in every URL
control_port*              0                 plain HTTP on loopback, see control_port.py
issuer_root_file*          (from TestCA)     where to write the root of issued certificates
issuer_name                ca.test           issuer domain name that CAA records must have
caa_identities             [issuer_name]     what the directory says; [] leaves it out
caa                        true              enforce CAA at all
resolver                   null              host:port (IPv4) of the validating resolver
zone                       null              CAA answers from memory instead, see zone.py
resolve_all_to             null              address of every name instead of an A lookup
http_port, http_timeout    80, 5.0           where http-01 connects, and seconds it waits
terms_of_service           true              newAccount must agree
external_account_required  false             newAccount needs externalAccountBinding
eab_keys                   {}                external account -> HMAC key, base64url
reuse_authorizations       false             a valid authorization serves later orders
retry_after                1                 seconds, in Retry-After
lifetime_days              90                of certificates
renew_after_days           null              ARI (RFC 9773): suggested so long after issuance
overrides                  {}                directory entries to replace; null removes one
account_location_origin    null              origin in newAccount's Location, in place of ours
stall_limit*               120               seconds after which a stalled request is dropped
=========================  ================  ======================================================

Challenge types: http-01 (validation.CHALLENGE_TYPES takes more), so no wildcards. Redirects are not
followed. A finalize request that is refused leaves the order ready. Account URIs are
``https://HOSTNAME:PORT/account/N``. Resources that can stall or fail: control.RESOURCES.
"""
