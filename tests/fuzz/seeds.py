# SPDX-License-Identifier: Apache-2.0
"""What is signed in the inputs, in ``tests/fuzz/seeds/``.

`tests.support` draws new keys whenever it is imported, and fuzzing needs the same bytes each time:
so they were made once, by ``python -m tests.fuzz.seeds``.

===============  ==================================================================
document-long    a document whose payload is a map of indefinite length
document-old     the same with definite length, as before 2025-08
document-short   one whose leaf stands right below the root; the same root in all
eif-signer       a certificate in PEM
eif-message      the COSE_Sign1 by its key about the image `tests.support.eif.UNSIGNED`
===============  ==================================================================
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "seeds"


def read(name: str) -> bytes:
    """Return one of them."""
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text(encoding="ascii"))


def make() -> dict[str, bytes]:
    """Make all of them anew."""
    from certbot_enclave.attestation import cbor
    from certbot_enclave.attestation.simulated import sign
    from tests.support import eif, forge
    from tests.support.forge import CHAIN, GENUINE

    key = CHAIN.keys[-1]
    leaf = forge.certificate(GENUINE["leaf"], key, GENUINE["root"].name, CHAIN.keys[0])
    short = forge.Chain((CHAIN.root, leaf), (CHAIN.keys[0], key))
    signer = eif.signer()
    answered: dict[str, Any] = {"user_data": bytes(64), "nonce": b"n" * 20}
    return {
        "document-long": forge.document(**answered),
        "document-old": sign(cbor.dumps(forge.content(public_key=b"")), key),
        "document-short": forge.document(short, **answered),
        "eif-signer": signer.pem,
        "eif-message": eif.message(signer, eif.payload(eif.pcrs()[0])),
    }


if __name__ == "__main__":
    for name, data in make().items():
        text = "\n".join(textwrap.wrap(data.hex(), 96)) + "\n"
        (FOLDER / f"{name}.hex").write_text(text, encoding="ascii")
