# SPDX-License-Identifier: Apache-2.0
"""What ``certbot-enclave run`` lets certbot do, and with which arguments.

certbot takes the first word that is one of its commands, wherever it stands, and any unambiguous
beginning of an option. So the command has to come first here, and an option is recognised by each
of its beginnings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.settings import Value, seconds, split

# certbot's commands that work on certificates; its accounts are ours.
VERBS = (
    "certonly",
    "renew",
    "run",
    "install",
    "reconfigure",
    "certificates",
    "revoke",
    "delete",
)
_AUTHENTICATOR, _INSTALLER = "--authenticator=enclave", "--installer=enclave"
# Where certbot does not know by itself; what it renews says who got it.
_PLUGINS = {
    "certonly": [_AUTHENTICATOR, _INSTALLER],
    "run": [_AUTHENTICATOR, _INSTALLER],
    "install": [_INSTALLER],
}
_OF_ACCOUNTS = ("register", "unregister", "update_account", "show_account")
# What has to be the same before and after certbot, so it is said once, before the ``--``.
_SHARED = ("attester", "sealer", "store", "settings")
# certbot keeps 1,000 logs, which is much for RAM.
_LOGS = "--max-log-backups=5"


def _given(words: Sequence[str], option: str) -> list[str | None]:
    """Return the values that an option is given, None where there is none."""
    found = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        # "--config" is another option of certbot's, and no beginning of --config-dir.
        if len(name) > 2 and option.startswith(name) and name != "--config":
            after = words[index + 1] if index + 1 < len(words) else None
            found.append(value if equals else after)
    return found


def _check_verb(words: Sequence[str]) -> None:
    if words and words[0] in VERBS:
        return
    said = f"got {words[0]!r}" if words else "got none"
    hint = f"name one of {', '.join(VERBS)} first: certbot-enclave run -- renew"
    if words and words[0] in _OF_ACCOUNTS:
        hint = "the account belongs to the enclave: certbot-enclave register makes it"
    raise errors.PolicyError(
        f"expected a command of certbot's behind --, {said}", code="certbot-command", hint=hint
    )


def _check_server(words: Sequence[str]) -> None:
    """Refuse another CA on renew: certbot writes it into every lineage (facts of 5.8)."""
    for option in ("--server", "--staging", "--test-cert"):
        if words[0] == "renew" and _given(words, option):
            raise errors.PolicyError(
                f"renew with {option} moves every certificate to another CA",
                code="renew-server",
                hint="each certificate is renewed where it came from; drop it. "
                "renew --dry-run alone changes nothing",
            )


def _check_directories(words: Sequence[str], directories: Mapping[str, Path]) -> None:
    for name, path in directories.items():
        for value in _given(words, f"--{name}"):
            if value is None or Path(value).absolute() != path:
                raise errors.PolicyError(
                    f"--{name} is {value or 'empty'} for certbot, and {path} for us",
                    code="certbot-directory",
                    hint=f"name it once: certbot-enclave run --{name} DIR -- {words[0]} …",
                )


def _check_shared(words: Sequence[str]) -> None:
    for name in _SHARED:
        if _given(words, f"--enclave-{name}"):
            raise errors.PolicyError(
                f"--enclave-{name} is given to certbot alone",
                code="certbot-setting",
                hint=f"name it before the --: certbot-enclave run --{name} … -- {words[0]} …",
            )


def is_trial(words: Sequence[str]) -> bool:
    """Return whether certbot is told that nothing of this run is for browsers."""
    return any(_given(words, option) for option in ("--dry-run", "--staging", "--test-cert"))


def names(words: Sequence[str]) -> frozenset[str]:
    """Return the names that ``-d``, ``--domain`` and ``--domains`` give, as they are written."""
    said = [value for option in ("--domain", "--domains") for value in _given(words, option)]
    # certbot 5.8 does not read a name that is glued to -d.
    said += [name for option, name in pairwise(words) if option == "-d"]
    return frozenset(name for value in said for name in split(value or ""))


def certificate(words: Sequence[str]) -> str | None:
    """Return certbot's name of the certificate, if the command line gives one."""
    return next(reversed(_given(words, "--cert-name")), None)


def rehearsing(words: Sequence[str], directory: str) -> list[str]:
    """Return the command line that tries all that another one does, and keeps nothing.

    certbot leaves the directory of a dry run alone if it is named and not its default one (its
    ``set_test_server_options``), and writes no renewal file then.

    Args:
        words: From `build`, to obtain or to renew.
        directory: URL of the directory to try it at.
    """
    verb = "renew" if words[0] == "renew" else "certonly"
    more = ["--dry-run", f"--server={directory}", "--no-random-sleep-on-renew"]
    return [verb, *words[1:], *more]


def wait(words: Sequence[str]) -> int:
    """Return how many seconds certbot may wait for CAA, by its command line.

    Raises:
        PolicyError: It is no duration (``setting-invalid``).
    """
    return max((seconds(said or "") for said in _given(words, "--enclave-wait-for-caa")), default=0)


def _settings(options: Mapping[str, Value]) -> Iterable[str]:
    for name, value in options.items():
        option = f"--enclave-{name.replace('_', '-')}"
        if value is True:
            yield option
        elif value is not False:
            yield f"{option}={','.join(value) if isinstance(value, tuple) else value}"


def build(
    words: Sequence[str], *, directories: Mapping[str, Path], options: Mapping[str, Value]
) -> list[str]:
    """Return certbot's whole command line, without its name.

    Args:
        words: What the user gave behind ``--``.
        directories: Name of certbot's option for each directory -> absolute path.
        options: Settings that our own command line names, those apart that certbot has itself.

    Raises:
        PolicyError: The command is none of `VERBS` (``certbot-command``), would move certificates
            to another CA (``renew-server``), names another directory than ours
            (``certbot-directory``), or a setting that we need as well (``certbot-setting``).
    """
    _check_verb(words)
    _check_server(words)
    _check_directories(words, directories)
    _check_shared(words)
    verb, *rest = words
    places = [f"--{name}={os.fspath(path)}" for name, path in directories.items()]
    plugins = _PLUGINS.get(verb, [])  # what the user names comes behind, and wins
    return [verb, "--non-interactive", *places, _LOGS, *plugins, *_settings(options), *rest]
