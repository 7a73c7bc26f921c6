# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What `explain` and `reload` said wrongly, or did not say: a test, or several, for each such fault."""

import re
import socket

from harness.flows import listening, policies, policy
from harness.result import Containing, check

FILE = "50-test.yaml"


# --- F5: listeners that are older than a policy ---------------------------------------------------

def named(text):
    """The listeners that a text names, each with its cgroup."""
    return re.findall(r"^listener (\S+) in cgroup (\S+) keeps what it has until it is opened again", text,
                      re.M)


def test_f5_listeners_older_than_the_first_policy(box):
    """None of them got anything from a policy before, and that is not said of any."""
    agent = box.agent("f5")
    worker = box.worker(box.cgroup.child("f5"))
    ungoverned = box.worker(box.cgroup.child("f5-other"))

    def write(**options):
        agent.write(FILE, policies(policy("f5", worker.cgroup, options)))

    with listening(worker) as listener, listening(ungoverned):
        expected = [(f"127.0.0.1:{listener.port()}", worker.cgroup.path)]
        write(SO_MARK=7)
        agent.start()
        agent.wait_line("^listener ")
        check("named at the start", expected, named(agent.log()))
        for what, options, right in (("what listeners get changes", {"SO_MARK": 8}, expected),
                                     ("nothing changes", {"SO_MARK": 8}, []),
                                     ("listeners get nothing of it", {"SO_MARK": 8, "TCP_NODELAY": "on"}, []),
                                     ("listeners get nothing any more", {"TCP_NODELAY": "on"}, expected),
                                     ("listeners get something", {"TCP_MAXSEG": 1000}, expected)):
            write(**options)
            lines = agent.line_count()
            dry = agent.json("reload", "--dry-run", "--runtime-dir", agent.runtime_dir)["listeners"]
            check(f"a dry run: {what}", right, [(one["local"], one["cgroup"]) for one in dry])
            done = agent.reload()
            check(f"reload's answer: {what}", right, named(done.stderr))
            agent.wait_line("^reload: ", lines)
            check(f"the log: {what}", right,
                  named("\n".join(agent.log().splitlines()[lines:])))
    with listening(worker):
        check("a reload without old listeners", [], named(agent.reload().stderr))
        agent.kill()
        agent.start()
        agent.reload_good()
        check("an agent that goes on with what is in force", [], named(agent.log()))


def test_f5_many_listeners(box):
    """H9's bound holds for reload's answer as well."""
    agent = box.agent("f5-many")
    worker = box.worker(box.cgroup.child("f5-many"))
    agent.start()
    agent.write(FILE, policies(policy("many", worker.cgroup, {"SO_MARK": 7})))
    listeners = [worker.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(30)]
    for one in listeners:
        one.bind(("127.0.0.1", 0))
        one.listen(1)
    said = agent.reload().stderr
    check("listeners named", 10, len(named(said)))
    check("the others", Containing("\nand 20 more listeners do\n"), said)
