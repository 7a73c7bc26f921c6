# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""sock_ops' replies on the wire: by peer, beside other programs, over reloads."""

import os
import socket
import struct

from harness import sandbox
from harness.flows import connection, listening, policies, policy
from harness.openings import asking, connecting, listening_on_tun, opening, route_to_tun
from harness.result import Between, check, wait_for
from life_policies import SHIPPED, governed_text

FILE = "50-test.yaml"
NEAR = tuple(sandbox.TUN_PEER.values())  # within 10.0.0.0/8 and fd00::/8
FAR = ("198.18.0.2", "2001:2::2")
EVERY_WAY = [(direction, version) for direction in ("connect", "accept") for version in (0, 1)]

USUAL_FLIGHT = 10  # segments
USUAL_WINDOW = Between(44, 46)  # segments of 1460 or 1440 bytes in 64 KB
# Times to the first retransmission, in seconds: `not before one`, where the default second holds.
NOT_SOON = None
SOON = 0.6

NEAR_AND_FAR = """    rules:
      - name: far
        when: { protocol: tcp, direction: [connect, accept], remote: [0.0.0.0/0, "::/0"] }
        options: { TIMEOUT_INIT: 400ms, RWND_INIT: 30, TCP_BPF_IW: 40 }
      - name: near
        when: { protocol: tcp, direction: [connect, accept], remote: [10.0.0.0/8, "fd00::/8"] }
        options: { TIMEOUT_INIT: 100ms, NEEDS_ECN: on, RWND_INIT: 5, TCP_BPF_IW: 4 }
"""


def governed(box, name, text, cgroup=None):
    """(agent, a worker that it governs)"""
    agent, cgroup = box.agent(name), cgroup or box.cgroup.child(name)
    agent.write(FILE, policies(text(cgroup)))
    agent.start()
    return agent, box.worker(cgroup)


def only(**options):
    return lambda cgroup: policy("only", cgroup, options)


def observe(box, worker, direction, there):
    """A connection whose beginning nobody answers, and one up to its first flight.

    (After a retransmitted SYN the first flight is repeated only after seconds.)
    """
    with opening(box, worker, direction, there) as made:
        repeated_after = made.repeated_after(SOON)
    with opening(box, worker, direction, there) as made:
        return {"timer": repeated_after, "window": made.window, "ecn": made.ecn,
                "flight": made.first_flight()}


def test_near_and_far(box):
    """Timer, window, ECN and initial flight obey one policy, whose rules tell peers by prefix."""
    route_to_tun(box, *FAR)
    _, worker = governed(box, "near-far", lambda cgroup: policy("near-far", cgroup, {},
                                                                NEAR_AND_FAR))
    unaware = box.worker(box.cgroup.child("near-far-unaware"))
    near = {"timer": Between(0.02, 0.28), "window": 5, "ecn": True, "flight": 4}
    far = {"timer": Between(0.28, SOON), "window": 30, "ecn": False, "flight": 40}
    for direction, version in EVERY_WAY:
        for where, peers, expected in (("near", NEAR, near), ("far", FAR, far)):
            check(f"{direction}, {where} peer {peers[version]}", expected,
                  observe(box, worker, direction, peers[version]))
        check(f"{direction}, no policy", {"timer": NOT_SOON, "window": USUAL_WINDOW, "ecn": False,
                                          "flight": USUAL_FLIGHT},
              observe(box, unaware, direction, NEAR[version]))


def test_shipped_near_and_far(box):
    """policies/25-near-and-far.yaml: the options that getsockopt does not show."""
    route_to_tun(box, *FAR)
    agent, cgroup = box.agent("shipped-near-far"), box.cgroup.child("shipped-near-far")
    with open(os.path.join(SHIPPED, "25-near-and-far.yaml"), encoding="utf-8") as file:
        agent.write(FILE, governed_text(file.read(), cgroup))
    agent.start()
    worker = box.worker(cgroup)
    for direction, version in EVERY_WAY:
        with opening(box, worker, direction, NEAR[version]) as made:
            # 12 ms, and the first packet may have waited as long to be read.
            check(f"{direction}, near: seconds to the first retransmission", Between(0, 0.2),
                  made.repeated_after(SOON))
            check(f"{direction}, near: segments in the window", USUAL_WINDOW, made.window)
        with opening(box, worker, direction, NEAR[version]) as made:
            # It starts with one where the answer came after a second retransmission.
            check(f"{direction}, near: segments in the first flight", Between(1, USUAL_FLIGHT),
                  made.first_flight())
        check(f"{direction}, far", {"timer": NOT_SOON, "window": 40, "ecn": False, "flight": 40},
              observe(box, worker, direction, FAR[version]))
    check("failed options", [], agent.status()["policies"][0]["failed"])


def timer(box, worker, direction):
    with opening(box, worker, direction, NEAR[0]) as made:
        return made.repeated_after(SOON)


def test_another_program_s_reply_is_left_alone(box):
    """Two agents: the one attached above runs last, and is silent until a policy of its speaks."""
    cgroup, beside = box.cgroup.child("tenants"), box.cgroup.child("tenants-beside")
    inner = box.agent("tenants-inner", cgroup=cgroup)
    inner.write(FILE, policies(policy("inner", cgroup, {"TIMEOUT_INIT": "100ms"})))
    inner.start()
    outer, worker = governed(box, "tenants-outer", only(SO_PRIORITY=3), cgroup)
    other_peer = ("    rules:\n      - name: elsewhere\n        when: { remote: 192.0.2.0/24 }\n"
                  "        options: { TIMEOUT_INIT: 400ms }\n")
    inner_s, outer_s = Between(0.02, 0.28), Between(0.28, SOON)
    for what, text, expected in (
            ("another option", policy("outer", cgroup, {"SO_PRIORITY": 3}), inner_s),
            ("another cgroup", policy("outer", beside, {"TIMEOUT_INIT": "400ms"}), inner_s),
            ("another reply, another peer", policy("outer", cgroup, {"RWND_INIT": 5}, other_peer),
             inner_s),
            ("this reply", policy("outer", cgroup, {"TIMEOUT_INIT": "400ms"}), outer_s)):
        outer.write(FILE, policies(text))
        outer.reload_good()
        for direction in ("connect", "accept"):
            wait_for(f"{direction}: the timer, the outer agent speaking of {what}", expected,
                     lambda direction=direction: timer(box, worker, direction))  # on a busy machine it is late


def test_window_is_raised_for_accepted_only(box):
    """Where receive buffers start small: a connecting socket's window can only be made smaller."""
    box.sysctl("tcp_rmem", "4096\t16384\t6291456")
    _, worker = governed(box, "raise", only(RWND_INIT=20))
    unaware = box.worker(box.cgroup.child("raise-unaware"))
    for there in NEAR:
        with opening(box, unaware, "connect", there) as made:
            usual = made.window
        check("a small window by default", Between(1, 19), usual)
        for direction, expected in (("connect", usual), ("accept", 20)):
            with opening(box, worker, direction, there) as made:
                check(f"{direction}: segments in the window", expected, made.window)


def test_replies_change_by_a_reload(box):
    """Also for a listener that was there before."""
    agent, worker = governed(box, "reload", only(RWND_INIT=10))
    with listening_on_tun(worker, NEAR[0]) as listener:
        for text, expected in ((only(RWND_INIT=10), 10), (only(RWND_INIT=20), 20),
                               (only(RWND_INIT="unset"), USUAL_WINDOW), (only(SO_PRIORITY=3),
                                                                         USUAL_WINDOW)):
            agent.write(FILE, policies(text(worker.cgroup)))
            agent.reload_good()
            with connecting(box, worker, NEAR[0]) as made:
                check("segments in the window of the SYN", expected, made.window)
            with asking(box, listener, NEAR[0]) as made:
                check("segments in the window of the SYN-ACK", expected, made.window)
        agent.stop()
        with asking(box, listener, NEAR[0]) as made:
            check("the window of the SYN-ACK, the agent gone", USUAL_WINDOW, made.window)


def negotiated_ecn(*workers):
    """Bits of tcpi_options (linux/tcp.h): both ends agree."""
    with listening(workers[1]) as listener, connection(workers[0], listener) as ends:
        return {bool(struct.unpack_from("B", end.getsockopt(socket.IPPROTO_TCP, 11, 8), 5)[0] & 8)
                for end in ends}


def test_ecn_between_two(box):
    """With the host's ECN off it takes both ends' policies.  `off` leaves it to the host."""
    agent, worker = governed(box, "ecn", only(NEEDS_ECN="on"))
    unaware = box.worker(box.cgroup.child("ecn-unaware"))
    check("ECN, both governed", {True}, negotiated_ecn(worker, worker))
    check("ECN, the client governed", {False}, negotiated_ecn(worker, unaware))
    check("ECN, the server governed", {False}, negotiated_ecn(unaware, worker))
    agent.write(FILE, policies(policy("only", worker.cgroup, {"NEEDS_ECN": "off"})))
    agent.reload_good()
    check("ECN, NEEDS_ECN: off", {False}, negotiated_ecn(worker, worker))
    box.sysctl("tcp_ecn", "1")
    check("ECN, NEEDS_ECN: off, and the host's on", {True}, negotiated_ecn(worker, worker))


def test_replies_are_counted(box):
    """Once a connection, however often the kernel asks."""
    agent, worker = governed(box, "counted", only(RWND_INIT=10, NEEDS_ECN="on",
                                                  TIMEOUT_INIT="100ms"))
    peer = box.worker(box.cgroup.child("counted-peer"))
    with listening(peer) as listener, connection(worker, listener):
        check("applied after a connect", 1, agent.policy("only")["applied"])
    with listening(worker) as listener, connection(peer, listener):
        check("applied after an accept too", 2, agent.policy("only")["applied"])
    check("failed options", [], agent.policy("only")["failed"])
