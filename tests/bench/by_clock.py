# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about calls: connections, sendto(2), socket(2), mkdir(2).  CPU time and time on the clock of whole loops,
in turns: pairs of a round, new processes in each, every one as often early as late."""


import contestants
from contestants import FILE, Contestant, rule
from eight import EIGHT
from harness.flows import policies, policy
from harness.result import wait_for
from intervals import differences, interval, ratios
from rows import Row

PAIRS, TURNS, CONNECTIONS, SENDS, SOCKETS = 40, 4, 400, 10_000, 4_000
SIDE_ROUNDS, SIDE_CONNECTIONS = 7, 200  # each time that the contestants are set up
MKDIRS, DIRECTORIES = 30, 150
# Agents, by base options and a rule.  One needs each hook of TCP's and UDP's; one needs connect4 and
# connect6 only, so nothing else is attached; what one brings is given at socket(2), so it needs no
# hook at sends.
AGENTS = {
    "sockpol": (EIGHT, ("sends", "protocol: udp, direction: connect", {"SO_PRIORITY": 4})),
    "connect-only": ({}, ("connects", "protocol: tcp, direction: connect", EIGHT)),
    "at-socket": ({"SO_MARK": 5, "SO_PRIORITY": 4, "SO_BINDTOIFINDEX": 1}, None),
}


def orders(letters):
    """As often early as late: forth and back, from another start."""
    half = letters[len(letters) // 2:] + letters[:len(letters) // 2]
    return letters, letters[::-1], half, half[::-1]


def in_turns(loads, one_turn):
    """{name: mean of its turns of one round, by field}; each load is warm."""
    for name, load in loads.items():
        one_turn(name, load)
    found = {name: [] for name in loads}
    for order in orders(list(loads)):
        for name in order:
            found[name].append(one_turn(name, loads[name]))
    return {name: {field: sum(turn[field] for turn in turns) / len(turns) for field in turns[0]}
            for name, turns in found.items()}


def rounds_of(number, start, one_turn):
    """`start` makes {name: load} for each round."""
    found = []
    for _ in range(number):
        loads = start()
        try:
            found.append(in_turns(loads, one_turn))
        finally:
            for load in loads.values():
                load.__exit__()
    return found


def field(rounds, name, what):
    return [one[name][what] for one in rounds]


class Attached:
    """What is attached for the time of one turn, and who runs under it: {name: ends}.

    While anybody's program is attached anywhere, the kernel prepares each hook's context for every
    socket; so for a measure of nothing attached nothing may be attached at all.
    """

    def __init__(self, setup):
        self.made = Contestant(setup, "in-turn")
        empty = contestants.load_programs(setup, "empty")
        self.empty = {"empty": empty, "empty-connect": empty.only("connect4", "connect6")}
        self.agents = {name: self.agent(setup.box, name, *what) for name, what in AGENTS.items()}
        setup.box.stack.callback(self.made.root.remove_all)

    def agent(self, box, name, base, its_rule):
        agent = box.agent(f"bench-in-turn-{name}", self.made.root)
        agent.write(FILE, policies(policy("in-turn", self.made.governed, base,
                                          f"    rules:\n{rule(*its_rule)}" if its_rule else "")))
        return agent

    def switch(self, name, on):
        if name in self.empty:
            (contestants.attach if on else contestants.detach)(self.empty[name], self.made.root)
        elif name in self.agents:
            (self.agents[name].start if on else self.agents[name].stop)()

    def turn(self, name):
        """{mode: {"cpu", "wall"}}"""
        found = {}
        self.switch(name, True)
        with self.made.load() as load:
            for mode in MODES:
                found[mode] = mean(load, mode)
            if name in ("nothing", "empty"):
                found["device"] = mean(load, "device")
        if name in self.agents:
            with self.made.load("connect") as load:
                found |= {f"governed {mode}": mean(load, mode) for mode in GOVERNED}
        self.switch(name, False)
        return found


# How many of each in a turn
MODES = {"tcp4": CONNECTIONS, "tcp6": CONNECTIONS, "send": SENDS, "socket": SOCKETS}
GOVERNED = ("send", "socket")


def mean(load, mode):
    number = MODES.get(mode, SENDS)
    load.run(mode, number // 4)  # warm
    turns = [load.run(mode, number) for _ in range(TURNS)]
    return {what: sum(turn[what] for turn in turns) / TURNS for what in ("cpu", "wall")}


def compared(rounds, name, mode, mode_of_others=None):
    """How many a second, over nothing attached, and over empty programs; also on the clock."""
    found = {}
    for what in ("cpu", "wall"):
        mine = [one[name][mode][what] for one in rounds]
        found[f"{what}_ns"] = interval(mine)
        for other in ("nothing", "empty"):
            its = [one[other][mode_of_others or mode][what] for one in rounds]
            found[f"{what}_over_{other}"] = interval(ratios(its, mine))
            found[f"{what}_ns_over_{other}"] = interval(differences(mine, its))
    return found


def run_in_turn(setup, found):
    """Connections and datagrams a second, with nothing attached on the whole host for comparison."""
    names = ["nothing", "empty", "empty-connect", *AGENTS]
    with setup.box.scope():
        attached = Attached(setup)
        rounds = []
        for number in range(setup.rounds(PAIRS)):
            at = number % len(names)
            order = (names[at:] + names[:at])[::-1 if number // len(names) % 2 else 1]
            rounds.append({name: attached.turn(name) for name in order})
    seen = {f"{name}/{mode}": compared(rounds, name, mode) for name in names for mode in MODES}
    seen |= {f"{name}/governed {mode}": compared(rounds, name, f"governed {mode}", mode)
             for name in AGENTS for mode in GOVERNED}
    seen["at-socket/governed device"] = compared(rounds, "at-socket", "governed send", "device")
    found["in_turn"] = seen
    return list(rows_in_turn(seen))


NEEDS = {"sockpol": "policies that need all hooks", "connect-only": "policies for connect of TCP only",
         "at-socket": "a policy of mark, priority and device"}


def rows_in_turn(seen):
    for mode, family in (("tcp4", "IPv4"), ("tcp6", "IPv6")):
        for name in ("sockpol", "connect-only"):
            yield from rows_over_nothing(
                f"connections a second, ungoverned, {NEEDS[name]}, over nothing attached, {family}",
                seen[f"{name}/{mode}"], 0.99)
        yield Row(f"  empty programs at all hooks over nothing attached, {family}",
                  seen[f"empty/{mode}"]["cpu_over_nothing"], digits=3)
        yield Row(f"  empty programs at connect only over nothing attached, {family}",
                  seen[f"empty-connect/{mode}"]["cpu_over_nothing"], digits=3)
        yield Row(f"  ungoverned, {NEEDS['sockpol']}, over empty programs, {family}",
                  seen[f"sockpol/{mode}"]["cpu_over_empty"], digits=3)
    for who, mode in (("governed", "governed send"), ("ungoverned", "send")):
        for name in AGENTS:
            at_socket = name == "at-socket"
            # Whoever is bound to a device pays for that, by whatever it was bound.
            bound = at_socket and who == "governed"
            yield from rows_over_nothing(
                f"datagrams a second, sendto(), {who}, {NEEDS[name]}, over nothing attached"
                + (" and a socket that is bound to the device" if bound else ""),
                seen[f"{name}/governed device" if bound else f"{name}/{mode}"], 0.99 if at_socket else 0.97)
        yield Row(f"  {who}, {NEEDS['sockpol']}, over empty programs",
                  seen[f"sockpol/{mode}"]["cpu_over_empty"], digits=3)
    yield Row("  empty programs at all hooks over nothing attached",
              seen["empty/send"]["cpu_over_nothing"], digits=3)
    yield from rows_of_sockets(seen)


def rows_of_sockets(seen):
    """Time, not how many a second: the bars are about that."""
    for who, mode, most in (("ungoverned", "socket", 1.05), ("governed", "governed socket", 1.06)):
        one = seen[f"at-socket/{mode}"]
        yield Row(f"socket() and close(), {who}, {NEEDS['at-socket']}, time over nothing attached",
                  inverse(one["cpu_over_nothing"]), most=most, digits=3)
        yield Row("  over an empty program at socket(2) and all other hooks", one["cpu_ns_over_empty"],
                  " ns", most=110 if who == "ungoverned" else None)


def inverse(seen):
    """Of an interval of ratios."""
    return seen | {"median": 1 / seen["median"], "low": 1 / seen["high"], "high": 1 / seen["low"]}


def rows_over_nothing(title, one, least):
    yield Row(title, one["cpu_over_nothing"], least=least, digits=3)
    yield Row("  on the clock", one["wall_over_nothing"], digits=3)


# The contestants as the issue numbers them.
BESIDE = ("nothing", "empty", "ungoverned", "sockpol", "by-hand", "application", "preload")


class Beside:
    """What a connection takes with each contestant, on the whole and over nothing attached."""

    what = "connections, beside what one would do instead"

    def __init__(self):
        self.rounds = {f"{end}/{family}": [] for end in ("connect", "accept") for family in "46"}

    def sample(self, setup, all_of):
        for key, rounds in self.rounds.items():
            end, _, family = key.partition("/")

            def start(end=end):
                return {name: all_of["sockpol"].load() if name == "ungoverned" else
                        all_of[name].load(end) for name in BESIDE}

            def turn(name, load, end=end, mode=f"tcp{family}"):
                return load.run(mode, SIDE_CONNECTIONS, end if name == "application" else "none")

            rounds += rounds_of(setup.rounds(SIDE_ROUNDS), start, turn)

    def rows(self, found):
        for key, rounds in self.rounds.items():
            found["beside"][key] = beside(rounds)
            end, _, family = key.partition("/")
            yield Row(f"  governed {end}, the application itself over sockpol, whole connection, "
                      f"IPv{family}", interval(ratios(field(rounds, "application", "cpu"),
                                                      field(rounds, "sockpol", "cpu"))))


def beside(rounds):
    nothing = {what: field(rounds, "nothing", what) for what in ("cpu", "wall", "connect", "accept")}
    return {name: {
        "cpu_ns": interval(field(rounds, name, "cpu")),
        "over_nothing_cpu_ns": interval(differences(field(rounds, name, "cpu"), nothing["cpu"])),
        "over_nothing_wall_ns": interval(differences(field(rounds, name, "wall"), nothing["wall"])),
        "connect_ns": interval(field(rounds, name, "connect")),
        "accept_ns": interval(field(rounds, name, "accept")),
        "eight_calls_ns": interval(field(rounds, name, "options"))} for name in BESIDE}


def dying(cgroup):
    with open(f"{cgroup.directory}/cgroup.stat", encoding="ascii") as file:
        return dict(line.split() for line in file)["nr_dying_descendants"]


def make_directories(load, cgroup):
    """Nanoseconds a directory; the next turn begins when the kernel has let go of them all."""
    took = load.run("mkdir", DIRECTORIES)["cpu"]
    wait_for("the cgroups to be gone", "0", lambda: dying(cgroup))
    return took


def run_mkdir(setup, found):
    """The agent has no part in it, whatever the cgroup's name."""
    samples = {"with": [], "without": []}
    with setup.box.scope():
        made = Contestant(setup, "mkdir")
        agent = setup.box.agent("bench-mkdir", made.root)
        agent.write(FILE, policies(policy("units", f"{made.free.path}/made-*", EIGHT)))
        with made.load() as load:
            make_directories(load, made.free)
            for number in range(setup.rounds(MKDIRS)):
                for which in ("with", "without") if number % 2 else ("without", "with"):
                    if which == "with":
                        agent.start()
                    samples[which].append(make_directories(load, made.free))
                    if which == "with":
                        agent.stop()
    found["mkdir"] = {which: interval(times) for which, times in samples.items()}
    return [Row("mkdir of a cgroup, with the agent over without",
                interval(ratios(samples["with"], samples["without"])), most=1.05)]

