# SPDX-License-Identifier: Apache-2.0
"""The TXT records of dns-persist-01, in the forms of both drafts, beside the CAA records."""

import json

import dns.rdata
import dns.rdatatype
import dns.zone
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import formats, persist
from certbot_enclave.caa.publication import Account, Publication, records_of

# draft-ietf-acme-dns-persist-02 §10.2, and the same with ``*``.
PREFIX = "https://ca.example/account-hash/"
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
URI = "https://ca.example/acct/123"
HASHES = {
    "example.com": "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw",
    "*": "NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug",
}
ACCOUNT = Account("ca.example", URI, ("dns-persist-01",), THUMBPRINT)


def _texts(*accounts, draft="01", prefix=None, wildcard=False):
    return persist.texts_of("example.com", accounts, draft=draft, prefix=prefix, wildcard=wildcard)


@pytest.mark.parametrize("domain", list(HASHES))
def test_hash_of_the_draft(domain):
    found = persist.account_hash(PREFIX, domain, THUMBPRINT, URI)
    assert found == f"{PREFIX}sha-256/{HASHES[domain]}"


@pytest.mark.corpus
def test_hashes_of_the_vectors(corpus):
    table = json.loads((corpus / "caa" / "dns-challenges.json").read_text())
    for case in table["dns_persist_02"]:
        assert case["accounturi"] == persist.account_hash(
            case["account_hash_prefix"],
            case["domain"],
            case["jwk_thumbprint"],
            case["account_url"],
        )


def test_texts_of_draft_01_have_the_account_url():
    other = ACCOUNT._replace(uri="https://ca.example/acct/4", methods=("http-01", "dns-persist-01"))
    assert _texts(ACCOUNT, other) == (
        "ca.example;accounturi=https://ca.example/acct/123",
        "ca.example;accounturi=https://ca.example/acct/4",
    )
    assert _texts(ACCOUNT, wildcard=True) == (
        "ca.example;accounturi=https://ca.example/acct/123;policy=wildcard",
    )


def test_texts_of_draft_02_have_the_hash():
    assert _texts(ACCOUNT, draft="02", prefix=PREFIX) == (
        f"ca.example;accounturi={PREFIX}sha-256/{HASHES['example.com']}",
    )


@pytest.mark.parametrize(
    ("account", "prefix", "code"),
    [
        (ACCOUNT._replace(methods=("dns-01",)), PREFIX, "persist-method"),
        (ACCOUNT._replace(uri="https://ca.example/a;b"), PREFIX, "caa-account-uri"),
        (ACCOUNT._replace(issuer="CA"), PREFIX, "caa-issuer"),
        (ACCOUNT._replace(thumbprint=None), PREFIX, "persist-thumbprint"),
        (ACCOUNT._replace(thumbprint=THUMBPRINT[:-1]), PREFIX, "persist-thumbprint"),
        (ACCOUNT._replace(thumbprint=THUMBPRINT[:-1] + "="), PREFIX, "persist-thumbprint"),
        (ACCOUNT, None, "persist-prefix"),
        (ACCOUNT, "http://ca.example/a/", "persist-prefix"),
        (ACCOUNT, "https://ca.example/a", "persist-prefix"),
        (ACCOUNT, "https://ca.example/a;b/", "persist-prefix"),
        (ACCOUNT, 'https://ca.example/a"/', "persist-prefix"),
        (ACCOUNT, "https:///a/", "persist-prefix"),
    ],
)
def test_what_cannot_be_said_is_refused(account, prefix, code):
    with pytest.raises(errors.PolicyError) as caught:
        _texts(account, draft="02", prefix=prefix)
    assert caught.value.code == code


@pytest.mark.parametrize("length", [1, 255, 256, 510, 511])
def test_strings_are_at_most_255_octets(length):
    text = "a" * length
    parts = persist.strings(text)
    assert "".join(parts) == text
    assert all(1 <= len(part) <= 255 for part in parts)


LONG = "ca.example;accounturi=https://ca.example/" + "a" * 300
ITEM = Publication(
    "example.com",
    records_of([ACCOUNT]),
    300,
    texts=("ca.example;accounturi=https://ca.example/acct/123", LONG),
)
OWNER = "_validation-persist.example.com."


def _txt(text):
    return sorted(b"".join(item.strings) for item in text)


@pytest.mark.parametrize("form", ["zone", "generic"])
def test_zone_file_reads_back(form):
    head = "@ 1 IN SOA a b 1 1 1 1 1\n@ 1 IN NS a\n"
    text = head + formats.FORMATS[form].write([ITEM])
    zone = dns.zone.from_text(text, origin="example.com.", relativize=False)
    found = zone.find_rdataset(OWNER, "TXT")
    assert found.ttl == 300
    assert _txt(found) == sorted(text.encode() for text in ITEM.texts)
    assert len(zone.find_rdataset("example.com.", "CAA")) == 2


def test_update_adds_it():
    lines = formats.FORMATS["nsupdate"].write([ITEM]).splitlines()
    start = f"update add {OWNER} 300 TXT "
    found = [line.removeprefix(start) for line in lines if line.startswith(start)]
    assert _txt(dns.rdata.from_text("IN", "TXT", text) for text in found) == sorted(
        text.encode() for text in ITEM.texts
    )
    assert lines[-1] == "send"
    # Another CA's text at this name is none of our business.
    assert [line for line in lines if "delete" in line] == ["update delete example.com. CAA"]


def test_json_has_it():
    caa, txt = json.loads(formats.FORMATS["json"].write([ITEM]))["sets"]
    assert (caa["type"], txt["type"], txt["name"], txt["ttl"]) == ("CAA", "TXT", OWNER[:-1], 300)
    assert ["".join(record["strings"]) for record in txt["records"]] == list(ITEM.texts)


def test_which_forms_can_have_it():
    assert {form for form, found in formats.FORMATS.items() if found.texts} == {
        *("zone", "generic", "nsupdate", "json")
    }
