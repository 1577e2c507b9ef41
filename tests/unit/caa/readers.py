# SPDX-License-Identifier: Apache-2.0
"""What every form says, read back independently: {(name, TTL): sorted RDATA}.

Where a form's own software is a package, it reads it (dnspython, OctoDNS, an HCL parser); servers
do so in tests/functional/caa/test_emit_servers.py. The rest is taken apart by the form's rules.
"""

import json
import re
import shlex

import dns.name
import dns.rdata
import dns.rdatatype
import dns.wire
import dns.zone
import hcl2
from octodns.provider.yaml import YamlProvider  # type: ignore[import-untyped]
from octodns.zone import Zone  # type: ignore[import-untyped]

ZONE = "example.com"
HEAD = "@ 1 IN SOA a b 1 1 1 1 1\n@ 1 IN NS a\n"


def _fields(flags, tag, value):
    assert type(flags) is int
    return bytes([flags, len(tag)]) + tag.encode("ascii") + value.encode("ascii")


def _text(text):
    return dns.rdata.from_text("IN", "CAA", text).to_wire()


def _sets(rows):
    """Collect rows of name, TTL and RDATA; a set with two TTLs would be two here."""
    found = {}
    for name, ttl, rdata in rows:
        assert type(ttl) is int
        found.setdefault((name, ttl), []).append(rdata)
    return {key: sorted(rdatas) for key, rdatas in found.items()}


def _below(name):
    return f"{name}.{ZONE}" if name else ZONE


def _rooted(name):
    assert name.endswith(".")
    return name[:-1]


def zone(text, _folder):
    read = dns.zone.from_text(HEAD + text + "\n", origin=ZONE, relativize=False)
    return _sets(
        (name.to_text(omit_final_dot=True), rdataset.ttl, item.to_wire())
        for name, rdataset in read.iterate_rdatasets(dns.rdatatype.CAA)
        for item in rdataset
    )


def nsupdate(text, _folder):
    *lines, last = text.splitlines()
    assert last == "send"
    assert lines.pop(0) == f"zone {ZONE}."
    rows, emptied = [], []
    for line in lines:
        if delete := re.fullmatch(r"update delete (\S+)\. CAA", line):
            emptied.append(delete[1])
            continue
        name, ttl, rdata = re.fullmatch(r"update add (\S+)\. (\d+) CAA (.+)", line).groups()
        assert emptied[-1] == name
        rows.append((name, int(ttl), _text(rdata)))
    assert len(set(emptied)) == len(emptied)
    return _sets(rows)


def route53(text, _folder):
    table = json.loads(text)
    assert table.keys() == {"Changes"}
    rows = []
    for change in table["Changes"]:
        assert change.keys() == {"Action", "ResourceRecordSet"}
        assert change["Action"] == "UPSERT"
        found = change["ResourceRecordSet"]
        assert found.keys() == {"Name", "Type", "TTL", "ResourceRecords"}
        assert found["Type"] == "CAA"
        for record in found["ResourceRecords"]:
            assert record.keys() == {"Value"}
            rows.append((_rooted(found["Name"]), found["TTL"], _text(record["Value"])))
    return _sets(rows)


def _words(line, start):
    words = shlex.split(line)
    assert words[: len(start)] == start
    return words[len(start) :]


def gcloud(text, _folder):
    rows = []
    for line in text.splitlines():
        name, *options = _words(line, ["gcloud", "dns", "record-sets", "create"])
        given = dict(option.split("=", 1) for option in options)
        assert given.keys() == {"--zone", "--type", "--ttl", "--rrdatas"}
        assert (given["--zone"], given["--type"]) == ("$MANAGED_ZONE", "CAA")
        sign, data = ",", given["--rrdatas"]
        if other := re.match(r"\^(.)\^", data):  # gcloud topic escaping
            sign, data = other[1], data[3:]
        rows += [(_rooted(name), int(given["--ttl"]), _text(item)) for item in data.split(sign)]
    return _sets(rows)


def azure(text, _folder):
    rows = []
    for line in text.splitlines():
        words = _words(line, "az network dns record-set caa add-record".split())
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert given.keys() == {"-g", "-z", "-n", "--ttl", "--flags", "--tag", "--value"}
        assert (given["-g"], given["-z"]) == ("$RESOURCE_GROUP", ZONE)
        name = "" if given["-n"] == "@" else given["-n"]
        fields = _fields(int(given["--flags"]), given["--tag"], given["--value"])
        rows.append((_below(name), int(given["--ttl"]), fields))
    return _sets(rows)


def cloudflare(text, _folder):
    table = json.loads(text)
    assert table.keys() == {"posts"}
    rows = []
    for post in table["posts"]:
        assert post.keys() == {"type", "name", "ttl", "data"}
        assert post["type"] == "CAA"
        assert post["data"].keys() == {"flags", "tag", "value"}
        rows.append((post["name"], post["ttl"], _fields(**post["data"])))
    return _sets(rows)


def desec(text, _folder):
    rows = []
    for found in json.loads(text):
        assert found.keys() == {"subname", "type", "ttl", "records"}
        assert found["type"] == "CAA"
        name = _below(found["subname"])
        rows += [(name, found["ttl"], _text(record)) for record in found["records"]]
    return _sets(rows)


def powerdns(text, _folder):
    table = json.loads(text)
    assert table.keys() == {"rrsets"}
    rows = []
    for found in table["rrsets"]:
        assert found.keys() == {"name", "type", "ttl", "changetype", "records"}
        assert (found["type"], found["changetype"]) == ("CAA", "REPLACE")
        for record in found["records"]:
            assert record["disabled"] is False
            rows.append((_rooted(found["name"]), found["ttl"], _text(record["content"])))
    return _sets(rows)


def table(text, _folder):
    rows = []
    for found in json.loads(text)["sets"]:
        assert found["type"] == "CAA"
        for record in found["records"]:
            fields = _fields(record["flags"], record["tag"], record["value"])
            assert fields.hex() == record["rdata"]
            assert _text(record["text"]) == fields
            rows.append((found["name"], found["ttl"], fields))
    return _sets(rows)


def ens(text, _folder):
    assert text.startswith("0x")
    parser = dns.wire.Parser(bytes.fromhex(text[2:]))
    rows, last = [], None
    while parser.remaining():
        name = parser.get_name()
        rdtype, rdclass, ttl, length = parser.get_struct("!HHIH")
        assert (rdtype, rdclass) == (257, 1)
        assert last == name or name not in {row[0] for row in rows}  # a set is in one piece
        last = name
        rows.append((name, ttl, parser.get_bytes(length)))
    return _sets((name.to_text(omit_final_dot=True), ttl, rdata) for name, ttl, rdata in rows)


def _hcl_text(literal):
    """Return the value of a literal; its escapes are among JSON's, and it has no template."""
    assert "${" not in literal
    assert "%{" not in literal
    return json.loads(literal)


def _resources(text, kind):
    """Give each resource's attributes; no label may come twice."""
    labels = set()
    for found in hcl2.loads(text + "\n")["resource"]:
        ((name, labelled),) = found.items()
        ((label, body),) = labelled.items()
        assert json.loads(name) == kind
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", json.loads(label))
        assert label not in labels
        labels.add(label)
        yield body


def _terraform_texts(kind, names, held, rooted):
    def read(text, _folder):
        rows = []
        for body in _resources(text, kind):
            assert body.keys() == {"name", "type", "ttl", "__is_block__", names, held}
            assert re.fullmatch(r"\$\{var\.[a-z_]+\}", body[held])
            assert _hcl_text(body["type"]) == "CAA"
            name = _hcl_text(body["name"])
            for item in body[names]:
                found = _rooted(name) if rooted else name
                rows.append((found, body["ttl"], _text(_hcl_text(item))))
        return _sets(rows)

    return read


def terraform_azurerm(text, _folder):
    rows = []
    for body in _resources(text, "azurerm_dns_caa_record"):
        name = _hcl_text(body["name"])
        assert _hcl_text(body["zone_name"]) == ZONE
        assert body["resource_group_name"] == "${var.resource_group_name}"
        for record in body["record"]:
            fields = _fields(record["flags"], _hcl_text(record["tag"]), _hcl_text(record["value"]))
            rows.append((_below("" if name == "@" else name), body["ttl"], fields))
    return _sets(rows)


def _terraform_cloudflare(kind, *, block):
    def read(text, _folder):
        rows = []
        for body in _resources(text, kind):
            assert body["zone_id"] == "${var.zone_id}"
            assert _hcl_text(body["type"]) == "CAA"
            if block:
                (data,) = body["data"]
                flags = int(_hcl_text(data["flags"]))
            else:
                data = body["data"]
                flags = data["flags"]
            fields = _fields(flags, _hcl_text(data["tag"]), _hcl_text(data["value"]))
            rows.append((_hcl_text(body["name"]), body["ttl"], fields))
        return _sets(rows)

    return read


def octodns(text, folder):
    (folder / f"{ZONE}.yaml").write_text(text + "\n")
    # Version 2 will have another default; it must not matter for CAA.
    first, second = (
        YamlProvider("test", str(folder), enforce_order=True, escaped_semicolons=escaped)
        for escaped in (True, False)
    )
    found = []
    for provider in (first, second):
        read = Zone(f"{ZONE}.", [])
        provider.populate(read, lenient=False)
        found.append(
            _sets(
                (_rooted(record.fqdn), record.ttl, _fields(value.flags, value.tag, value.value))
                for record in read.records
                for value in record.values
            )
        )
    assert found[0] == found[1]
    return found[0]


_STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*)"'
_CAA = re.compile(
    rf"  CAA\({_STRING}, {_STRING}, {_STRING}, (CAA_CRITICAL, )?TTL\(([0-9]+)\)\)(,?)\n"
)


def dnscontrol(text, _folder):
    rows, rest = [], text + "\n"
    while rest:
        opening = re.match(rf"D_EXTEND\({_STRING},\n", rest)
        assert opening[1] == ZONE
        rest, more = rest[opening.end() :], ","
        while more:
            name, tag, value, critical, ttl, more = (call := _CAA.match(rest)).groups()
            rest = rest[call.end() :]
            fields = _fields(128 if critical else 0, tag, json.loads(f'"{value}"'))
            rows.append((_below("" if name == "@" else name), int(ttl), fields))
        assert rest.startswith(");\n")
        rest = rest[3:]
    return _sets(rows)


READERS = {
    "zone": zone,
    "generic": zone,
    "nsupdate": nsupdate,
    "route53": route53,
    "gcloud": gcloud,
    "azure": azure,
    "cloudflare": cloudflare,
    "terraform-aws": _terraform_texts("aws_route53_record", "records", "zone_id", rooted=False),
    "terraform-google": _terraform_texts(
        "google_dns_record_set", "rrdatas", "managed_zone", rooted=True
    ),
    "terraform-azurerm": terraform_azurerm,
    "terraform-cloudflare": _terraform_cloudflare("cloudflare_dns_record", block=False),
    "terraform-cloudflare-v4": _terraform_cloudflare("cloudflare_record", block=True),
    "octodns": octodns,
    "dnscontrol": dnscontrol,
    "desec": desec,
    "powerdns": powerdns,
    "ens": ens,
    "json": table,
}
