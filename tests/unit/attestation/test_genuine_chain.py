# SPDX-License-Identifier: Apache-2.0
"""Chains of genuine documents hold as they are, and in no other composition."""

from datetime import timedelta

import pytest
from cryptography import x509

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, chain, cose, document

pytestmark = pytest.mark.corpus

PATH = ("root", "regional", "zonal", "instance", "leaf")


def _path(found):
    return [*found.cabundle, found.certificate]


@pytest.fixture(scope="module")
def documents(genuine):
    """Each document's manifest item, bytes and content."""
    return [(item, data, document.parse(cose.parse(data).payload)) for item, data in genuine]


def _dropped(path, at, _other):
    return path[:at] + path[at + 1 :]


def _doubled(path, at, _other):
    return path[: at + 1] + path[at:]


def _swapped(path, at, _other):
    path[at : at + 2] = reversed(path[at : at + 2])
    return path


def _foreign(path, at, other):
    # All have one root; what stands below it is foreign in its place.
    path[at] = other[at] if at else other[1]
    return path


# What is done to the path from the root to the leaf, at which of its five certificates, and the
# code that it is refused for.
CHANGES = {
    **{f"{PATH[at]} dropped": (_dropped, at, "chain-order") for at in range(1, 4)},
    **{f"{PATH[at]} doubled": (_doubled, at, "chain-order") for at in range(4)},
    **{f"{PATH[at]} swapped": (_swapped, at, "chain-order") for at in range(1, 4)},
    **{f"{PATH[at]} foreign": (_foreign, at, "chain-order") for at in range(1, 5)},
    "root dropped": (_dropped, 0, "chain-root"),
    "root swapped": (_swapped, 0, "chain-root"),
    "root foreign": (_foreign, 0, "chain-root"),
    "leaf dropped": (_dropped, 4, "chain-leaf"),
    "leaf doubled": (_doubled, 4, "chain-path"),
}


def _others(documents, mine):
    """Another document, none of whose certificates but the root is in this one."""
    for _item, _data, found in documents:
        if not set(_path(found)[1:]) & set(mine):
            return _path(found)
    raise AssertionError("all documents share certificates")


def _with_path(data, path):
    """The document with other certificates, and the signature that it had."""
    message = cose.parse(data)
    indefinite = message.payload[0] == 0xBF
    table = cbor.loads(message.payload, indefinite_map=True)
    table["cabundle"], table["certificate"] = path[:-1], path[-1]
    payload = cbor.dumps(table, indefinite_map=indefinite)
    return cbor.dumps([cose.PROTECTED, {}, payload, message.signature])


def test_documents_are_written_as_they_were(documents):
    for _item, data, found in documents:
        assert _with_path(data, _path(found)) == data


@pytest.mark.parametrize(("change", "at", "code"), CHANGES.values(), ids=CHANGES)
def test_path_that_is_composed_otherwise(documents, change, at, code):
    for item, data, found in documents:
        path = change(_path(found), at, _others(documents, _path(found)))
        with pytest.raises(errors.ChainError) as caught:
            chain.verify(path[-1], path[:-1], trust_root=None, at=found.time)
        assert caught.value.code == code, item["name"]
        with pytest.raises(errors.ChainError) as again:
            document.authenticate(_with_path(data, path), trust_root=None)
        assert again.value.code == code


def test_cache_of_the_genuine_chain_changes_nothing(documents):
    for change, at, code in CHANGES.values():
        for _item, _data, found in documents:
            cache = chain.ChainCache()
            path, other = _path(found), _others(documents, _path(found))
            chain.verify(path[-1], tuple(path[:-1]), trust_root=None, at=found.time, cache=cache)
            path = change(path, at, other)
            with pytest.raises(errors.ChainError) as caught:
                chain.verify(
                    path[-1], tuple(path[:-1]), trust_root=None, at=found.time, cache=cache
                )
            assert caught.value.code == code


def test_leaf_of_another_enclave_under_the_same_instance(documents):
    codes = set()
    for _item, data, found in documents:
        for _other_item, _other_data, other in documents:
            if other is not found and other.cabundle == found.cabundle:
                with pytest.raises(errors.VerificationError) as caught:
                    document.authenticate(
                        _with_path(data, [*found.cabundle, other.certificate]), trust_root=None
                    )
                codes.add(caught.value.code)
    # The chain holds, and another key signed the document; or the leaf was issued later.
    assert codes == {"cose-signature", "chain-not-yet-valid"}


def test_chain_holds_only_while_every_certificate_is_valid(documents):
    second = timedelta(seconds=1)
    for _item, _data, found in documents:
        leaf = x509.load_der_x509_certificate(found.certificate)
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        for at in (begin, end):
            assert chain.verify(found.certificate, found.cabundle, trust_root=None, at=at)
        for at, code in ((begin - second, "chain-not-yet-valid"), (end + second, "chain-expired")):
            with pytest.raises(errors.ChainError) as caught:
                chain.verify(found.certificate, found.cabundle, trust_root=None, at=at)
            assert caught.value.code == code
