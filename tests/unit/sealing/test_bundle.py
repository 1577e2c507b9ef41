# SPDX-License-Identifier: Apache-2.0
"""A bundle is authenticated before it is opened, and opens for the code that sealed it only."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation import document, measurements, simulated
from certbot_enclave.attestation.simulated import SimulatedAttester, measure
from certbot_enclave.interfaces import IAttester
from certbot_enclave.sealing import archive, bundle, envelope, tree
from certbot_enclave.sealing.simulated import SimulatedSealer
from tests.support import forge
from tests.support.components import BrokenAttester, MemorySealer

CONTENTS = bundle.Contents(
    "ab" * 16,
    3,
    "/etc/letsencrypt",
    ("https://ca.test/account/1",),
    (tree.File("accounts/ca/1/private_key.json", 0o400, b"sealed"),),
)


@implementer(IAttester)
class Forged:
    """Makes documents with any measurements, under a root of its own."""

    simulated = True
    format = "aws-nitro"
    trust_root = forge.CHAIN.root

    def __init__(self, pcrs):
        self._pcrs = pcrs

    def attest(self, *, user_data, public_key, nonce):
        return forge.document(
            user_data=user_data, public_key=public_key, nonce=nonce, pcrs=self._pcrs
        )


def _make(attester, sealer=None, contents=CONTENTS):
    return bundle.make(
        contents, sealer=sealer or MemorySealer(), attester=attester, public_key=b"account key"
    )


def _own(where):
    zero = bytes(measurements.SIZE)
    return {index: zero for index in range(16)} | measure(where)


@pytest.fixture
def attester(ours):
    return SimulatedAttester(str(ours))


@pytest.fixture
def opened(ours, attester):
    """Open a bundle as our own enclave does; gives contents or the error's code."""

    def open_(data, sealer=None, own=None):
        try:
            return bundle.open_(
                data,
                sealer=sealer or MemorySealer(),
                trust_root=attester.trust_root,
                own=own or _own(ours),
            )
        except errors.Error as error:
            return error.code

    return open_


def test_round_trip(attester, opened):
    assert opened(_make(attester)) == CONTENTS


def test_key_service_is_told_whose_bundle_it_is(attester, opened):
    names = {"directory": "https://ca.test/dir", "account": "https://ca.test/account/1"}
    sealer = MemorySealer()
    data = bundle.make(
        CONTENTS, sealer=sealer, attester=attester, public_key=b"account key", names=names
    )
    more = {"kind": "bundle", "bundle_id": "ab" * 16, "generation": "3"}
    assert sealer.contexts == [names | more]
    assert opened(data) == CONTENTS


def test_document_binds_header_and_ciphertext(attester):
    data = _make(attester)
    end = 4 + int.from_bytes(data[:4], "big")
    found = document.authenticate(data[end:], trust_root=attester.trust_root)
    expected = hashlib.sha512(b"certbot-enclave-bundle-v1:" + data[4:end]).digest()
    assert (found.user_data, found.public_key) == (expected, b"account key")


def test_every_cut_is_refused(attester, opened):
    data = _make(attester)
    for end in [*range(0, len(data), 97), len(data) - 1]:
        assert isinstance(opened(data[:end]), str), end
    assert opened(b"") == "bundle-truncated"
    assert isinstance(opened(data + b"\x00"), str)


def test_every_changed_byte_is_refused_before_the_sealer_is_asked(attester, opened):
    data = _make(attester)
    sealer = MemorySealer()
    sealer.unwrap = None  # a call would be a TypeError
    for at in range(0, len(data), 41):
        changed = bytearray(data)
        changed[at] ^= 1
        assert isinstance(opened(bytes(changed), sealer=sealer), str), at


def test_mixed_bundles_are_refused(attester, opened):
    one, two = _make(attester), _make(attester)
    ends = [4 + int.from_bytes(data[:4], "big") for data in (one, two)]
    assert opened(one[: ends[0]] + two[ends[1] :]) == "bundle-unattested"


def test_other_hardware_is_refused(tmp_path, opened, theirs):
    simulated.create(tmp_path / "foreign", [tmp_path / "ours" / "app.bin"])
    assert opened(_make(SimulatedAttester(str(tmp_path / "foreign")))) == "chain-root"


def test_other_code_is_refused_although_it_may_seal(ours, theirs, opened):
    """The host's own code, on the same hardware, seals with the same key service."""
    data = _make(SimulatedAttester(str(theirs)), SimulatedSealer(str(ours)))
    assert opened(data, SimulatedSealer(str(ours))) == "bundle-foreign"


class Recording(MemorySealer):
    """Remembers that it was asked to unwrap."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def unwrap(self, wrapped, context):
        self.asked += 1
        return super().unwrap(wrapped, context)


def test_sealer_is_asked_for_what_is_authentic_and_ours_only(tmp_path, ours, theirs, opened):
    """A key service that unwraps for a forged bundle has told the host that it would."""
    attester, sealer = SimulatedAttester(str(ours)), Recording()
    simulated.create(tmp_path / "foreign", [tmp_path / "ours" / "app.bin"])
    data, other = _make(attester), _make(attester)
    ends = [4 + int.from_bytes(made[:4], "big") for made in (data, other)]
    forged = {
        "bundle-unattested": data[: ends[0]] + other[ends[1] :],
        "bundle-foreign": _make(SimulatedAttester(str(theirs))),
        "chain-root": _make(SimulatedAttester(str(tmp_path / "foreign"))),
    }
    assert {opened(made, sealer) for made in forged.values()} == set(forged)
    assert sealer.asked == 0
    assert opened(data, sealer) == CONTENTS
    assert sealer.asked == 1


def _between(sealed, own):
    """Open a bundle sealed under some measurements with others; contents, or the error's code."""
    try:
        return bundle.open_(
            _make(Forged(sealed)), sealer=MemorySealer(), trust_root=Forged.trust_root, own=own
        )
    except errors.SealError as error:
        return error.code


GENUINE = forge.content()["pcrs"]
SOME, OTHER = bytes([7]) * measurements.SIZE, bytes([8]) * measurements.SIZE


@pytest.mark.parametrize("index", [0, 1, 2, 8, 16, 31])
def test_each_pcr_that_names_code_counts(index):
    sealed = {**GENUINE, index: SOME}
    assert _between(sealed, sealed) == CONTENTS
    assert _between(sealed, GENUINE) == "bundle-foreign"
    assert _between(GENUINE, sealed) == "bundle-foreign"
    assert _between(sealed, {**GENUINE, index: OTHER}) == "bundle-foreign"


@pytest.mark.parametrize("index", [3, 5, 15])
def test_pcrs_that_name_the_instance_do_not_count(index):
    assert _between({**GENUINE, index: SOME}, GENUINE) == CONTENTS


# --- a PCR that is bound to the account ---


def _bound(sealed, own, bound):
    try:
        return bundle.open_(
            _make(Forged(sealed)),
            sealer=MemorySealer(),
            trust_root=Forged.trust_root,
            own=own,
            bound=bound,
        )
    except errors.SealError as error:
        return error.code


@pytest.mark.parametrize("index", [16, 17, 31])
def test_bound_pcr_does_not_count_before_it_is_bound(index):
    """The bundle was sealed with it; a new boot has no account yet that could be in it."""
    sealed = {**GENUINE, index: SOME}
    assert _bound(sealed, GENUINE, index) == CONTENTS
    assert _bound(sealed, {**GENUINE, index: OTHER}, index) == CONTENTS
    assert _bound(GENUINE, sealed, index) == CONTENTS
    assert _bound(sealed, GENUINE, None) == "bundle-foreign"


def test_every_other_pcr_counts_beside_a_bound_one():
    sealed = {**GENUINE, 17: SOME}
    for index in (0, 1, 2, 8, 16, 18, 31):
        assert _bound({**sealed, index: SOME}, GENUINE, 17) == "bundle-foreign"
        assert _bound(sealed, {**GENUINE, index: SOME}, 17) == "bundle-foreign"


@pytest.mark.parametrize("index", [0, 1, 2, 8])
def test_pcr_that_names_the_code_cannot_be_bound(index):
    assert _bound({**GENUINE, index: SOME}, GENUINE, index) == "bundle-foreign"


# --- attested by Oyster ---


@implementer(IAttester)
class Signed(Forged):
    """Documents over Oyster's key, and its signature behind them."""

    format = "oyster-signed"

    def __init__(self, pcrs=GENUINE, *, key=forge.OYSTER, signer=forge.OYSTER, nonce=b""):
        super().__init__(pcrs)
        self._public, self._signer, self._nonce = forge.oyster_key(key), signer, nonce

    def attest(self, *, user_data, public_key, nonce):
        made = forge.document(public_key=self._public, user_data=b"", pcrs=self._pcrs)
        return made + forge.oyster_signature(user_data, self._nonce, self._signer)


def _signed(data, *, own=GENUINE, format="oyster-signed", sealer=None):
    try:
        return bundle.open_(
            data,
            sealer=sealer or MemorySealer(),
            trust_root=Signed.trust_root,
            own=own,
            format=format,
        )
    except errors.Error as error:
        return error.code


STRANGER = ec.derive_private_key(7, ec.SECP256K1())


def test_bundle_that_oyster_signed():
    assert _signed(_make(Signed())) == CONTENTS
    assert _signed(_make(Signed({**GENUINE, 0: SOME}))) == "bundle-foreign"
    assert _signed(_make(Signed({**GENUINE, 16: SOME}))) == "bundle-foreign"


UNATTESTED = {
    "signed by another key": Signed(signer=STRANGER),
    "document over another key": Signed(key=STRANGER),
    "signed for a caller": Signed(nonce=bytes(16)),
}


@pytest.mark.parametrize("attester", UNATTESTED.values(), ids=UNATTESTED)
def test_bundle_that_oyster_did_not_sign(attester):
    sealer = Recording()
    assert _signed(_make(attester, sealer), sealer=sealer) == "bundle-unattested"
    assert sealer.asked == 0


def test_bundle_with_a_document_of_no_such_key():
    class Keyless(Forged):
        def attest(self, *, user_data, public_key, nonce):
            made = super().attest(user_data=user_data, public_key=public_key, nonce=nonce)
            return made + forge.oyster_signature(user_data)

    assert _signed(_make(Keyless(GENUINE))) == "bundle-unattested"


def test_mixed_bundles_of_oyster_are_refused():
    one, two = _make(Signed()), _make(Signed())
    ends = [4 + int.from_bytes(data[:4], "big") for data in (one, two)]
    assert _signed(one[: ends[0]] + two[ends[1] :]) == "bundle-unattested"


def test_bundle_of_one_format_does_not_open_under_the_other():
    assert _signed(_make(Signed()), format="aws-nitro") == "cbor-trailing"
    assert _signed(_make(Forged(GENUINE))) == "cbor-truncated"


def test_every_cut_of_a_bundle_of_oyster_is_refused():
    data = _make(Signed())
    for end in [*range(0, len(data), 97), *range(len(data) - 66, len(data))]:
        assert isinstance(_signed(data[:end]), str), end
    assert isinstance(_signed(data + b"\x00"), str)


def test_document_of_nothing_is_refused(opened):
    data = _make(BrokenAttester(b"\x84"))
    assert opened(data).startswith("cbor-")


@pytest.mark.parametrize(
    "change",
    [
        {"config_dir": 1},
        {"accounts": "https://ca.test/account/1"},
        {"accounts": [1]},
        {"config_dir": None},
        {"accounts": None},
        {"more": 1},
    ],
)
def test_content_is_checked_after_it_is_authenticated(attester, opened, monkeypatch, change):
    written = json.dumps

    def dumps(value, **options):
        known = isinstance(value, dict) and "config_dir" in value
        return written({**value, **change} if known else value, **options)

    monkeypatch.setattr(bundle.json, "dumps", dumps)
    data = _make(attester)
    assert opened(data) == "bundle-content"


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle_id": 7},
        {"bundle_id": "ab"},
        {"bundle_id": "AB" * 16},
        {"bundle_id": "../" + "a" * 29},
        {"generation": "3"},
        {"generation": 0},
        {"generation": -1},
    ],
)
def test_fields_must_be_what_they_are(attester, opened, monkeypatch, changes):
    sealed = envelope.seal

    def seal(plaintext, *, kind, fields, sealer):
        return sealed(plaintext, kind=kind, fields={**fields, **changes}, sealer=sealer)

    monkeypatch.setattr(bundle.envelope, "seal", seal)
    assert opened(_make(attester)) == "bundle-content"


@pytest.mark.parametrize("head", [b"[]", b"1", b"{", b"\xff", b"[" * 100000])
def test_what_is_said_must_be_an_object(attester, opened, monkeypatch, head):
    sealed, plain = envelope.seal, archive.pack(head, ())
    monkeypatch.setattr(
        bundle.envelope, "seal", lambda _plaintext, **options: sealed(plain, **options)
    )
    assert opened(_make(attester)) == "bundle-content"


def test_sealed_for_another_purpose_is_refused(attester, opened, monkeypatch):
    sealed = envelope.seal
    monkeypatch.setattr(
        bundle.envelope,
        "seal",
        lambda plain, **options: sealed(plain, **{**options, "kind": "key"}),
    )
    assert opened(_make(attester)) == "envelope-kind"
