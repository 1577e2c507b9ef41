# SPDX-License-Identifier: Apache-2.0
"""Every form of `formats.FORMATS` says the same RDATA, whoever reads it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import formats
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.publication import Publication
from tests.unit.caa.readers import READERS, ZONE

URI = "https://acme-v02.api.letsencrypt.org/acme/acct/1234567890"
VALUE = f"letsencrypt.org;validationmethods=dns-01;accounturi={URI}"
# What shells, HCL, YAML, JavaScript and gcloud's lists trip over, as far as a URL may have it.
ODD = "ca.example;validationmethods=http-01,dns-01;accounturi=https://ca.example/a'b$c%7B(d),&e!~*=+@#f"
PAIR = (Record(0, b"issue", VALUE.encode()), Record(0, b"issuewild", b";"))
MORE = (
    Record(0, b"issue", VALUE.encode()),
    Record(0, b"issue", ODD.encode()),
    Record(0, b"issuewild", ODD.encode()),
    Record(0, b"iodef", b"mailto:security@example.com"),
    Record(128, b"issuemail", b";"),
)
ITEMS = (
    Publication("example.com", PAIR, 3600, ZONE),
    Publication("a10.example.com", PAIR, 60, ZONE),
    Publication("a2.example.com", PAIR, 300, ZONE),
    Publication("b-c.example.com", PAIR, 300, ZONE),
    Publication("b.c.example.com", MORE, 86400, ZONE),
    Publication("xn--bcher-kva.example.com", MORE, 300, ZONE),
)
_PAIR = [b"\0\x05issue" + VALUE.encode(), b"\0\x09issuewild;"]
_MORE = [
    b"\0\x05iodefmailto:security@example.com",
    b"\0\x05issue" + ODD.encode(),
    b"\0\x05issue" + VALUE.encode(),
    b"\0\x09issuewild" + ODD.encode(),
    b"\x80\x09issuemail;",
]
WANTED = {
    ("example.com", 3600): _PAIR,
    ("a10.example.com", 60): _PAIR,
    ("a2.example.com", 300): _PAIR,
    ("b-c.example.com", 300): _PAIR,
    ("b.c.example.com", 86400): _MORE,
    ("xn--bcher-kva.example.com", 300): _MORE,
}


def test_every_form_has_a_reader():
    assert list(READERS) == list(formats.FORMATS)


@pytest.mark.parametrize("form", list(READERS))
def test_names_accounts_and_odd_signs(form, tmp_path):
    assert READERS[form](formats.FORMATS[form].write(ITEMS), tmp_path) == WANTED


_LABEL = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?\Z")
_NAMES = st.lists(_LABEL, max_size=3).map(lambda labels: ".".join([*labels, ZONE]))
_RECORDS = st.builds(
    Record,
    st.sampled_from([0, 128]),
    st.sampled_from([b"issue", b"issuewild", b"iodef", b"contactemail"]),
    st.text("abzAZ09-._~:/?#[]@!$&'()*+,;=%", min_size=1, max_size=30).map(str.encode),
)
_ITEMS = st.lists(
    st.builds(
        Publication,
        _NAMES,
        st.lists(_RECORDS, min_size=1, max_size=3, unique=True).map(tuple),
        st.integers(60, 86400),
        st.just(ZONE),
        st.just(()),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item.name,
)


@pytest.mark.parametrize("form", list(READERS))
@settings(deadline=None, max_examples=25)
@given(items=_ITEMS)
def test_whatever_can_be_written(form, items):
    wanted = {
        (item.name, item.ttl): sorted(
            bytes([record.flags, len(record.tag)]) + record.tag + record.value
            for record in item.records
        )
        for item in items
    }
    with tempfile.TemporaryDirectory() as folder:
        assert READERS[form](formats.FORMATS[form].write(items), Path(folder)) == wanted


EXACT = ("zone", "generic", "nsupdate", "ens")  # these escape, or have no text


@pytest.mark.parametrize("form", [form for form in READERS if form not in EXACT])
@pytest.mark.parametrize(
    "record",
    [
        Record(0, b"issue", b'ca.test"'),
        Record(0, b"issue", b"ca\\test"),
        Record(0, b"issue", b"ca.test; a=1"),
        Record(0, b"issue", b"${ca.test}"),
        Record(0, b"issue", b"ca.test\n"),
        Record(0, b"issue", b"ca\0test"),
        Record(0, b"issue", "cä.test".encode()),
        Record(0, b"issue", b""),
        Record(0, b"is sue", b"ca.test"),
        Record(0, b"", b"ca.test"),
        Record(0, b"ISSUE", b"ca.test"),
        Record(1, b"issue", b"ca.test"),
    ],
    ids=lambda record: record.text(),
)
def test_what_a_form_could_misread_is_refused(form, record):
    with pytest.raises(errors.PolicyError) as caught:
        formats.FORMATS[form].write([Publication("example.com", (record,), 300, ZONE)])
    assert caught.value.code == "caa-unwritable"


@pytest.mark.parametrize("form", list(READERS))
def test_the_zone_is_never_guessed(form, tmp_path):
    write, zoned = formats.FORMATS[form].write, formats.FORMATS[form].zoned
    items = [Publication("www.example.com", PAIR, 300)]
    if zoned:
        with pytest.raises(errors.PolicyError) as caught:
            write(items)
        assert caught.value.code == "zone-missing"
        assert "--zone" in caught.value.hint
    elif form != "nsupdate":
        assert READERS[form](write(items), tmp_path) == {("www.example.com", 300): _PAIR}
    else:
        assert write(items).startswith("update delete www.example.com. CAA\n")


@pytest.mark.parametrize("form", [form for form in READERS if formats.FORMATS[form].zoned])
@pytest.mark.parametrize("name", ["example.net", "notexample.com", "com"])
def test_a_name_outside_the_zone_is_refused(form, name):
    with pytest.raises(errors.PolicyError, match=f"{name} is not in the zone") as caught:
        formats.FORMATS[form].write([Publication(name, PAIR, 300, ZONE)])
    assert caught.value.code == "zone-outside"


@pytest.mark.parametrize("form", [form for form in READERS if "cloudflare" in form])
@pytest.mark.parametrize("ttl", [1, 59, 86401])
def test_cloudflare_takes_a_minute_to_a_day(form, ttl):
    with pytest.raises(errors.PolicyError, match=f"TTL is {ttl}") as caught:
        formats.FORMATS[form].write([Publication("example.com", PAIR, ttl)])
    assert caught.value.code == "ttl-range"


def test_cloudflare_comes_with_its_warning():
    warned = {form for form, found in formats.FORMATS.items() if found.warning}
    assert warned == {"cloudflare", "terraform-cloudflare", "terraform-cloudflare-v4"}
    assert all("CVE-2026-14440" in formats.FORMATS[form].warning for form in warned)


def test_ens_example_of_its_facts():
    items = [Publication("example.eth", PAIR, 3600)]
    wire = bytes.fromhex(formats.FORMATS["ens"].write(items)[2:])
    assert len(wire) == 174
    assert wire.hex().startswith("076578616d706c6503657468000101000100000e1000740005")
