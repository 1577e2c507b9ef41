# SPDX-License-Identifier: Apache-2.0
"""Domain names as people write them: with any letters, and in DNS's form.

IDNA 2008 (RFC 5891) with the mapping of UTS 46 that is not transitional, as browsers and
registries have it. Python's own codec is IDNA 2003: it takes ß for ss, which is another name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from certbot_enclave import errors

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Registries that sell names below their own second level (publicsuffix.org, the largest ones). The
# whole list is not worth its size here: a CA refuses the rest, and a wildcard below a suffix that
# is missing here is reported as open, which is the safe side. Of its ICANN section only: a CA may
# issue ``*.github.io`` to whoever holds that name (Baseline Requirements 3.2.2.6).
PUBLIC_SUFFIXES = frozenset(
    "ac.uk co.uk gov.uk org.uk com.au net.au org.au co.nz co.jp ne.jp or.jp com.br com.cn com.mx "
    "com.tr com.tw co.in co.kr co.za com.sg com.hk".split()
)


class Name(NamedTuple):
    """A name in both forms.

    Attributes:
        ascii: Lower-case A-labels, no final dot, maybe with a leading ``*.``.
        shown: With its letters; None if it has A-labels that are not valid in IDNA 2008.
    """

    ascii: str
    shown: str | None


def check_name(name: str) -> str:
    """Check that a name can be bound by CAA at all.

    Args:
        name: A domain name, maybe with a leading ``*.`` or a trailing dot.

    Returns:
        Lower case, without the dot.

    Raises:
        PolicyError: An IP address, a single label, a public suffix, ``.onion``, or no host name in
            A-labels (``name-refused``).
    """
    found = name.lower().removesuffix(".")
    labels = found.removeprefix("*.").split(".")
    reason = None
    # Some signs outside ASCII have a lower case inside it: the Kelvin sign becomes k.
    if (
        not name.isascii()
        or len(found) > 253
        or not all(_LABEL.fullmatch(label) for label in labels)
    ):
        reason = "is no host name in A-labels"
    elif labels[-1].isdigit():
        reason = "is an IP address, which CAA cannot bind"
    elif len(labels) < 2:
        reason = "has a single label"
    elif labels[-1] == "onion":
        reason = "is an onion name, which DNS does not know"
    elif ".".join(labels) in PUBLIC_SUFFIXES:
        reason = "is a public suffix"
    if reason is not None:
        raise errors.PolicyError(
            f"{name!r} {reason}", code="name-refused", hint="name a domain such as www.example.com"
        )
    return found


def parse(text: str) -> Name:
    """Read a name.

    Args:
        text: In A-labels or U-labels, maybe with a leading ``*.`` or a trailing dot.

    Raises:
        PolicyError: As `check_name`, or IDNA forbids it (``name-refused``).
    """
    if text.isascii() or len(text) > 253:  # no longer one fits into DNS, whatever its letters
        found = check_name(text)
        return Name(found, _shown(found))
    import idna

    star, base = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        encoded = idna.encode(base, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise errors.PolicyError(
            f"{text!r} is no name of IDNA 2008: {error}",
            code="name-refused",
            hint="if it is registered so, give its form xn--…",
        ) from error
    found = check_name(star + encoded)
    return Name(found, _shown(found))


def _shown(name: str) -> str | None:
    if "xn--" not in name:
        return name
    import idna

    star, base = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        return star + idna.decode(base)
    except idna.IDNAError:
        return None
