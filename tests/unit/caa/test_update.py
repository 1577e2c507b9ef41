# SPDX-License-Identifier: Apache-2.0
"""Updates to the byte, and replies that count only if they are signed."""

import base64
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import dns.tsig
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import primary, update
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.tsig import TsigKey

KEY = TsigKey("owner", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
OLD, IODEF, NEW = (
    Record(0, b"issue", b"a.test"),
    Record(0, b"iodef", b"mailto:a@b.test"),
    Record(128, b"issue", b"b.test"),
)
ODD = Record(0, b"is-sue", b"\0\xff")


def _u(*parts):
    return b"".join(part if isinstance(part, bytes) else bytes.fromhex(part) for part in parts)


def _name(text):
    labels = (label.encode() for label in text.split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _rr(name, kind, rdclass, ttl=0, data=b""):
    return (
        name
        + kind.to_bytes(2, "big")
        + rdclass.to_bytes(2, "big")
        + ttl.to_bytes(4, "big")
        + len(data).to_bytes(2, "big")
        + data
    )


CAA, CNAME, IN, NONE, ANY = 257, 5, 1, 254, 255


def test_an_update_to_the_byte():
    changes = [
        Change("www.example.com", (), (NEW, ODD)),
        Change("example.com", (IODEF, OLD, ODD), (IODEF,)),
    ]
    message = update.replacement("example.com", changes, 300)
    message.id = 0
    # Names that came before are pointers: the zone stands at byte 12, the first owner at 29.
    apex, first, again = _u("c00c"), _u("03", b"www", "c00c"), _u("c01d")
    assert message.to_wire() == _u(
        # RFC 2136 §2.2: opcode 5; one zone, 6 prerequisites, 5 updates
        "0000 2800 0001 0006 0005 0000",
        _name("example.com"),
        "0006 0001",
        # §2.4.3: it does not exist; §2.4.2: it is exactly this
        _rr(first, CAA, NONE),
        _rr(again, CNAME, NONE),
        _rr(apex, CAA, IN, 0, IODEF.wire()),
        _rr(apex, CAA, IN, 0, OLD.wire()),
        _rr(apex, CAA, IN, 0, ODD.wire()),
        _rr(apex, CNAME, NONE),
        # §2.5.2: the set goes; §2.5.1: these come
        _rr(again, CAA, ANY),
        _rr(again, CAA, IN, 300, NEW.wire()),
        _rr(again, CAA, IN, 300, ODD.wire()),
        _rr(apex, CAA, ANY),
        _rr(apex, CAA, IN, 300, IODEF.wire()),
    )


def test_a_question_asks_for_no_recursion():
    message = update.question("example.com", "SOA")
    message.id = 0
    assert message.to_wire() == _u(
        "0000 0000 0001 0000 0000 0000", _name("example.com"), "00060001"
    )


def test_a_message_is_signed_with_the_key():
    message = update.question("example.com", "SOA")
    wire = update.signed(message, KEY)
    keyring = {dns.name.from_text("owner"): update.key_of(KEY)}
    assert dns.message.from_wire(wire, keyring=keyring).had_tsig
    with pytest.raises(dns.tsig.BadSignature):
        dns.message.from_wire(wire[:-20] + bytes([wire[-20] ^ 1]) + wire[-19:], keyring=keyring)


def test_an_update_that_is_too_large():
    sets = [Change(f"n{n}.example.com", (), (Record(0, b"issue", b"x" * 900),)) for n in range(72)]
    message = update.replacement("example.com", sets, 300)
    with pytest.raises(errors.UpdateError) as caught:
        update.signed(message, KEY)
    assert (caught.value.code, caught.value.hint) == (
        "update-too-large",
        "name fewer domains at once",
    )
    assert len(update.signed(update.replacement("example.com", sets[:60], 300), KEY)) < 65536


# --- replies ---


def _asked(message=None):
    message = message or update.question("example.com", "CAA")
    return message, update.signed(message, KEY)


def _answered(wire, *, key=KEY, rcode=dns.rcode.NOERROR, tsig_error=0, records=(), signed=True):
    ring = {dns.name.from_text("owner"): update.key_of(KEY)}
    query = dns.message.from_wire(wire, keyring=ring)
    reply = dns.message.make_response(query, tsig_error=tsig_error)
    reply.set_rcode(rcode)
    reply.flags |= dns.flags.AA
    for text in records:
        reply.answer.append(dns.rrset.from_text(*text))
    if signed:
        reply.use_tsig(update.key_of(key), tsig_error=tsig_error)
        reply.request_mac = query.mac
    else:
        reply.tsig, reply.want_tsig_sign = None, False
    return reply.to_wire()


def _read(message, wire):
    return update.reply(message, wire, KEY, label="server")


def test_a_signed_reply_is_read():
    message, wire = _asked()
    found = _read(message, _answered(wire, records=[("example.com.", 60, "IN", "CAA", '0 a "b"')]))
    assert update.present("example.com", found) == update.Present(
        (Record(0, b"a", b"b"),), 60, False, True
    )


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"signed": False}, errors.TransportError, "reply-unsigned"),
        (
            {"signed": False, "rcode": dns.rcode.SERVFAIL},
            errors.TransportError,
            "reply-unsigned",
        ),
        ({"signed": False, "rcode": dns.rcode.REFUSED}, errors.UpdateError, "refused-unsigned"),
        ({"signed": False, "rcode": dns.rcode.NOTAUTH}, errors.UpdateError, "refused-unsigned"),
        ({"key": TsigKey("owner", KEY.algorithm, b"x" * 32)}, errors.TransportError, "forged"),
        ({"key": TsigKey("other", KEY.algorithm, KEY.secret)}, errors.TransportError, "forged"),
        ({"key": TsigKey("owner", "hmac-sha512", KEY.secret)}, errors.TransportError, "forged"),
        ({"tsig_error": dns.rcode.BADKEY}, errors.UpdateError, "tsig-key-unknown"),
        ({"tsig_error": dns.rcode.BADSIG}, errors.UpdateError, "tsig-secret"),
        ({"tsig_error": dns.rcode.BADTIME}, errors.UpdateError, "tsig-time"),
        ({"tsig_error": dns.rcode.BADTRUNC}, errors.TransportError, "reply-forged"),
    ],
)
def test_replies_that_do_not_count(change, kind, code):
    message, wire = _asked()
    with pytest.raises(errors.Error) as caught:
        _read(message, _answered(wire, **change))
    assert type(caught.value) is kind
    assert caught.value.code.endswith(code)
    assert str(caught.value).startswith("server ")
    assert caught.value.hint
    assert (
        base64.b64encode(KEY.secret).decode() not in f"{caught.value!r}{caught.value.__cause__!r}"
    )


def test_a_reply_from_another_time(monkeypatch):
    message, wire = _asked()
    answer, now = _answered(wire), time.time()
    monkeypatch.setattr("dns.message.time.time", lambda: now + 299)
    assert _read(message, answer).had_tsig
    monkeypatch.setattr("dns.message.time.time", lambda: now + 302)
    with pytest.raises(errors.TransportError, match="does not hold: BadTime"):
        _read(message, answer)


def test_a_reply_to_something_else():
    message, _ = _asked()
    for other in (update.question("example.com", "CAA"), update.question("example.org", "CAA")):
        _, wire = _asked(other)
        with pytest.raises(errors.TransportError) as caught:
            _read(message, _answered(wire))
        assert caught.value.code == "reply-other"


def test_a_reply_that_was_signed_for_another_request():
    message, _ = _asked()
    again = update.question("example.com", "CAA")
    again.id = message.id
    again.use_tsig(update.key_of(KEY), fudge=200)
    with pytest.raises(errors.TransportError) as caught:
        _read(message, _answered(again.to_wire()))
    assert caught.value.code == "reply-forged"


@given(st.binary(max_size=80), st.integers(0, 300), st.booleans())
def test_no_reply_is_a_traceback(junk, at, keep):
    message, wire = _asked()
    answer = _answered(wire, records=[("example.com.", 60, "IN", "CAA", '0 a "b"')])
    changed = answer[:at] + junk + (answer[at + len(junk) :] if keep else b"")
    try:
        found = _read(message, changed)
    except (errors.TransportError, errors.UpdateError):
        return
    # The signature covers all but its own TTL and the class beside it.
    untouched = _read(message, answer)
    assert (found.flags, found.answer, found.sections[2]) == (
        *(untouched.flags, untouched.answer, untouched.sections[2]),
    )


@pytest.mark.parametrize(
    ("rcode", "kind", "code"),
    [
        ("SERVFAIL", errors.TransportError, "server-failed"),
        ("REFUSED", errors.UpdateError, "server-refused"),
        ("NOTAUTH", errors.UpdateError, "server-not-authoritative"),
        ("NOTIMP", errors.UpdateError, "server-rcode"),
        ("NXDOMAIN", errors.UpdateError, "server-rcode"),
        ("YXRRSET", errors.UpdateError, "server-rcode"),
    ],
)
def test_codes_of_the_server(rcode, kind, code):
    message, wire = _asked()
    found = _read(message, _answered(wire, rcode=dns.rcode.from_text(rcode)))
    with pytest.raises(kind) as caught:
        update.check_code(found, label="server", asked="the update of x", also=["NXRRSET"])
    assert str(caught.value) == f"server answers {rcode} to the update of x"
    assert caught.value.code == code
    assert update.check_code(found, label="server", asked="it", also=[rcode]) == rcode


def _found(*records, name="example.com"):
    message = update.question(name, "SOA")
    found = dns.message.make_response(message)
    found.flags |= dns.flags.AA
    for text in records:
        found.answer.append(dns.rrset.from_text(*text))
    return found


SOA_OF = ("IN", "SOA", "ns.example.com. a.example.com. 1 2 3 4")


@pytest.mark.parametrize(
    ("ttl", "minimum", "denied"),
    [(300, 60, 60), (60, 300, 60)],
)
def test_a_zone_begins_where_its_soa_stands(ttl, minimum, denied):
    found = _found(("example.com.", ttl, *SOA_OF[:2], f"{SOA_OF[2]} {minimum}"))
    assert update.zone_at("example.com", found) == denied
    assert update.zone_at("www.example.com", found) is None
    assert update.zone_at("example.com", _found()) is None
    alias = ("example.com.", 60, "IN", "CNAME", "example.org.")
    assert update.zone_at("example.com", _found(alias)) is None


def test_what_stands_at_a_name():
    both = _found(("example.com.", 60, "IN", "CAA", '0 b "b"', '0 a "a"'))
    assert update.present("example.com", both).records == (
        Record(0, b"a", b"a"),
        Record(0, b"b", b"b"),
    )
    alias = ("example.com.", 60, "IN", "CNAME", "example.org.")
    behind = ("example.org.", 60, "IN", "CAA", '0 a "a"')
    assert update.present("example.com", _found(alias, behind)) == ((), None, True, True)
    referral = _found()
    referral.flags &= ~dns.flags.AA
    assert update.present("example.com", referral) == ((), None, False, False)


# --- how a server is named ---


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("192.0.2.1", "192.0.2.1:53"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("[2001:DB8::1]", "[2001:db8::1]:53"),
        ("[::1]:65535", "[::1]:65535"),
    ],
)
def test_servers(text, label):
    server = primary.parse_server(text, KEY)
    assert server.label == label
    assert "secret" not in repr(server)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ns.example.com",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2",
        "2001:db8::1",
        "[::1",
        "[192.0.2.1]x",
        "192.0.2.1:",
        "192.0.2.1 ",
        "tls://192.0.2.1#x",
    ],
)
def test_what_names_no_server(text):
    with pytest.raises(errors.PolicyError) as caught:
        primary.parse_server(text, KEY)
    assert caught.value.code == "server-invalid"
