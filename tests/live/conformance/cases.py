# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The generated table of cases: option table × directions × protocols × families."""

import dataclasses

from .table import BOTH, entries

# How a case's only option is written down: as a base option, or in a rule for one direction.  Each
# (option, form) has a cgroup and a policy.
BASE = "base"


@dataclasses.dataclass(frozen=True)
class Case:
    option: str
    variant: str
    direction: str
    protocol: str
    family: str
    form: str

    @property
    def name(self):
        return f"conformance/{self.option}/{self.variant}/{self.protocol}/{self.family}"

    @property
    def group(self):
        return f"{self.option.lower()}.{self.form}"


def has_stage(row, direction, protocol):
    """Whether a hook of this protocol makes the option effective in that direction."""
    return any(stage.startswith(f"{protocol}-") for stage in row["hooks"][direction])


def variants(row, entry):
    """(variant, direction, protocol, form) of a row of the option table."""
    if has_stage(row, "connect", "tcp"):
        yield "connect", "connect", "tcp", BASE
    if has_stage(row, "accept", "tcp"):
        yield "accept", "accept", "tcp", BASE
        if row["carried"]:  # without the listener's help
            yield "accept-rule", "accept", "tcp", "accept"
        if entry.old_listener:
            yield "old-listener", "accept", "tcp", BASE
    if has_stage(row, "listen", "tcp"):
        yield "listen", "listen", "tcp", "listen"
        if row["carried"]:
            yield "carried", "listen", "tcp", BASE
    if has_stage(row, "connect", "udp"):
        yield "connect", "connect", "udp", BASE
    if has_stage(row, "listen", "udp"):
        yield "listen", "listen", "udp", "listen"


def uncovered(row, cases):
    """What the option table declares and no case has a look at."""
    seen = {(case.direction, case.protocol) for case in cases}
    return [f"{row['name']}: no case for {direction}, {stage}"
            for direction, stages in row["hooks"].items() for stage in stages
            if (direction, stage.partition("-")[0]) not in seen]


def generate(options, device_index=1):
    """(cases, problems, table): a problem is a row, or a part of it, that no case covers."""
    table = entries(device_index)
    names = [row["name"] for row in options]
    problems = [f"{name} is not in the option table" for name in table if name not in names]
    cases = []
    for row in options:
        name, entry = row["name"], table.get(row["name"])
        if not entry:
            problems.append(f"{name} has no conformance case: tests/live/conformance/table.py")
            continue
        if entry.families != BOTH and not name.startswith(("IP_", "IPV6_")):
            problems.append(f"{name}: a family of IP is left out")
        families = entry.families + (("mapped",) if entry.mapped else ())
        made = []
        for variant, direction, protocol, form in variants(row, entry):
            if not entry.effects_for(direction, protocol):
                problems.append(f"{name} has no effect to look for: {direction}, {protocol}")
            made += [Case(name, variant, direction, protocol, family, form)
                     for family in families]
        problems += uncovered(row, made)
        cases += made
    return cases, problems, table
