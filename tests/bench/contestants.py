# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who is compared: cgroups of their own for each, with what each attaches there."""

import os
import struct
import subprocess

import accounting
from eight import EIGHT, OTHER, SHOWN
from harness.flows import policies, policy
from harness.foreign import ALLOW_MULTI, BPF_PROG_ATTACH, BPF_PROG_DETACH, bpf
from harness.result import check
from intervals import shuffled

FILE = "50-bench.yaml"
LOCAL = 'remote: [127.0.0.0/8, "::1"]'
# enum bpf_attach_type, by our programs' names
HOOKS = {"sock_create": 2, "sock_ops": 3, "bind4": 8, "bind6": 9, "connect4": 10, "connect6": 11,
         "sendmsg4": 14, "sendmsg6": 15, "setsockopt": 22}
# Which end of a connection has the eight options
ENDS = {"none": (False, False), "connect": (True, False), "accept": (False, True)}

CGROUPS, POLICIES, SLICES, RULES = 10_000, 1_000, 10, 64


class Load:
    """A load.c: answers are nanoseconds of a turn."""

    FIELDS = ("cpu", "wall", "connect", "accept", "options")

    def __init__(self, setup, client, server, environment=None):
        self.process = subprocess.Popen(
            [setup.built("bench/load"), str(setup.cpu), client.directory, server.directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise OSError(f"the load ended at {words}: {self.process.wait()}")
        return line.split()

    def run(self, mode, number, application="none"):
        """{field: nanoseconds of one of them}"""
        answer = self.ask(mode, number, application)
        if len(answer) != len(self.FIELDS):
            raise OSError(f"the load failed at {mode} {number}")
        return {field: int(text) / number for field, text in zip(self.FIELDS, answer)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Setup:
    """Where things are, and the arguments."""

    def __init__(self, box, arguments):
        self.box, self.build, self.cpu = box, os.path.abspath(arguments.build), arguments.cpu
        self.policies = os.path.abspath(arguments.policies)
        self.quick = arguments.quick
        self.number = 0  # of the times that all is set up

    def built(self, name):
        return os.path.join(self.build, name)

    def in_any_order(self, items):
        """Who is set up first is some 15 % slower for it; not always the same, so."""
        return shuffled(items, self.number)

    def setups(self, number):
        """Where programs, maps and processes come to lie in memory moves a figure by some 10 %: so all
        are set up several times."""
        return 2 if self.quick else number

    def rounds(self, number):
        """At least 30 pairs, but where only a look is wanted."""
        return max(7, number // 5) if self.quick else number


class Contestant:
    """Cgroups `governed` and `free`, and who sets the options there."""

    programs = agent = None
    n_policies = 1  # that apply to `governed`
    application = preload = False

    def __init__(self, setup, name):
        self.setup, self.name = setup, name
        self.root = setup.box.cgroup.child(f"bench-{name}")
        self.governed, self.free = self.root.child("governed"), self.root.child("free")

    def load(self, end="none", other=None):
        """A process; which end of its connections this contestant gives the options.  The other
        end's cgroup is ungoverned, or, if given, `other`."""
        client, server = (self.governed if which else other or self.free for which in ENDS[end])
        environment = None
        if self.preload:
            environment = {"LD_PRELOAD": self.setup.built("bench/preload.so"),
                           "BENCH_PRELOAD": end}
        return Load(self.setup, client, server, environment)

    def word(self, end):
        """What the load's application does itself."""
        return end if self.application else "none"

    def check(self, end, governed=True, families="46"):
        """Do the sockets have what the contestant should give them?"""
        with self.load(end) as load:
            for family in families:
                seen = load.ask(f"show{family}", 1, self.word(end))
                for which, values, has in zip(("client", "accepted"), (seen[:8], seen[8:]),
                                              ENDS[end]):
                    check(f"{self.name}, {end}, IPv{family}: the eight options of the {which} "
                          f"({' '.join(values)})", has and governed, values == SHOWN)

    def check_counts(self):
        """Did all policies hold that apply, and no other?"""
        if self.agent:
            check(f"{self.name}: policies that held for sockets", self.n_policies, len(
                [one for one in self.agent.status()["policies"] if one["applied"]]))


def load_programs(setup, name):
    """A BPF object's programs; they are not attached yet."""
    pins = os.path.join(setup.box.bpffs, f"bench_{name}")
    subprocess.run(["bpftool", "prog", "loadall", setup.built(f"bench/{name}.bpf.o"), pins],
                   check=True)
    programs = []
    for hook in os.listdir(pins):
        programs.append(accounting.Program.by_pin(os.path.join(pins, hook)))
        os.unlink(os.path.join(pins, hook))
    os.rmdir(pins)
    return accounting.Programs(setup.box.stack, programs)


def change(command, programs, cgroup, flags):
    directory = os.open(cgroup.directory, os.O_RDONLY)
    try:
        for one in programs.programs:
            bpf(command, struct.pack("<IIII", directory, one.descriptor, HOOKS[one.name],
                                     flags))
    finally:
        os.close(directory)


def attach(programs, cgroup):
    """Without links: they go with the cgroup, if not before."""
    change(BPF_PROG_ATTACH, programs, cgroup, ALLOW_MULTI)


def attach_here(setup, programs, cgroup):
    """Until the end of the scope."""
    attach(programs, cgroup)
    setup.box.stack.callback(detach, programs, cgroup)


def detach(programs, cgroup):
    change(BPF_PROG_DETACH, programs, cgroup, 0)


def nothing(setup):
    return Contestant(setup, "nothing")


def empty(setup):
    """A program that does nothing at each of the agent's hooks."""
    made = Contestant(setup, "empty")
    made.programs = load_programs(setup, "empty")
    attach_here(setup, made.programs, made.root)
    return made


def by_hand(setup):
    made = Contestant(setup, "by-hand")
    made.programs = load_programs(setup, "constants")
    attach_here(setup, made.programs, made.governed)
    return made


def application(setup):
    made = Contestant(setup, "application")
    made.application = True
    return made


def preload(setup):
    made = Contestant(setup, "preload")
    made.preload = True
    return made


def start(setup, made, text):
    """An agent over the contestant's root."""
    made.agent = setup.box.agent(f"bench-{made.name}", made.root)
    made.agent.write(FILE, text)
    made.agent.start()
    made.programs = accounting.of_agent(setup.box.stack, made.agent)
    return made


def sockpol(setup):
    made = Contestant(setup, "sockpol")
    return start(setup, made, policies(policy("eight", made.governed, EIGHT)))


def several(setup, name, *more):
    """A policy with all eight, and others that set some again: from which one on, and how many."""
    made, names = Contestant(setup, name), list(EIGHT)
    start(setup, made, policies(policy("eight", made.governed, EIGHT), *(
        policy(f"more-{at}", made.governed, {key: EIGHT[key] for key in names[first:first + n]})
        for at, (first, n) in enumerate(more))))
    made.n_policies = 1 + len(more)
    return made


def two(setup):
    return several(setup, "two", (4, 4))


def five(setup):
    """SO_KEEPALIVE stays the last to be set: the kernel winds its timer again for each time after it."""
    return several(setup, "five", *((first, 2) for first in range(2, 6)))


def rule(name, when, options):
    settings = ", ".join(f"{key}: {value}" for key, value in options.items())
    return (f"      - name: {name}\n        when: {{ {when} }}\n"
            f"        options: {{ {settings} }}\n")


def eight_by_rules(cgroup, n_rules):
    """The eight options of the rule that holds; the others name the same options."""
    text = "".join(rule(f"elsewhere-{number}", f"remote: 10.{number}.0.0/16", OTHER)
                   for number in range(n_rules - 1))
    return policy("eight", cgroup, {}, f"    rules:\n{text}{rule('here', LOCAL, EIGHT)}")


def small(setup):
    """One cgroup, one policy, one rule."""
    made = Contestant(setup, "small")
    return start(setup, made, policies(eight_by_rules(made.governed, 1)))


def unit_policy(root, number):
    """For some of the many cgroups: each of a slice's units has another policy."""
    return policy(f"unit-{number}", f"{root.path}/slice-*/unit-{number}",
                  {**EIGHT, "TCP_KEEPCNT": number % 60 + 1, "SO_PRIORITY": number % 50})


def large(setup):
    """10,000 cgroups, 1,000 policies, 64 rules over the one that is looked at."""
    made = Contestant(setup, "large")
    for at in range(SLICES):
        directory = made.root.child(f"slice-{at}").directory
        for number in range(1, CGROUPS // SLICES):
            os.makedirs(f"{directory}/unit-{number}", exist_ok=True)  # from the last time
    start(setup, made, policies(*(unit_policy(made.root, number) for number in range(1, POLICIES)),
                                eight_by_rules(made.governed, RULES)))
    check("cgroups governed", CGROUPS - SLICES + 1,
          made.agent.status("--cgroups")["cgroups"]["governed"])
    return made
