# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sockets that are there already: `existing: apply`, `sockpol apply` and its --reset, `sockpol sockets`."""

import contextlib
import socket

from harness.flows import (TCP_KEEPIDLE, check_priority, connection, governed_worker, listening, policies, policy,
                           priority_policy)
from harness.result import check

FILE = "50-test.yaml"


def test_a_load_that_changes_nothing(box):
    """It leaves what is in force, and the generation before, whoever asks for it."""
    agent = box.agent("unchanged")
    worker = governed_worker(box, agent, "unchanged", 4)
    agent.write(FILE, priority_policy("unchanged", worker.cgroup, 5))
    agent.reload_good()
    before, pins = agent.status(), agent.pins()
    agent.reload_good()
    agent.kill()
    agent.start()
    after = agent.status()
    check("generation, and since when", (2, before["loaded_usec"]),
          (after["generation"], after["loaded_usec"]))
    check("pins", pins, agent.pins())
    check_priority("as before", worker, 5)
    agent.write(FILE, priority_policy("unchanged", worker.cgroup, 6))
    agent.reload_good()
    check("the next generation", 3, agent.status()["generation"])
    check_priority("by the new files", worker, 6)
    agent.stop()


def sockets(agent, *arguments):
    """`sockpol sockets --json` as {(direction, remote port or local port of a listener): socket}."""
    answer = agent.json("sockets", "--pin-dir", agent.pin_dir, *arguments)
    return answer["sockets"], answer


def differences(one):
    """{option: (what it has, what it should, why, guessed)}"""
    return {d["option"]: (d["has"], d["wanted"], d["why"], d["guessed"]) for d in one["differences"]}


def ends(sock):
    """As `sockpol sockets` names them."""
    name = "{}:{}".format(*sock.getsockname()[:2])
    return name


def by_local(found, sock, direction):
    """The one of these sockets."""
    mine = [one for one in found if one.get("local") == ends(sock) and one["direction"] == direction]
    check(f"sockets at {ends(sock)}, {direction}", 1, len(mine))
    return mine[0]


RULES = """    rules:
      - name: out
        when: { direction: connect }
        options: { TCP_KEEPIDLE: 60s, TCP_USER_TIMEOUT: 20s }
      - name: in
        when: { direction: accept }
        options: { TCP_KEEPIDLE: 70s, TCP_NODELAY: on }
      - name: listeners
        when: { direction: listen }
        options: { SO_PRIORITY: 5 }
"""


@contextlib.contextmanager
def all_three(box, cgroup):
    """A listener, a client and what was accepted, all of one worker of the cgroup."""
    worker = box.worker(cgroup)
    with listening(worker) as listener, connection(worker, listener) as (client, accepted):
        yield listener, client, accepted


def test_sockets_shows_what_differs(box):
    """Older than the policy, by direction; set by the application; capped; too late."""
    agent = box.agent("shown")
    cgroup = box.cgroup.child("shown")
    with all_three(box, cgroup) as (listener, client, accepted):
        agent.write(FILE, policies(policy("shown", cgroup, {"TCP_KEEPINTVL": "9s", "TCP_SYNCNT": 3}, RULES)))
        agent.start()
        found, answer = sockets(agent, "--cgroup", cgroup.path)
        check("found, and differ", (3, 3, 3), (answer["found"], answer["differ"], len(found)))
        one = by_local(found, client, "connect")
        check("the client", {"TCP_KEEPINTVL": ("75s", "9s", "older", True),
                             "TCP_SYNCNT": ("6", "3", "too-late", False),
                             "TCP_KEEPIDLE": ("2h", "60s", "older", True),
                             "TCP_USER_TIMEOUT": ("0s", "20s", "older", True)}, differences(one))
        check("its cgroup, remote and policies",
              (cgroup.path, ends(listener), [("shown", None), ("shown", "out")]),
              (one["cgroup"], one["remote"],
               sorted(((p["policy"], p["rule"]) for p in one["policies"]), key=str)[::-1]))
        one = by_local(found, accepted, "accept")
        check("the accepted one", {"TCP_KEEPINTVL", "TCP_KEEPIDLE", "TCP_NODELAY"}, set(differences(one)))
        check("the listener", {"SO_PRIORITY"}, set(differences(by_local(found, listener, "listen"))))

        accepted.setsockopt(*TCP_KEEPIDLE, 70)
        client.setsockopt(*TCP_KEEPIDLE, 15)
        found, _ = sockets(agent, "--differs", "--cgroup", cgroup.path)
        check("what has the value does not differ", False,
              "TCP_KEEPIDLE" in differences(by_local(found, accepted, "accept")))
        check("set by the application", ("15s", "60s", "application", True),
              differences(by_local(found, client, "connect"))["TCP_KEEPIDLE"])
        agent.stop()


def test_sockets_of_new_ones(box):
    """They have all; --differs leaves them out, --policy and --pid find them, also where a buffer is capped."""
    agent = box.agent("new")
    cgroup = box.cgroup.child("new")
    agent.write(FILE, policies(policy("new", cgroup, {
        "TCP_CONGESTION": "reno", "SO_SNDBUF": "64K", "SO_MAX_PACING_RATE": "200MB/s", "TCP_BPF_RTO_MIN": "20ms",
        "IP_TOS": "AF41", "SO_MARK": 7, "TCP_WINDOW_CLAMP": "64K", "TCP_NODELAY": "on"}),
        policy("other", box.cgroup.child("other"), {"SO_MARK": 8})))
    agent.start()
    with all_three(box, cgroup) as (_, client, accepted):
        found, _ = sockets(agent, "--policy", "new")
        for sock, direction in ((client, "connect"), (accepted, "accept")):
            one = by_local(found, sock, direction)
            seen = differences(one)
            seen.pop("TCP_WINDOW_CLAMP", None)  # it does not last
            check(f"differences of {direction}", {}, seen)
            check("governed", 8, one["governed"])
        check("of another policy", [], sockets(agent, "--policy", "other")[0])
        pid = client.worker.pid
        mine = sockets(agent, "--pid", str(pid), "--processes")[0]
        check("--pid", {one["inode"] for one in found}, {one["inode"] for one in mine})
        check("--processes", {pid}, {p["pid"] for one in mine for p in one["processes"]})
    agent.stop()
