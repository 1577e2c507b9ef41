# SPDX-License-Identifier: Apache-2.0
"""The chain of credentials: what comes first, who may be asked, and what is never shown."""

from datetime import datetime

import pytest

from certbot_enclave import errors
from certbot_enclave.aws.credentials import CONTAINER, IMDS, Chain
from certbot_enclave.aws.exchange import Reply
from tests.support.world.kms import ACCESS_ID, SECRET, TOKEN
from tests.support.world.metadata import ROLE, ROLES, Metadata

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
IN_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_SESSION_TOKEN": "env-token",
}


def _never(*args, **kwargs):
    raise AssertionError("asked somebody")


@pytest.fixture
def metadata():
    with Metadata("2027-01-15T14:00:00Z") as running:
        yield running


def _imds(metadata, **more):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url, **more}


def _container(metadata, **more):
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata.url}/container?id=1", **more}


def _refused(environ, kind=errors.TransportError, now=NOW):
    with pytest.raises(kind) as caught:
        Chain(environ, lambda: now).get()
    # Whatever went wrong: no secret is shown, not by a cause either.
    assert not {SECRET, TOKEN, "env-secret"} & set(str(caught.value).split())
    assert caught.value.__cause__ is None
    return caught.value


def test_environment_comes_first(metadata):
    environ = {**_imds(metadata), **_container(metadata), **IN_ENVIRONMENT}
    found = Chain(environ, lambda: NOW, _never).get()
    assert (found.access_id, found.secret, found.token) == tuple(IN_ENVIRONMENT.values())
    assert found.expires is None


def test_session_token_may_be_missing():
    environ = {**IN_ENVIRONMENT, "AWS_SESSION_TOKEN": ""}
    assert Chain(environ, lambda: NOW, _never).get().token == ""


@pytest.mark.parametrize(
    "other",
    [
        {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_ACCESS_KEY_ID": "two words"},
        {"AWS_SECRET_ACCESS_KEY": "a\nb"},
        {"AWS_SESSION_TOKEN": "env-token\r\nX: y"},
    ],
)
def test_half_or_malformed_credentials_in_the_environment(other):
    refused = _refused({**IN_ENVIRONMENT, **other})
    assert (refused.code, "the environment" in str(refused)) == ("aws-credentials", True)


def test_container_comes_before_the_instance(metadata):
    token = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic dGVzdA=="}
    found = Chain({**_imds(metadata), **_container(metadata, **token)}, lambda: NOW).get()
    assert (found.access_id, found.secret, found.token) == (ACCESS_ID, SECRET, TOKEN)
    assert metadata.asked == ["GET /container?id=1"]
    assert metadata.headers["authorization"] == "Basic dGVzdA=="


def test_no_token_no_authorization(metadata):
    Chain(_container(metadata), lambda: NOW).get()
    assert "authorization" not in metadata.headers


def test_container_token_that_is_no_header_field(metadata):
    environ = _container(metadata, AWS_CONTAINER_AUTHORIZATION_TOKEN="a\r\nX: y")
    assert _refused(environ).code == "aws-credentials"
    assert metadata.asked == []


def test_instance_role_by_imdsv2(metadata):
    found = Chain(_imds(metadata), lambda: NOW).get()
    assert (found.access_id, found.secret, found.token) == (ACCESS_ID, SECRET, TOKEN)
    assert found.expires == datetime.fromisoformat("2027-01-15T14:00:00Z").timestamp()
    assert metadata.asked == [
        "PUT /latest/api/token",
        f"GET {ROLES}",
        f"GET {ROLES}{ROLE}",
    ]


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, f"{IMDS}/latest/api/token"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}, f"{CONTAINER}/v2/x"),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/full",
            },
            f"{CONTAINER}/v2/x",
        ),
        *(
            ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}, url)
            for url in (
                "http://127.0.0.1:8080/get",
                "http://[::1]/get",
                "http://169.254.170.2/get",
                "http://169.254.170.23/v1/credentials",
                "http://[fd00:ec2::23]/v1/credentials",
                "https://credentials.example/get",
            )
        ),
        (
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[fd00:ec2::254]/"},
            "http://[fd00:ec2::254]/latest/api/token",
        ),
    ],
)
def test_who_is_asked(environ, url):
    asked = []

    def send(method, url, **_):
        asked.append(url)
        return Reply(404, b"")

    with pytest.raises(errors.TransportError, match="answer 404"):
        Chain(environ, lambda: NOW, send).get()
    assert asked == [url]


@pytest.mark.parametrize(
    "name", ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
)
@pytest.mark.parametrize(
    "url",
    [
        "http://credentials.example/",
        "http://localhost/",  # whose address a resolver would say
        "http://10.0.0.1/",
        "http://169.254.1.1/",
        "http://127.0.0.1@evil.example/",
        "http://[::1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https:///get",
        "127.0.0.1",
        "https://ü.example/",
        "http://127.0.0.1/\n",
    ],
)
def test_strangers_are_not_asked(name, url):
    with pytest.raises(errors.PolicyError) as caught:
        Chain({name: url}, lambda: NOW, _never).get()
    assert caught.value.code == "aws-credentials-url"
    assert str(caught.value).startswith(f"{name} names no https URL")


def test_each_service_has_its_own_addresses():
    for name, url in (
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.169.254/"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.170.2/"),
    ):
        with pytest.raises(errors.PolicyError):
            Chain({name: url}, lambda: NOW, _never).get()


def test_instance_that_may_not_be_asked(metadata):
    refused = _refused(_imds(metadata, AWS_EC2_METADATA_DISABLED="True"))
    assert (refused.code, metadata.asked) == ("aws-credentials", [])


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("PUT /latest/api/token", (403, b""), "answer 403"),
        ("PUT /latest/api/token", (302, b"http://127.0.0.1:1/"), "answer 302"),
        ("PUT /latest/api/token", (200, b""), "malformed token"),
        ("PUT /latest/api/token", (200, b"a\r\nb"), "malformed token"),
        (f"GET {ROLES}", (404, b""), "answer 404"),
        (f"GET {ROLES}", (200, b""), "no role"),
        (f"GET {ROLES}", (200, b"one\ntwo"), "no role, or more than one"),
        (f"GET {ROLES}", (200, b"../../user-data"), "no role"),
        (f"GET {ROLES}{ROLE}", (500, b""), "answer 500"),
        (f"GET {ROLES}{ROLE}", (200, b"{"), "malformed reply"),
        (f"GET {ROLES}{ROLE}", (200, b"[]"), "malformed reply"),
        (f"GET {ROLES}{ROLE}", (200, b"[" * 60000), "malformed reply"),
        (f"GET {ROLES}{ROLE}", (200, b"\xff"), "malformed reply"),
    ],
)
def test_metadata_service_that_fails(metadata, path, answer, words):
    metadata.answers[path] = answer
    refused = _refused(_imds(metadata))
    assert (refused.code, words in str(refused)) == ("aws-credentials", True)


@pytest.mark.parametrize(
    "other",
    [
        {"Code": "AssumeRoleUnauthorizedAccess"},
        {"Expiration": "soon"},
        {"Expiration": None},
        {"Expiration": "2027-01-15T14:00:00"},
        {"AccessKeyId": ""},
        {"AccessKeyId": 1},
        {"SecretAccessKey": None},
        {"Token": ["x"]},
        {"Token": "a b"},
    ],
)
def test_reply_without_good_credentials(metadata, other):
    metadata.members.update(other)
    assert _refused(_container(metadata)).code == "aws-credentials"


def test_container_reply_has_no_code(metadata):
    del metadata.members["Code"]
    assert Chain(_container(metadata), lambda: NOW).get().access_id == ACCESS_ID


def test_nobody_answers():
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/?secret"}
    refused = _refused(environ)
    assert refused.code == "aws-unreachable"
    assert "secret" not in str(refused)


def test_kept_until_shortly_before_they_expire(metadata):
    now = [NOW]
    chain = Chain(_imds(metadata), lambda: now[0])
    first = chain.get()
    now[0] = first.expires - 301
    assert chain.get() is first
    metadata.members["Expiration"] = "2027-01-15T20:00:00Z"
    now[0] = first.expires - 300
    assert chain.get().expires > first.expires
    assert len(metadata.asked) == 6


def test_forgotten_ones_are_fetched_again(metadata):
    chain = Chain(_container(metadata), lambda: NOW)
    chain.get()
    chain.forget()
    chain.get()
    assert len(metadata.asked) == 2


def test_repr_shows_no_secret(metadata):
    shown = repr(Chain(_container(metadata), lambda: NOW).get())
    assert ACCESS_ID in shown
    assert SECRET not in shown
    assert TOKEN not in shown
