# SPDX-License-Identifier: Apache-2.0
"""A resolver for tests of the climb and the verdict."""

from certbot_enclave.caa.lookup import Answer


class Told:
    """A resolver that answers from a table of record sets, or of fields of an answer."""

    def __init__(self, table, label="one", **common):
        self.label = label
        self.table = table
        self.common = {"authenticated": True, **common}
        self.asked = []

    def ask(self, name):
        self.asked.append(name)
        entry = self.table.get(name, {})
        fields = entry if isinstance(entry, dict) else {"records": tuple(entry)}
        return Answer(name, self.label, **{**self.common, **fields})
