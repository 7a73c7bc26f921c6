# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One call of the agent fails, whichever: what was in force stays in force, whole, and says why.

The calls that a change makes are counted first; then each in turn is made to fail (inject.c), and
after each it is looked whether sockets have all of the old policy or all of the new, as the agent
said, in old cgroups and in new ones that a glob matches; whether the next change works; and whether
anything is left over.

SOCKPOL_TEST_INJECT=full: every call, of very many the first ones and some of the others; else a
sample.
"""

import collections
import itertools
import os
import resource

from harness.agent import READY
from harness.injection import BPF, ERRORS, FILES, LINKS, MEMORY, MMAP, NAMES, Injection
from harness.result import Failure, check, wait_for
from life_hostile import CAPABILITIES, limited as with_capabilities
from life_takeover import other_abi
from life_whole import (FILE, learn, plain, program, read_verdict, request, run_whole,
                        use, write_whole)
from harness.flows import policy
from harness.startup import read_options

FULL = os.environ.get("SOCKPOL_TEST_INJECT") == "full"
SAMPLE = {BPF: 40, MEMORY: 30, MMAP: 5, FILES: 15, LINKS: 20}
UNIT = with_capabilities(*CAPABILITIES)  # as the unit starts it


HEAD = 400  # of very many calls, the later ones do the same for each policy


def spread(first, end, most):
    """So many numbers, the first and the last of the range among them."""
    if end - first <= most:
        return set(range(first, end))
    return {first + round(at * (end - 1 - first) / (most - 1)) for at in range(most)}


def sample(count, kind, share=1):
    """Numbers of calls, more of them from among the first ones."""
    most = max(4, int(SAMPLE[kind] * share))
    if FULL and count <= 5 * HEAD:
        return range(count)
    if FULL:
        return sorted(spread(0, HEAD, HEAD) | spread(HEAD, count, HEAD))
    if count <= HEAD:
        return sorted(spread(0, count, most))
    return sorted(spread(0, HEAD, most * 2 // 3) | spread(HEAD, count, most // 3))


class Scene:
    """An agent with a policy that governs `old`, and what a glob matches beside it."""

    def __init__(self, box, name, prefix=()):
        self.box = box
        rows = read_options(box.sockpol)
        self.binary = program(box)
        self.cgroup = box.cgroup.child(name)
        self.old = self.cgroup.child("s-old")
        self.texts = [plain(rows, f"{self.cgroup.path}/s-*", which) for which in (0, 1)]
        self.injection = Injection(box)
        self.agent = box.agent(name, environment=self.injection.environment)
        self.agent.prefix = list(prefix)
        self.agent.write(FILE, self.texts[0])
        self.agent.start()
        self.plan = learn(self.agent, self.binary, rows, self.old, self.texts)
        self.in_force = 1
        self.numbers = 0

    def log(self):
        """The end of the agent's."""
        return "\n".join(self.agent.log().splitlines()[-10:])

    def look(self, cgroup, what):
        """Which of the two is in force for a cgroup's new sockets, at every hook."""
        said = run_whole(cgroup, [self.binary, "judge", "6"], self.plan)
        counts, _, mixed, failed = read_verdict(said)
        check(f"{what}: sockets with a mixture or none; they were\n{said[:300]}\n{self.log()}\n   ",
              (0, 0), (mixed, failed))
        which = {at for one_and_other in counts.values()
                 for at in (0, 1) if one_and_other[at]}
        if len(which) != 1:
            raise Failure(f"{what}: one policy at every hook", "the one or the other", said)
        return which.pop()

    def check_in_force(self, what, expected):
        what = f"{what}; it said\n{self.log()}\n   "
        check(f"{what}: the policy in an old cgroup", expected, self.look(self.old, what))
        self.numbers += 1
        new = self.cgroup.child(f"s-new-{self.numbers}")
        check(f"{what}: the policy in a new cgroup", expected, self.look(new, what))
        new.rmdir()
        self.in_force = expected

    def footprint(self):
        """Descriptors, and what they are of."""
        kinds = collections.Counter(kind for kind, _ in self.agent.objects())
        kinds["fd"] = self.agent.n_descriptors()
        return dict(kinds)


def describe(kind, at, count, error):
    return f"{NAMES[kind]} number {at} of {count} fails with {os.strerror(error)}"


def reload_failing(scene, kind, at, count, error, calls=1):
    """Returns whether the reload was refused; None: there was no such call."""
    what = describe(kind, at, count, error)
    lines = scene.agent.line_count()
    new = not scene.in_force
    write_whole(scene.agent, scene.texts[new])
    scene.injection.arm(kind, at, error, calls)
    reply = request(scene.agent, "reload")
    _, fired = scene.injection.disarm()
    if scene.agent.process.poll() is not None:
        raise Failure(f"{what}: the agent to live on", "it lives",
                      f"{scene.agent.process.returncode}\n{scene.log()}")
    ok = reply.get("ok", False)
    scene.check_in_force(what, int(new if ok else not new))
    if not ok and "not a request" not in reply.get("message", "not a request"):
        scene.agent.wait_line(r"^reload: ", lines)
    if not fired:  # not every reload allocates the same
        return None
    return not ok


def check_next(scene, what):
    """The next change, with nothing that fails."""
    new = int(not scene.in_force)
    reply = use(scene.agent, scene.texts[new])
    check(f"{what}: the next reload; {reply}, {scene.log()}", True, reply.get("ok"))
    check(f"{what}: the policy after the next reload", new, scene.look(scene.old, what))
    scene.in_force = new


def count_calls(scene, kind):
    write_whole(scene.agent, scene.texts[not scene.in_force])
    scene.injection.arm(kind)
    reply = request(scene.agent, "reload")
    count, _ = scene.injection.disarm()
    check(f"a reload that is counted: {reply}", True, reply.get("ok"))
    scene.in_force = int(not scene.in_force)
    return count


def reloads(box, kind, prefix=()):
    scene = Scene(box, "injected", prefix)
    count_calls(scene, kind)  # the first after the start may do more
    count = count_calls(scene, kind)
    before = scene.footprint()
    outcomes = collections.Counter()
    for number, at in enumerate(sample(count, kind)):
        error = ERRORS[kind][number % len(ERRORS[kind])]
        outcomes[reload_failing(scene, kind, at, count, error)] += 1
        check_next(scene, describe(kind, at, count, error))
        wait_for(f"descriptors after {describe(kind, at, count, error)}", before, scene.footprint)
    say(kind, count, outcomes)
    scene.agent.stop()


def say(kind, count, outcomes):
    print(f"{sum(outcomes.values())} of {count} calls of {NAMES[kind]}: {outcomes[True]} refused, "
          f"{outcomes[False]} succeeded all the same, {outcomes[None]} not reached")


def test_reload_bpf(box):
    reloads(box, BPF)


def test_reload_memory(box):
    reloads(box, MEMORY)


def test_reload_files(box):
    reloads(box, FILES)


def test_reload_bpf_in_the_unit(box):
    reloads(box, BPF, UNIT)


def start_failing(scene, kind, at, error, calls=1):
    """An agent that finds the pins of one that was killed; returns (calls, refused)."""
    new = int(not scene.in_force)
    write_whole(scene.agent, scene.texts[new])
    scene.agent.kill()
    scene.injection.arm(kind, at, error, calls)
    scene.agent.start(wait=False)
    try:
        scene.agent.wait_line(READY)
        request(scene.agent, "status")  # what fails just after that may end it, too
    except (Failure, OSError):
        scene.agent.end()
    count, fired = scene.injection.disarm()
    status = scene.agent.process.poll()
    degraded = "degraded" in scene.agent.log()
    if status is not None:
        scene.agent.process = None
        check(f"{describe(kind, at, count, error)}: exit status; it said\n{scene.log()}\n   ",
              1, status)
        check(f"{describe(kind, at, count, error)}: it said why", True, len(scene.agent.log()) > 0)
    refused = status is not None or degraded
    scene.check_in_force(describe(kind, at, count, error), int(not new if refused else new))
    return count, refused if fired else None


def started_again(scene, what):
    """The next start, with nothing that fails; the agent that went on has a reload, too."""
    if scene.agent.process:
        check_next(scene, what)
        scene.agent.kill()
    new = int(not scene.in_force)
    write_whole(scene.agent, scene.texts[new])
    scene.agent.start()
    scene.check_in_force(f"{what}: started again", new)


def starts(box, kind, share, prefix=(), calls=1):
    scene = Scene(box, "adopted", prefix)
    scene.agent.kill()
    started_again(scene, "with nothing that fails")
    before, outcomes = scene.footprint(), collections.Counter()
    count, _ = start_failing(scene, kind, 1 << 62, 0)
    for number, at in enumerate(sample(count, kind, share)):
        error = ERRORS[kind][number % len(ERRORS[kind])]
        _, refused = start_failing(scene, kind, at, error, calls)
        outcomes[refused] += 1
        started_again(scene, describe(kind, at, count, error))
        wait_for(f"descriptors after {describe(kind, at, count, error)}", before, scene.footprint)
    say(kind, count, outcomes)
    scene.agent.stop()


def test_start_bpf(box):
    starts(box, BPF, 0.4)


def test_start_memory(box):
    starts(box, MEMORY, 0.4)


def test_start_mmap(box):
    starts(box, MMAP, 1)


def test_start_files(box):
    starts(box, FILES, 0.6)


def test_start_bpf_in_the_unit(box):
    starts(box, BPF, 0.2, UNIT)


def test_take_over_links(box):
    """From a build of another ABI, whose programs nobody can put back."""
    scene = Scene(box, "versions", UNIT)
    builds = [scene.agent.sockpol, other_abi(box)]
    outcomes = collections.Counter()

    def failing(at, error):
        builds.reverse()
        scene.agent.sockpol = builds[0]
        return start_failing(scene, LINKS, at, error)

    count, _ = failing(1 << 62, 0)
    check("a link for each hook of every kernel", True, count >= 7)
    for at in range(count):
        error = ERRORS[LINKS][at % len(ERRORS[LINKS])]
        _, refused = failing(at, error)
        outcomes[refused] += 1
        started_again(scene, describe(LINKS, at, count, error))
    say(LINKS, count, outcomes)
    scene.agent.stop()


def test_take_over_links_for_a_time(box):
    """A link fails twice: the agent goes on, says what is, and the next reload sees to it."""
    scene = Scene(box, "behind", UNIT)
    scene.agent.kill()
    ours, scene.agent.sockpol = scene.agent.sockpol, other_abi(box)
    started_again(scene, "the other build")
    scene.agent.kill()
    scene.agent.sockpol = ours
    write_whole(scene.agent, scene.texts[not scene.in_force])
    scene.injection.arm(LINKS, 1, calls=2)
    scene.agent.start()
    _, fired = scene.injection.disarm()
    check("updates that failed", 2, fired)
    scene.agent.wait_line("^Cannot replace the program at bind4: the earlier agent's goes on there")
    scene.agent.wait_line("^At those hooks the earlier agent's policies are in force, too")
    check("the reload", True, request(scene.agent, "reload").get("ok"))
    scene.check_in_force("after a reload of the same", int(not scene.in_force))
    check_next(scene, "after the take-over")
    scene.agent.stop()


MANY = 400


def many(scene, which):
    """A configuration that takes some memory."""
    return scene.texts[which] + "".join(
        policy(f"more-{number}", f"{scene.cgroup.path}/more-{number}*", {"SO_PRIORITY": 1})
        for number in range(MANY))


def limited(box, name, limit, amounts):
    """A reload under a real limit of the running agent, at several heights."""
    scene = Scene(box, name)
    check_next(scene, "with nothing that fails")
    before, refused = scene.footprint(), 0
    for amount in amounts:
        pid = scene.agent.process.pid
        usual = resource.prlimit(pid, limit)
        new = int(not scene.in_force)
        write_whole(scene.agent, many(scene, new))
        resource.prlimit(pid, limit, (used(pid, limit) + amount, usual[1]))
        reply = request(scene.agent, "reload")
        resource.prlimit(pid, limit, usual)
        what = f"{name}: {amount} more than it had"
        check(f"{what}: it lives", None, scene.agent.process.poll())
        refused += not reply.get("ok")
        scene.check_in_force(what, new if reply.get("ok") else int(not new))
        check_next(scene, what)
        wait_for(f"descriptors after {what}", before, scene.footprint)
    print(f"{name}: {refused} of {len(amounts)} reloads refused")
    check("reloads refused", True, refused > 0)
    scene.agent.stop()


def used(pid, limit):
    if limit == resource.RLIMIT_NOFILE:
        numbers = set(map(int, os.listdir(f"/proc/{pid}/fd")))
        return next(number for number in itertools.count() if number not in numbers)
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def test_no_descriptors(box):
    limited(box, "descriptors", resource.RLIMIT_NOFILE, (1, 2, 4, 8, 16, 32, 48, 64))


def test_no_address_space(box):
    limited(box, "memory", resource.RLIMIT_AS, (0, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 24))
