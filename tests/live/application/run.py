# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the table of who has the last word: one agent, a cgroup and a process for each policy.

A case is a policy, the life of a socket and a way to set options.  Its sockets live that life several
times, and an ungoverned one beside them: the application sets all options at some steps of it, or none.
"""

import contextlib
import dataclasses

from harness import lacks
from harness.result import Failure, Skip

from .groups import GROUPS
from .model import UNKNOWN, Option, Seen
from .scenes import SCENES, Place
from .table import TABLE

FILE = "application.yaml"
# Those that are lived once more in each of the other ways.
OTHER_WAYS = ("connect/tcp/ipv4", "accept/tcp/ipv4", "connect/udp/ipv4", "send/udp/ipv4", "other/raw/ipv4",
              "connect/mptcp/ipv4", "connect/unix/unix")
BY_GROUP = {"nobody": ("override.base", "hold.base", "hold.peer", "hold.unix", "respect.base", "deny.base",
                       "range.base"),
            "uring": ("override.base", "hold.base", "respect.base", "deny.base", "range.base")}
# On a connection getsockopt(2) shows the segment size in use, which it is too late to change.
SETTLED = {"TCP_MAXSEG": ("connect", "accept")}
NOT_ON = {"mptcp": ("SO_RCVLOWAT", "TCP_NOTSENT_LOWAT")}  # the kernel refuses it there, or takes it off
FAMILIES = {"IP_TOS": ("ipv4", "mapped"), "IPV6_TCLASS": ("ipv6",), "IPV6_AUTOFLOWLABEL": ("ipv6",)}


@dataclasses.dataclass(frozen=True)
class Case:
    group: object
    scene: object
    way: str

    @property
    def name(self):
        return f"application/{self.group.name.replace('.', '/')}/{self.scene.name}/{self.way}"


def in_place(group, scene):
    """Whether the policy has anything to do with such a socket."""
    if scene.transport == "unix":
        return group.form_name == "unix"
    if group.form_name == "unix":
        return False
    if scene.name.endswith("mptcp/ipv4") and group.form_name not in ("base", "peer", "connects", "accepts"):
        return False  # to look at subflows takes long
    return group.form_name == "base" or bool(scene.moments)


def generate():
    cases = []
    for group in GROUPS:
        for scene in SCENES:
            if in_place(group, scene):
                cases += [Case(group, scene, way) for way in ("call", "nobody", "uring")
                          if way == "call" or (scene.name in OTHER_WAYS and group.name in BY_GROUP[way])]
    return cases


def variants(group, scene):
    """{step: which value the application sets there}, a life each."""
    if group.has_range:
        return ({"given": "high"}, {"new": "low", "given": "within"}, {"new": "high", "given": "low"},
                *([{"listening": "low", "given": "high"}] if "listening" in scene.moments else []))
    return ({"given": "after"}, {"new": "before", "given": "after"},
            *([{"listening": "before", "given": "after"}] if "listening" in scene.moments else []))


def value_of(entry, which):
    return getattr(entry.range, which) if which in ("low", "within", "high") else getattr(entry, which)


class Application:
    def __init__(self, sandbox, options, cases):
        self.sandbox, self.cases = sandbox, cases
        self.rows = {row["name"]: row for row in options}
        self.cgroup = sandbox.cgroup.child("application")
        self.workers = {}
        self.controls = {}  # {(scene, way, variant, options): what an ungoverned socket shows}

    def policies(self):
        return "policies:\n" + "".join(group.policy(self.cgroup.child(group.name), self.rows)
                                       for group in self.groups())

    def groups(self):
        return dict.fromkeys(case.group for case in self.cases)

    def run(self, report):
        worker, peer = (self.sandbox.worker(self.cgroup.child(name)) for name in ("free", "peer"))
        free = worker, peer
        agent = self.sandbox.agent("application")
        with agent:
            agent.write(FILE, self.policies())
            for case in self.cases:  # what is there while no agent runs
                for variant in variants(case.group, case.scene):
                    with contextlib.suppress(Skip):
                        self.control(case, free, case.group.entries(self.rows), variant)
            agent.start()
            for group in self.groups():
                self.workers[group] = self.sandbox.worker(self.cgroup.child(group.name))
            for case in self.cases:
                report.run(case.name, lambda case=case: self.run_case(case, free))
            agent.stop()

    def live(self, case, worker, peer, entries, variant):
        """{step: {option: Seen}}"""
        seen = {}
        _, _, family = case.scene.name.split("/")
        looks = [entry.look() for entry in entries.values()]
        with Place(self.sandbox, worker, peer, family, case.scene.protocol) as place:
            for step, subject in case.scene.play(place):
                def look(subject=subject):
                    return [entry.read(data) for entry, data in
                            zip(entries.values(), subject.get_all(looks))]

                at = seen[step] = {name: Seen(value) for name, value in zip(entries, look())}
                if step not in variant:
                    continue
                values = [value_of(entry, variant[step]) for entry in entries.values()]
                errors = subject.set_all(case.way, [
                    (entry.level, entry.optname, entry.encode(value))
                    for entry, value in zip(entries.values(), values)])
                for one, error, value, left in zip(at.values(), errors, values, look()):
                    one.error, one.value, one.left = error, value, left
        return seen

    def control(self, case, free, entries, variant):
        key = case.scene.name, case.way, tuple(variant.items()), tuple(entries)
        if key not in self.controls:
            self.controls[key] = self.live(case, *free, entries, variant)
        return self.controls[key]

    def run_case(self, case, free):
        if case.scene.transport == "unix":
            lacks.need_unix_hooks()
        entries = case.group.entries(self.rows)
        wrong = []
        for variant in variants(case.group, case.scene):
            control = self.control(case, free, entries, variant)
            if case.way == "uring" and all(one.error in UNKNOWN for step in control.values()
                                           for one in step.values() if one.error is not None):
                raise Skip("this kernel's io_uring has no setsockopt")
            seen = self.live(case, self.workers[case.group], free[1], entries, variant)
            for name in entries:
                wrong += self.compare(case, name, variant, control, seen)
        if wrong:
            raise Failure(case.name, "as sockpol.policy(5) has it",
                          "".join(f"\n      {line}" for line in wrong))

    def compare(self, case, name, variant, control, seen):
        _, transport, family = case.scene.name.split("/")
        if family not in FAMILIES.get(name, (family,)) or name in NOT_ON.get(transport, ()):
            return
        if name == "SO_PRIORITY" and case.group.mode == "deny" and (
                "new" in variant or not case.scene.moments or family == "ipv6"):
            return  # IP_TOS, which is the application's there, takes it along
        model = Option(case.group, name, self.rows[name], TABLE[name], case.scene)
        for step in control:
            its, mine = control[step][name], seen[step][name]
            if its.error in UNKNOWN or isinstance(its.arrived, int) and its.arrived < 0:
                return  # no such option on such a socket
            expected = model.expect(step, its)
            if transport == "mptcp" and TABLE[name].doubled and model.own is None \
                    and expected.arrived == its.arrived:
                expected.arrived = None  # a buffer that grows by itself, sooner or later
            settled = step == "given" and case.scene.moments and (
                case.scene.moments[step][0] in SETTLED.get(name, ()))
            what = f"{name}, the application sets {variant}, {step}:"
            for field in ("arrived", "error", "left"):
                must, is_ = getattr(expected, field), getattr(mine, field)
                if must is not None and must != is_ and not (settled and field != "error"):
                    yield f"{what} {WORDS[field]} is {is_}, must be {must}"


WORDS = {"arrived": "the value that it comes with", "error": "errno of setsockopt", "left": "the value then"}

