# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The first socket of a new cgroup is governed, whether the agent runs, is stopped or is dead: the hook
itself finds out which policies apply.  What they are the language's model says."""

import json
import os
import random
import subprocess
import sys

from harness.flows import policies, policy, priority_policy
from harness.newborns import Newborns
from harness.result import PATIENCE, Failure, check
from harness.size import sized

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "differential"))
from model import policies_in_order  # noqa: E402

FILE = "50-test.yaml"
CGROUPS = sized(short=300, full=1000, long=10000)  # for each state of the agent
CONFIGURATIONS = round(sized(short=60, full=100, long=2000) / PATIENCE) or 1
NESTED = 40  # names of 255 bytes
LEVELS = 1024  # below, a cgroup has what its ancestor there has


def expected_priority(config, path):
    applying = policies_in_order({FILE: config}, path)
    values = [one["options"]["SO_PRIORITY"] for one in applying]
    return values[-1] if values and values[-1] != "unset" else 0


def expectation(config, root, paths):
    """{path below the root: priority}"""
    return {path: expected_priority(config, f"{root}/{path}") for path in paths}


def as_yaml(config):
    return json.dumps({"policies": config})


def one_policy(name, priority, match):
    return {"name": name, "match": match, "options": {"SO_PRIORITY": priority}}


def every_kind_of_glob(root):
    """Nested, each with something that it leaves out."""
    return [
        one_policy("all", 1, {"cgroup": [f"{root}/**/svc-*"],
                              "exclude": {"cgroup": [f"{root}/**/*-not"]}}),
        one_policy("inner", 2, {"cgroup": [f"{root}/**/svc-?[0-9]*/work*"],
                                "exclude": {"cgroup": [f"{root}/**/*x/**"]}}),
        one_policy("back", "unset", {"cgroup": [f"{root}/**/plain"]}),
        one_policy("exact", 3, {"cgroup": [f"{root}/a/b/c"]}),
        one_policy("unit", 4, {"unit": ["web-*.service"],
                               "exclude": {"unit": ["web-?7*.service"]}}),
        one_policy("class", 5, {"cgroup": [f"{root}/[!a-w]*[0-4]"]}),
    ]


def paths_of(number):
    """A service's cgroups and what looks like them: each is there once."""
    svc, web = f"svc-{number:05}", f"web-{number}.service"
    return [svc, f"{svc}/work", f"{svc}/work/deep", f"{svc}/work/plain", f"{svc}-not",
            f"{svc}-not/other", f"{svc}-not/work", f"{svc}x", f"{svc}x/work", f"other-{number}",
            web, f"{web}/worker", f"a-{number}.slice/{web}", f"user@{number}.service/{web}",
            f"z-{number}", f"a-{number}/b/c"]


def started(box, name):
    root = box.root_cgroup(f"-{name}.slice")
    agent, config = box.agent(name, root), every_kind_of_glob(root.path)
    agent.write(FILE, as_yaml(config))
    agent.start()
    return agent, root, config


def check_many(newborns, what, config, root):
    paths = ["a", "a/b", "a/b/c", "a/b/c/d"]
    number = 0
    while len(paths) < CGROUPS:
        number += 1
        paths += paths_of(number)
    expected = expectation(config, root.path, paths)
    check("some cgroups for each of the policies, and without any", {0, 1, 2, 3, 4, 5},
          set(expected.values()))
    newborns.check(what, expected)


def test_agent_running(box):
    agent, root, config = started(box, "running")
    with Newborns(root) as newborns:
        check_many(newborns, "agent running", config, root)
    check("failed options", [], [one["failed"] for one in agent.status()["policies"] if one["failed"]])


def test_agent_stopped(box):
    agent, root, config = started(box, "stopped")
    with Newborns(root) as newborns, agent.stopped():
        check_many(newborns, "agent stopped", config, root)


def test_agent_dead(box):
    """And the next one finds nothing amiss."""
    agent, root, config = started(box, "dead")
    agent.kill()
    with Newborns(root) as newborns:
        check_many(newborns, "agent dead", config, root)
        agent.start()
        newborns.check("the next agent", expectation(config, root.path, [
            f"next/{path}" for path in paths_of(1)]))


def test_nothing_at_tracepoints(box):
    """All that is attached is attached to the cgroup."""
    agent, _, _ = started(box, "attached")
    shown = {}
    for kind, number in agent.objects():
        if kind != "map":
            done = subprocess.run(["bpftool", "--json", kind, "show", "id", number], check=True,
                                  capture_output=True, text=True)
            shown.setdefault((kind, json.loads(done.stdout)["type"]), []).append(number)
    check("programs and links, by type", {("link", "cgroup"), ("prog", "cgroup_sock_addr"),
                                          ("prog", "cgroup_sock"),
                                          ("prog", "sock_ops")}, set(shown))


def only(direction, name, cgroup, priority, more=""):
    """Nothing is governed but sockets of one direction: socket(2) gives nothing, so that the cgroup is found
    out where they connect, or in softirq where they are accepted."""
    return policy(name, cgroup, {}, "    rules:\n      - name: only\n"
                  f"        when: {{ direction: {direction}{more} }}\n"
                  f"        options: {{ SO_PRIORITY: {priority} }}\n")


def test_in_softirq(box):
    agent, cgroup = box.agent("softirq"), box.cgroup.child("softirq")
    agent.write(FILE, policies(only("accept", "one", f"{cgroup.path}/**/svc-*", 3),
                               only("accept", "two", f"{cgroup.path}/**/*-b", 5,
                                    ", remote: 127.0.0.0/8")))
    agent.start()
    check("hooks", {"sock_ops"}, {one["hook"] for one in agent.status()["attachments"]})
    expected = {}
    for number in range(sized(short=50, full=300, long=1000)):
        expected |= {f"svc-{number}": 3, f"svc-{number}/in/ner": 3, f"svc-{number}-b": 5,
                     f"none-{number}": 0, f"deep/er-{number}/x-b": 5}
    with Newborns(cgroup) as newborns, agent.stopped():
        newborns.check("first governed in softirq", expected, "accept")


def test_removed_before_its_first_connect(box):
    agent, cgroup = box.agent("removed"), box.cgroup.child("removed")
    agent.write(FILE, policies(only("connect", "one", f"{cgroup.path}/**/svc-*", 3),
                               only("connect", "two", f"{cgroup.path}/*/svc-?b", 4)))
    agent.start()
    check("is socket(2) looked at", False,
          "sock_create" in {one["hook"] for one in agent.status()["attachments"]})
    expected = {}
    for number in range(20):
        expected |= {f"svc-{number}": 3, f"a{number}/svc-ab": 4, f"none-{number}": 0}
    with Newborns(cgroup) as newborns, agent.stopped():
        for _ in range(2):  # the same names once more: other cgroups
            newborns.check("removed", expected, "removed")


def cut(agent):
    """Cgroups that have what an ancestor has, as the hook looked no further."""
    return agent.metric("sockpol_cgroups_too_deep_total")


def own_tree(box, name):
    """A cgroup that goes at the end of the test, as what is made below takes long to look at."""
    cgroup = box.cgroup.child(name)
    box.stack.callback(cgroup.remove_all)
    return cgroup


def test_deep(box):
    """Down to level 1,024, and below: there a cgroup has what its ancestor has, counted."""
    agent, cgroup = box.agent("deep"), own_tree(box, "deep")
    path = cgroup.path
    agent.write(FILE, policies(policy("above", path, {"SO_PRIORITY": 1}),
                               policy("at", path + "/**/at", {"SO_PRIORITY": 2}),
                               policy("below", path + "/**/below", {"SO_PRIORITY": 3})))
    agent.start()
    above = path.count("/")  # the level of the cgroup itself
    deep = "/".join("d" * (LEVELS - above - 1))  # the level above the last
    with Newborns(cgroup) as newborns:
        newborns.check("deep", {f"{deep}/at": 2, f"{deep}/below": 3, f"{deep}/other": 1})
        check("not cut yet", 0, cut(agent))
        newborns.check("too deep", {f"{deep}/at/below": 2, f"{deep}/at/x/y/below": 2,
                                    f"{deep}/other/below": 1})
        check("cut", 3, cut(agent))


def test_long_names(box):
    """255 bytes, with globs that stay active to the end; and many of them nested."""
    agent, cgroup = box.agent("long"), own_tree(box, "long")
    path = cgroup.path
    agent.write(FILE, policies(policy("end", path + "/**/*z", {"SO_PRIORITY": 1}),
                               policy("middle", path + "/**/*y*z", {"SO_PRIORITY": 2}),
                               policy("class", path + "/**/" + 127 * "?" + "[k-m]*",
                                      {"SO_PRIORITY": 3})))
    agent.start()
    a255 = 255 * "a"
    nested = "/".join(NESTED * [a255])
    expected = {254 * "a" + "z": 1, a255: 0, 100 * "a" + "y" + 153 * "a" + "z": 2,
                127 * "a" + "l" + 127 * "a": 3, 127 * "a" + "n" + 127 * "a": 0,
                f"{nested}/{254 * 'a'}z": 1, f"{nested}/b": 0,
                f"{nested}/{126 * 'a'}yl{126 * 'a'}z": 3}
    with Newborns(cgroup) as newborns, agent.stopped():
        newborns.check("long names", expected)


def test_the_longest_way(box):
    """Names bound what a walk costs: where it ends, a cgroup has what an ancestor has, counted."""
    agent, cgroup = box.agent("longest"), own_tree(box, "longest")
    path = cgroup.path
    agent.write(FILE, policies(policy("above", path, {"SO_PRIORITY": 1}),
                               *(policy(f"p{one}", f"{path}/**/*{one}*z", {"SO_PRIORITY": 2})
                                 for one in "abcdefgh")))
    agent.start()
    name = 31 * "abcdefgh" + "abcde"
    with Newborns(cgroup) as newborns, agent.stopped():
        newborns.check("names without end", {"/".join(900 * [name]) + "/xz": 1})
        newborns.check("beside them", {f"{name}z": 2})
    check("cut", 1, cut(agent))


TINY = "tiny-cache"  # a build: 64 cgroups, lists of 8, 4 places to go on from


def tiny(box, name, cgroup):
    return box.agent(name, cgroup, sockpol=box.build(TINY))


def test_more_cgroups_than_the_cache_holds(box):
    """What was evicted is found again, always the same."""
    root = box.root_cgroup("-evicted.slice")
    agent, config = tiny(box, "evicted", root), every_kind_of_glob(root.path)
    agent.write(FILE, as_yaml(config))
    agent.start()
    paths = [path for number in range(20) for path in paths_of(number)]
    with Newborns(root) as newborns, agent.stopped():
        for _ in range(3):
            newborns.check("more than fit", expectation(config, root.path, paths))


# Globs that are many at once.

PAIRS = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "0123456789abcde"][:300]


def at_once(box, name, config, endings):
    """Names of which 79 of 300 globs are under way at a time; endings are put to each of them."""
    agent, cgroup = box.agent(name), box.cgroup.child(name)
    config = config(cgroup.path)
    agent.write(FILE, as_yaml(config))
    agent.start()
    one, paths = random.Random(79), []
    for number in range(sized(short=40, full=100, long=400)):
        # Of the policies that come last none, so that it matters which are under way.
        some = one.sample(PAIRS[:one.choice((80, 150, 220, 300))], 79)
        start = f"in{number}" + "".join("-" + pair for pair in some)
        paths += [start + ending for ending in endings]
    with Newborns(cgroup) as newborns, agent.stopped():
        newborns.check("many globs at once", expectation(config, cgroup.path, paths))
    check("cut", 0, cut(agent))


def test_more_globs_at_once_than_a_walk_has_room_for(box):
    tens = [PAIRS[first:first + 10] for first in range(0, 300, 10)]
    at_once(box, "at-once", lambda path: [
        one_policy(f"p{number}", number + 1, {"cgroup": [f"{path}/**/*-{pair}*x" for pair in pairs]})
        for number, pairs in enumerate(tens)], ("x", "xy", "x/inner/x"))


def test_more_excludes_at_once_than_a_walk_has_room_for(box):
    at_once(box, "excludes", lambda path: [
        one_policy("in", 5, {"cgroup": [f"{path}/**/in*"], "exclude": {
            "cgroup": [f"{path}/**/*-{pair}*x" for pair in PAIRS]}})],
            ("x", "xy", "y/inner/x", "x/inner/x"))


GLOBS, GLOB_POLICIES = 12000, 400


def test_12000_globs(box):
    """More than one table of them holds; each has 20 bytes of its own."""
    agent, cgroup = box.agent("globs"), box.cgroup.child("globs")
    one = random.Random(12000)
    names = ["".join(one.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20))
             for _ in range(GLOBS)]
    config = [one_policy(f"p{number}", number + 1,
                         {"cgroup": [f"{cgroup.path}/{name}" for name in names[number::GLOB_POLICIES]]})
              for number in range(GLOB_POLICIES)]
    agent.write(FILE, as_yaml(config))
    agent.start()
    expected = {}
    for number in sorted(one.sample(range(GLOBS), sized(short=100, full=500, long=GLOBS))):
        expected[names[number]] = number % GLOB_POLICIES + 1
        expected[names[number][:19]] = 0
        expected[names[number] + "x"] = 0
    with Newborns(cgroup) as newborns, agent.stopped():
        newborns.check("12,000 globs", expected)


# Anything.

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
    for number in range(one.choice((1, 2, 3, 4, 5, 40))):
        match = random_patterns(one, root, one.randint(1, 3))
        if one.random() < 0.5:
            match["exclude"] = random_patterns(one, root, one.randint(1, 2))
        found.append(one_policy(f"p{number}", number + 1, match))
    return found


def random_tree(one):
    """Below the cgroup that they are all in; in any order, so that some are found before those above
    them."""
    paths = []
    for _ in range(12):
        path = "/".join([*filter(None, [one.choice(["", *paths])]), one.choice(NAMES)])
        if path not in paths and path.count("/") < 4:
            paths.append(path)
    one.shuffle(paths)
    return paths


def try_random(box, name, make_agent):
    root = box.root_cgroup(f"-{name}.slice")
    agent = make_agent(box, name, root)
    agent.start()
    with Newborns(root) as newborns:
        for number in range(CONFIGURATIONS):
            one = random.Random(f"{name}/{number}")
            below = f"n{number}.slice"
            config = random_configuration(one, f"{root.path}/{below}")
            paths = [f"{below}/{path}" for path in random_tree(one)]
            agent.write(FILE, as_yaml(config))
            agent.reload_good()
            with agent.stopped():
                newborns.check(f"configuration {number}\n{json.dumps(config)}\n",
                               expectation(config, root.path, paths))
            root.child(below, make=False).remove_all()


def test_random(box):
    """Globs that say anything, trees of any shape."""
    try_random(box, "random", lambda box, name, root: box.agent(name, root))


def test_random_in_a_tiny_cache(box):
    try_random(box, "random-tiny", tiny)


def test_during_reloads(box):
    """Each first socket has one of the two policies."""
    agent, cgroup = box.agent("reloads"), box.cgroup.child("reloads")
    texts = [priority_policy(f"p{number}", f"{cgroup.path}/**/svc-*", 3 + number)
             for number in range(2)]
    agent.write(FILE, texts[0])
    agent.start()
    seen = {}
    with Newborns(cgroup) as newborns:
        for number in range(sized(short=30, full=100, long=1000)):
            agent.write(FILE, texts[number % 2])
            running = subprocess.Popen([agent.sockpol, "reload", "--runtime-dir",
                                        agent.runtime_dir], stdout=subprocess.DEVNULL)
            seen |= newborns.priorities([f"a{number}", *(f"a{number}/svc-{one}" for one in range(8))])
            check("exit status of a reload", 0, running.wait(timeout=30))
    wrong = {path: value for path, value in seen.items()
             if value not in ((3, 4) if "svc" in path else (0,))}
    if wrong:
        raise Failure("first sockets during reloads", "one of the two policies", wrong)
