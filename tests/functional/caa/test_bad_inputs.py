# SPDX-License-Identifier: Apache-2.0
"""What bad input gets, as one table: a line that says why, an exit code, and never "exclusive"."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.functional.caa.asking import ACCOUNT, PAIR, SUBJECT, findings_of
from tests.functional.caa.liar import Liar
from tests.support.world.dns import DnsWorld

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(Path(state, "dns"), signed=("example.test",), bogus=("bogus.test",)) as world,
    ):
        world.caa("example.test", *PAIR)
        world.caa("bogus.test", *PAIR)
        world.update("lame.example.test", "NS", "ns.lame.example.test.")
        world.update("ns.lame.example.test", "A", "127.0.0.1")
        world.update("loop.example.test", "CNAME", "loop.example.test.")
        for name, records in SETS.items():
            world.caa(name, *records)
        yield world


def _run(verb, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "certbot_enclave", "caa", verb, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + err
    assert (out + err).isascii() or (out + err).replace("\n", "").isprintable()
    return done.returncode, out, err


# Text -> what is said of it. Nothing is asked, and nothing is printed for a zone.
NO_NAMES = {
    "": "no host name",
    ".": "no host name",
    "not a domain": "no host name",
    "https://example.test/": "no host name",
    "user@example.test": "no host name",
    "-x.test": "no host name",
    "_acme.example.test": "no host name",
    "a..example.test": "no host name",
    "example.test..": "no host name",
    "*.*.example.test": "no host name",
    "a\x1b[2J\r\n.test": "no host name",
    f"{'a' * 64}.test": "no host name",
    f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.example.test": "no host name",
    "a." * 60_000 + "test": "no host name",
    "ü." * 30_000 + "test": "no host name",
    "192.0.2.1": "an IP address",
    "2001:db8::1": "no host name",
    "localhost": "a single label",
    "test.": "a single label",
    "abc.onion": "an onion name",
    "co.uk": "a public suffix",
    "*.co.uk.": "a public suffix",
    "☃.example.test": "no name of IDNA 2008",
    "a\u200db.test": "no name of IDNA 2008",
    "\udcff.test": "no name of IDNA 2008",
}


@pytest.mark.parametrize("verb", ["check", "emit"])
@pytest.mark.parametrize("text", NO_NAMES, ids=lambda text: ascii(text)[:24])
def test_what_is_no_name_is_refused_in_one_line(verb, text):
    asked = ["--resolver", NOWHERE] if verb == "check" else []
    code, out, err = _run(verb, *ACCOUNT, *asked, "--", "example.test", text)
    assert (code, out) == (2, "")
    first, *rest = err.splitlines()
    assert first.startswith("certbot-enclave: error: ")
    assert NO_NAMES[text] in first
    assert [line.startswith("certbot-enclave: hint: ") for line in rest] == [True]


@pytest.mark.parametrize(
    ("text", "ascii_form", "shown"),
    [
        ("example.test.", "example.test", ""),
        ("WWW.Example.TEST.", "www.example.test", ""),
        ("bücher.example.test", "xn--bcher-kva.example.test", "bücher.example.test"),
        ("BÜCHER.example.test.", "xn--bcher-kva.example.test", "bücher.example.test"),
        ("xn--bcher-kva.example.test", "xn--bcher-kva.example.test", "bücher.example.test"),
        # A-labels of IDNA 2003 alone have no letters any more.
        ("xn--u9h.example.test", "xn--u9h.example.test", ""),
    ],
)
def test_a_name_with_letters_or_a_final_dot_is_read_and_shown_in_both_forms(
    world, text, ascii_form, shown
):
    code, out, err = _run("check", *SUBJECT, "--resolver", world.resolver.address, text)
    head = f"{ascii_form} ({shown})" if shown else ascii_form
    assert (code, out.splitlines()[0], err) == (0, f"{head}: exclusive", "")
    code, out, err = _run("emit", *ACCOUNT, text)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [f"{ascii_form}."] * 2
    assert (f"note: {shown} is {ascii_form}\n" in err) is bool(shown)


@pytest.mark.parametrize("verb", ["check", "emit"])
def test_letters_that_the_terminal_does_not_have_are_escaped(world, verb):
    asked = [*SUBJECT, "--resolver", world.resolver.address] if verb == "check" else ACCOUNT
    code, out, err = _run(verb, *asked, "bücher.example.test", PYTHONIOENCODING="ascii")
    assert code == 0
    assert r"b\xfccher.example.test" in out + err


SETS = {
    "many.example.test": [*PAIR, *(f'0 issue "ca{number}.test"' for number in range(1000))],
    "large.example.test": [*PAIR, *(f'0 issue "{n:03}{"x" * 590}"' for n in range(100))],
    "long.example.test": [*PAIR, b"\0\5issue" + b"x" * 64_000],
    "binary.example.test": [*PAIR, b'\0\5issue\0\xff\x1b[2J\r\n"\\', b"\0\3tbs\0"],
    "void.example.test": [*PAIR, b"\0\5issue" + PAIR[0].split('"')[1].encode() + b"\0"],
    "overrun.example.test": [*PAIR, b"\0\x20issue"],
    "short.example.test": [*PAIR, b"\0"],
    "notag.example.test": [*PAIR, b"\0\0ca.test"],
    "hyphen.example.test": [*PAIR, b"\0\6is-sueca.test"],
}


class Row(NamedTuple):
    """One zone, or one resolver, that is not as it should be.

    Attributes:
        name: What is checked.
        findings: Their names.
        why: Part of what is said of one.
        code: Exit code: 1 is open, 3 could not be told.
        many: How many there are.
        resolver: Who is asked, by its name in `resolver`; None for the usual one.
    """

    name: str
    findings: set
    why: str
    code: int = 3
    many: int = 1
    resolver: str | None = None


_FAILED = {"lookup-failed"}
_OPEN = {"unbound-issuer", "shadowed-by-closer-set"}
_ODD = {"malformed-value", "shadowed-by-closer-set"}


def _answer(wire, *, rcode="NOERROR", flags=0, options=()):
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query, recursion_available=True)
    answer.use_edns(0, options=list(options))
    answer.set_rcode(dns.rcode.from_text(rcode))
    answer.flags |= dns.flags.AD | flags
    return answer.to_wire()


LIES = {
    "truncated": lambda wire: _answer(wire, flags=dns.flags.TC),
    "servfail": lambda wire: _answer(
        wire,
        rcode="SERVFAIL",
        options=[
            dns.edns.EDEOption(dns.edns.EDECode.NO_REACHABLE_AUTHORITY, "none \x1b[2J\nreached")
        ],
    ),
    "refused": lambda wire: _answer(wire, rcode="REFUSED"),
    "noise": lambda wire: wire[:2] + b"\xff" * 600,
    "echo": lambda wire: wire,
    "cut": lambda wire: _answer(wire)[:-3],
}
ROWS = {
    "a zone that does not exist": Row(
        "www.nothere.test", {"no-caa", "covering-wildcard-open"}, "every CA may issue", 1, 2
    ),
    "a top-level domain that does not exist": Row("www.nothere.nosuch", _FAILED, "NXDOMAIN"),
    "SERVFAIL": Row("www.example.test", _FAILED, "SERVFAIL (EDE 22", resolver="servfail"),
    "REFUSED": Row("www.example.test", _FAILED, "REFUSED", resolver="refused"),
    "an alias of itself": Row("loop.example.test", _FAILED, "SERVFAIL"),
    "bogus DNSSEC": Row("www.bogus.test", _FAILED, "SERVFAIL (EDE "),
    # Unbound itself takes longer over it than we wait.
    "lame delegation": Row("www.lame.example.test", _FAILED, "no answer within 5 seconds"),
    "truncated answers": Row("www.example.test", _FAILED, "truncated answer", resolver="truncated"),
    "noise": Row("www.example.test", _FAILED, "malformed answer: ", resolver="noise"),
    "the question sent back": Row(
        "www.example.test", _FAILED, "malformed answer: ", resolver="echo"
    ),
    "half an answer": Row("www.example.test", _FAILED, "malformed answer: ", resolver="cut"),
    "a thousand records": Row("many.example.test", _OPEN, "another CA, ca999.test", 1, 1001),
    "64 kB of records": Row("large.example.test", _OPEN, "another CA, 099xxx", 1, 101),
    "a record of 64 kB": Row("long.example.test", _OPEN, "another CA, xxx", 1, 2),
    "binary values": Row(
        "binary.example.test", _OPEN, r"another CA, \255\027[2J\013\010\"\\, is", 1, 2
    ),
    "our value and a NUL": Row("void.example.test", _ODD, "parsers disagree", 1, 2),
    "a tag that overruns": Row("overrun.example.test", _FAILED, "malformed answer: "),
    "a record of flags alone": Row("short.example.test", _FAILED, "malformed answer: "),
    "a record without a tag": Row("notag.example.test", _FAILED, "malformed answer: "),
    "a tag with a hyphen": Row("hyphen.example.test", _FAILED, "malformed answer: "),
    "a resolver that strips DNSSEC": Row(
        "www.example.test", {"insecure-zone"}, "not authenticated", 1, resolver="stripping"
    ),
    "an authoritative server": Row(
        "www.example.test", _FAILED, "it is no resolver", resolver="authoritative"
    ),
    "nobody": Row("www.example.test", _FAILED, "Connection refused", resolver="nowhere"),
}


@pytest.fixture
def resolver(world, request):
    name = request.param
    if name in LIES:
        liar = Liar()
        liar.udp = liar.tcp = LIES[name]
        yield f"127.0.0.1:{liar.port}"
        liar.close()
    elif name == "stripping":
        yield world.start_resolver(validating=False).address
    else:
        ports = {None: world.resolver.port, "authoritative": world.port, "nowhere": 1}
        yield f"127.0.0.1:{ports[name]}"


@pytest.mark.parametrize(
    ("row", "resolver"),
    [(row, row.resolver) for row in ROWS.values()],
    ids=list(ROWS),
    indirect=["resolver"],
)
def test_a_zone_or_resolver_that_is_not_as_it_should_be(world, row, resolver):
    words = [*SUBJECT, "--resolver", resolver, row.name]
    with ThreadPoolExecutor() as pool:  # one of them takes ten seconds
        asked = pool.submit(_run, "check", "--json", *words), pool.submit(_run, "check", *words)
        (code, out, err), text = (each.result() for each in asked)
    assert (code, err) == (row.code, "")
    (item,) = json.loads(out)
    assert item["verdict"] == {1: "open", 3: "could not tell"}[row.code]
    assert item["holds"] is False
    assert (set(findings_of(item)), len(item["findings"])) == (row.findings, row.many)
    assert any(row.why in finding["why"] for finding in item["findings"])
    # As text, each is on lines of its own, and nothing of it reaches the terminal raw.
    code, out, err = text
    assert (code, err) == (row.code, "")
    assert out.splitlines()[0] == f"{row.name}: {item['verdict']}"
    assert "exclusive" not in out
    assert out.count("  medium: lookup-failed: ") == (row.code == 3)
