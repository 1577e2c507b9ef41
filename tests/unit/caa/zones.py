# SPDX-License-Identifier: Apache-2.0
"""Zones of the test data (schema caa-vectors/1), looked up as a resolver would."""

from certbot_enclave.caa.grammar import Record


def records(entry):
    """Return the record set, or None if the answer cannot be read."""
    found = []
    for item in entry.get("caa", ()):
        rdata = bytes.fromhex(item["rdata"])
        size = rdata[1] if len(rdata) > 1 else 0
        if len(rdata) > 1 and 2 + size > len(rdata):
            return None
        found.append(Record(rdata[0] if rdata else 0, rdata[2 : 2 + size], rdata[2 + size :]))
    return found


def look(zone, name, depth=0):
    """Return the record set of a name, aliases followed, or None if the lookup fails."""
    entry = zone.get(name, {})
    code = entry.get("rcode")
    if code == "NXDOMAIN" and "." in name:
        return []
    if code is not None or depth > 8:
        return None
    if "cname" in entry:
        return look(zone, entry["cname"].rstrip("."), depth + 1)
    above = name
    while name not in zone and "." in above:
        above = above.partition(".")[2]
        if "dname" in zone.get(above, {}):
            target = name.removesuffix(above) + zone[above]["dname"].rstrip(".")
            return look(zone, target, depth + 1)
    return records(entry)


def climb(case):
    """Return the relevant record set of a case's identifier, or None if a lookup fails."""
    name = case["identifier"].lower().rstrip(".")
    labels = name.removeprefix("*.").split(".")
    found = []
    for start in range(len(labels)):
        found = look(case["zone"], ".".join(labels[start:]))
        if found is None or found:
            break
    return found
