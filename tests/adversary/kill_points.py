# SPDX-License-Identifier: Apache-2.0
"""Where commands are killed: at the steps of registering, ordering, sealing, restoring, following.

Each row says which command is killed, what it went on from (`tests.adversary.kill_scenes`), and how
the point is reached from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class AtCA(NamedTuple):
    """The CA holds a request: before it processes it, or when the answer is on its way.

    Attributes:
        resource: Of the request.
        phase: ``before`` or ``after``.
        passing: How many such requests pass before.
    """

    resource: str
    phase: str = "before"
    passing: int = 0


class AtFile(NamedTuple):
    """The kernel kills where a system call on a file is entered.

    Attributes:
        call: Name of the system call.
        name: Below the enclave's directory; of a rename, the old name.
        nth: At which of these calls.
    """

    call: str
    name: str
    nth: int = 1


class AtStore(NamedTuple):
    """The store holds a request: before it hears it, or when the answer is on its way."""

    method: str
    key: str
    phase: str


Reach = AtCA | AtFile | AtStore

ALL = "everything"  # as when the enclave ends
CERTBOT = "certbot"  # alone, as the kernel does when memory is short; `run` goes on
RUN = "run"  # alone; certbot comes to its end


class Point(NamedTuple):
    """One point.

    Attributes:
        name: Says what was done last, or what was not done yet.
        scene: What there was before, and which of it a command acknowledged with exit 0.
        command: What is killed.
        reach: How.
        victim: What of it is killed.
        overtaken: Another enclave seals once more before anything goes on here.
        sample: It is among those of ``make test``.
    """

    name: str
    scene: str
    command: str
    reach: Reach
    victim: str = ALL
    overtaken: bool = False
    sample: bool = False


def _points(
    scene: str,
    command: str,
    table: Mapping[str, Reach],
    *,
    sample: tuple[str, ...] = (),
    **more: object,
) -> tuple[Point, ...]:
    assert set(sample) <= table.keys()
    return tuple(
        Point(name, scene, command, reach, sample=name in sample, **more)  # type: ignore[arg-type]
        for name, reach in table.items()
    )


_MARK = "config/enclave/.boot.json.new"
_LEDGER = "config/enclave/.ledger.json.new"
_EVIDENCE = "config/enclave/.evidence.json.new"
_FRESH, _OLD, _BUNDLE = "host/.bundle.new", "host/.bundle.old", "host/bundle"
_LIVE, _ARCHIVE = "config/live/example.test", "config/archive/example.test"
_CONF = "config/renewal/.example.test.conf.new"
_LINK = "tls/.example.test.link"

# The store is written to four times, the mark of this boot nine times.
_REGISTER = _points(
    "nothing",
    "register",
    {
        "key made, not on file": AtFile("rename", "config/enclave/.pending.json.new"),
        "key on file, nothing sealed": AtFile("rename", _MARK, 2),
        "first bundle begun": AtFile("fsync", _FRESH),
        "first bundle made, not in place": AtFile("rename", _FRESH),
        "first bundle in place, not marked": AtFile("rename", _MARK, 3),
        "nonce asked for": AtCA("newNonce"),
        "asked whether the account exists": AtCA("newAccount"),
        "told that it does not": AtCA("newAccount", "after"),
        "registration about to be in the ledger": AtFile("rename", _LEDGER),
        "registration in the ledger, not sealed": AtFile("rename", _MARK, 4),
        "bundle with it made, the old one not kept": AtFile("link", _BUNDLE),
        "the old one kept, not by its name": AtFile("rename", _OLD),
        "the old one kept, the new one not in place": AtFile("rename", _FRESH, 2),
        "the new one in place, not marked": AtFile("rename", _MARK, 5),
        "registering, not yet heard": AtCA("newAccount", "before", 1),
        "registered, the answer lost": AtCA("newAccount", "after", 1),
        "registered, not in the ledger": AtFile("rename", _LEDGER, 2),
        "writing certbot's key file": AtFile("openat", "ACCOUNT/private_key.json"),
        "writing certbot's account file": AtFile("openat", "ACCOUNT/regr.json"),
        "account written, still pending": AtFile("unlink", "config/enclave/pending.json"),
        "account written, not sealed": AtFile("rename", _FRESH, 3),
        "account sealed, not marked": AtFile("rename", _MARK, 7),
        "account sealed, settings not kept": AtFile("rename", "config/enclave/.settings.json.new"),
        "settings not sealed": AtFile("rename", _FRESH, 4),
        "evidence not in place": AtFile("rename", _EVIDENCE),
    },
    sample=(
        "key on file, nothing sealed",
        "first bundle in place, not marked",
        "registering, not yet heard",
        "registered, the answer lost",
        "account written, still pending",
    ),
)
# certbot itself, in whose first run all is done: one command, and nothing was acknowledged before.
_ALL_IN_ONE = _points(
    "nothing",
    "certbot certonly",
    {
        "registered by certbot, the answer lost": AtCA("newAccount", "after", 1),
        "first order placed, the answer lost": AtCA("newOrder", "after"),
        "first certificate issued, the answer lost": AtCA("finalize", "after"),
    },
)
_FIRST_CERTIFICATE = _points(
    "registered",
    "run certonly",
    {
        "restored, certbot not started": AtFile("openat", "config/enclave/run.lock"),
        "first order sealed, not placed": AtCA("newOrder"),
        "first certificate issued, not fetched": AtCA("certificate"),
    },
    sample=("first certificate issued, not fetched",),
) + _points(
    "registered",
    "certbot certonly",
    {
        "first order in the ledger, not sealed": AtFile("rename", _MARK, 3),
        "place of a lineage taken": AtFile("mkdir", _ARCHIVE),
        "first link of a lineage": AtFile("symlink", f"{_LIVE}/cert.pem"),
        "key of a lineage": AtFile("openat", f"{_ARCHIVE}/privkey1.pem"),
        "chain of a lineage": AtFile("openat", f"{_LIVE}/fullchain.pem"),
        "its renewal file empty": AtFile("openat", "config/renewal/example.test.conf", 2),
        "first certificate not sealed": AtFile("rename", _FRESH, 3),
        "first certificate sealed, not handed over": AtFile("rename", _LINK),
    },
    sample=("its renewal file empty", "first certificate not sealed"),
)
_RENEW = (
    _points(
        "issued",
        "run renew",
        {
            "asked whether the account is ours": AtCA("newAccount"),
            "order sealed, not placed": AtCA("newOrder"),
            "ordered, the answer lost": AtCA("newOrder", "after"),
            "reading the authorization": AtCA("authz"),
            "answering the challenge, not yet heard": AtCA("challenge"),
            "challenge answered, the answer lost": AtCA("challenge", "after"),
            "looking whether it is valid": AtCA("authz", "before", 1),
            "finalizing, not yet heard": AtCA("finalize"),
            "issued, the answer lost": AtCA("finalize", "after"),
            "looking whether it is issued": AtCA("order"),
            "fetching the certificate": AtCA("certificate"),
            "fetched, the answer lost": AtCA("certificate", "after"),
            "run begins": AtFile("flock", "config/enclave/run.lock"),
            "run looks at the store": AtFile("openat", _BUNDLE),
        },
        sample=("ordered, the answer lost", "issued, the answer lost"),
    )
    + _points(
        "issued",
        "certbot renew",
        {
            "order not in the ledger": AtFile("rename", _LEDGER),
            "order in the ledger, not sealed": AtFile("rename", _MARK),
            "bundle with the order begun": AtFile("fsync", _FRESH),
            "bundle before the order not kept": AtFile("link", _BUNDLE),
            "bundle with the order not in place": AtFile("rename", _FRESH),
            "order sealed, not marked": AtFile("rename", _MARK, 2),
            "key of the certificate": AtFile("openat", f"{_ARCHIVE}/privkey2.pem"),
            "the certificate": AtFile("openat", f"{_ARCHIVE}/cert2.pem"),
            "its full chain": AtFile("openat", f"{_ARCHIVE}/fullchain2.pem"),
            "its renewal file": AtFile("rename", "config/renewal/example.test.conf.new"),
            "certbot notes where links led": AtFile("symlink", f"{_LIVE}/previous_chain.pem"),
            "no link turned": AtFile("unlink", f"{_LIVE}/cert.pem"),
            "a link on its way": AtFile("symlink", f"{_LIVE}/cert.pem"),
            "one link turned": AtFile("unlink", f"{_LIVE}/privkey.pem"),
            "the last link on its way": AtFile("symlink", f"{_LIVE}/fullchain.pem"),
            "all links turned": AtFile("unlink", f"{_LIVE}/previous_cert.pem"),
            "notes about links half gone": AtFile("unlink", f"{_LIVE}/previous_chain.pem"),
            "outcome not in the ledger": AtFile("rename", _LEDGER, 2),
            "certificate not sealed": AtFile("rename", _FRESH, 2),
            "certificate sealed, not marked": AtFile("rename", _MARK, 4),
            "certificate sealed, not deployed": AtFile("symlink", _LINK),
            "the server's link not turned": AtFile("rename", _LINK),
            "the server not told": AtFile("unlink", "tls/.versions/example.test/.untold"),
            "evidence about it not in place": AtFile("rename", _EVIDENCE, 2),
        },
        sample=("a link on its way", "certificate sealed, not marked", "the server not told"),
    )
    + _points(
        "issued",
        "run renew",
        {
            "certbot killed, the order not in the ledger": AtFile("rename", _LEDGER),
            "certbot killed, a link on its way": AtFile("symlink", f"{_LIVE}/privkey.pem"),
            "certbot killed, all links turned": AtFile("unlink", f"{_LIVE}/previous_cert.pem"),
            "certbot killed, the certificate not sealed": AtFile("rename", _FRESH, 2),
        },
        victim=CERTBOT,
        sample=("certbot killed, a link on its way",),
    )
    + _points(
        "issued",
        "run renew",
        {"run killed, certbot goes on": AtCA("newOrder")},
        victim=RUN,
    )
)
_RESTORE = _points(
    "restarted",
    "restore",
    {
        "bundle not read": AtFile("openat", _BUNDLE),
        "nothing written": AtFile("mkdir", "config/accounts"),
        "account half back": AtFile("rename", "ACCOUNT/.regr.json.new"),
        "key half back": AtFile("rename", f"{_ARCHIVE}/.privkey1.pem.new"),
        "ledger not back": AtFile("rename", _LEDGER),
        "first link not back": AtFile("symlink", f"{_LIVE}/.cert.pem.new"),
        "last link not back": AtFile("rename", f"{_LIVE}/.privkey.pem.new"),
        "renewal file not back": AtFile("rename", _CONF),
        "all back, not marked": AtFile("rename", _MARK),
        "marked, not handed over": AtFile("mkdir", "tls/.versions"),
        "handed over, the server not told": AtFile("unlink", "tls/.versions/example.test/.untold"),
    },
    sample=("account half back", "last link not back", "marked, not handed over"),
) + _points(
    "restarted",
    "restore",
    {
        "ledger not back, and overtaken": AtFile("rename", _LEDGER),
        "renewal file not back, and overtaken": AtFile("rename", _CONF),
        "all back, not marked, and overtaken": AtFile("rename", _MARK),
    },
    overtaken=True,
    sample=("all back, not marked, and overtaken",),
)
_FOLLOW = _points(
    "behind",
    "follow",
    {
        "newer bundle not read": AtFile("openat", _BUNDLE),
        "nothing replaced": AtFile("unlink", "config/renewal/example.test.conf"),
        "newer key half there": AtFile("rename", f"{_ARCHIVE}/.privkey2.pem.new"),
        "newer ledger not there": AtFile("rename", _LEDGER),
        "first link not turned": AtFile("rename", f"{_LIVE}/.cert.pem.new"),
        "last link not turned": AtFile("rename", f"{_LIVE}/.privkey.pem.new"),
        "older files still there": AtFile("unlink", f"{_ARCHIVE}/chain1.pem"),
        "newer renewal file not there": AtFile("rename", _CONF),
        "newer generation there, not marked": AtFile("rename", _MARK),
        "newer generation marked, not handed over": AtFile("rename", _LINK),
        "newer evidence not in place": AtFile("rename", _EVIDENCE),
    },
    sample=("last link not turned", "newer generation there, not marked"),
) + _points(
    "behind",
    "follow",
    {
        "first link not turned, and overtaken": AtFile("rename", f"{_LIVE}/.cert.pem.new"),
        "newer generation not marked, and overtaken": AtFile("rename", _MARK),
    },
    overtaken=True,
)
_SEAL = _points(
    "unsealed",
    "seal",
    {
        "bundle made, not announced": AtFile("rename", _MARK),
        "announced, not begun": AtFile("openat", _FRESH),
        "begun, not on disk": AtFile("fsync", _FRESH),
        "on disk, the old one not kept": AtFile("link", _BUNDLE),
        "the old one linked": AtFile("rename", _OLD),
        "the old one kept, not replaced": AtFile("rename", _FRESH),
        "replaced, its name not on disk": AtFile("fsync", "host"),
        "replaced, not marked": AtFile("rename", _MARK, 2),
    },
    sample=("the old one kept, not replaced", "replaced, not marked"),
)
# The holder of a lease was killed and lost its RAM; the lease has just run out.
_LEASE = _points(
    "expired lease",
    "certbot renew",
    {
        "lease taken over, not sealed": AtFile("rename", _FRESH),
        "lease taken over, not marked": AtFile("rename", _MARK, 2),
        "lease taken over, not ordered": AtCA("newOrder"),
        "lease taken over, ordered": AtCA("newOrder", "after"),
        "lease taken over, certificate not sealed": AtFile("rename", _FRESH, 2),
    },
    sample=("lease taken over, ordered",),
)
_S3 = _points(
    "in S3",
    "seal",
    {
        "bundle before not copied": AtStore("PUT", "/bundle.previous", "before"),
        "bundle before copied, the answer lost": AtStore("PUT", "/bundle.previous", "after"),
        "bundle put, not yet heard": AtStore("PUT", "/bundle", "before"),
        "bundle put, the answer lost": AtStore("PUT", "/bundle", "after"),
    },
    sample=("bundle put, the answer lost",),
) + _points(
    "in S3",
    "run renew",
    {
        "store asked what it has": AtStore("HEAD", "/bundle", "before"),
        "order put, not yet heard": AtStore("PUT", "/bundle", "before"),
        "order put, the answer lost": AtStore("PUT", "/bundle", "after"),
    },
)

POINTS = (
    *_REGISTER,
    *_ALL_IN_ONE,
    *_FIRST_CERTIFICATE,
    *_RENEW,
    *_RESTORE,
    *_FOLLOW,
    *_SEAL,
    *_LEASE,
    *_S3,
)
