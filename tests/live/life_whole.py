# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A reload is seen whole or not at all: between two policies that set every option differently, with
reloads without pause, each hook gives each socket one of the two, never a mixture.

What one hook sets is of one policy; two hooks of one socket (connect and established, say) may see
one generation each, and so may a listener and what it accepts.  Which hook an option is of comes
from the option table.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time

from harness import every_option
from harness.every_option import block, rule
from harness.result import Failure, Skip, check
from harness.startup import read_options

FILE = "50-whole.yaml"
CONNECTIONS = 10000
RELOADS = 200  # at least
NEWBORN = 400  # cgroups
PATIENCE = 300  # seconds
PERIOD = 0.01  # seconds from one reload to the next, where the agent can

# What no getsockopt tells of, or not at that moment: these look the same under both policies.
HIDDEN = {
    # The congestion window's clamp shows in ssthresh, which the kernel resets when it connects.
    "connect": {"TCP_BPF_SNDCWND_CLAMP"},
    "accept": set(),
    "listen": {"TCP_MAXSEG", "TCP_BPF_SNDCWND_CLAMP"},
    "udp-listen": set(),
    "udp-connect": set(),
    "udp-send": set(),
}
OTHER_FAMILY = {"ipv4": {"IPV6_TCLASS", "IPV6_AUTOFLOWLABEL"}, "ipv6": {"IP_TOS"}}


def program(box):
    path = os.path.join(os.path.dirname(box.sockpol), "tests", "whole")
    if not os.access(path, os.X_OK):
        raise Skip(f"there is no {path} (make tests-build)")
    return path


def one_policy(name, match, base, rules=""):
    return (f"policies:\n  - name: {name}\n    match: {{ cgroup: \"{match}\" }}\n"
            f"    {block(base)}\n" + (f"    rules:\n{rules}" if rules else ""))


def plain(rows, match, which):
    """Every option, in the base and for listeners."""
    listen = every_option.settings(rows, which, "listen")
    return one_policy("whole", match, every_option.settings(rows, which),
                      rule("listening", "direction: listen", listen))


def decoy(rows, which, number):
    """A rule's options that lose: a half of them the other policy's, so that they would show."""
    return {name: value
            for at, (name, value) in enumerate(every_option.settings(rows, not which,
                                                                     "connect").items())
            if at % 2 == number % 2}


def with_rules(rows, match, which):
    """64 rules by the peer's prefix.  Many hold and lose to the last that does, which has another
    place in each of the two; some would win, but do not hold."""
    winner = 60 - 25 * which
    text = ""
    for number in range(62):
        length = 8 + (number + 5 * which) % 24
        here = f'[127.0.0.0/{length}, "::/{128 - length}"]'
        if number < winner:
            text += rule(f"loses-{number}", f"remote: {here}", decoy(rows, which, number))
        elif number == winner:
            for direction in ("connect", "accept"):
                text += rule(f"wins-{direction}",
                             f'direction: {direction}, remote: [127.0.0.0/8, "::/64"]',
                             every_option.settings(rows, which, direction))
        else:
            text += rule(f"far-{number}",
                         f'remote: [10.{number}.0.0/16, "fd{number}::/64"]',
                         decoy(rows, which, number))
    text += rule("listening", "direction: listen", every_option.settings(rows, which, "listen"))
    return one_policy("whole", match, every_option.settings(rows, which), text)


class Reloader:
    """Swaps the two policies' files and has the agent reload, again and again; by the control socket,
    so that it is known how often it did."""

    def __init__(self, agent, texts):
        self.agent, self.texts = agent, texts
        self.reloads, self.failures = 0, []
        self.path = os.path.join(agent.policy_dir, FILE)
        self.changed = threading.Condition()
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        due = time.monotonic()
        while not self.end.wait(max(0, due - time.monotonic())):
            due = max(due + PERIOD, time.monotonic())
            reply = use(self.agent, self.texts[(self.reloads + 1) % 2])
            with self.changed:
                self.reloads += 1
                if not reply.get("ok"):
                    self.failures.append(reply)
                self.changed.notify_all()

    def wait(self, number):
        with self.changed:
            if not self.changed.wait_for(lambda: self.reloads >= number, PATIENCE):
                raise Failure("reloads", number, self.reloads)

    def __enter__(self):
        self.start = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self.seconds = time.monotonic() - self.start


def request(agent, command):
    """What the control socket answers; {}: it hung up without a word."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(60)
        control.connect(os.path.join(agent.runtime_dir, "control"))
        line = ""
        with contextlib.suppress(ConnectionError), control.makefile() as answer:
            control.sendall(json.dumps({"command": command}).encode() + b"\n")
            line = answer.read()  # to the end, so that the agent has closed its side, too
    try:
        return json.loads(line) if line else {}
    except json.JSONDecodeError:
        raise Failure("an answer in JSON", "an object", line) from None


def write_whole(agent, text):
    """No reader sees a part of it."""
    path = os.path.join(agent.policy_dir, FILE)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def use(agent, text):
    write_whole(agent, text)
    return request(agent, "reload")


@contextlib.contextmanager
def running(cgroup, arguments, plan):
    """whole.c with its plan; it goes on until the end of the scope.  Gives a list, in which it is
    then what it said."""
    said = []
    with cgroup.popen(arguments, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                      stderr=subprocess.STDOUT) as process:
        try:
            process.stdin.write(plan + "go\n")
            process.stdin.flush()
            yield said
            said.append(process.communicate(timeout=PATIENCE)[0])
        finally:
            process.kill()
    check(f"exit status of whole; it said\n{said}\n   ", 0, process.returncode)


def run_whole(cgroup, arguments, plan):
    """What whole.c says when nothing keeps it going."""
    with running(cgroup, arguments, plan) as said:
        pass
    return said[0]


def look(binary, rows, cgroup):
    """{(role/family, option's number): value}"""
    seen = {}
    said = run_whole(cgroup, [binary, "look"], "".join(every_option.option_lines(rows)))
    for line in said.splitlines():
        place, number, value = line.split()
        seen[place, int(number)] = value
    return seen


def check_hidden(hidden):
    """Everything else is seen to differ."""
    for place, names in hidden.items():
        role, family = place.split("/")
        check(f"{place}: options that look the same under both policies", set(),
              names - HIDDEN[role] - OTHER_FAMILY[family])


def learn(agent, binary, rows, cgroup, texts):
    """The plan for whole.c: what sockets have under each of the two policies, alone and in peace."""
    seen = []
    for text in texts:
        reply = use(agent, text)
        check(f"a reload: {reply}", True, reply.get("ok"))
        seen.append(look(binary, rows, cgroup))
    lines, hidden = every_option.differences(rows, *seen)
    check_hidden(hidden)
    return "".join([*every_option.option_lines(rows), *lines])


def read_verdict(said):
    """({(place, hook): (of the one, of the other)}, sockets, mixed, failed)"""
    counts, total = {}, None
    for line in said.splitlines():
        words = line.split()
        if words[0] == "count":
            counts[words[1], words[2]] = int(words[3]), int(words[4])
        elif words[0] == "sum":
            total = tuple(int(word) for word in words[1:])
    if not total:
        raise Failure("whole to end with a sum", "a line", said)
    return counts, *total


def check_verdict(said, reloader):
    check_verdicts([said], reloader)


def check_verdicts(all_said, reloader):
    """No mixture, no failure, and sockets of both policies at each hook."""
    sums, n_sockets = {}, 0
    for said in all_said:
        counts, sockets, mixed, failed = read_verdict(said)
        check(f"sockets with a mixture; they were\n{said}\n   ", 0, mixed)
        check(f"sockets that failed; they were\n{said}\n   ", 0, failed)
        n_sockets += sockets
        for key, (one, other) in counts.items():
            before = sums.get(key, (0, 0))
            sums[key] = before[0] + one, before[1] + other
    print(f"{n_sockets} sockets, {reloader.reloads} reloads, one each "
          f"{1000 * reloader.seconds / reloader.reloads:.0f} ms")
    for (place, hook), (one, other) in sums.items():
        print(f"    {place:16} at {hook:16} {one:6} of the one, {other:6} of the other")
    check("reloads that failed", [], reloader.failures[:3])
    for (place, hook), both in sums.items():
        check(f"{place} at {hook}: sockets of both policies", True, min(both) > 0)


def start(box, make, match=""):
    """(agent, texts, how to run whole.c, its plan, the cgroup): the one policy is in force."""
    rows = read_options(box.sockpol)
    check("options without values in every_option.py", set(), every_option.missing(rows))
    binary, agent, cgroup = program(box), box.agent("whole"), box.cgroup.child("whole")
    texts = [make(rows, cgroup.path + match, which) for which in (0, 1)]
    agent.write(FILE, texts[0])
    agent.start()
    pattern_child = cgroup.child("new-0") if match else cgroup
    return agent, texts, binary, learn(agent, binary, rows, pattern_child, texts), cgroup


def whole_under_reloads(box, make, connections, reloads):
    """At least so many of each."""
    agent, texts, binary, plan, cgroup = start(box, make)
    with running(cgroup, [binary, "judge", str(connections)], plan) as said:
        with Reloader(agent, texts) as reloader:
            reloader.wait(reloads)
    check_verdict(said[0], reloader)
    agent.stop()


def test_every_option(box):
    whole_under_reloads(box, plain, CONNECTIONS, RELOADS)


def test_64_rules(box):
    whole_under_reloads(box, with_rules, CONNECTIONS // 4, RELOADS // 4)


def test_new_cgroups(box):
    """Each lives for a few connections, and only a glob matches it."""
    agent, texts, binary, plan, cgroup = start(box, plain, "/new-*")
    verdicts = []
    with Reloader(agent, texts) as reloader:
        for number in range(1, NEWBORN + 1):
            new = cgroup.child(f"new-{number}")
            verdicts.append(run_whole(new, [binary, "judge", "6"], plan))
            new.rmdir()
    check_verdicts(verdicts, reloader)
    agent.stop()
