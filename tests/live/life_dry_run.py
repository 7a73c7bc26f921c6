# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a reload would change, as `reload --dry-run` says."""

import contextlib
import itertools
import os
import random
import re
import threading

from harness.flows import (connection, governed_worker, listening, policies,
                           policy, priority_policy)
from harness.result import Between, Containing, check, wait_for
from life_policies import SHOWN

FILE = "50-test.yaml"


def dry_run(agent, *arguments):
    return agent.command("reload", "--dry-run", "--runtime-dir", agent.runtime_dir,
                         *arguments)


def prediction(agent, *arguments):
    return agent.json("reload", "--dry-run", "--runtime-dir", agent.runtime_dir, *arguments)


def new_values(worker, options):
    """{(option, direction): what getsockopt shows} of a new connection within the cgroup."""
    with listening(worker) as listener, connection(worker, listener) as (client, accepted):
        return {(option, direction): end.sockopt(*SHOWN[option][:2])
                for option in options
                for direction, end in (("connect", client), ("accept", accepted))}


def predicted(answer):
    """{(cgroup, option, direction): (from, to)} for TCP."""
    return {(cgroup, change["option"], where["direction"]): (change["from"], change["to"])
            for group in answer["groups"] for change in group["changes"]
            for where in change["where"] if where["transport"] == "tcp"
            for cgroup in group["cgroups"]}


def fits(side, seen, option):
    return side is None or SHOWN[option][2](side["value"]) == seen


WATCHED = ("SO_PRIORITY", "TCP_NODELAY", "TCP_KEEPIDLE", "SO_MARK", "TCP_USER_TIMEOUT")


def rules(*texts):
    return "    rules:\n" + "".join(f"      - {{ {text} }}\n" for text in texts)


def before_and_after(cgroups):
    """Two configurations: what changes is a value, a rule, a policy; by inheritance too."""
    a, b, c, d, e, f = cgroups
    out = "name: out, when: { direction: connect }, options: { TCP_NODELAY: on }"
    inward = "name: in, when: { direction: accept }, options: { TCP_USER_TIMEOUT: 9s }"
    near = "name: near, when: { remote: 127.0.0.0/8 }, options: { SO_MARK: %d }"
    kept = policy("inner", f, {"SO_PRIORITY": 6})
    return (policies(policy("web", a, {"SO_PRIORITY": 4, "TCP_KEEPIDLE": "60s"}), kept,
                     policy("rules", b, {}, rules(out, near % 7)),
                     policy("goes", c, {"SO_PRIORITY": 2, "TCP_NODELAY": "on"}),
                     policy("stays", e, {"SO_PRIORITY": 3})),
            policies(policy("web", a, {"SO_PRIORITY": 5, "TCP_KEEPIDLE": "90s"}), kept,
                     policy("rules", b, {}, rules(inward, near % 8)),
                     policy("comes", d, {"SO_PRIORITY": 2, "TCP_USER_TIMEOUT": "5s"}),
                     policy("stays", e, {"SO_PRIORITY": 3})))


def test_dry_run_predicts(box):
    """Prediction and what then happens on live sockets are the same, cgroup by cgroup."""
    agent = box.agent("predict")
    cgroups = [box.cgroup.child(f"predict-{name}") for name in "abcde"]
    cgroups.append(cgroups[0].child("inner"))
    workers = {cgroup.path: box.worker(cgroup) for cgroup in cgroups}
    before, after = before_and_after(cgroups)
    agent.write(FILE, before)
    agent.start()

    def look():
        return {(path, *key): seen for path, worker in workers.items()
                for key, seen in new_values(worker, WATCHED).items()}

    now = look()
    agent.write(FILE, after)
    generation = agent.status()["generation"]
    answer = prediction(agent)
    check("nothing has changed yet", (generation, now), (agent.status()["generation"], look()))
    expected = predicted(answer)
    agent.reload_good()
    then = look()
    changed = {key for key in now if now[key] != then[key]}
    check("what has changed is what was predicted", changed,
          {key for key in expected if key[2] != "listen"})
    for key in changed:
        check(f"from and to of {key}", (True, True),
              (fits(expected[key][0], now[key], key[1]), fits(expected[key][1], then[key],
                                                               key[1])))
    check("all kinds of change were among them", {path.rpartition("/")[2] for path in
                                                  ("predict-a", "predict-b", "predict-c",
                                                   "predict-d", "inner")},
          {path.rpartition("/")[2] for path, _, _ in changed})
    check("policies that come and go", (["comes"], ["goes"]), (answer["come"], answer["go"]))
    members = {path: (group["come"], group["go"]) for group in answer["groups"]
               for path in group["cgroups"]}
    check("the same, cgroup by cgroup", [([], []), ([], []), ([], ["goes"]), (["comes"], []),
                                         ([], [])],
          [members[cgroup.path] for cgroup in cgroups if cgroup.path in members])
    check("changed cgroups", 5, answer["changed"])
    check("a second time: nothing", (0, [], [], []),
          tuple(prediction(agent)[key] for key in ("changed", "groups", "come", "go")))


def test_dry_run_of_every_step(box):
    """After each of many reloads nothing is left to change; before it something is."""
    agent = box.agent("steps")
    cgroups = [box.cgroup.child(f"steps-{name}") for name in "abcde"]
    cgroups.append(cgroups[0].child("inner"))
    texts = [policies(), *before_and_after(cgroups),
             policies(policy("one", cgroups[0], {"SO_PRIORITY": "unset", "DSCP": "EF",
                                               "TCP_RTO_MAX_MS": "5s"}),  # since 6.15
                      policy("two", cgroups[1], {"SO_PRIORITY": 3, "SO_SNDBUF": "64K"}, rules(
                          "name: u, when: { protocol: udp }, options: { SO_PRIORITY: unset }",
                          "name: l, when: { local_port: 80 }, options: { TCP_NODELAY: on }",
                          "name: x, when: { family: unix }, options: { SO_SNDBUF: 32K }")))]
    agent.write(FILE, texts[0])
    agent.start()
    for first, second in itertools.permutations(range(len(texts)), 2):
        for step in (first, second):
            agent.write(FILE, texts[step])
            agent.reload_good()
            check(f"what is left to change at {step}", ([], []),
                  (prediction(agent)["groups"], prediction(agent)["listeners"]))
        agent.write(FILE, texts[first])
        check(f"from {second} to {first} something changes", True, prediction(agent)["changed"] > 0)


def test_dry_run_says_it_in_words(box):
    agent = box.agent("words")
    worker = governed_worker(box, agent, "words", 4)
    done = dry_run(agent)
    check("nothing changes: status, words", (0, True),
          (done.returncode, done.stdout.startswith("a reload would change nothing for the ")))
    agent.write(FILE, priority_policy("words", worker.cgroup, 5, rules(
        "name: out, when: { direction: connect, protocol: udp }, options: { SO_PRIORITY: 6 }")))
    text = dry_run(agent).stdout
    check("the cgroup", Containing(f"1 cgroup: {worker.cgroup.path}\n"), text)
    check("the base option", Containing("    SO_PRIORITY: 4 by words -> 5 by words at "), text)
    check("the rule", Containing("    SO_PRIORITY: 4 by words -> 6 by words, rule out at connect "
                                 "of udp\n"), text)
    check("the sum", Containing("a reload would change 1 of "), text)


def test_dry_run_groups(box):
    """1,000 cgroups with the same change are one line."""
    agent = box.agent("groups")
    parent, other = box.cgroup.child("groups"), box.cgroup.child("groups-other")
    names = [parent.child(f"c{n}").path for n in range(1000)]
    # Some have another policy beside it, which stays: what changes is the same all the same.
    also = policy("also", f"{parent.path}/c*5", {"TCP_KEEPIDLE": "60s"})

    def write(many, one):
        agent.write(FILE, policies(policy("many", f"{parent.path}/*", {"SO_PRIORITY": many}), also,
                                   policy("one", other, {"SO_PRIORITY": one})))

    write(4, 4)
    agent.start()
    write(5, 6)
    text = dry_run(agent).stdout
    lines = [line for line in text.splitlines() if re.match(r"\d+ cgroup", line)]
    check("two groups, their counts", {"1000", "1"}, {line.split()[0] for line in lines})
    check("the large one", Containing(f"1000 cgroups: {names[0]}, {names[1]}, {names[2]} and 997 "
                                      "more"), lines)
    check("bytes in all", Between(200, 2000), len(text))
    text = dry_run(agent, "--verbose").stdout
    check("names that --verbose leaves out", [],
          [name for name in names if not re.search(rf"{re.escape(name)}\b", text)])
    sizes = sorted(len(group["cgroups"]) for group in prediction(agent)["groups"])
    check("as JSON", [1, 1000], sizes)


@contextlib.contextmanager
def nested(cgroup, depth, name):
    """So many directories, each in the one before it: their path may be too long for a system call."""
    flags = os.O_PATH | os.O_DIRECTORY
    at = [os.open(cgroup.directory, flags)]
    try:
        for _ in range(depth):
            os.mkdir(name, dir_fd=at[-1])
            at.append(os.open(name, flags, dir_fd=at[-1]))
        yield
    finally:
        for number, descriptor in reversed(list(enumerate(at))):
            os.close(descriptor)
            if number:
                os.rmdir(name, dir_fd=at[number - 1])


def test_deep_cgroups_are_seen(box):
    """What users nest stops neither a dry run nor status, however long the path is."""
    agent, depth = box.agent("deep"), 20
    worker = governed_worker(box, agent, "deep", 4)
    with nested(worker.cgroup, depth, 250 * "n"):
        agent.write(FILE, priority_policy("deep", worker.cgroup, 5))
        check("a dry run", [(1 + depth, 1 + depth)],
              [(group["n_cgroups"], len(group["cgroups"]))
               for group in prediction(agent)["groups"]])
        check("governed", 1 + depth, agent.n_governed())
        check("the longest path", len(worker.cgroup.path) + 251 * depth,
              max(map(len, agent.cgroups_of("deep"))))
        agent.reload_good()
        check("a dry run after it", [], prediction(agent)["groups"])


def test_dry_run_of_wrong_files(box):
    agent = box.agent("wrong")
    worker = governed_worker(box, agent, "wrong", 4)
    agent.write(FILE, priority_policy("wrong", worker.cgroup, 4))
    agent.write("60-bad.yaml", "policies:\n  - name: bad\n    match: { cgroup: /x }\n"
                "    options: { SO_SNDBUF: 80x, SO_RCVBFU: 3 }\n")
    done = dry_run(agent)
    said = agent.command("check", "--policy-dir", agent.policy_dir)
    check("exit status, as of check", (1, 1), (done.returncode, said.returncode))
    check("every diagnostic of check", [], [line for line in said.stderr.splitlines()
                                            if line not in done.stderr.splitlines()])
    check("the verdict", Containing("a reload would be refused: 2 errors"), done.stderr)
    check("nothing on stdout", "", done.stdout)
    check("the agent is not degraded by it", 0, agent.metric("sockpol_degraded"))
    agent.remove("60-bad.yaml")
    many = rules(*(f"name: r{n}, when: {{ remote_port: {n + 1} }}, options: {{ SO_MARK: {n} }}"
                   for n in range(65)))
    path = agent.write(FILE, policies(policy("wrong", worker.cgroup, {"SO_PRIORITY": 4}, many)))
    for done in (dry_run(agent), agent.reload()):
        check("too many rules: status", 1, done.returncode)
        check("which", Containing("more than 64 rules of a policy"), done.stderr)
        check("where", Containing(f"{path}:"), done.stderr)


def test_dry_run_foresees_what_the_kernel_lacks(box):
    agent = box.agent("lacks")
    worker = governed_worker(box, agent, "lacks", 4)
    text = policies(policy("lacks", worker.cgroup, {"TCP_CONGESTION": "nosuchcc"}))
    missing = "this kernel has no congestion control 'nosuchcc'"
    path = agent.write(FILE, text.replace("    match:", "    on_unsupported: refuse\n    match:"))
    for done in (dry_run(agent), agent.reload()):
        check("refused: status", 1, done.returncode)
        check("why", Containing(f"{path}:5:16: error: {missing}, and policy 'lacks' says "
                                "on_unsupported: refuse"), done.stderr)
    agent.write(FILE, text)
    for done in (dry_run(agent), agent.reload()):
        check("left out: status", 0, done.returncode)
        check("a warning", Containing(f"{path}:4:16: warning: {missing}: left out of policy "
                                      "'lacks'"), done.stderr)


def test_dry_run_names_listeners(box):
    agent = box.agent("listeners")
    worker = governed_worker(box, agent, "listeners", 4)
    other = box.worker(box.cgroup.child("listeners-other"))

    def write(mss, probes):
        agent.write(FILE, policies(
            policy("mss", worker.cgroup, {"TCP_MAXSEG": mss, "TCP_KEEPCNT": probes})))

    write(1000, 4)
    agent.reload_good()
    with listening(worker) as listener, listening(other):
        name = f"127.0.0.1:{listener.port()}"
        write(1000, 5)
        check("listeners, when only what they do not carry changes", [],
              prediction(agent)["listeners"])
        write(1100, 5)
        check("listeners", [{"local": name, "cgroup": worker.cgroup.path}],
              prediction(agent)["listeners"])
        check("in words", Containing(f"    {name} in cgroup {worker.cgroup.path}\n"),
              dry_run(agent).stdout)
        lines = agent.line_count()
        agent.reload_good()
        agent.wait_line(rf"listener {re.escape(name)} in cgroup {worker.cgroup.path} keeps", lines)
        check("and after the reload", [], prediction(agent)["listeners"])


def test_dry_run_without_an_agent(box):
    agent = box.agent("dry-alone")
    worker = governed_worker(box, agent, "dry-alone", 4)
    agent.kill()
    places = ["--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir]
    check("nothing changes", 0, prediction(agent, *places)["changed"])
    agent.write(FILE, priority_policy("dry-alone", worker.cgroup, 5))
    answer = prediction(agent, *places)
    check("the change", {"4": "5"}, {change["from"]["value"]: change["to"]["value"]
                                     for group in answer["groups"]
                                     for change in group["changes"]})
    agent.start()
    agent.stop()
    answer = prediction(agent, *places)
    check("without pins: in force, and what would come", (False, ["dry-alone"], True),
          (answer["in_force"], answer["come"], [worker.cgroup.path] in
           [group["cgroups"] for group in answer["groups"]]))
    check("no pins were made", False, os.path.exists(agent.pin_dir))


def test_dry_run_of_other_directories(box):
    agent = box.agent("elsewhere")
    worker = governed_worker(box, agent, "elsewhere", 4)
    directory = box.path("candidate")
    os.mkdir(directory)
    with open(os.path.join(directory, FILE), "w", encoding="utf-8") as file:
        file.write(priority_policy("elsewhere", worker.cgroup, 7))
    check("the agent's own files", 0, prediction(agent)["changed"])
    answer = prediction(agent, "--policy-dir", directory)
    check("a candidate's", [(worker.cgroup.path, "7")],
          sorted({(cgroup, to["value"]) for (cgroup, _, _), (_, to) in predicted(answer).items()}))
    for wrong in (["--verbose"], ["--json"], ["--policy-dir", directory]):
        check(f"{wrong} without --dry-run", 2, agent.command("reload", *wrong).returncode)


def test_dry_run_during_reloads(box):
    """It is of one generation or the other, never a mixture, and it never fails."""
    agent = box.agent("dry-storm")
    worker = governed_worker(box, agent, "dry-storm", 4)
    done = threading.Event()
    good = (priority_policy("dry-storm", worker.cgroup, 4),
            policies(policy("dry-storm", worker.cgroup, {"SO_PRIORITY": 5, "SO_MARK": 5})))
    target = box.path("target")
    os.mkdir(target)
    with open(os.path.join(target, FILE), "w", encoding="utf-8") as file:
        file.write(good[1])

    def reload():
        while not done.is_set():  # by lot: taking turns they may keep step with the dry runs
            temporary = agent.write("new", random.choice(good))  # not a policy file yet
            os.rename(temporary, os.path.join(agent.policy_dir, FILE))
            agent.reload()

    seen = set()

    def look():
        seen.add(frozenset((change["option"], change["to"]["value"])
                           for group in prediction(agent, "--policy-dir", target)["groups"]
                           for change in group["changes"]))
        return seen

    reloader = threading.Thread(target=reload)
    reloader.start()
    try:
        for _ in range(40):
            look()
        whole = frozenset((("SO_PRIORITY", "5"), ("SO_MARK", "5")))
        wait_for("both generations, and nothing between them", {frozenset(), whole}, look)
    finally:
        done.set()
        reloader.join()
