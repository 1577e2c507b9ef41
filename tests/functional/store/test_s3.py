# SPDX-License-Identifier: Apache-2.0
"""The S3 store on LocalStack."""

import threading
import time
import uuid

import pytest

from certbot_enclave import errors
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.interfaces import Stored
from certbot_enclave.sealing.stores.s3 import S3Store
from tests.support.world.localstack import IDENTITY, REGION, SECRET

pytestmark = pytest.mark.xdist_group("localstack")


@pytest.fixture
def bucket(localstack):
    return localstack.bucket(f"b-{uuid.uuid4()}")


@pytest.fixture
def store(localstack, bucket):
    def make(bucket=bucket):
        return S3Store(
            f"//{bucket}/a/b.c_d?region={REGION}&endpoint={localstack.url}",
            Chain({"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET}, time.time),
        )

    return make


def _kept(localstack, bucket, name):
    return localstack.ask("s3", "GET", f"/{bucket}/a/b.c_d/{name}").content


def test_nothing_stored_then_generations_and_the_one_before(localstack, bucket, store):
    assert (store().read(), store().version()) == (None, None)
    first = store().write(b"one", generation=1, replaces="")
    assert store().read() == Stored(b"one", first)
    assert b"NoSuchKey" in _kept(localstack, bucket, "bundle.previous")
    second = store().write(b"two" * 1_000_000, generation=2, replaces=first)
    assert store().read() == Stored(b"two" * 1_000_000, second)
    assert store().version() == second
    assert _kept(localstack, bucket, "bundle.previous") == b"one"
    store().write(b"three", generation=3, replaces=second)
    assert _kept(localstack, bucket, "bundle.previous") == b"two" * 1_000_000
    assert _kept(localstack, bucket, "bundle") == b"three"


def test_what_somebody_else_wrote_is_not_overwritten(localstack, bucket, store):
    first = store().write(b"one", generation=1, replaces="")
    second = store().write(b"two", generation=2, replaces=first)
    for replaces in ("", first):
        with pytest.raises(errors.SealError, match="another bundle than generation 2") as caught:
            store().write(b"other", generation=3, replaces=replaces)
        assert caught.value.code == "store-conflict"
    assert store().read() == Stored(b"two", second)
    assert _kept(localstack, bucket, "bundle.previous") == b"one"
    localstack.ask("s3", "DELETE", f"/{bucket}/a/b.c_d/bundle").raise_for_status()
    with pytest.raises(errors.SealError) as caught:
        store().write(b"three", generation=3, replaces=second)
    assert caught.value.code == "store-conflict"


@pytest.mark.parametrize("there", [False, True])
def test_of_many_that_write_at_once_one_wins(store, there):
    replaces = store().write(b"zero", generation=1, replaces="") if there else ""
    start, said = threading.Barrier(8), []

    def write(number):
        start.wait()
        try:
            said.append(store().write(b"%d" % number, generation=2, replaces=replaces))
        except errors.SealError as error:
            said.append(error.code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(said), said.count("store-conflict")) == (8, 7)
    assert store().read().version in said


def test_bucket_that_is_not_there_is_no_empty_store(store):
    missing = store(f"b-{uuid.uuid4()}")
    for call in (missing.read, lambda: missing.write(b"one", generation=1, replaces="")):
        with pytest.raises(errors.TransportError) as caught:
            call()
        assert caught.value.code == "store-bucket"
