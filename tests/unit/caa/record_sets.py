# SPDX-License-Identifier: Apache-2.0
"""Record sets near the edge between ours alone and open, as Hypothesis strategies."""

from hypothesis import strategies as st

from certbot_enclave.caa.grammar import Record

ISSUER = "ca.test"
ACCOUNTS = [
    *["https://ca.test/acct/1"] * 6,
    *("https://ca.test/acct?id=1", "https://ca.test/acct/1/", "https://ca.test/%61cct/1"),
    *("https://CA.test:443/acct/1", "https://ca.test/acct/1#x"),
]
METHODS = [("http-01",), ("http-01",), ("dns-01",), ("dns-01", "http-01")]
_FLAGS = [0] * 6 + [1, 2, 128, 129, 255]
_BLANKS = [""] * 24 + [
    *(" ", "\t", "  ", "\n", "\r\n", "\v", "\0", "\x1c", "\x1f", "\x85", "\xa0", "\xc2\xa0"),
    *("\xe2\x80\x83", "\xe2\x80\x8b", "\xef\xbb\xbf", "\xe3\x80\x80"),
]
_ISSUERS = [ISSUER] * 16 + [
    *("", "", "", "CA.test", "Ca.Test", "ca.test.", "CA.TEST.", "ca.test..", ".ca.test", "."),
    *("other.test", "a.ca.test", "ca.test other.test", "ca.test,other.test", "c\xd0\xb0.test"),
    *("ca.test\0", "ca.test\0x", '"ca.test"', "ca.test\\", "\xa0", "\0", "ca-.test", "ca"),
]
_ACCOUNT_NAMES = ["accounturi"] * 12 + [
    *("AccountURI", "ACCOUNTURI", "accountUri", "accounturl", "accounturis", "account-uri"),
    *("account_uri", "account", "accounturi\0", "accounturi\xa0", "-accounturi", "accoun\0turi"),
]
_METHOD_NAMES = ["validationmethods"] * 12 + [
    *("ValidationMethods", "VALIDATIONMETHODS", "validationmethod", "validation-methods"),
    *("validationmethods\0", "validation methods"),
]
_LABELS = ["http-01"] * 6 + [
    *("dns-01", "dns-01", "tls-alpn-01", "dns-account-01", "HTTP-01", "Dns-01", "ca-tbr-19"),
    *("ca-tbr-7", "ca-tbr-4", "CA-TBR-7", "http-02", "", "!", "*", "http_01", "http-01\0"),
]
_JUNK = [
    *("", "", "x", "=", "=x", "x=", "x=y", "policy=ev", "a-b=c", "a_b=c", "x=a b", "x=\x7f"),
    *("x=\0", "x=\xe9", "\xc3\xa9=x", "x==", "x=accounturi=y", "accounturi", "validationmethods"),
    *("\xa0", "\0", "\x85", "policy=ev,accounturi=z"),
]
_TAGS = [
    *["issue"] * 14,
    *["issuewild"] * 5,
    *("ISSUE", "Issue", "IssueWild", "iodef", "issuemail", "issuevmc", "contactemail"),
    *("tbs", "issu", "issues", "issue ", " issue", "\tissuewild", "issue\0", "issue\xa0"),
    *("issuewild\xa0", "", "is-sue", "\xc4\xb1ssue", "issu\xc4\x97"),
]


@st.composite
def _uris(draw, account):
    """Mostly ours; else near it."""
    choice = draw(st.integers(0, 23))
    if choice < 15:
        return account
    return [
        account + "/",
        account + "2",
        account[:-1],
        account.upper(),
        account.replace("https", "HTTPS"),
        account.replace("/acct", "/%61cct"),
        account.replace("/acct", ":443/acct"),
        account + ",https://ca.test/acct/2",
        "",
    ][choice - 15]


@st.composite
def _methods(draw, methods):
    if draw(st.integers(0, 2)):
        return ",".join(methods)
    return draw(st.sampled_from([",", ",", ", "])).join(
        draw(st.lists(st.sampled_from(_LABELS), max_size=3))
    )


@st.composite
def values(draw, account, methods):
    """An issue value: the canonical one, with some parts changed, added, dropped or moved."""
    blank = st.sampled_from(_BLANKS)
    parts = []
    for present in draw(st.sampled_from(["am", "am", "ma", "ma", "a", "m", "", "aam", "amm"])):
        if present == "a":
            name, text = draw(st.sampled_from(_ACCOUNT_NAMES)), draw(_uris(account))
        else:
            name, text = draw(st.sampled_from(_METHOD_NAMES)), draw(_methods(methods))
        parts.append(draw(blank) + name + draw(blank) + "=" + draw(blank) + text + draw(blank))
    for junk in draw(st.sampled_from([(), (), (), ("",), ("one",), ("one", "two")])):
        at = draw(st.integers(0, len(parts)))
        parts.insert(at, draw(st.sampled_from(_JUNK)) if junk else "")
    head = draw(blank) + draw(st.sampled_from(_ISSUERS)) + draw(blank)
    return ";".join([head, *parts]).encode("latin-1")


@st.composite
def records(draw, account, methods):
    """One record."""
    value = draw(
        st.one_of(
            *[values(account, methods)] * 6, st.sampled_from([b";", b"", b" ; "]), st.binary()
        )
    )
    tag = draw(st.sampled_from(_TAGS)).encode("latin-1")
    return Record(draw(st.sampled_from(_FLAGS)), tag, value)


@st.composite
def questions(draw):
    """A record set and whose it is meant to be: account, methods, whether for a wildcard."""
    account = draw(st.sampled_from(ACCOUNTS))
    methods = draw(st.sampled_from(METHODS))
    found = draw(st.lists(records(account, methods), max_size=3))
    return found, account, methods, draw(st.booleans())
