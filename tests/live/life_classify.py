# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""New cgroups are classified inside mkdir(2): the first socket in one is governed, agent or no agent."""

import json
import os
import random
import signal
import subprocess
import sys

from harness.flows import check_priority, policies, policy, priority_policy
from harness.result import check, wait_for
from harness.slots import check_slots

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "differential"))
from model import policies_in_order  # noqa: E402

NEWBORN = os.path.join(HERE, "harness", "newborn.py")
FILE = "50-test.yaml"
TIMES = 1000
CONFIGURATIONS = 300


class Newborns:
    """newborn.py in a cgroup."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.process = cgroup.popen([sys.executable, "-I", "-S", NEWBORN], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def priorities(self, paths):
        """Makes the cgroups (paths below its own); what the first socket in each has."""
        directories = [f"{self.cgroup.directory}/{path}" for path in paths]
        self.process.stdin.write(json.dumps(directories) + "\n")
        self.process.stdin.flush()
        return dict(zip(paths, json.loads(self.process.stdout.readline())))

    def check(self, what, expected):
        """expected: {path: priority}"""
        seen = self.priorities(list(expected))
        check(f"first sockets with another priority ({what})", {},
              {path: (seen[path], "not", wanted) for path, wanted in expected.items()
               if seen[path] != wanted})

    def remove(self, paths):
        for path in sorted(paths, reverse=True):
            os.rmdir(f"{self.cgroup.directory}/{path}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Stopped:
    """The agent does not run meanwhile."""

    def __init__(self, agent):
        self.agent = agent

    def __enter__(self):
        self.agent.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.agent.process.pid, os.WSTOPPED | os.WNOWAIT)

    def __exit__(self, *_):
        self.agent.signal(signal.SIGCONT)


def check_kernel_knew(agent):
    new = agent.status()["new_cgroups"]
    check("new cgroups: by whom, cut, unresolved", ("kernel", False, 0),
          (new["by"], new["cut"], new["unresolved"]))


def globs(cgroup):
    """Nested, each with something that it leaves out; and what they make of a service's cgroups."""
    path = cgroup.path
    text = policies(
        "  - name: all\n    options: { SO_PRIORITY: 1 }\n"
        f"    match: {{ cgroup: \"{path}/**/svc-*\", exclude: {{ cgroup: \"{path}/**/*-not\" }} }}\n",
        "  - name: inner\n    options: { SO_PRIORITY: 2 }\n"
        f"    match: {{ cgroup: \"{path}/**/svc-?[0-9]*/work*\","
        f" exclude: {{ cgroup: [\"{path}/**/*x/**\"] }} }}\n",
        "  - name: back\n    match: { cgroup: \"" + path + "/**/plain\" }\n"
        "    options: { SO_PRIORITY: unset }\n")

    def expected(number):
        return {f"svc-{number:04}": 1, f"svc-{number:04}/work": 2, f"svc-{number:04}/work/deep": 2,
                f"svc-{number:04}/work/plain": 0, f"svc-{number:04}-not": 0,
                f"svc-{number:04}-not/other": 0, f"svc-{number:04}-not/work": 2,
                f"svc-{number:04}x": 1, f"svc-{number:04}x/work": 1, f"other-{number:04}": 0}

    return text, expected


def test_first_sockets(box):
    agent = box.agent("first")
    cgroup = box.cgroup.child("first")
    agent.write(FILE, priority_policy("first", f"{cgroup.path}/svc-*.d", 4))
    agent.start()
    with Newborns(cgroup) as newborns:
        names = [f"svc-{number}.d" for number in range(TIMES)]
        for start in range(0, TIMES, 100):
            some = names[start:start + 100]
            newborns.check("agent running", {name: 4 for name in some})
            newborns.remove(some)
        newborns.check("what the glob does not match", {"svc-1.c": 0})
    check_kernel_knew(agent)
    check("sockets counted", TIMES, agent.policy("first")["applied"])
    wait_for("the policy's cgroups at the end", 0, lambda: agent.policy("first")["cgroups"])


def test_first_sockets_nested(box):
    agent = box.agent("first-nested")
    cgroup = box.cgroup.child("first-nested")
    text, expected = globs(cgroup)
    agent.write(FILE, text)
    agent.start()
    with Newborns(cgroup) as newborns:
        for number in range(20):
            newborns.check("agent running", expected(number))
        with Stopped(agent):
            for number in range(20, 40):
                newborns.check("agent stopped", expected(number))
        wait_for("cgroups of the policy", 40 * 6, lambda: agent.policy("all")["cgroups"])
        check_kernel_knew(agent)
        agent.kill()
        for number in range(40, 60):
            newborns.check("agent killed", expected(number))
        agent.start()
        check("cgroups of the policy, seen by the next agent", 60 * 6,
              agent.policy("all")["cgroups"])
        with Stopped(agent):
            newborns.check("next agent, stopped", expected(60))
    check_kernel_knew(agent)


def test_first_sockets_during_reloads(box):
    """One half of the maps is written while cgroups come; each is in one of the two policies."""
    agent = box.agent("first-reload")
    cgroup = box.cgroup.child("first-reload")
    texts = [priority_policy(f"p{number}", f"{cgroup.path}/**/svc-*", 3 + number)
             for number in range(2)]
    agent.write(FILE, texts[0])
    agent.start()
    with Newborns(cgroup) as newborns:
        for number in range(100):
            agent.write(FILE, texts[number % 2])
            running = subprocess.Popen([agent.sockpol, "reload", "--runtime-dir",
                                        agent.runtime_dir], stdout=subprocess.DEVNULL)
            names = [f"a{number}", *(f"a{number}/svc-{one}" for one in range(8))]
            seen = newborns.priorities(names)
            check("exit status of a reload", 0, running.wait(timeout=30))
            check(f"priorities of first sockets during reload {number}", {3, 4} | {0},
                  set(seen.values()) | {3, 4, 0})
            check("the one that no glob matches", 0, seen[f"a{number}"])
            check("those without a policy", [], [one for one in names[1:] if not seen[one]])
        # What came during a reload has both halves right.
        last = texts[99 % 2]
        for _ in range(2):
            worker = box.worker(cgroup.child("a99/svc-0"))
            check_priority("after the last reload", worker, 4 if last == texts[1] else 3)
            last = texts[0] if last == texts[1] else texts[1]
            agent.write(FILE, last)
            agent.reload_good()
            check_slots("after the last reload", agent)


def test_globs_that_multiply(box):
    """What does not fit the machine is matched by the agent; all others still by the kernel."""
    agent = box.agent("multiply")
    cgroup = box.cgroup.child("multiply")
    path = cgroup.path
    agent.write(FILE, policies(policy("good", path + "/good-*", {"SO_PRIORITY": 4}),
                               policy("bad", path + "/**/*a" + 25 * "?" + "z", {"SO_PRIORITY": 5})))
    agent.start()
    check("by events", {"good": False, "bad": True},
          {name: agent.policy(name)["by_events"] for name in ("good", "bad")})
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("what status says", True, "by events for policies: bad\n" in done.stdout)
    matched = "xa" + 25 * "b" + "z"
    with Newborns(cgroup) as newborns:
        with Stopped(agent):
            newborns.check("agent stopped", {"good-1": 4, "good-1/x": 4, "no": 0})
        wait_for("cgroups of the good policy", 2, lambda: agent.policy("good")["cgroups"])
    cgroup.child(matched)
    cgroup.child(f"good-1/{matched}")
    wait_for("cgroups of the other", 2, lambda: agent.policy("bad")["cgroups"])
    check_priority("where only it matches", box.worker(cgroup.child(matched)), 5)
    check_priority("below the other", box.worker(cgroup.child(f"good-1/{matched}")), 5)
    with Newborns(cgroup.child(matched)) as newborns, Stopped(agent):
        newborns.check("its children, agent stopped", {"child": 5, "child/deeper": 5})


def test_prefixes_of_who_comes_later(box):
    """A reload makes room for them, too, though nobody needs them until a cgroup comes."""
    agent = box.agent("later")
    cgroup = box.cgroup.child("later")
    path = cgroup.path
    agent.write(FILE, policies(policy("plain", path + "/plain", {"SO_PRIORITY": 1})))
    agent.start()
    prefixes = ", ".join(f"10.{n // 128}.{n % 128 * 2}.0/24" for n in range(3000))
    agent.write(FILE, policies(policy(
        "late", path + "/**/*a" + 25 * "?" + "z", {"SO_PRIORITY": 2},
        "    rules:\n      - name: near\n"
        f"        when: {{ remote: [127.0.0.0/8, {prefixes}] }}\n"
        "        options: { SO_PRIORITY: 5 }\n")))
    agent.reload_good()
    late = cgroup.child("xa" + 25 * "b" + "z")
    wait_for("its policy", 1, lambda: agent.policy("late")["cgroups"])
    check_priority("a peer in the list", box.worker(late), 5)
    check("a map was too small", False, "is full" in agent.log())


def test_step_not_seen_before(box):
    """More combinations than the maps hold: the agent resolves a new one, the kernel the next."""
    agent = box.agent("unseen")
    cgroup = box.cgroup.child("unseen")
    n = 40
    agent.write(FILE, policies(*(policy(f"p{i}", f"{cgroup.path}/**/a{i}-*", {"SO_PRIORITY": 1 + i})
                                 for i in range(n)),
                               policy("apart", "/nowhere/*", {"SO_PRIORITY": 1})))
    agent.start()
    check("cut", True, agent.status()["new_cgroups"]["cut"])
    check("policies that are cut", {f"p{i}": True for i in range(n)} | {"apart": False},
          {p["name"]: p["cut"] for p in agent.status()["policies"]})
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("the policies that status names", True,
          f"resolved by events, of {n} policies: p0, p1, p10, p11, p12, p13, p14, p15, ...\n" in done.stdout)
    names = [f"a{i}-x" for i in range(n - 1, n - 13, -1)]
    before = agent.status()["new_cgroups"]["unresolved"]
    with Newborns(cgroup) as newborns:
        with Stopped(agent):
            newborns.check("near the root", {names[0]: n, names[0] + "/" + names[1]: n - 1})
        for depth in range(3, len(names) + 1):
            worker = box.worker(cgroup.child("/".join(names[:depth])))
            wait_for(f"the last policy's cgroups at depth {depth}", 1,
                     lambda one=n - depth: agent.policy(f"p{one}")["cgroups"])
            check_priority(f"at depth {depth}", worker, n - depth + 1)
        check("some that the kernel did not know", True,
              agent.status()["new_cgroups"]["unresolved"] > before)
        before = agent.status()["new_cgroups"]["unresolved"]
        deepest = "/".join(names[:-1])
        with Stopped(agent):
            newborns.check("once more the same step", {f"{deepest}/{names[-1]}y": n - 11})
    check("unresolved meanwhile", before, agent.status()["new_cgroups"]["unresolved"])


NAMES = ["a", "b", "ab", "ba", "a.slice", "b.slice", "web.service", "web-1.service", "cri-a", "a-b"]
PIECES = ["a", "b", "*", "*", "?", "[ab]", "[!a]", "-", ".slice", "web"]


def random_component(one):
    if one.random() < 0.4:
        return one.choice([*NAMES, "web*.service", "*.slice", "*"])
    text = "".join(one.choice(PIECES) for _ in range(one.randint(1, 3)))
    return text.replace("**", "*").replace("**", "*") or "a"


def random_patterns(one, root, count):
    found = {}
    for _ in range(count):
        if one.random() < 0.35:
            found.setdefault("unit", []).append(random_component(one))
            continue
        parts = [one.choice(["**", random_component(one), random_component(one)])
                 for _ in range(one.randint(1, 3))]
        found.setdefault("cgroup", []).append(root + "/" + "/".join(parts))
    return found


def random_configuration(one, root):
    found = []
    for number in range(one.randint(1, 5)):
        match = random_patterns(one, root, one.randint(1, 3))
        if one.random() < 0.5:
            match["exclude"] = random_patterns(one, root, one.randint(1, 2))
        found.append({"name": f"p{number}", "match": match,
                      "options": {"SO_PRIORITY": number + 1}})
    return found


def random_tree(one):
    """Parents first; below the cgroup that they are all in."""
    paths = []
    for _ in range(12):
        path = "/".join([*filter(None, [one.choice(["", *paths])]), one.choice(NAMES)])
        if path not in paths and path.count("/") < 4:
            paths.append(path)
    return paths


def expect(config, cgroup):
    """(the priority, the policies that apply)"""
    applying = policies_in_order({FILE: config}, cgroup)
    return (applying[-1]["options"]["SO_PRIORITY"] if applying else 0,
            [policy["name"] for policy in applying])


def try_one(agent, newborns, number, text, paths, expected):
    agent.write(FILE, text)
    agent.reload_good()
    try:
        with Stopped(agent):
            newborns.check(f"configuration {number}\n{text}\n", {p: expected[p][0] for p in paths})
        counts = {policy["name"]: sum(policy["name"] in names for _, names in expected.values())
                  for policy in json.loads(text)["policies"]}
        wait_for(f"the policies' cgroups of configuration {number}\n{text}\n{paths}\n", counts,
                 lambda: {p["name"]: p["cgroups"] for p in agent.status()["policies"]})
    finally:
        newborns.remove([path for path in paths
                         if os.path.isdir(f"{newborns.cgroup.directory}/{path}")])


def try_random(box, numbers):
    root = box.root_cgroup(".slice")
    agent = box.agent("random", root)
    agent.start()
    with Newborns(root) as newborns:
        for number in numbers:
            one = random.Random(f"classify/{number}")
            config = random_configuration(one, root.path)
            paths = random_tree(one)
            expected = {path: expect(config, f"{root.path}/{path}") for path in paths}
            try_one(agent, newborns, number, json.dumps({"policies": config}), paths,
                    {"": expect(config, root.path), **expected})
    check_kernel_knew(agent)


def test_random(box):
    """Globs that say anything, trees of any shape: the kernel says what the language's model says."""
    try_random(box, range(CONFIGURATIONS // 3))


def test_random_further(box):
    """The others, for where there is time."""
    try_random(box, range(CONFIGURATIONS // 3, CONFIGURATIONS))
