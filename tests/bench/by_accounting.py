# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about programs: their time as the kernel accounts for it, less that of empty programs.

Ungoverned: all that runs for a connection, at both its ends.  Governed: all that runs for the governed
socket, its end of the connection; the other is where nothing is attached, as if on another host.  The
application's eight calls are timed in place, each on a fresh connected socket, in the same rounds.
"""

import contextlib
import ipaddress
import random

import accounting
from contestants import Load
from harness.flows import policies, policy
from intervals import differences, interval, median_ratios, ratios, shuffled
from rows import Row

WARM = 30  # connections before each turn: another contestant ran until now
ROUNDS, CONNECTIONS = 12, 250  # each time that the contestants are set up
LOOKUP_SETUPS, LOOKUP_ROUNDS, LOOKUPS = 4, 12, 2000
PREFIXES = 100_000


class Samples:
    """Of one contestant and end, by family: a round's nanoseconds, of each time that it was set up."""

    def __init__(self):
        self.spent, self.times = {"4": [], "6": []}, {"4": [], "6": []}

    def above(self, base, family):
        """Of each round: nanoseconds a connection more than empty programs take."""
        return [accounting.above(mine, its) / CONNECTIONS
                for mine, its in zip(self.spent[family], base.spent[family])]

    def options(self, family):
        return [times["options"] for times in self.times[family]]

    def walls(self, family):
        return [times["wall"] for times in self.times[family]]

    def cpus(self, family):
        """Of the whole connection, both its ends."""
        return [times["cpu"] for times in self.times[family]]

    def hooks(self, family):
        """{hook: runs and nanoseconds of a run}, of the whole."""
        total = {}
        for spent in self.spent[family]:
            for hook, (runs, time) in spent.items():
                before = total.get(hook, (0, 0))
                total[hook] = (before[0] + runs, before[1] + time)
        rounds = len(self.spent[family]) * CONNECTIONS
        return {hook: {"runs": runs / rounds, "ns": time / runs}
                for hook, (runs, time) in total.items()}


class Part:
    """One contestant's load, while it is set up."""

    def __init__(self, stack, contestant, end, other):
        self.contestant, self.end = contestant, end
        self.load = stack.enter_context(contestant.load(end, other))

    def turn(self, family):
        """What its programs spent, and what the calls took."""
        times = {}
        self.load.run(f"tcp{family}", WARM, self.contestant.word(self.end))

        def run():
            times.update(self.load.run(f"tcp{family}", CONNECTIONS, self.contestant.word(self.end)))

        spent = self.contestant.programs.spent(run) if self.contestant.programs else run()
        return spent, times


COMPARED = ("sockpol", "by-hand", "two", "five", "small", "large", "application")
NAMES = {"empty": "with empty programs", "application": "with the application's calls",
         "by-hand": "with the hand-written program", "small": "with one of each"}
KEYS = [("empty", "none"), ("sockpol", "none"),
        *((name, end) for end in ("connect", "accept") for name in COMPARED)]


class ByAccounting:
    """Sampled each time that the contestants are set up; then the rows."""

    what = "programs, by the kernel's accounting"

    def __init__(self):
        self.samples = {key: Samples() for key in KEYS}
        self.rounds = 0  # each time

    def sample(self, setup, all_of):
        with contextlib.ExitStack() as stack:
            accounting.enable(stack)
            parts = {(name, end): Part(stack, all_of[name], end,
                                       None if end == "none" else all_of["nothing"].free)
                     for name, end in KEYS}
            self.rounds = setup.rounds(ROUNDS)
            for number in range(self.rounds + 1):
                for family in "46":
                    for key, part in shuffled(parts.items(), number):
                        spent, times = part.turn(family)
                        if number:  # the first one warmed up
                            self.samples[key].spent[family].append(spent)
                            self.samples[key].times[family].append(times)

    def rows(self, found):
        for family in "46":
            found["programs"].update(detail(self.samples, family))
        return [row for family in "46" for row in rows_of(self.samples, family, self.rounds)]


# (policies that apply, their contestant, the most over one policy)
SEVERAL = (("a second policy", "two", 1.20), ("five policies", "five", 1.35))


def rows_of(parts, family, rounds):
    empty = parts["empty", "none"]
    title = f"IPv{family}"

    def above(name, end):
        return parts[name, end].above(empty, family)

    def on_clock(which, other, end):
        """Storage that a socket carries, say, is paid outside of the accounting."""
        more = differences(parts[which, end].walls(family), parts[other, end].walls(family))
        return Row(f"  the whole connection on the clock, more than {NAMES[other]}, {title}",
                   interval(more), " ns", digits=0)

    yield Row(f"ungoverned connection, programs over empty ones, {title}",
              interval(above("sockpol", "none")), " ns", most=95, digits=0)
    yield on_clock("sockpol", "empty", "none")
    for end in ("connect", "accept"):
        yield Row(f"governed {end} over the application's eight calls, {title}", interval(ratios(
            above("sockpol", end), parts["application", end].options(family))), most=0.40)
        yield on_clock("sockpol", "application", end)
    for end in ("connect", "accept"):
        times = median_ratios(above("sockpol", end), above("by-hand", end), rounds)
        yield Row(f"governed {end} over the hand-written program, median of {len(times)} set-ups, "
                  f"{title}", interval(times), most=1.15, by_median=True)
        yield on_clock("sockpol", "by-hand", end)
    for end in ("connect", "accept"):
        for what, name, most in SEVERAL:
            yield Row(f"governed {end}, {what} over one, {title}",
                      interval(ratios(above(name, end), above("sockpol", end))), most=most)
            yield Row(f"governed {end}, {what} over one, the whole connection's CPU time, {title}",
                      interval(ratios(parts[name, end].cpus(family),
                                      parts["sockpol", end].cpus(family))), most=1.01, digits=3)
    for end in ("connect", "accept"):
        yield Row(f"{end}: 10,000 cgroups, 1,000 policies, 64 rules over one of each, {title}",
                  interval(ratios(above("large", end), above("small", end))), most=1.3)
        yield on_clock("large", "small", end)


def detail(parts, family):
    empty = parts["empty", "none"]
    found = {}
    for (name, end), one in parts.items():
        key = f"{name}/{end}/{family}"
        if name != "application":
            found[key] = {"above_empty_ns": interval(one.above(empty, family)),
                          "hooks": one.hooks(family)}
        else:
            found[key] = {"eight_calls_ns": interval(one.options(family))}
    return found


def sizes(all_of):
    return {f"{name}/{one.name}": one.size() for name in ("by-hand", "empty")
            for one in all_of[name].programs.programs}


def random_prefix(numbers, first, size, bits, lengths):
    """Of `size` addresses of so many bits, from `first` on."""
    others = bits - numbers.choice(lengths)
    start = first + numbers.randrange(size) >> others << others
    return f'"{ipaddress.ip_address(start)}/{bits - others}"'


def random_ipv6_prefix(numbers):
    """One half up to 64 bits; the other longer, in those networks in which all peers are: load_udp.c."""
    if numbers.randrange(2):
        return random_prefix(numbers, 0x2 << 124, 0x2 << 124, 128, range(16, 65))
    network = (0x20010DB8 << 32 | numbers.randrange(1 << 16)) << 64
    return random_prefix(numbers, network, 1 << 64, 128, range(65, 129))


def random_prefixes(count, family=4):
    """IPv4: unicast ones of 16 to 32 bits.  Random peers walk down to these, mostly in vain."""
    numbers, found = random.Random(count), {}
    while len(found) < count:
        found[random_prefix(numbers, 1 << 24, 223 << 24, 32, range(16, 33)) if family == 4 else
              random_ipv6_prefix(numbers)] = None
    return list(found)


def prefixes_policy(cgroup, n_prefixes, family=4):
    """Base and rule set the same option: what differs is how long it takes to find out which."""
    text = ""
    if n_prefixes:
        text = ("    rules:\n      - name: near\n"
                f"        when: {{ remote: [{', '.join(random_prefixes(n_prefixes, family))}] }}\n"
                "        options: { SO_PRIORITY: 2 }\n")
    return policies(policy("look-up", cgroup, {"SO_PRIORITY": 1}, text))


class LookUp:
    """An agent with so many prefixes, and a load that connects UDP sockets to random peers."""

    def __init__(self, setup, stack, n_prefixes, family):
        box = setup.box
        name = f"bench-prefixes-{n_prefixes}"
        root = box.cgroup.child(name)
        governed = root.child("governed")
        agent = box.agent(name, root)
        agent.write("50-bench.yaml", prefixes_policy(governed, n_prefixes, family))
        agent.start()
        self.family = family
        self.programs = accounting.of_agent(box.stack, agent)
        self.load = stack.enter_context(Load(setup, governed, governed))

    def turn(self):
        """Nanoseconds of connect4 or connect6."""
        spent = self.programs.spent(lambda: self.load.run(f"udp{self.family}", LOOKUPS))
        runs, time = spent[f"connect{self.family}"]
        return time / runs


def sample_look_ups(setup, samples, family):
    with setup.box.scope(), contextlib.ExitStack() as stack:
        accounting.enable(stack)
        parts = {count: LookUp(setup, stack, count, family)
                 for count in setup.in_any_order(samples)}
        for number in range(setup.rounds(LOOKUP_ROUNDS) + 1):
            for count, part in shuffled(parts.items(), number):
                took = part.turn()
                if number:  # the first one warmed up
                    samples[count].append(took)


def look_ups(setup, family):
    samples = {0: [], 1: [], PREFIXES: []}
    for setup.number in range(LOOKUP_SETUPS):
        sample_look_ups(setup, samples, family)
    over_none, over_one = (interval(differences(samples[PREFIXES], samples[count]))
                           for count in (0, 1))
    return {"no_rule_ns": interval(samples[0]), "one_prefix_ns": interval(samples[1]),
            "prefixes_ns": interval(samples[PREFIXES]), "over_none_ns": over_none,
            "over_one_ns": over_one}


def run_look_ups(setup, found):
    rows = []
    for family in (4, 6):
        one = found.setdefault("look_up", {})[str(family)] = look_ups(setup, family)
        title = f"a peer among 100,000 prefixes of IPv{family}, random peers, over"
        rows += [Row(f"{title} a policy without rules", one["over_none_ns"], " ns", most=1000,
                     digits=0),
                 Row("  over one prefix", one["over_one_ns"], " ns", digits=0)]
    return rows
