# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about cgroups that the cache does not know: their first connect(2) over their second, by the
kernel's accounting of connect4."""

import contextlib
import os

import accounting
from contestants import FILE, Load
from harness.cgroup import Cgroup, mount_point
from harness.flows import policies, policy
from harness.result import check
from intervals import interval, shuffled
from rows import Row

SETUPS, ROUNDS, CGROUPS = 5, 16, 60
DEEP_ROUNDS = 16
# The fresh ones are job-0-a.service and so on (load_fresh.c): one glob each matches one of them.
GLOBS = 1000


def ten_globs(root):
    for at in range(1, 10):
        yield (f"unit: svc-{at}*.service", f'cgroup: "/**/web{at}"',
               f'cgroup: "{root.path}/app{at}.slice/x/*"')[at % 3]
    yield "unit: job-*-a.service"


def units(ends="-a.service", begins="job-", number=GLOBS, first=0):
    return [f'unit: "{begins}{at}{ends}"' for at in range(first, first + number)]


def mixed(_):
    return units(ends="-*", number=GLOBS * 9 // 10) + units(begins="*-", number=GLOBS // 10,
                                                             first=GLOBS * 9 // 10)


# title: the globs of a configuration, and the most nanoseconds
CONFIGURATIONS = {
    "10 globs": (ten_globs, 4000),
    "1,000 unit globs": (lambda _: units(), 4000),
    "900 globs that end in a wildcard, 100 that begin with one": (mixed, 10000),
    "1,000 globs that begin with one": (lambda _: units(begins="*-"), None),
}


def one_policy_each(matches):
    """Only one thing to set: what it takes is no part of the difference.  None that socket(2) gives, where
    the cgroup would be found out before the connect that is measured."""
    return policies(*(policy(f"glob-{at}", "", {"TCP_NOTSENT_LOWAT": 3}).replace('cgroup: ""', match)
                      for at, match in enumerate(matches)))


class Fresh:
    """An agent, and a load that makes cgroups below `parent` and connects from them."""

    def __init__(self, setup, stack, agent, parent, server):
        self.agent, self.sockets = agent, 0
        self.programs = accounting.of_agent(setup.box.stack, agent).only("connect4")
        self.load = stack.enter_context(Load(setup, parent, server))

    def spent(self, which, number):
        """Nanoseconds of a run."""
        runs, time = self.programs.spent(lambda: self.load.run(which, number))["connect4"]
        check("runs of connect4", number, runs)
        return time / runs

    def turn(self, number):
        """The first socket's and the second socket's, on average over so many cgroups."""
        self.load.run("fresh", number)
        self.sockets += 2 * number
        return self.spent("first", number), self.spent("second", number)

    def check(self):
        """Was each socket governed, by one policy?"""
        check("sockets for which a policy held", self.sockets,
              sum(one["applied"] for one in self.agent.status()["policies"]))


def start(setup, name, matches):
    """An agent over a cgroup right below the mount, of a short name, as those on hosts are."""
    root = Cgroup(mount_point(), f"/b{os.getpid()}-{name}.slice").make()
    setup.box.stack.callback(root.remove_all)
    agent = setup.box.agent(f"bench-miss-{name}", root)
    agent.write(FILE, one_policy_each(matches(root)))
    agent.start()
    return agent, root


def sample(setup, samples):
    with setup.box.scope(), contextlib.ExitStack() as stack:
        accounting.enable(stack)
        parts = {}
        for at, (title, (matches, _)) in enumerate(CONFIGURATIONS.items()):
            agent, root = start(setup, at, matches)
            parts[title] = Fresh(setup, stack, agent, root.child("app.slice/x.slice"),
                                 root.child("listeners"))
        for number in range(setup.rounds(ROUNDS) + 1):
            for title, part in shuffled(parts.items(), number):
                first, second = part.turn(CGROUPS)
                if number:  # the first one warmed up
                    samples[title].append(first - second)
        for part in parts.values():
            part.check()


class Deep:
    """A chain of cgroups whose path no call takes; `directory` is that of the deepest."""

    def __init__(self, box, root, names):
        self.names, self.descriptors = names, [os.open(root.directory, os.O_RDONLY)]
        box.stack.callback(self.remove)
        for name in names:
            above = self.descriptors[-1]
            os.mkdir(name, dir_fd=above)
            self.descriptors.append(os.open(name, os.O_RDONLY, dir_fd=above))
        self.directory = f"/proc/{os.getpid()}/fd/{self.descriptors[-1]}"

    def remove(self):
        while len(self.descriptors) > 1:
            os.close(self.descriptors.pop())
            os.rmdir(self.names[len(self.descriptors) - 1], dir_fd=self.descriptors[-1])
        os.close(self.descriptors.pop())


NAME_MAX = 255
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def below(root, glob):
    return f'cgroup: "{root.path}/**/{glob}"'


def one_waits(root):
    """Names that no glob matches, while one may match at any level below."""
    return [below(root, "job-*-a.service")]


def many_wait(root):
    """Within a name each glob waits for its end."""
    return [*one_waits(root), *(below(root, f"*{letter}*-nowhere") for letter in LETTERS)]


# What an administrator wrote, and what a user makes of it: how many levels, and of which name.
WHOLE, CUT = "512 levels of 255 bytes", "64 levels of 255 bytes, 36 globs that wait in each"
SHAPES = {WHOLE: (one_waits, 512, "a" * NAME_MAX),
          CUT: (many_wait, 64, LETTERS + "a" * (NAME_MAX - len(LETTERS)))}


class Names:
    """One shape; the cache knows nothing before each turn, as the configuration is another."""

    def __init__(self, setup, stack, at, shape):
        matches, levels, name = shape
        self.agent, root = start(setup, at, matches)
        self.text, self.turns = one_policy_each(matches(root)), 0
        self.fresh = Fresh(setup, stack, self.agent, Deep(setup.box, root, levels * [name]),
                           root.child("listeners"))

    def turn(self):
        """The first cgroup's, and that of the next one beside it."""
        self.turns += 1
        self.agent.write(FILE, self.text.replace("TCP_NOTSENT_LOWAT: 3",
                                                f"TCP_NOTSENT_LOWAT: {self.turns}"))
        self.agent.reload_good()
        return self.fresh.turn(1)[0], self.fresh.turn(1)[0]


def sample_names(setup, samples):
    with setup.box.scope(), contextlib.ExitStack() as stack:
        accounting.enable(stack)
        parts = {title: Names(setup, stack, at, shape)
                 for at, (title, shape) in enumerate(SHAPES.items())}
        for _ in range(setup.rounds(DEEP_ROUNDS)):
            for title, part in parts.items():
                samples[title].append(part.turn())
        parts[WHOLE].fresh.check()
        check("walks that were cut short", 2 * setup.rounds(DEEP_ROUNDS),
              parts[CUT].agent.status()["counts"]["cut"])


def run_misses(setup, found):
    misses = {title: [] for title in CONFIGURATIONS}
    for setup.number in range(setup.setups(SETUPS)):
        sample(setup, misses)
    names = {title: [] for title in SHAPES}
    sample_names(setup, names)
    worst, child = ({title: interval([pair[which] for pair in pairs])
                     for title, pairs in names.items()} for which in (0, 1))
    found["misses"] = {**{title: interval(seen) for title, seen in misses.items()},
                       "worst": worst, "child": child}
    return list(rows_of(found["misses"]))


def rows_of(seen):
    for title, (_, most) in CONFIGURATIONS.items():
        yield Row(f"first connect in a fresh cgroup over the second: 4 levels (50 bytes), {title}",
                  seen[title], " ns", most=most, digits=0)
    yield Row(f"the worst that names can cost: {CUT}", in_us(seen["worst"][CUT]), " µs", most=1500,
              digits=0)
    yield Row("  the next cgroup beside it", in_us(seen["child"][CUT]), " µs", digits=0)
    yield Row(f"  {WHOLE}", in_us(seen["worst"][WHOLE]), " µs", digits=0)
    yield Row(f"the child of a deep cgroup afterwards: {WHOLE}", in_us(seen["child"][WHOLE]), " µs",
              most=20, digits=1)


def in_us(one):
    return {**one, **{key: one[key] / 1000 for key in ("median", "low", "high")}}
