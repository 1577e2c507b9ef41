# SPDX-License-Identifier: Apache-2.0
"""``make demo``: an enclave gets a certificate that its host cannot get, step by step."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from certbot_enclave.attestation import measurements
from tests.support.ca.launcher import TestCA
from tests.support.world.dns import DnsWorld
from tests.support.world.enclave import Enclave, Outcome
from tests.support.world.host import Host
from tests.support.world.nginx import Nginx
from tests.support.world.process import eventually, free_port, program

DOMAIN = "example.test"
_NOISE = re.compile(
    r"^(- )+-$|donat|Donat|If you like|^\s*$|NEXT STEPS|renewal-setup|community\.le|^Hint: "
    r"|debug log"
)

POLICY = """\
# Written by the domain owner. The digests were computed from the image files.
[measurements.app-v1]
{pcrs}
# This demonstration's CA is not one of the public ones.
[directories."{server}"]
account_prefix = "{prefix}"
issuers = ["ca.test"]

# What weakens the claim, and values that are not the defaults, each accepted by name.
[accept]
conditions = ["issuer-not-enforcing:ca.test"]

[accept.settings]
resolver = ["{resolver}"]
ca_roots = "{roots}"
allow_issuer = ["ca.test"]
deploy = "files:{deploy}"
deploy_check = "{check}"
deploy_reload = "{reload}"
"""


class Unexpected(Exception):
    """The story did not go as told."""


def tell(text: str) -> None:
    """Print a paragraph."""
    print()
    print(textwrap.fill(" ".join(text.split()), 96))


def show(outcome: Outcome, *, code: int, say: str | None = None, lines: int = 12) -> Outcome:
    """Print a command as it was run and what it said; fail if it ended otherwise than told."""
    state = STATE
    words = [word.replace(str(state), "$DEMO") for word in outcome.command]
    shown = " ".join(f"'{word}'" if re.search(r"[ ;]", word) else word for word in words)
    print(
        textwrap.fill(
            f"$ {shown}",
            96,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
    kept = [line for line in outcome.text.splitlines() if not _NOISE.search(line)]
    for line in kept[:lines]:
        print(f"  | {line.replace(str(state), '$DEMO')[:150]}")
    print(f"  (exit code {outcome.code})")
    if outcome.code != code or (say is not None and say not in outcome.text):
        raise Unexpected(f"expected exit code {code} and {say!r}:\n{outcome.text}")
    return outcome


def run(*command: str) -> Outcome:
    """Run a program of the system."""
    done = subprocess.run(
        [program(command[0]), *command[1:]], capture_output=True, text=True, timeout=60
    )
    return Outcome(command, done.returncode, done.stdout, done.stderr)


def story(state: Path) -> None:
    """Tell it."""
    port = free_port()
    tell(
        """Starting, all on loopback: Knot signs the zone example.test under a root of its own,
        Unbound validates, a CA enforces CAA as Let's Encrypt's Boulder does, nginx is the
        enclave's TLS server. The enclave is SIMULATED; everything that talks to it is real."""
    )
    with (
        DnsWorld(state / "dns") as world,
        TestCA(resolver=world.resolver.address, http_port=port) as ca,
        TestCA(
            resolver=world.resolver.address, http_port=port, issuer_name="other-ca.test"
        ) as other,
    ):
        deploy = state / "enclave" / "tls"
        enclave = Enclave(
            state / "enclave", ca.directory_url, ca.tls_root, world.resolver.address, port
        )
        with Nginx(state / "nginx", deploy=deploy, name=DOMAIN, evidence=enclave.evidence) as nginx:
            enclave.extra |= {
                "deploy": f"files:{deploy}",
                "deploy-check": nginx.check,
                "deploy-reload": nginx.reload,
            }
            acts(state, world, ca, other, enclave, nginx, port)


def acts(
    state: Path,
    world: DnsWorld,
    ca: TestCA,
    other: TestCA,
    enclave: Enclave,
    nginx: Nginx,
    port: int,
) -> None:
    """Play the seven steps."""
    tell("1. The enclave makes an account key inside, registers it, and prints what to publish.")
    show(enclave.register(), code=0, say="accounturi=")
    account = enclave.registered()["account"]
    enclave.terse = True  # the settings were saved with the account

    tell(
        """2. certbot asks for a certificate. The CA would give it; but so it would to anybody,
        since the zone has no CAA records. So the account key refuses to sign the order."""
    )
    show(enclave.issue(), code=1, say="the gate is closed")
    if ca.count("requests", "newOrder"):
        raise Unexpected("the CA saw an order")

    tell(
        """3. The domain owner does not trust the operator. She computes the measurements from the
        image files, writes them into a policy, and checks the enclave's evidence against it."""
    )
    pcrs = measurements.of_files(enclave.image, None, [])
    policy = state / "owner-policy.toml"
    policy.write_text(
        POLICY.format(
            pcrs="\n".join(f'PCR{index} = "{digest.hex()}"' for index, digest in pcrs.items()),
            server=ca.directory_url,
            prefix=ca.directory_url.removesuffix("directory") + "account/",
            resolver=world.resolver.address,
            roots=ca.tls_root,
            deploy=state / "enclave" / "tls",
            check=nginx.check,
            reload=nginx.reload,
        )
    )
    verify = ["verify", str(enclave.evidence), "--domain", DOMAIN, "--policy", str(policy)]
    verify += ["--trust-root", str(enclave.simulator / "root.pem")]
    checked = show(enclave.run("certbot-enclave", *verify, "--caa"), code=0, say="proved", lines=20)
    records = [line for line in checked.out.splitlines() if " IN CAA " in line]
    tell("   It holds. She publishes exactly these records in her signed zone:")
    script = state / "publish.nsupdate"
    updates = "".join(f"update add {record}\n" for record in records)
    script.write_text(f"server 127.0.0.1 {world.port}\nzone {DOMAIN}\n{updates}send\n")
    show(run("knsupdate", "-k", str(world.key_file), str(script)), code=0)

    tell("4. Now nobody but this account can get a certificate, and the same command succeeds.")
    show(enclave.issue("--installer=enclave"), code=0, say="Successfully received certificate")
    tell("   nginx serves it, and curl checks plain TLS, as any browser would:")
    url = f"https://{DOMAIN}:{nginx.port}/"
    resolve = f"{DOMAIN}:{nginx.port}:127.0.0.1"
    curl = ["--silent", "--show-error", "--cacert", str(ca.issuer_root), "--resolve", resolve]
    # nginx reloads after it has taken the signal; until then it serves the certificate before, and
    # for a moment old and new workers take turns. So the first good answer is the one to show.
    answers: list[Outcome] = []

    def served() -> bool:
        answers.append(run("curl", *curl, url))
        return answers[-1].code == 0

    eventually(served)
    show(answers[-1], code=0, say="hello from the enclave")

    tell(
        """5. The host controls the enclave's whole network path. It answers http-01 for the name
        perfectly, with stock certbot and an account of its own. At our CA, accounturi stops it:"""
    )
    host = Host(state / "host", port)
    show(host.issue(ca), code=1, say="CAA")
    tell("   At another CA, the issuer name stops it:")
    show(host.issue(other), code=1, say="CAA")
    tell("   It plants that account of its own where the enclave's should be; the plugin refuses:")
    accounts = enclave.config / "accounts"
    shutil.copytree(accounts, state / "kept")
    shutil.rmtree(accounts)
    shutil.copytree(host.accounts, accounts)
    show(enclave.issue("--force-renewal"), code=1, say="was not made by this enclave")
    shutil.rmtree(accounts)
    shutil.copytree(state / "kept", accounts)
    tell("   It takes the CA's place and sends orders to itself; the enclave notices:")
    ca.change(overrides={"newOrder": "https://host.test/order"})
    show(enclave.issue("--force-renewal"), code=1, say="sends newOrder to")
    ca.change(overrides={})
    if ca.count("events", "certificates_issued") != 1:
        raise Unexpected("the CA issued to somebody else")
    if other.count("events", "certificates_issued") != 0:
        raise Unexpected("the other CA issued")

    tell(
        """6. The operator ships another image: one byte differs. It may register an account and
        make evidence, but its measurements are not those that the owner accepted."""
    )
    image = enclave.image.read_bytes().replace(b"version 1", b"version 2")
    changed = enclave.sibling("changed", image, shared=("root.key", "root.pem"))
    changed.register().ok()
    verify[1] = str(changed.evidence)
    show(enclave.run("certbot-enclave", *verify), code=1, say="PCR0 is")

    tell("7. The certificate is renewed, as a timer would do it. The account URI stays the same.")
    show(enclave.renew(), code=0, say="all renewals succeeded")
    again = enclave.registered()
    if again["account"] != account or again["new"]:
        raise Unexpected(f"account was {account}, is {again['account']}")
    tell(f"   Account before and after: {account}")


def main() -> int:
    """Run the demonstration in a directory of its own, and remove it."""
    global STATE
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="certbot-enclave-demo.", dir="/dev/shm") as folder:
        STATE = Path(folder)
        tempfile.tempdir = folder
        try:
            story(STATE)
        except Unexpected as error:
            print(f"\nthe demonstration failed: {error}", file=sys.stderr)
            return 1
    tell(
        f"""Done in {time.monotonic() - started:.0f} seconds; nothing is left running. What you
        saw is held by tests: make test."""
    )
    return 0


STATE = Path()

if __name__ == "__main__":
    sys.exit(main())
