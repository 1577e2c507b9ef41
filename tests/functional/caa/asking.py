# SPDX-License-Identifier: Apache-2.0
"""Whose account the tests of ``caa check`` are about, and how they ask for it."""

import contextlib
import io
import json

from certbot_enclave import cli
from certbot_enclave.caa import formats

ISSUER = "ca.test"
METHOD = "http-01"
URI = "https://ca.test/acct/1"
BLUE = "https://ca.test/acct/2"
# Our CA is not known to enforce RFC 8657 yet.
ALLOW_ISSUER = [f"--allow-issuer={ISSUER}"]
ACCOUNT = ["--account-uri", URI, "--issuer", ISSUER, "--method", METHOD]
SUBJECT = [*ACCOUNT, *ALLOW_ISSUER]


def bound(uri=URI, *, issuer=ISSUER, method=METHOD, wildcard=False):
    """Return the records that allow one account and nobody else, as text."""
    records = formats.records_for(
        issuer=issuer, methods=[method], account_uri=uri, wildcard=wildcard
    )
    return [record.text() for record in records]


PAIR = bound()
BLUE_PAIR = bound(BLUE)
BOTH = bound(wildcard=True)
NOBODY_WILD = '0 issuewild ";"'
OTHER = '0 issue "other.test"'


def findings_of(item):
    """Return the names of the findings about one name, in their order."""
    return [finding["name"] for finding in item["findings"]]


def checked(resolver, *arguments, subject=SUBJECT):
    """Run ``caa check --json``; return its exit code and what it says of each name."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        words = ["caa", "check", "--json", "--resolver", resolver, *subject]
        code = cli.main([*words, *map(str, arguments)])
    return code, json.loads(out.getvalue())
