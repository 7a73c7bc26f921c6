# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The policies on trial, a cgroup each: a mode, and a form in which the options are written down."""

import dataclasses

from .table import TABLE

# Holds for no socket of the tests, and stands above what does.
DECOY = """      - name: elsewhere
        when: { remote: [203.0.113.0/24, "2001:db8::/32"] }
        application: override
        options: { %s }
"""


@dataclasses.dataclass(frozen=True)
class Form:
    """Where a rule of this form holds: directions; what UDP sockets, of those that are `bound`,
    connected, or neither.  `at_socket`: it asks for no more than is known there."""

    condition: str = ""
    directions: tuple = ("connect", "accept", "listen")
    udp: tuple = ("connect", "bound", "send")
    at_socket: bool = False

    def holds(self, scene, direction):
        if (scene.transport == "unix") != (self.condition == "family: unix"):
            return False
        kind = scene.name.partition("/")[0]
        return direction in self.directions and (scene.transport != "udp" or kind in self.udp)


FORMS = {
    "base": Form(at_socket=True),
    "always": Form("protocol: [tcp, udp]", at_socket=True),
    "peer": Form('remote: [127.0.0.0/8, "::1"]', ("connect", "accept"), ("connect",)),
    "port": Form("remote_port: 1024-65535", ("connect", "accept"), ("connect",)),
    # Decided when the address is chosen; a UDP socket has one only if it was bound.
    "place": Form('local: [127.0.0.0/8, "::1"]', udp=("bound",)),
    "connects": Form("direction: connect", ("connect",), ("connect", "send")),
    "accepts": Form("direction: accept", ("accept",), ()),
    "listens": Form("direction: listen", ("listen",), ("bound",)),
    "unix": Form("family: unix"),
}
# Each mode, and the forms in which it is tried.  "range" has no value; "value" is a range with one.
MODES = {
    "override": ("base", "always"),
    "hold": tuple(FORMS),
    "respect": ("base", "peer", "listens", "unix"),
    "deny": ("base", "peer"),
    "range": ("base", "peer", "unix"),
    "value": ("base", "peer"),
    "unset": ("base",),       # beside `hold`
    "ungoverned": ("base",),  # held in another cgroup
}


@dataclasses.dataclass(frozen=True)
class Group:
    mode: str
    form_name: str

    @property
    def name(self):
        return f"{self.mode}.{self.form_name}"

    @property
    def form(self):
        return FORMS[self.form_name]

    @property
    def has_range(self):
        return self.mode in ("range", "value")

    @property
    def gives_nothing(self):
        return self.mode in ("unset", "ungoverned")

    def entries(self, rows):
        """Those of the options that this kernel takes and that the mode is for."""
        word = {"unset": "hold", "ungoverned": "hold", "range": "override", "value": "override"}.get(
            self.mode, self.mode)
        return {name: TABLE[name] for name, row in rows.items()
                if name in TABLE and row["supported"] and word in row["application"]
                and (row["range"] or not self.has_range)}

    def setting(self, entry):
        """What stands behind the option's name."""
        if self.mode == "unset":
            return "unset"
        if self.has_range:
            bounds = f"min: {entry.write(entry.range.least)}, max: {entry.write(entry.range.most)}"
            value = f"value: {entry.write(entry.range.within)}, " if self.mode == "value" else ""
            return f"{{ {value}{bounds} }}"
        if self.form_name == "peer":  # said at each option
            return f"{{ value: {entry.write(entry.policy)}, application: {self.mode} }}"
        return entry.write(entry.policy)

    def said(self):
        """At the policy, or at the rule."""
        if self.has_range or self.form_name == "peer":
            return ""
        return f"application: {'hold' if self.gives_nothing else self.mode}"

    def policy(self, cgroup, rows):
        entries = self.entries(rows)
        options = ", ".join(f"{name}: {self.setting(entry)}" for name, entry in entries.items())
        match = cgroup.path + ("-not" if self.mode == "ungoverned" else "")
        text = f"  - name: {self.name}\n    match: {{ cgroup: {match} }}\n"
        if not self.form.condition:
            return f"{text}    {self.said()}\n    options: {{ {options} }}\n"
        text += (f"    rules:\n      - name: only\n        when: {{ {self.form.condition} }}\n"
                 f"        {self.said()}\n        options: {{ {options} }}\n")
        if self.form_name in ("peer", "place"):
            text += DECOY % ", ".join(f"{name}: {entry.write(entry.after)}"
                                      for name, entry in entries.items() if not entry.text)
        return text


GROUPS = tuple(Group(mode, form) for mode, forms in MODES.items() for form in forms)
