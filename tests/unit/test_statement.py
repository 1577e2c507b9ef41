# SPDX-License-Identifier: Apache-2.0
"""Statement and evidence have one form; what is built is read back, anything else is refused."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors, statement
from certbot_enclave.statement import Certificate, Domain
from tests.support import forge
from tests.support.forge import NOW, STATEMENT

TEXT = statement.build(STATEMENT)


def _table(**changes):
    """The statement as a table; a change to `...` leaves the member out."""
    table = {**json.loads(TEXT), **changes}
    return {name: value for name, value in table.items() if value is not ...}


def _inside(member, **changes):
    part = {**json.loads(TEXT)[member], **changes}
    return {member: {name: value for name, value in part.items() if value is not ...}}


def _first(member, **changes):
    part = {**json.loads(TEXT)[member][0], **changes}
    return {member: [{name: value for name, value in part.items() if value is not ...}]}


def _parse(**changes):
    return statement.parse(json.dumps(_table(**changes)))


def test_round_trip():
    assert statement.parse(TEXT) == STATEMENT
    assert statement.build(statement.parse(TEXT)) == TEXT


def test_round_trip_of_everything():
    rich = STATEMENT._replace(
        external_account_binding=True,
        caa_identities=("a.example", "b.example"),
        validation_methods=("dns-01", "http-01"),
        domains=(
            Domain("*.a.example", "open", NOW, NOW, ()),
            Domain("a.example", "pinned, zone unsigned", None, NOW, ("b", "a")),
        ),
        certificates=(),
        conditions=("alias-zone:a.example", "simulated", "zone-unsigned"),
        sealing_scheme="none",
        sealing_key="",
        generation=0,
        restored_from=(1 << 53) - 1,
        settings={"a": "x", "b": True, "c": ("two", "one"), "d": ()},
        software={},
    )
    assert statement.parse(statement.build(rich)) == rich


def test_build_sorts_what_has_no_order():
    mixed = STATEMENT._replace(
        conditions=("zone-unsigned", "simulated"),
        domains=(
            Domain("b.example", "open", None, NOW, ()),
            Domain("a.example", "open", None, NOW, ()),
        ),
        certificates=(STATEMENT.certificates[0]._replace(names=("b.example", "a.example")),),
    )
    found = statement.parse(statement.build(mixed))
    assert found.conditions == ("simulated", "zone-unsigned")
    assert [domain.name for domain in found.domains] == ["a.example", "b.example"]
    assert found.certificates[0].names == ("a.example", "b.example")


UNFIT = {
    "domain": {"domains": (Domain("A.example", "open", None, NOW, ()),)},
    "domain twice": {"domains": STATEMENT.domains * 2},
    "condition": {"conditions": ("a b",)},
    "no method": {"validation_methods": ()},
    "negative generation": {"generation": -1},
    "too long": {"settings": {f"s{n}": "a" * 1000 for n in range(70)}},
}


@pytest.mark.parametrize("changes", UNFIT.values(), ids=UNFIT)
def test_build_writes_nothing_that_is_no_statement(changes):
    with pytest.raises(errors.FormatError) as caught:
        statement.build(STATEMENT._replace(**changes))
    assert caught.value.code == "statement-format"


MEMBERS = tuple(json.loads(TEXT))
KEY = json.loads(TEXT)["account"]["key"]
HUNDRED_AND_ONE = {f"a{number}": "" for number in range(101)}
REFUSED = {
    **{f"{name} missing": {name: ...} for name in MEMBERS},
    **{f"{name} null": {name: None} for name in MEMBERS},
    **{f"{name} a number": {name: 7} for name in MEMBERS},
    **{
        f"{member}.{name} {what}": _inside(member, **{name: value})
        for member in ("account", "sealing", "state")
        for name in json.loads(TEXT)[member]
        for what, value in (("missing", ...), ("null", None), ("a list", []))
    },
    **{
        f"{member}.{name} {what}": _first(member, **{name: value})
        for member in ("domains", "certificates")
        for name in json.loads(TEXT)[member][0]
        for what, value in (("missing", ...), ("a number", 7), ("a text", "- -"))
        if value != "- -" or name != "resolvers"
    },
    "type of v2": {"type": "certbot-enclave/statement/v2"},
    "type of evidence": {"type": statement.EVIDENCE_TYPE},
    "time with offset": {"issued_at": "2026-03-04T12:00:00+00:00"},
    "directory without TLS": {"directory": "http://ca.example/directory"},
    "account URI with a parameter": _inside(
        "account", uri="https://ca.example/1;validationmethods=x"
    ),
    "external account a number": _inside("account", external_account_binding=1),
    "thumbprint padded": _inside("account", thumbprint="A" * 43 + "="),
    "key with a private part": _inside("account", key={**KEY, "d": "A" * 43}),
    "key with a key id": _inside("account", key={**KEY, "kid": "1"}),
    "key without y": _inside("account", key={"crv": "P-256", "kty": "EC", "x": KEY["x"]}),
    "key on P-384": _inside("account", key={**KEY, "crv": "P-384"}),
    "key of RSA": _inside("account", key={**KEY, "kty": "RSA"}),
    "key short": _inside("account", key={**KEY, "x": "AAAA"}),
    "key y no text": _inside("account", key={**KEY, "y": 1}),
    "key with spare bits": _inside("account", key={**KEY, "x": "A" * 42 + "B"}),
    "identity a wildcard": {"caa_identities": ["*.a.example"]},
    "identities unsorted": {"caa_identities": ["b.example", "a.example"]},
    "method with a comma": {"validation_methods": ["http-01,dns-01"]},
    "no method": {"validation_methods": []},
    "domain twice": {"domains": json.loads(TEXT)["domains"] * 2},
    "domains unsorted": {
        "domains": [
            {**json.loads(TEXT)["domains"][0], "name": name} for name in ("b.example", "a.example")
        ]
    },
    "domain an address": _first("domains", name="192.0.2.1"),
    "verdict unknown": _first("domains", verdict="closed"),
    "verdict with a tail": _first("domains", verdict="exclusive\n"),
    "resolvers a text": _first("domains", resolvers="9.9.9.9"),
    "resolvers an object": _first("domains", resolvers={"a": 1}),
    "resolver with a line": _first("domains", resolvers=["a\n"]),
    "certificate names unsorted": _first("certificates", names=["b.example", "a.example"]),
    "serial upper case": _first("certificates", serial="AB"),
    "spki short": _first("certificates", spki_sha256="ab" * 31),
    "condition twice": {"conditions": ["simulated", "simulated"]},
    "condition with a blank": {"conditions": ["zone unsigned"]},
    "scheme with a colon": _inside("sealing", scheme="awskms:arn"),
    "sealing key with a line": _inside("sealing", key="a\n"),
    "generation negative": _inside("state", generation=-1),
    "generation true": _inside("state", generation=True),
    "setting a number": {"settings": {"a": 1}},
    "setting with a blank name": {"settings": {"a b": "c"}},
    "101 settings": {"settings": HUNDRED_AND_ONE},
    "software a number": {"software": {"a": 1}},
    "software with a line": {"software": {"a": "1\n"}},
    "101 software": {"software": HUNDRED_AND_ONE},
    "unknown member unprintable": {"\x1b": 1},
    "unknown member inside unprintable": _inside("state", **{"\n": 1}),
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_member_that_breaks_its_grammar(changes):
    with pytest.raises(errors.FormatError) as caught:
        _parse(**changes)
    assert caught.value.code == "statement-format"
    assert str(caught.value).isprintable()


def test_missing_member_is_named():
    with pytest.raises(errors.FormatError, match="statement lacks 'directory'"):
        _parse(directory=...)


def test_members_that_are_not_understood_are_named():
    more = {
        "zeta": 1,
        "alpha": None,
        **_inside("account", contact=[]),
        **_inside("sealing", more=1),
        **_inside("state", lease=1),
        **_first("domains", more=1),
        **_first("certificates", more=1),
    }
    assert _parse(**more).not_understood == (
        "account.contact",
        "alpha",
        "certificates.more",
        "domains.more",
        "sealing.more",
        "state.lease",
        "zeta",
    )
    assert _parse()._replace(not_understood=()) == STATEMENT


def test_greatest_size_in_bytes():
    room = statement.MAX_STATEMENT - len(TEXT.encode())
    assert statement.parse(TEXT + " " * room) == STATEMENT
    for text in (TEXT + " " * (room + 1), "ü" * (statement.MAX_STATEMENT // 2 + 1)):
        with pytest.raises(errors.FormatError) as caught:
            statement.parse(text)
        assert caught.value.code == "statement-format"


def test_no_json():
    for text in (TEXT[:-1], TEXT + "x", TEXT.replace("{", '{"type": 1, ', 1), "[]", "\ud800"):
        with pytest.raises(errors.FormatError) as caught:
            statement.parse(text)
        assert caught.value.code == "json-format"


def test_user_data_is_the_tagged_digest_of_the_exact_bytes():
    assert (
        statement.user_data("ü")
        == hashlib.sha512(b"certbot-enclave-statement-v1:\xc3\xbc").digest()
    )
    assert statement.user_data(TEXT) != statement.user_data(TEXT + " ")


def test_thumbprint_of_a_known_key():
    # The P-256 key of RFC 7517, appendix A.1; the digest is over RFC 7638's form, written out.
    key = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }
    form = f'{{"crv":"P-256","kty":"EC","x":"{key["x"]}","y":"{key["y"]}"}}'
    digest = base64.urlsafe_b64encode(hashlib.sha256(form.encode()).digest())
    assert statement.thumbprint(key) == digest.rstrip(b"=").decode()


# --- evidence ---

EVIDENCE = statement.build_evidence(TEXT, b"document")


def _evidence(**changes):
    table = {**json.loads(EVIDENCE), **changes}
    return json.dumps({name: value for name, value in table.items() if value is not ...}).encode()


def test_evidence_round_trip_keeps_every_byte_of_the_statement():
    for text in (TEXT, TEXT + "  ", "ü", ""):
        for signature in (None, b"", b"\1\2"):
            found = statement.parse_evidence(statement.build_evidence(text, b"\0\xff", signature))
            assert found == (text, b"\0\xff", signature)
            assert found.format == ("aws-nitro" if signature is None else "oyster-signed")


def _attestation(**changes):
    return _evidence(attestation={"format": "aws-nitro", "document": "", **changes})


NO_EVIDENCE = {
    "nothing": (b"", "json-format"),
    "cut": (EVIDENCE[:-20], "json-format"),
    "list": (b"[]", "json-format"),
    "no UTF-8": (b"\xff", "evidence-format"),
    "no UTF-8 inside": (EVIDENCE.replace(b"http-01", b"http\xff01"), "evidence-format"),
    "type twice": (EVIDENCE.replace(b"{", b'{"type": 1,', 1), "json-format"),
    "type missing": (_evidence(type=...), "evidence-format"),
    "type of v2": (_evidence(type="certbot-enclave/evidence/v2"), "evidence-format"),
    "type of a statement": (_evidence(type=statement.STATEMENT_TYPE), "evidence-format"),
    "statement missing": (_evidence(statement=...), "evidence-format"),
    "statement an object": (_evidence(statement=json.loads(TEXT)), "evidence-format"),
    "statement half a character": (_evidence(statement="\ud800"), "evidence-format"),
    "attestation missing": (_evidence(attestation=...), "evidence-format"),
    "attestation a text": (_evidence(attestation=""), "evidence-format"),
    "format missing": (_evidence(attestation={"document": ""}), "evidence-format"),
    "format of another": (_attestation(format="sev-snp"), "evidence-unknown"),
    "format null": (_attestation(format=None), "evidence-unknown"),
    "document missing": (_evidence(attestation={"format": "aws-nitro"}), "evidence-format"),
    "document a number": (_attestation(document=7), "evidence-format"),
    "document null": (_attestation(document=None), "evidence-format"),
    "document no base64": (_attestation(document="!!!!"), "evidence-format"),
    "document base64url": (_attestation(document="-_-_"), "evidence-format"),
    "document with lines": (_attestation(document="AAAA\nAAAA"), "evidence-format"),
    "document not padded": (_attestation(document="AAA"), "evidence-format"),
    "document not ASCII": (_attestation(document="ü"), "evidence-format"),
    "too long": (EVIDENCE + b" " * statement.MAX_EVIDENCE, "evidence-format"),
}


@pytest.mark.parametrize(("data", "code"), NO_EVIDENCE.values(), ids=NO_EVIDENCE)
def test_no_evidence(data, code):
    with pytest.raises(errors.FormatError) as caught:
        statement.parse_evidence(data)
    assert caught.value.code == code


def test_greatest_evidence():
    room = statement.MAX_EVIDENCE - len(EVIDENCE)
    assert statement.parse_evidence(EVIDENCE + b" " * room).document == b"document"


BASE64 = base64.b64encode(bytes(64)).decode()


def _oyster(**changes):
    attestation = {"format": "oyster-signed", "document": "", "signature": BASE64, **changes}
    return _evidence(
        attestation={name: value for name, value in attestation.items() if value is not ...}
    )


def test_evidence_of_oyster_has_a_signature_beside_the_document():
    table = json.loads(statement.build_evidence(TEXT, b"document", bytes(64)))
    assert table["attestation"] == {
        "format": "oyster-signed",
        "document": base64.b64encode(b"document").decode(),
        "signature": BASE64,
    }
    assert json.loads(EVIDENCE)["attestation"].keys() == {"format", "document"}
    assert statement.parse_evidence(_oyster()).signature == bytes(64)


NO_OYSTER = {
    "oyster without a signature": (_oyster(signature=...), "a signature belongs to"),
    "nitro with a signature": (_attestation(signature=BASE64), "a signature belongs to"),
    "nitro with the signature null": (_attestation(signature=None), "a signature belongs to"),
    "signature null": (_oyster(signature=None), "this is no evidence v1"),
    "signature a number": (_oyster(signature=7), "this is no evidence v1"),
    "signature no base64": (_oyster(signature="!!!!"), "this is no evidence v1"),
    "signature in hex": (_oyster(signature="ab" * 63 + "a"), "this is no evidence v1"),
    "signature with lines": (_oyster(signature=BASE64[:4] + "\n" + BASE64[4:]), "no evidence v1"),
    "document missing": (_oyster(document=...), "this is no evidence v1"),
}


@pytest.mark.parametrize(("data", "words"), NO_OYSTER.values(), ids=NO_OYSTER)
def test_signature_belongs_to_oyster_and_to_nothing_else(data, words):
    with pytest.raises(errors.FormatError, match=words) as caught:
        statement.parse_evidence(data)
    assert caught.value.code == "evidence-format"


# --- a PCR that is bound to the account ---

URI = "https://ca.test/account/1"


def test_formula_of_the_account_binding():
    binding = hashlib.sha384(b"certbot-enclave-account-v1:" + URI.encode() + b"\0key").digest()
    assert statement.account_binding(URI, b"key") == binding
    assert statement.account_pcr(URI, b"key") == hashlib.sha384(bytes(48) + binding).digest()


def test_account_binding_keeps_uri_and_key_apart():
    assert statement.account_binding(URI, b"1key") != statement.account_binding(URI + "1", b"key")


# --- any ---

WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
TIMES = st.integers(0, 10_000_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
PRINTABLE = st.text(max_size=30).filter(str.isprintable)
NAMES = st.sets(WORDS.map(lambda word: word.rstrip("-") + ".example"), max_size=4)


def _sorted(values):
    return st.sets(values, max_size=4).map(lambda found: tuple(sorted(found)))


STATEMENTS = st.builds(
    STATEMENT._replace,
    issued_at=TIMES,
    conditions=_sorted(WORDS),
    generation=st.integers(0, (1 << 53) - 1),
    settings=st.dictionaries(
        WORDS, st.booleans() | PRINTABLE | st.lists(PRINTABLE, max_size=3).map(tuple), max_size=4
    ),
    software=st.dictionaries(WORDS, PRINTABLE, max_size=4),
    sealing_key=PRINTABLE,
    domains=NAMES.map(
        lambda names: tuple(Domain(name, "open", None, NOW, ("r",)) for name in sorted(names))
    ),
    certificates=st.lists(
        st.builds(
            Certificate,
            NAMES.map(lambda names: tuple(sorted(names))),
            st.integers(0).map("{:x}".format).filter(lambda text: len(text) <= 64),
            st.binary(min_size=32, max_size=32).map(bytes.hex),
            TIMES,
            TIMES,
        ),
        max_size=3,
    ).map(tuple),
)


@given(STATEMENTS)
def test_what_is_built_is_read_back(said):
    assert statement.parse(statement.build(said)) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.text(max_size=200) | st.tuples(st.sampled_from(MEMBERS), JSON))
def test_any_text_is_a_statement_or_a_format_error(text):
    if isinstance(text, tuple):
        text = json.dumps(_table(**{text[0]: text[1]}))
    try:
        found = statement.parse(text)
    except errors.FormatError:
        return
    assert statement.parse(statement.build(found)) == found._replace(not_understood=())


@given(st.binary(max_size=200) | JSON.map(lambda value: _evidence(attestation=value)))
def test_any_bytes_are_evidence_or_a_format_error(data):
    try:
        found = statement.parse_evidence(data)
    except errors.FormatError:
        return
    assert isinstance(found, statement.Evidence)


def test_forged_evidence_for_other_tests_is_evidence():
    text, document, _signature = statement.parse_evidence(forge.evidence())
    assert (statement.parse(text), document[:1]) == (STATEMENT, b"\x84")
