# SPDX-License-Identifier: Apache-2.0
"""What a statement says is accepted by its CA, by default, or by name, and by nothing else."""

from datetime import timedelta

import pytest

from certbot_enclave import errors, settings, verification
from certbot_enclave.policy import Authority
from tests.support import forge
from tests.support.forge import CHAIN, NOW, POLICY, STATEMENT

ASKED = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}


def _verify(policy=POLICY, *, domain="example.com", **said):
    evidence = forge.evidence(**said)
    return verification.verify(evidence, policy, **{**ASKED, "domain": domain})


def _refused(policy=POLICY, *, domain="example.com", **said):
    with pytest.raises(errors.StatementError) as caught:
        _verify(policy, domain=domain, **said)
    return caught.value


# --- 17: what is told of the domain ---

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("word", "since", "told"),
    [
        ("exclusive", NOW, "exclusive at 2026-03-04T12:00:00Z, since 2026-03-04T12:00:00Z"),
        ("exclusive", NOW - HOUR, "exclusive at 2026-03-04T12:00:00Z, since 2026-03-04T11:00:00Z"),
        # The time is still to come when the enclave looked, however late somebody reads it.
        (
            *("exclusive", NOW + HOUR),
            "exclusive at 2026-03-04T12:00:00Z, not before 2026-03-04T13:00:00Z",
        ),
        ("exclusive", None, "exclusive at 2026-03-04T12:00:00Z, it does not say since when"),
        (
            *("pinned, zone unsigned", NOW - HOUR),
            "pinned, zone unsigned at 2026-03-04T12:00:00Z, since 2026-03-04T11:00:00Z",
        ),
        # What does not hold holds since never.
        ("open", None, "open at 2026-03-04T12:00:00Z"),
        ("open", NOW - HOUR, "open at 2026-03-04T12:00:00Z"),
    ],
)
def test_no_verdict_is_told_without_since_when_it_holds(word, since, told):
    (domain,) = STATEMENT.domains
    evidence = forge.evidence(domains=(domain._replace(verdict=word, since=since),))
    for late in (timedelta(), 2 * HOUR):
        lines = []
        verification.verify(evidence, POLICY, **{**ASKED, "now": NOW + late}, progress=lines.append)
        assert lines[-1] == f"statement is about example.com: {told}"


# --- 13: the CA ---

LIVE = "https://acme-v02.api.letsencrypt.org"
STAGING = "https://acme-staging-v02.api.letsencrypt.org"
OWN = Authority(
    "https://ca.example/directory",
    "https://ca.example/account/",
    frozenset({"ca.example", "other.example"}),
)
SAID_STAGING = {"directory": f"{STAGING}/directory", "account_uri": f"{STAGING}/acme/acct/1"}
SAID_OWN = {
    "directory": "https://ca.example/directory",
    "account_uri": "https://ca.example/account/1",
    "caa_identities": ("ca.example",),
}

FOREIGN = {
    "directory of nobody": ({"directory": "https://ca.example/directory"}, "directory-unknown"),
    "directory nearly": ({"directory": f"{LIVE}/directory/"}, "directory-unknown"),
    "directory with a port": ({"directory": f"{LIVE}:443/directory"}, "directory-unknown"),
    "directory of staging": (SAID_STAGING, "directory-staging"),
    "account of another CA": (
        {"account_uri": "https://ca.example/acme/acct/1"},
        "account-foreign",
    ),
    "account of the staging CA": ({"account_uri": f"{STAGING}/acme/acct/1"}, "account-foreign"),
    "account elsewhere at the CA": ({"account_uri": f"{LIVE}/acme/order/1"}, "account-foreign"),
    "host that begins alike": (
        {"account_uri": "https://acme-v02.api.letsencrypt.org.example/acme/acct/1"},
        "account-foreign",
    ),
    "no identity": ({"caa_identities": ()}, "caa-identity"),
    "identity of another": ({"caa_identities": ("ca.example",)}, "caa-identity"),
    "identity of another too": (
        {"caa_identities": ("ca.example", "letsencrypt.org")},
        "caa-identity",
    ),
}


@pytest.mark.parametrize(("said", "code"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_to_the_ca(said, code):
    assert _refused(**said).code == code


def test_staging_only_when_asked_for():
    asked = POLICY._replace(staging=True)
    assert _verify(asked, **SAID_STAGING).statement.directory == f"{STAGING}/directory"
    assert _verify(asked)
    assert _refused(asked, **{**SAID_STAGING, "account_uri": f"{LIVE}/acme/acct/1"}).code == (
        "account-foreign"
    )


def test_ca_that_the_policy_names():
    named = POLICY._replace(authorities=(OWN,))
    assert _verify(named, **SAID_OWN)
    assert _verify(named, **{**SAID_OWN, "caa_identities": ("ca.example", "other.example")})
    assert _verify(named)
    letsencrypt = {**SAID_OWN, "caa_identities": ("letsencrypt.org",)}
    assert _refused(named, **letsencrypt).code == "caa-identity"
    abroad = {**SAID_OWN, "account_uri": f"{LIVE}/acme/acct/1"}
    assert _refused(named, **abroad).code == "account-foreign"


def test_error_names_the_identities():
    said = {"caa_identities": ("ca.example", "letsencrypt.org")}
    assert str(_refused(**said)) == (
        "CAA identities are ca.example, letsencrypt.org, expected letsencrypt.org"
    )
    assert "CAA identities are none, expected" in str(_refused(caa_identities=()))


# --- 14: conditions ---


def test_each_condition_is_accepted_by_its_name_only():
    two = {"conditions": ("alias-zone:cdn.example", "zone-unsigned")}
    assert _verify(POLICY._replace(conditions=frozenset(two["conditions"])), **two)
    one = POLICY._replace(conditions=frozenset({"zone-unsigned"}))
    assert "alias-zone:cdn.example" in str(_refused(one, **two))
    other = POLICY._replace(conditions=frozenset({"alias-zone:other.example", "zone-unsigned"}))
    assert _refused(other, **two).code == "condition"
    unknown = _refused(conditions=("something-new",))
    assert (unknown.code, "something-new" in unknown.hint) == ("condition", True)


def test_named_root_accepts_the_condition_simulated_and_no_other():
    assert _verify(conditions=("simulated",)).simulated
    assert _refused(conditions=("simulated", "zone-unsigned")).code == "condition"
    assert _refused(conditions=("simulated-too",)).code == "condition"


# --- 15: sealing ---

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1"
AWS = {"sealing_scheme": "awskms", "sealing_key": ARN}
SEALING = {
    "nothing named": (set(), False),
    "scheme": ({"awskms"}, False),
    "scheme and key": ({f"awskms:{ARN}"}, True),
    "one of several": ({"oysterkms", f"awskms:{ARN}"}, True),
    "another scheme": ({"oysterkms"}, False),
    "another key": ({f"awskms:{ARN}0"}, False),
    "beginning of the key": ({f"awskms:{ARN[:-1]}"}, False),
    "key alone": ({ARN}, False),
    "simulated": ({"simulated"}, False),
}


@pytest.mark.parametrize(("accepted", "holds"), SEALING.values(), ids=SEALING)
def test_a_key_of_aws_is_accepted_in_full_only(accepted, holds):
    policy = POLICY._replace(sealing=frozenset(accepted))
    if holds:
        assert _verify(policy, **AWS).statement.sealing_scheme == "awskms"
    else:
        refused = _refused(policy, **AWS)
        assert (refused.code, f'"awskms:{ARN}"' in refused.hint) == ("sealing", True)


@pytest.mark.parametrize(
    ("accepted", "holds"), [(set(), False), ({"third"}, True), ({"third:k"}, True), ({"k"}, False)]
)
def test_a_sealing_that_nobody_here_knows_has_to_be_named(accepted, holds):
    policy = POLICY._replace(sealing=frozenset(accepted))
    said = {"sealing_scheme": "third", "sealing_key": "k"}
    if holds:
        assert _verify(policy, **said).statement.sealing_key == "k"
    else:
        assert _refused(policy, **said).code == "sealing"


def test_error_names_the_sealing():
    policy = POLICY._replace(sealing=frozenset({"b", "a"}))
    assert str(_refused(policy, **AWS)) == f"state is sealed by awskms {ARN}, accepted: a, b"
    assert str(_refused(**AWS)) == f"state is sealed by awskms {ARN}, accepted: oysterkms:image"


def test_simulated_sealing_goes_with_a_simulated_enclave():
    simulated = {"sealing_scheme": "simulated", "sealing_key": "simulated"}
    assert _verify(**simulated)
    assert _refused(POLICY._replace(sealing=frozenset({"awskms"})), **simulated).code == "sealing"


OYSTER = {
    "image": ("image", set(), True),
    "image, by scheme": ("image", {"oysterkms"}, True),
    "image, in full": ("image", {"oysterkms:image"}, True),
    "image, but contract is named": ("image", {"oysterkms:contract"}, False),
    "contract": ("contract", set(), False),
    "contract, by scheme": ("contract", {"oysterkms"}, False),
    "contract, but image is named": ("contract", {"oysterkms:image"}, False),
    "contract, in full": ("contract", {"awskms", "oysterkms:contract"}, True),
    "elsewhere": ("127.0.0.1:1102", {"oysterkms"}, False),
    "elsewhere, in full": ("127.0.0.1:1102", {"oysterkms:127.0.0.1:1102"}, True),
    "mock": ("mock", {"oysterkms"}, False),
}


@pytest.mark.parametrize(("key", "accepted", "holds"), OYSTER.values(), ids=OYSTER)
def test_oysters_key_that_is_not_the_images_is_accepted_in_full_only(key, accepted, holds):
    policy = POLICY._replace(sealing=frozenset(accepted))
    said = {"sealing_scheme": "oysterkms", "sealing_key": key}
    if holds:
        assert _verify(policy, **said).statement.sealing_key == key
    else:
        refused = _refused(policy, **said)
        assert (refused.code, f'"oysterkms:{key}"' in refused.hint) == ("sealing", True)


# --- 16: settings ---

ELSEWHERE = (
    "attester",
    "sealer",
    "store",
    "server",
    "domains",
    "account",
    "caa_issuer",
    "challenge",
)
WEAKER = {
    "account_key": "derived",
    "resolver": ("127.0.0.1:53",),
    "resolver_roots": "/run/roots.pem",
    "ca_roots": "/run/roots.pem",
    "allow_unsigned_zone": True,
    "allow_covering_wildcard": True,
    "allow_alias_zone": ("cdn.example",),
    "allow_issuer": ("ca.test",),
    "allow_disk": True,
    "aws_endpoint": "https://kms.example",
    "deploy": "files:/run/tls",
    "deploy_check": "nginx -t",
    "deploy_reload": "nginx -s reload",
    "hooks": ("/bin/true",),
    "something_new": "on",
    "budget": "none",
    "wait_for_caa": "30m",
    "staging_rehearsal": "https://ca.example/staging",
}


def test_table_covers_every_setting():
    # bind_pcr is judged against the document (test_verification_pcr.py).
    judged = {*WEAKER, *ELSEWHERE, "bind_pcr", "evidence"}
    assert judged == {*settings.BY_NAME, "something_new"}


def test_defaults_are_accepted():
    said = {item.name: item.default for item in settings.TABLE}
    assert _verify(settings=said).statement.settings == said


def test_what_other_checks_judge_is_not_judged_by_name():
    said = dict.fromkeys((*ELSEWHERE, "evidence"), "anything")
    assert _verify(settings=said)


@pytest.mark.parametrize("name", WEAKER)
def test_every_other_value_is_accepted_by_name_only(name):
    said = {name: WEAKER[name]}
    refused = _refused(settings=said)
    assert (refused.code, name in str(refused), name in refused.hint) == ("setting", True, True)
    assert _verify(POLICY._replace(settings=said), settings=said)
    other = POLICY._replace(settings={name: "another value"})
    assert _refused(other, settings=said).code == "setting"


def test_accepted_value_does_not_refuse_the_default():
    policy = POLICY._replace(settings={"allow_disk": True})
    assert _verify(policy, settings={"allow_disk": False})
    assert _verify(policy, settings={})


def test_order_of_a_list_counts():
    policy = POLICY._replace(settings={"hooks": ("/bin/a", "/bin/b")})
    assert _refused(policy, settings={"hooks": ("/bin/b", "/bin/a")}).code == "setting"


# --- 17: the domain ---


def test_error_names_the_domains():
    two = tuple(STATEMENT.domains[0]._replace(name=name) for name in ("a.example", "b.example"))
    refused = _refused(domains=two)
    assert str(refused) == "statement is about a.example, b.example, expected example.com"
    assert str(_refused(domains=())) == "statement is about none, expected example.com"


def test_domain_is_found_among_several():
    more = tuple(
        STATEMENT.domains[0]._replace(name=name, verdict=verdict)
        for name, verdict in (
            ("a.example", "open"),
            ("example.com", "pinned, zone unsigned"),
            ("www.example.com", "exclusive"),
        )
    )
    assert _verify(domains=more).domain == more[1]
    assert _verify(domain="a.example", domains=more).domain.verdict == "open"


@pytest.mark.parametrize("name", ["com", "ample.com", "www.example.com", "*.example.com", ""])
def test_other_domain_is_refused(name):
    refused = _refused(domain=name)
    assert (refused.code, refused.expected) == ("domain", name)
