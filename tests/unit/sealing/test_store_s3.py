# SPDX-License-Identifier: Apache-2.0
"""The S3 store against a server that answers what it likes."""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from certbot_enclave import errors
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.interfaces import Stored
from certbot_enclave.sealing.stores import s3, s3_location
from certbot_enclave.sealing.stores.s3 import S3Store

SECRETS = ("AKIDENTITY", "very-secret", "session-token")
NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
NOW = 1_800_000_000.0
ETAG = '"0123abcd"'


class Answer:
    """A reply; `size` is the Content-Length that it claims."""

    def __init__(self, status=200, body=b"", *, size=None, **headers):
        self.status, self.body = status, body
        self.size = len(body) if size is None else size
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def _error(status, code, **headers):
    return Answer(
        status,
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b"<Error><Code>%b</Code><Message>m</Message></Error>" % code.encode(),
        **headers,
    )


class Liar:
    """Gives its answers in turn, the last one again and again, and keeps what it was asked."""

    def __init__(self):
        self.answers, self.asked, self.waited = [Answer()], [], []

    def next(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        self.asked.append(
            (handler.command, handler.path, handler.headers, handler.rfile.read(length))
        )
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def __call__(self, *answers):
        self.answers = list(answers)


@pytest.fixture
def liar():
    made = Liar()

    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            answer = made.next(self)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(answer.size), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except OSError:  # it has heard enough
                pass

        do_GET = do_HEAD = do_PUT = _any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(liar):
    return _store(liar.url, liar)


def _chain(**other):
    return Chain(dict(zip(NAMES, SECRETS, strict=True)) | other, lambda: NOW)


def _store(url, liar, credentials=None):
    return S3Store(
        f"//bucket/prefix?endpoint={url}",
        credentials or _chain(),
        clock=lambda: NOW,
        sleep=liar.waited.append,
    )


def _refused(kind, call):
    with pytest.raises(kind) as caught:
        call()
    said = f"{caught.value} {caught.value.hint}"
    assert not any(secret in said for secret in SECRETS)
    return caught.value


def _code(call, kind=errors.TransportError):
    return _refused(kind, call).code


def _first(store):
    return lambda: store.write(b"one", generation=1, replaces="")


def _next(store):
    return lambda: store.write(b"two", generation=2, replaces=ETAG)


# --- what is asked ---


def test_read_is_one_signed_request(liar, store):
    liar(Answer(200, b"bundle", ETag=ETAG))
    assert store.read() == Stored(b"bundle", ETAG)
    ((verb, path, headers, _),) = liar.asked
    assert (verb, path) == ("GET", "/bucket/prefix/bundle")
    assert "Credential=AKIDENTITY/" in headers["Authorization"]
    assert "/us-east-1/s3/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "session-token"
    assert headers["X-Amz-Date"] == "20270115T080000Z"
    assert liar.waited == []


def test_version_is_asked_for_without_the_bundle(liar, store):
    liar(Answer(200, size=30_000_000, ETag=ETAG))  # the length that GET would have, and no body
    assert store.version() == ETAG
    ((verb, path, headers, _),) = liar.asked
    assert (verb, path) == ("HEAD", "/bucket/prefix/bundle")
    assert "Credential=AKIDENTITY/" in headers["Authorization"]


def test_version_of_nothing_stored_is_told_by_reading(liar, store):
    liar(Answer(404), _error(404, "NoSuchKey"))
    assert store.version() is None
    liar(Answer(404), Answer(200, b"bundle", ETag=ETAG))
    assert store.version() == ETAG
    liar(Answer(404), _error(404, "NoSuchBucket"))
    assert _code(store.version) == "store-bucket"
    liar(Answer(403), _error(403, "AccessDenied"))
    assert _code(store.version) == "store-refused"
    assert [item[0] for item in liar.asked] == ["HEAD", "GET"] * 4


def test_first_write_is_conditional_on_nothing_there(liar, store):
    liar(Answer(200, ETag=ETAG))
    assert _first(store)() == ETAG
    ((verb, path, headers, body),) = liar.asked
    assert (verb, path, body) == ("PUT", "/bucket/prefix/bundle", b"one")
    assert (headers["If-None-Match"], headers["If-Match"]) == ("*", None)


def test_next_write_copies_and_replaces_what_was_read(liar, store):
    liar(Answer(200, b"<CopyObjectResult/>"), Answer(200, ETag='"new"'))
    assert _next(store)() == '"new"'
    copy, put = liar.asked
    assert copy[:2] == ("PUT", "/bucket/prefix/bundle.previous")
    assert copy[2]["x-amz-copy-source"] == "/bucket/prefix/bundle"
    assert copy[2]["x-amz-copy-source-if-match"] == put[2]["If-Match"] == ETAG
    assert (put[1], put[2]["If-None-Match"], put[3]) == ("/bucket/prefix/bundle", None, b"two")


# --- nothing stored, and what must not look like it ---


def test_only_a_key_that_is_missing_is_nothing_stored(liar, store):
    liar(_error(404, "NoSuchKey"))
    assert store.read() is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(404, b"NoSuchKey"),
        Answer(404, b"<Error><Message>NoSuchKey</Message></Error>"),
        _error(404, "NoSuchBucket"),
        Answer(404, b"<Error>" + b"x" * 70_000 + b"<Code>NoSuchKey</Code></Error>"),
        Answer(404, b'<!DOCTYPE a [<!ENTITY b "NoSuchKey">]><Error><Code>&b;</Code></Error>'),
    ],
)
def test_other_absences_are_errors(liar, store, answer):
    liar(answer)
    assert _code(store.read) == "store-bucket"


def test_missing_key_with_another_status_is_no_empty_store(liar, store):
    liar(_error(403, "NoSuchKey"))
    assert _code(store.read) == "store-refused"


# --- refusals ---


@pytest.mark.parametrize("make", [lambda store: store.read, _first, _next])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (_error(403, "AccessDenied"), "store-refused"),
        (_error(403, "RequestTimeTooSkewed"), "store-refused"),
        (_error(401, "Unauthorized"), "store-refused"),
        (_error(404, "NoSuchBucket"), "store-bucket"),
        (_error(507, "InsufficientStorage"), "store-full"),
        (_error(403, "QuotaExceeded"), "store-full"),
        (_error(301, "PermanentRedirect"), "store-region"),
        (Answer(307, Location="http://127.0.0.1:1/"), "store-region"),
        (_error(400, "AuthorizationHeaderMalformed"), "store-region"),
    ],
)
def test_each_refusal_has_its_code_and_is_not_tried_again(liar, store, make, answer, code):
    liar(answer)
    assert _code(make(store)) == code
    assert (len(liar.asked), liar.waited) == (1, [])


def test_refusal_of_the_write_after_the_copy_is_told(liar, store):
    liar(Answer(200, b"<CopyObjectResult/>"), _error(403, "AccessDenied"))
    assert _code(_next(store)) == "store-refused"


def test_hint_names_the_region_that_the_store_says(liar, store):
    liar(_error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"))
    assert "region=eu-west-3" in _refused(errors.TransportError, store.read).hint
    liar(_error(301, "PermanentRedirect", x_amz_bucket_region="\x1b[2J"))
    assert "\x1b" not in _refused(errors.TransportError, store.read).hint


# --- busy, away, cut short ---


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(429),
        _error(503, "SlowDown"),
        _error(400, "SlowDown"),
        Answer(200, b"half", size=9, ETag=ETAG),
        Answer(200, b"zz\r\nno chunk", ETag=ETAG, Transfer_Encoding="chunked"),
    ],
)
def test_busy_or_broken_is_tried_a_few_times(liar, store, answer):
    liar(answer, answer, Answer(200, b"bundle", ETag=ETAG))
    assert store.read().data == b"bundle"
    assert liar.waited == [0.3, 1.0]
    liar.waited.clear()
    liar(answer)
    expected = "aws-unreachable" if answer.status == 200 else "store-busy"
    assert _code(store.read) == expected
    assert liar.waited == [0.3, 1.0, 3.0]


def test_copy_that_fails_after_its_200_is_tried_again_and_not_taken_for_done(liar, store):
    failed = _error(200, "InternalError")
    liar(failed, Answer(200, b"<CopyObjectResult/>"), Answer(200, ETag='"new"'))
    assert _next(store)() == '"new"'
    liar(failed)
    assert _code(_next(store)) == "store-busy"
    liar(_error(200, "Odd"))
    assert _code(_next(store)) == "store-refused"


def test_write_that_fails_after_its_200_is_not_taken_for_done(liar, store):
    answer = _error(200, "Odd", ETag=ETAG)
    liar(answer)
    assert _code(_first(store)) == "store-refused"


def test_nobody_there(liar):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert _code(_store(url, liar).read) == "aws-unreachable"
    assert liar.waited == [0.3, 1.0, 3.0]


# --- conflicts ---


@pytest.mark.parametrize(
    "answer",
    [_error(412, "PreconditionFailed"), _error(409, "ConditionalRequestConflict")],
)
def test_lost_precondition_is_a_conflict(liar, store, answer):
    other = Answer(200, b"other", ETag='"other"')
    liar(answer, other)
    assert _code(_first(store), errors.SealError) == "store-conflict"
    liar(answer, _error(404, "NoSuchKey"))
    assert _code(_first(store), errors.SealError) == "store-conflict"
    liar(answer)
    assert _code(_next(store), errors.SealError) == "store-conflict"
    liar(_error(404, "NoSuchKey"))
    assert _code(_next(store), errors.SealError) == "store-conflict"
    liar(Answer(200), answer, other)
    assert _code(_next(store), errors.SealError) == "store-conflict"
    liar(Answer(200), _error(404, "NoSuchKey"))
    assert _code(_next(store), errors.SealError) == "store-conflict"


def test_missing_key_at_a_first_write_is_no_conflict(liar, store):
    liar(_error(404, "NoSuchKey"))
    assert _code(_first(store)) == "store-bucket"


def test_write_whose_reply_was_lost_is_found_again(liar, store):
    liar(Answer(500), _error(412, "PreconditionFailed"), Answer(200, b"one", ETag=ETAG))
    assert _first(store)() == ETAG


# --- lies ---


@pytest.mark.parametrize(
    "etag", ["", "bare", 'W/"weak"', '""', '"a"b"', '"' + "x" * 257 + '"', "*"]
)
def test_etag_that_cannot_be_a_condition_is_refused(liar, store, etag):
    liar(Answer(200, b"bundle", ETag=etag))
    assert _code(store.read) == "store-reply"
    assert _code(store.version) == "store-reply"
    assert _code(_first(store)) == "store-reply"


def test_one_etag_for_everything_loses_a_bundle_and_changes_none(liar, store):
    """Two enclaves write, both are told that they did: the first one's work is gone, as after a
    rollback. What is read is what the store has, and the bundle's own attestation judges that."""
    liar(Answer(200, ETag=ETAG))
    assert _first(store)() == ETAG
    assert _next(store)() == _next(store)() == ETAG
    liar(Answer(200, b"forged", ETag=ETAG))
    assert store.read() == Stored(b"forged", ETAG)
    liar(_error(412, "PreconditionFailed"), Answer(200, b"forged", ETag=ETAG))
    assert _code(_first(store), errors.SealError) == "store-conflict"


def test_larger_than_any_bundle(liar, store, monkeypatch):
    monkeypatch.setattr(s3, "MAX_FILE", 10)
    liar(Answer(200, b"x" * 10, ETag=ETAG))
    assert store.read().data == b"x" * 10
    liar(Answer(200, b"x" * 11, ETag=ETAG))
    assert _code(store.read, errors.FormatError) == "bundle-size"
    liar(Answer(200, b"x" * 11, size=10**15, ETag=ETAG))
    assert _code(store.read, errors.FormatError) == "bundle-size"


def test_compressed_reply_stays_compressed(liar, store):
    liar(Answer(200, b"\x1f\x8b not opened", ETag=ETAG, Content_Encoding="gzip"))
    assert store.read().data == b"\x1f\x8b not opened"


def test_huge_error_is_not_read_whole(liar, store):
    liar(Answer(403, b"x" * 200_000, size=10**15))
    assert _code(store.read) == "store-refused"


# --- credentials and the library ---


def test_credentials_come_by_the_usual_chain(liar, monkeypatch):
    for name, value in zip(NAMES, SECRETS, strict=True):
        monkeypatch.setenv(name, value)
    liar(Answer(200, b"bundle", ETag=ETAG))
    assert S3Store(f"//bucket/prefix?endpoint={liar.url}").read().data == b"bundle"
    assert f"Credential={SECRETS[0]}/" in liar.asked[0][2]["Authorization"]


def test_missing_credentials_are_not_waited_for(liar):
    store = _store(liar.url, liar, _chain(AWS_SECRET_ACCESS_KEY=""))
    assert _code(store.read) == "aws-credentials"
    assert (liar.asked, liar.waited) == ([], [])


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"])
def test_refused_credentials_are_fetched_anew(liar, code):
    class Counting(Chain):
        found = 0

        def _find(self):
            self.found += 1
            return super()._find()

    chain = Counting(dict(zip(NAMES, SECRETS, strict=True)), lambda: NOW)
    store = _store(liar.url, liar, chain)
    liar(_error(400, code), Answer(200, b"bundle", ETag=ETAG))
    assert store.read().data == b"bundle"
    assert (chain.found, liar.waited) == (2, [0.3])
    liar(_error(403, code))
    assert _code(store.read) == "store-refused"


def test_image_without_the_library_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests_aws4auth", None)
    code = _code(lambda: S3Store("//bucket/prefix?region=eu-west-1"), errors.PolicyError)
    assert code == "aws-extra-missing"


# --- where it is ---


@pytest.mark.parametrize(
    ("argument", "url"),
    [
        ("//my-b/p?region=eu-central-1", "https://my-b.s3.eu-central-1.amazonaws.com/p/bundle"),
        ("//b.c.d/p/q?region=us-east-1", "https://s3.us-east-1.amazonaws.com/b.c.d/p/q/bundle"),
        ("//buc/p?region=cn-north-1", "https://buc.s3.cn-north-1.amazonaws.com.cn/p/bundle"),
        ("//buc/p?endpoint=https://s3.test:9000/", "https://s3.test:9000/buc/p/bundle"),
        ("//buc/p?endpoint=http://[::1]:9000", "http://[::1]:9000/buc/p/bundle"),
    ],
)
def test_urls(argument, url):
    assert s3_location.parse(argument).url("bundle") == url


WRONG = [
    "",
    "bucket/prefix?region=eu-west-1",
    "x://bucket/prefix?region=eu-west-1",
    "//bucket/prefix?region=eu-west-1#f",
    "//[bucket/prefix?region=eu-west-1",
    "//bucket/prefix?region",
    "//bucket/prefix?region=eu-west-1&region=eu-west-1",
    "//bucket/prefix?region=eu-west-1&other=1",
    "//Bucket/prefix?region=eu-west-1",
    "//me@bucket/prefix?region=eu-west-1",
    "//b/prefix?region=eu-west-1",
    "//bucket?region=eu-west-1",
    "//bucket/?region=eu-west-1",
    "//bucket/prefix/?region=eu-west-1",
    "//bucket//prefix?region=eu-west-1",
    "//bucket/pre%66ix?region=eu-west-1",
    "//bucket/a/../b?region=eu-west-1",
    "//bucket/./b?region=eu-west-1",
    f"//bucket/{'p' * 901}?region=eu-west-1",
    "//bucket/prefix",
    "//bucket/prefix?region=eu.evil.test",
    "//bucket/prefix?region=",
    "//bucket/prefix?region=eu.evil.test&endpoint=https://s3.test",
    "//bucket/prefix?endpoint=http://s3.test",
    "//bucket/prefix?region=eu-middle-earth",
    "//bucket/prefix?region=us-iso-east-1",
    "//bucket/prefix?endpoint=http://localhost:9000",
    "//bucket/prefix?endpoint=ftp://127.0.0.1",
    "//bucket/prefix?endpoint=https://",
    "//bucket/prefix?endpoint=https://me:secret@s3.test",
    "//bucket/prefix?endpoint=https://s3.test/path",
    "//bucket/prefix?endpoint=https://s3.test?x",
    "//bucket/prefix?endpoint=https://s3.test:x",
]


@pytest.mark.parametrize("argument", WRONG)
def test_other_forms_are_refused(argument):
    assert _code(lambda: s3_location.parse(argument), errors.PolicyError) == "store-url"
