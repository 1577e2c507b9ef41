# SPDX-License-Identifier: Apache-2.0
"""Killed at any instant: the account stays, and nothing that was acknowledged is lost.

Points are reached from outside (`tests.adversary.kill_points`). After each kill the bundle in the
store opens, and the pair that the TLS server has is whole; then the same boot goes on, or all RAM
is lost and the next boot begins with the bundle.
"""

import signal
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.adversary import kill_scenes
from tests.adversary.kill_points import ALL, CERTBOT, POINTS, RUN, AtCA, AtFile, AtStore
from tests.adversary.kill_scenes import LEASE, Scene, Stage
from tests.support.ca.launcher import TestCA
from tests.support.world import killing
from tests.support.world.enclave import Enclave
from tests.support.world.localstack import IDENTITY, REGION, SECRET
from tests.support.world.process import eventually, free_port
from tests.support.world.s3_front import S3Front

GOES_ON, RESTARTS, SEALS = "goes on", "restarts", "seals and restarts"
# Two that are never in `make test`: of each sampled point, one of what may come after.
_AFTER = {"nothing": RESTARTS, "restarted": GOES_ON, "behind": GOES_ON}


def _cases():
    for point in POINTS:
        afters = [GOES_ON, RESTARTS]
        if point.victim == RUN:
            afters = [GOES_ON]  # else it is everything that ended
        elif point.scene in ("issued", "registered") and point.reach[0] != "newAccount":
            afters.append(SEALS)
        for after in afters:
            sampled = point.sample and after == _sampled(point)
            marks = [] if sampled else [pytest.mark.soak]
            group = {"nothing": None, "in S3": "localstack"}.get(point.scene, "killed")
            marks += [pytest.mark.xdist_group(group)] if group else []
            yield pytest.param(point, after, marks=marks, id=f"{point.name}, {after}")


def _sampled(point):
    if point.victim == CERTBOT or ("link" in point.name and point.scene == "issued"):
        return RESTARTS if point.victim == CERTBOT else SEALS
    return _AFTER.get(point.scene, RESTARTS if isinstance(point.reach, AtCA) else GOES_ON)


@pytest.fixture(scope="module")
def stage(world):
    """The scenes that are made once."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="killed.", dir="/dev/shm") as folder,
        TestCA(resolver=world.resolver.address, http_port=port, retry_after=0) as ca,
    ):
        place = Path(folder)
        enclave = Enclave(
            place / "enclave", ca.directory_url, ca.tls_root, world.resolver.address, port
        )
        yield Stage(enclave, ca, place / "copies")


@pytest.fixture
def front(localstack):
    """The store of the scene in S3."""
    with S3Front(localstack.url) as started:
        yield started


def _in_s3(enclave, ca, owner, localstack, front):
    bucket = localstack.bucket(f"b-{uuid.uuid4()}")
    enclave.extra |= {
        "store": f"s3://{bucket}/enclave?region={REGION}&endpoint={front.url}",
        "deploy": f"files:{enclave.state / 'tls'}",
    }
    enclave.environment |= {"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET}
    table = enclave.registered()
    owner.publish(table["records"])
    enclave.let("certonly").ok()
    held = enclave.certificate()
    # Something in RAM that is in no bundle: certbot noted it, and was killed.
    conf = enclave.config / "renewal" / "example.test.conf"
    conf.write_text(conf.read_text() + "# changed\n")

    def stored():
        found = [
            localstack.ask("s3", "GET", f"/{bucket}/enclave/{name}")
            for name in ("bundle", "bundle.previous")
        ]
        first, second = (reply.content if reply.status_code == 200 else None for reply in found)
        return first, second

    return Scene(enclave, ca, table["records"], table["account"], held, served=True, stored=stored)


@pytest.fixture
def scene(request, owner):
    """The scene of a point, as it was made."""
    name = request.node.callspec.params["point"].scene
    if name == "nothing":
        enclave, ca = (request.getfixturevalue(what) for what in ("enclave", "ca"))
        return kill_scenes.first_scene(enclave, ca, owner)
    if name == "in S3":
        needed = (request.getfixturevalue(what) for what in ("enclave", "ca"))
        more = (request.getfixturevalue(what) for what in ("localstack", "front"))
        return _in_s3(*needed, owner, *more)
    return request.getfixturevalue("stage").set(name, owner)


def _kill(scene, point, front):
    enclave, reach, command = scene.enclave.later(scene.ahead), point.reach, point.command
    if isinstance(reach, AtFile):
        name = reach.name
        if "ACCOUNT" in name and point.scene == "nothing":
            # Only then its name is known: the key is on file, and not yet used.
            scene.ca.stall("newAccount")
            killing.at_a_request(enclave, scene.command(command), scene.ca)
        if "ACCOUNT" in name:
            name = name.replace("ACCOUNT", kill_scenes.account_folder(scene))
        killing.at_a_call(
            enclave,
            scene.command(command),
            reach.call,
            enclave.state / name,
            nth=reach.nth,
            ends=(lambda code: code == 1) if point.victim == CERTBOT else _killed,
        )
        return
    passing = 0
    if isinstance(reach, AtStore):
        server = front
        front.stall(reach.method, reach.key, reach.phase)
    else:
        server, passing = scene.ca, reach.passing
        scene.ca.stall(reach.resource, reach.phase, times=passing + 1)
    killing.at_a_request(
        enclave, scene.command(command), server, passing=passing, alone=point.victim == RUN
    )


def _killed(code):
    return code == -signal.SIGKILL


def _orders(scene):
    return scene.ca.count("requests", "newOrder")


def _goes_on(scene, point):
    at_least = scene.here if scene.order(scene.here) > scene.order(scene.certificate) else b""
    at_least = at_least or scene.certificate
    scene.again(point.command)
    if point.scene == "nothing" and point.command == "register":
        return
    held = scene.check_here(
        at_least,
        evidence=point.command not in ("restore", "seal"),
        # certbot leaves a certificate alone that is not due; `run` hands it over next.
        served=point.command not in ("seal", "certbot certonly"),
    )
    if point.command in ("restore", "follow", "seal"):
        assert scene.order(held) == scene.order(at_least)
    if "renew" not in point.command:
        # And the timer does its work.
        scene.enclave.let("renew", "--force-renewal").ok()
        assert scene.order(scene.check_here(held)) > scene.order(held)


def _restarts(scene, point):
    scene.restart()
    if point.scene == "nothing":
        scene.ahead += LEASE
        scene.again(point.command)
        return
    asked = _orders(scene)
    scene.enclave.let("renew").ok()  # a timer: there is nothing due, or somebody holds the lease
    if scene.certificate:
        held = scene.check_here(scene.certificate, evidence=False)
        scene.ahead += LEASE
        scene.again("certbot renew")
        assert scene.order(scene.check_here(held)) > scene.order(held)
        assert _orders(scene) == asked + 1
    else:
        assert _orders(scene) == asked
        scene.ahead += LEASE
        scene.again("certbot certonly")
        scene.check_here(b"")


@pytest.mark.parametrize(("point", "after"), list(_cases()))
def test_killed(scene, point, after, record_property, request):
    front = request.getfixturevalue("front") if point.scene == "in S3" else None
    asked = _orders(scene)
    _kill(scene, point, front)
    record_property("killed at", point.name)
    assert _orders(scene) <= asked + 1
    scene.check_kept()
    if point.overtaken:
        scene.overtake()
    if after == SEALS:
        scene.enclave.ours("seal").ok()
        scene.check_kept()
    if after == GOES_ON:
        _goes_on(scene, point)
    else:
        _restarts(scene, point)
    scene.check_kept()
    (account,) = scene.ca.accounts()
    assert scene.enclave.said().account_uri == account["uri"]
    assert point.scene != "nothing" or account["uri"].endswith("/account/1")


def _late(enclave, ca, owner, localstack, front):
    """`seal` was killed, and the store has not heard of its bundle yet."""
    scene = _in_s3(enclave, ca, owner, localstack, front)
    front.stall("PUT", "/bundle", "late")
    program, words = scene.command("seal")
    with enclave.start(program, *words) as run:
        front.wait_stalled(60)
        run.kill()
        run.communicate()
    return scene


def _is_heard(front):
    front.release()
    assert eventually(lambda: len(front.late) == 1)
    return front.late[0]


@pytest.mark.soak
@pytest.mark.xdist_group("localstack")
def test_bundle_that_is_heard_when_the_next_one_is_there(enclave, ca, owner, localstack, front):
    scene = _late(enclave, ca, owner, localstack, front)
    scene.again("seal")
    sealed = scene.stored()
    assert _is_heard(front) == 412
    assert scene.stored() == sealed
    scene.again("run renew")
    scene.check_here(scene.certificate)


@pytest.mark.soak
@pytest.mark.xdist_group("localstack")
def test_bundle_that_is_heard_after_the_next_boot_has_begun(enclave, ca, owner, localstack, front):
    scene = _late(enclave, ca, owner, localstack, front)
    scene.restart()
    scene.again("restore")
    assert _is_heard(front) == 200
    scene.again("run renew")
    assert scene.order(scene.check_here(scene.certificate)) == 2
    scene.check_kept()


def test_there_are_enough_points():
    assert len({point.name for point in POINTS}) == len(POINTS) >= 20
    assert {point.victim for point in POINTS} == {ALL, CERTBOT, RUN}
