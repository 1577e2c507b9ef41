# SPDX-License-Identifier: Apache-2.0
"""What docs/caa.md says of ``caa watch``: its lines, its metrics, and the files of others."""

import configparser
import re
import shlex
from datetime import UTC, datetime, timedelta

import yaml  # type: ignore[import-untyped]

from certbot_enclave import cli
from certbot_enclave.caa import assessment, drift, formats, lookup, verdict
from certbot_enclave.caa.drift import Known
from certbot_enclave.caa.grammar import Record
from certbot_enclave.cli import caa_metrics, caa_rounds
from tests.unit.caa.told import Told
from tests.unit.docs.pages import blocks_of, rows_below, text_of

PAGE = "docs/caa.md"
NOW = datetime(2026, 11, 25, 20, tzinfo=UTC)
SUBJECT = verdict.Subject(
    "letsencrypt.org", "https://acme-v02.api.letsencrypt.org/acme/acct/1", ("http-01",)
)
PAIR = formats.records_for(
    issuer=SUBJECT.issuer, methods=["http-01"], account_uri=SUBJECT.account_uri
)


def _look(records, at):
    told = Told({"example.com": records})

    def climb(name):
        return lookup.climb(name, [told])

    judged = verdict.judge_name(
        "www.example.com", SUBJECT, verdict.Tolerance(), climb, today=NOW.date()
    )
    own = climb("www.example.com")
    found = assessment.assess(judged, own, None, subject=SUBJECT, about_accounts=(), now=at)
    return drift.look(found, at)


def test_the_lines_are_those_that_are_printed():
    (block,) = (text for text in blocks_of(PAGE, "console") if "caa watch" in text)
    good = _look(PAIR, NOW)
    other = _look([*PAIR, Record(0, b"issue", b"other.test")], NOW + timedelta(minutes=5))
    known, events = drift.compare({}, [good], at=good.at)
    events += drift.compare(known, [other], at=other.at)[1]
    assert block.splitlines()[1:] == [event.text() for event in events]


def _metrics():
    """Every metric that there is, and its labels."""
    look = _look(PAIR, NOW)._replace(findings=(("no-caa", "critical"),), ttl=1)
    publisher = caa_metrics.Publisher(None)
    publisher.publish(caa_rounds.Snapshot({"a.test": Known(look, 0, NOW, 0)}))
    return {
        sample.name: set(sample.labels)
        for family in publisher.registry.collect()
        for sample in family.samples
    }


def test_every_metric_is_described_with_its_labels():
    listed = {}
    for row in rows_below(text_of(PAGE), "## Watching"):
        for name in re.findall(r"`([a-z_]+)`", row[0]):
            listed[caa_metrics.PREFIX + name] = set(re.findall(r"`([a-z_]+)`", row[1]))
    assert listed == _metrics()


def _yaml(member):
    (found,) = [
        table
        for table in (yaml.safe_load(text) for text in blocks_of(PAGE, "yaml"))
        if member in table
    ]
    return found


def test_alerts_are_rules_over_metrics_that_there_are():
    table = _yaml("groups")
    (group,) = table["groups"]
    assert table.keys() == {"groups"}
    assert group.keys() == {"name", "rules"}
    assert [rule["alert"] for rule in group["rules"]] == [
        "CaaNotExclusive",
        "CaaCouldNotTell",
        "CaaWatchStale",
    ]
    for rule in group["rules"]:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert re.fullmatch(r"[0-9]+[mh]", rule.get("for", "1m"))
        used = set(re.findall(r"[a-z_]*caa_[a-z_]+", rule["expr"]))
        assert used
        assert used <= _metrics().keys()
        assert rule["labels"]["severity"] in ("critical", "warning")
        (label,) = set(re.findall(r"\$labels\.([a-z_]+)", str(rule))) or {"name"}
        assert label in _metrics()[caa_metrics.PREFIX + "holds"]


def _words():
    """The watch that the unit starts."""
    (text,) = (text for text in blocks_of(PAGE, "ini") if "caa watch" in text)
    service = text.split("\n# /etc/systemd/system/caa-watch.timer\n")[0]
    parser = configparser.ConfigParser(comment_prefixes="#", interpolation=None)
    parser.optionxform = str
    parser.read_string(service.replace("\\\n", " "))
    assert parser["Service"]["Type"] == "oneshot"
    assert parser["Service"]["SuccessExitStatus"].split() == ["1", "3"]
    program, *words = shlex.split(parser["Service"]["ExecStart"])
    assert program.endswith("/certbot-enclave")
    return words


def test_the_unit_starts_a_single_round_and_writes_where_node_exporter_reads():
    args = cli._parser("caa").parse_args(_words())
    assert args.once
    (directory,) = re.findall(r"--collector\.textfile\.directory=(\S+)`", text_of(PAGE))
    assert args.metrics_file.startswith(f"{directory}/")
    assert args.state.startswith("/var/lib/caa-watch/")


def test_prometheus_asks_where_the_watch_listens():
    (job,) = _yaml("scrape_configs")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert f"`--metrics-listen {target}`" in text_of(PAGE)
