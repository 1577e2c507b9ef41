# SPDX-License-Identifier: Apache-2.0
"""The store that keeps nothing says so, and never that it cannot be reached."""

import pytest
from zope.interface.verify import verifyObject

from certbot_enclave import errors
from certbot_enclave.interfaces import IStateStore
from certbot_enclave.sealing.stores.none import NoStore


def test_keeps_nothing():
    store = NoStore("")
    assert verifyObject(IStateStore, store)
    assert store.write(b"a", generation=1, replaces="") == ""
    # Nothing is there, and nothing is what this boot last saw there: no loss, and no newer bundle.
    assert (store.read(), store.version()) == (None, None)


def test_takes_no_argument():
    with pytest.raises(errors.PolicyError) as caught:
        NoStore("/mnt/host")
    assert caught.value.code == "store-argument"
