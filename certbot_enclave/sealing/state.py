# SPDX-License-Identifier: Apache-2.0
"""The state of this enclave: in RAM while it runs, as a sealed bundle in the host's store."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.interfaces import IAttester, ISealer, IStateStore, Stored
from certbot_enclave.sealing import bundle, merging, replacing, tree

_MARK = "enclave/boot.json"
_LOCK = "enclave/boot.lock"
_BEGUN = "enclave/boot.begun"  # in RAM only; is there while a restore writes, or was killed


@dataclass(frozen=True)
class Mark:
    """Where this boot stands.

    Attributes:
        bundle_id: 16 random bytes, lower-case hex.
        generation: Of the bundle last written or restored; 0 before the first.
        restored_from: Generation that this boot began with; 0 if it began with nothing.
        version: What the store calls that bundle; empty before the first.
        sealed: Digest of what is in it; empty if that is not known.
        writing: SHA-256 of the next generation while it is on its way to the store, else empty.
        holder: 16 random bytes, lower-case hex: this boot of this enclave, in the ledger.
    """

    bundle_id: str
    generation: int
    restored_from: int
    version: str = ""
    sealed: str = ""
    writing: str = ""
    holder: str = ""


def _digest(accounts: Iterable[str], entries: Iterable[tree.Entry]) -> str:
    about = json.dumps(sorted(accounts)) + tree.digest(entries)
    return hashlib.sha256(about.encode()).hexdigest()


def _begun(contents: bundle.Contents, version: str, *, restored_from: int, holder: str) -> Mark:
    return Mark(
        contents.bundle_id,
        contents.generation,
        restored_from,
        version,
        _digest(contents.accounts, contents.entries),
        holder=holder,
    )


def _require_newer(contents: bundle.Contents, mark: Mark) -> None:
    if contents.bundle_id != mark.bundle_id:
        raise errors.SealError(
            f"the store holds bundle {contents.bundle_id}, this enclave goes on from "
            f"{mark.bundle_id}",
            code="bundle-other",
            hint="two enclaves began alone, or the host swapped the store; "
            "start this enclave anew to go on from what is there",
        )
    if contents.generation <= mark.generation:
        raise errors.SealError(
            f"the store holds generation {contents.generation}, this enclave has seen "
            f"{mark.generation}",
            code="bundle-older",
            hint="the host brought back an older bundle; what is in RAM stays in use",
        )


class State:
    """Restores from the store once a boot, and seals to it whenever something matters.

    Args:
        config_dir: certbot's config directory, absolute.
        store: Where the host keeps the bundle.
        sealer: Wraps its key.
        attester: Vouches for it.
        beside: URL of a directory whose accounts may stand beside an expected one; empty for none.
    """

    def __init__(
        self,
        config_dir: Path,
        *,
        store: IStateStore,
        sealer: ISealer,
        attester: IAttester,
        beside: str = "",
    ) -> None:
        self.config_dir = config_dir
        self._store = store
        self._sealer = sealer
        self._attester = attester
        self._beside = "/".join([*beside.split("/")[:3], ""]) if beside else None
        # Lives in RAM only, so its absence means that this boot has restored nothing yet.
        self._path = config_dir / _MARK

    def mark(self) -> Mark | None:
        """Return where this boot stands, or None before `restore`."""
        try:
            mark = Mark(**json.loads(self._path.read_text(encoding="utf-8")))
            # As strict as a bundle: what `save` makes of it must open again at the next boot.
            if not (
                [type(value) for value in vars(mark).values()]
                == [str, int, int, str, str, str, str]
                and bundle.ID.fullmatch(mark.bundle_id)
                and bundle.ID.fullmatch(mark.holder)
                and 0 <= mark.restored_from <= mark.generation
            ):
                raise TypeError("a member has the wrong type")
            return mark
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise errors.SealError(
                f"{self._path} is damaged: {error}", code="state-damaged"
            ) from error

    @property
    def holder(self) -> str:
        """This boot, as the ledger names it.

        Raises:
            SealError: The state was not restored yet (``state-unrestored``).
        """
        return self.restored().holder

    def _write_mark(self, mark: Mark) -> None:
        data = json.dumps(vars(mark), sort_keys=True).encode()
        tree.restore(self.config_dir, [tree.File(_MARK, 0o600, data)])

    def restore(
        self, own: Mapping[int, bytes], *, expected_account: str = "", bound: int | None = None
    ) -> Mark:
        """Bring back what an earlier boot sealed, unless this boot has done so.

        Args:
            own: This enclave's measurements.
            expected_account: If not empty, the only account URI that a bundle may hold, but for
                those beside.
            bound: As in `bundle.open_`.

        Raises:
            FormatError, VerificationError, SealError: There is a bundle, and it is damaged, forged,
                foreign, sealed for another directory, or holds another account. Nothing is written.
            TransportError: The store or the sealer cannot be reached.
        """
        mark = self.mark()
        if mark is not None:
            return mark
        stored = self._store.read()
        contents = self._open(stored, own, expected_account, bound) if stored else None
        with self._alone():
            # Another command of this boot may have been faster, and certbot be at work already.
            mark = self.mark()
            if mark is not None:
                return mark
            holder = os.urandom(16).hex()
            mark = Mark(os.urandom(16).hex(), 0, 0, holder=holder)
            if stored is not None and contents is not None:
                self._bring_back(contents)
                mark = _begun(
                    contents,
                    stored.version,
                    restored_from=contents.generation,
                    holder=holder,
                )
            self._write_mark(mark)
            (self.config_dir / _BEGUN).unlink(missing_ok=True)
            return mark

    def _bring_back(self, contents: bundle.Contents) -> None:
        """Write everything, into an empty directory or over what a killed restore left there."""
        begun = self.config_dir / _BEGUN
        if begun.exists():
            # Another enclave may have sealed since: what is here is then that of an older bundle.
            replacing.replace(self.config_dir, tree.collect(self.config_dir), contents.entries)
            return
        self._refuse_overwrite(contents)
        tree.restore(self.config_dir, [tree.File(_BEGUN, 0o600, b"")])
        tree.restore(self.config_dir, contents.entries)

    def _open(
        self, stored: Stored, own: Mapping[int, bytes], expected_account: str, bound: int | None
    ) -> bundle.Contents:
        contents = bundle.open_(
            stored.data,
            sealer=self._sealer,
            trust_root=self._attester.trust_root,
            format=self._attester.format,
            own=own,
            bound=bound,
        )
        if contents.config_dir != os.fspath(self.config_dir):
            raise errors.SealError(
                f"the bundle belongs to {contents.config_dir}, not to {self.config_dir}",
                code="bundle-directory",
                hint=f"use --config-dir {contents.config_dir}",
            )
        foreign = [
            uri
            for uri in contents.accounts
            if expected_account not in ("", uri)
            and (self._beside is None or not uri.startswith(self._beside))
        ]
        if foreign:
            raise errors.SealError(
                f"the bundle holds account {foreign[0]}, the settings expect {expected_account}",
                code="bundle-account",
            )
        return contents

    def behind(self) -> bool:
        """Return whether the store may hold something else than this boot last saw there; cheap.

        Raises:
            SealError: This boot has restored nothing yet (``state-unrestored``).
            TransportError, FormatError: As `IStateStore.version`.
        """
        return (self._store.version() or "") != self.restored().version

    def refresh(
        self, own: Mapping[int, bytes], *, expected_account: str = "", bound: int | None = None
    ) -> Mark:
        """Take what another enclave of the same image has sealed since; go forward only.

        Whoever calls keeps certbot out meanwhile. The mark is written last, so that one that was
        killed is repeated, and nothing is sealed before: the store refuses what does not follow.

        Args:
            own: This enclave's measurements.
            expected_account: As in `restore`.
            bound: As in `bundle.open_`.

        Returns:
            Where this boot stands now. If something of ours stayed that is in no bundle yet, the
            next `save` seals it.

        Raises:
            SealError: As `restore`, and: this boot has restored nothing yet (``state-unrestored``);
                the store holds nothing any more (``bundle-missing``), a bundle of another origin
                (``bundle-other``), none that is newer (``bundle-older``), or one with another
                account (``bundle-account``). Everything in RAM stays as it is.
            FormatError, VerificationError, TransportError: As `restore`.
        """
        self.restored()
        with self._alone():
            mark = self._settled(self.restored())
            stored = self._store.read()
            if (stored.version if stored else "") == mark.version:
                self._write_mark(mark)
                return mark
            if stored is None:
                raise errors.SealError(
                    f"the store held generation {mark.generation}, and now it holds nothing",
                    code="bundle-missing",
                    hint="the host withholds or lost the bundle; what is in RAM stays in use",
                )
            contents = self._open(stored, own, expected_account, bound)
            present = tree.collect(self.config_dir)
            if mark.generation == 0 and all(isinstance(entry, tree.Folder) for entry in present):
                # Nothing was ever here, as before `restore`: another enclave was the first.
                after = _begun(
                    contents,
                    stored.version,
                    restored_from=contents.generation,
                    holder=mark.holder,
                )
                wanted = contents.entries
            else:
                _require_newer(contents, mark)
                after = _begun(
                    contents,
                    stored.version,
                    restored_from=mark.restored_from,
                    holder=mark.holder,
                )
                held = merging.accounts(present).values()
                unsealed = _digest({*held}, present) != mark.sealed
                wanted = merging.merge(present, contents.entries, unsealed=unsealed)
            replacing.replace(self.config_dir, present, wanted)
            self._write_mark(after)
            return after

    def restored(self) -> Mark:
        """Return where this boot stands.

        Raises:
            SealError: It has restored nothing yet (``state-unrestored``), or as `mark`.
        """
        mark = self.mark()
        if mark is None:
            raise errors.SealError(
                "state must be restored before it is sealed", code="state-unrestored"
            )
        return mark

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other commands of this boot from the state; a kill ends it."""
        tree.restore(self.config_dir, [tree.Folder("enclave", 0o700)])
        with tree.opened_lock(self.config_dir / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _refuse_overwrite(self, contents: bundle.Contents) -> None:
        # What a restore that was killed left behind is the bundle's own.
        present = (
            entry for entry in tree.collect(self.config_dir) if not isinstance(entry, tree.Folder)
        )
        if not set(present) <= set(contents.entries):
            raise errors.SealError(
                f"{self.config_dir} already holds accounts, but this boot has not restored them",
                code="state-conflict",
                hint="start with an empty config directory, or with an empty store",
            )

    def save(
        self,
        accounts: Iterable[str],
        public_key: bytes,
        *,
        names: Mapping[str, str] | None = None,
    ) -> Mark:
        """Seal what is in RAM now, if anything that matters is not in the store yet.

        Args:
            accounts: Account URIs that the keys inside belong to.
            public_key: Account key, DER SubjectPublicKeyInfo.
            names: As in `bundle.make`.

        Raises:
            SealError, EnclaveError: From sealer or attester; this boot has restored nothing yet
                (``state-unrestored``); another enclave wrote to the store in between
                (``store-conflict``).
            TransportError: Store or sealer cannot be reached.
        """
        self.restored()
        with self._alone():
            return self._save(self._settled(self.restored()), accounts, public_key, names)

    def _save(
        self,
        mark: Mark,
        accounts: Iterable[str],
        public_key: bytes,
        names: Mapping[str, str] | None,
    ) -> Mark:
        accounts, entries = tuple(sorted(accounts)), tree.collect(self.config_dir)
        sealed = _digest(accounts, entries)
        if sealed == mark.sealed:
            return mark
        after = replace(mark, generation=mark.generation + 1, sealed=sealed)
        data = bundle.make(
            bundle.Contents(
                mark.bundle_id, after.generation, os.fspath(self.config_dir), accounts, entries
            ),
            sealer=self._sealer,
            attester=self._attester,
            public_key=public_key,
            names=names,
        )
        # If nobody hears whether it arrived, the next run finds out by this.
        self._write_mark(replace(mark, writing=hashlib.sha256(data).hexdigest()))
        version = self._store.write(data, generation=after.generation, replaces=mark.version)
        after = replace(after, version=version)
        self._write_mark(after)
        return after

    def _settled(self, mark: Mark) -> Mark:
        """Find out whether a write that was interrupted had arrived."""
        if not mark.writing:
            return mark
        stored = self._store.read()
        if stored is None or hashlib.sha256(stored.data).hexdigest() != mark.writing:
            return replace(mark, writing="")
        return replace(
            mark, generation=mark.generation + 1, version=stored.version, sealed="", writing=""
        )
