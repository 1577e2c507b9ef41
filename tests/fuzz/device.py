# SPDX-License-Identifier: Apache-2.0
"""Responses of the Nitro Secure Module: the host's hypervisor may not bring the enclave down."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import cbor2

from certbot_enclave import errors
from certbot_enclave.attestation import nsm_abi
from certbot_enclave.attestation.nsm_abi import Exchange
from tests.fuzz import changes, items
from tests.fuzz.changes import below

RESPONSES: tuple[Any, ...] = (
    {
        "DescribeNSM": {
            "version_major": 1,
            "version_minor": 0,
            "version_patch": 0,
            "module_id": "i-0-enc0",
            "max_pcrs": 32,
            "locked_pcrs": list(range(16)),
            "digest": "SHA384",
        }
    },
    {"Attestation": {"document": bytes(40)}},
    {"GetRandom": {"random": bytes(range(32))}},
    {"DescribePCR": {"lock": True, "data": bytes(48)}},
    {"ExtendPCR": {"data": bytes(48)}},
    "LockPCR",
    {"Error": "InvalidIndex"},
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 16, 32, 65536, (1 << 64) - 1, 0.5, "", "SHA256", "LockPCR"),
    *("Success", "ReadOnlyIndex", "\x1b[2J", "é" * 100, "InputTooLarge", "x" * 1000, "\n"),
    *(b"", bytes(47), bytes(48), bytes(4096), bytes(4097), [], [True], [0] * 300, {}, {"a": 1}),
)
_ASK: dict[str, Callable[[Exchange], Any]] = {
    "DescribeNSM": nsm_abi.describe,
    "Attestation": lambda way: nsm_abi.attest(way, user_data=b"", nonce=None, public_key=b"k"),
    "GetRandom": nsm_abi.random,
    "DescribePCR": lambda way: nsm_abi.pcr(way, 0),
    "ExtendPCR": lambda way: nsm_abi.extend(way, 16, b"data"),
    "LockPCR": lambda way: nsm_abi.lock(way, 16),
}
_NAMES = tuple(_ASK)
# The same out of the response's fields as cbor2 reads them.
_READ: dict[str, Callable[[Any], Any]] = {
    "DescribeNSM": lambda fields: (
        fields["max_pcrs"],
        frozenset(fields["locked_pcrs"]),
        fields["digest"],
    ),
    "Attestation": lambda fields: fields["document"],
    "GetRandom": lambda fields: fields["random"],
    "DescribePCR": lambda fields: (fields["lock"], fields["data"]),
    "ExtendPCR": lambda fields: fields["data"],
    "LockPCR": lambda text: None if text == "LockPCR" else text,
}


def _odd(random: Random) -> Any:
    return _ODD[below(random, len(_ODD))]


def _changed(random: Random) -> Any:
    response = RESPONSES[below(random, len(RESPONSES))]
    choice = random.random()
    if not isinstance(response, dict) or choice < 0.1:
        return response if choice < 0.5 else _odd(random)
    ((name, inside),) = response.items()
    if choice < 0.2:
        return {_NAMES[below(random, len(_NAMES))]: inside}
    if choice < 0.25:
        return {name: inside, "Error": _odd(random)}
    if choice < 0.35 or not isinstance(inside, dict):
        return {name: _odd(random)}
    fields = dict(inside)
    key = list(fields)[below(random, len(fields))]
    if choice < 0.45:
        del fields[key]
    elif choice < 0.55:
        fields["later"] = _odd(random)
    elif choice < 0.95:
        fields[key] = _odd(random)
    return {name: fields}


def make(random: Random) -> bytes:
    """Make a response: of one of the requests, with changes, or any item."""
    choice = random.random()
    if choice < 0.1:
        return items.item(random)
    data = cbor2.dumps(_changed(random))
    return data if choice < 0.6 else changes.change(random, data, changes.CBOR)


def judge(data: bytes) -> None:
    """Give the response to every request; no more than one may take it for its own.

    Raises:
        EnclaveError: Every request refuses it.
        AssertionError: A request takes what is not its own, or reads it otherwise than cbor2.
    """
    taken: dict[str, Any] = {}
    refused: dict[str, errors.EnclaveError] = {}
    for name, ask in _ASK.items():
        try:
            taken[name] = ask(lambda _request: data)
        except errors.EnclaveError as error:
            refused[name] = error
    response: Any = cbor2.loads(data) if taken else None
    for name, found in taken.items():
        fields = response if isinstance(response, str) else response.get(name)
        if len(taken) > 1 or _READ[name](fields) != found:
            raise AssertionError(f"{name} reads {found!r}, cbor2 reads {response!r}")
    if not taken:
        raise refused.popitem()[1]
