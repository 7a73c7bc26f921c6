# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a policy does to sockets beyond single options: rules, shorthands, counters."""

import socket

from harness import lacks
from harness.flows import (SO_PRIORITY, TCP_KEEPIDLE, TCP_NODELAY, accepted_option,
                           connected_option, connection, listening, policies, policy)
from harness.result import check, wait_for

FILE = "50-test.yaml"
SO_MARK = (socket.SOL_SOCKET, 36)
SO_SNDBUF = (socket.SOL_SOCKET, 7)
IP_TOS = (socket.IPPROTO_IP, 1)
IPV6_TCLASS = (socket.IPPROTO_IPV6, 67)


def rules(**priorities):
    """A rule a direction, each with its own priority."""
    text = "    rules:\n"
    for direction, priority in priorities.items():
        text += (f"      - name: {direction}\n        when: {{ direction: {direction} }}\n"
                 f"        options: {{ SO_PRIORITY: {priority} }}\n")
    return text


def governed(box, name, text):
    """(agent, a governed worker, an ungoverned peer); `text` is a function of the cgroup."""
    agent = box.agent(name)
    cgroup = box.cgroup.child(name)
    agent.write(FILE, policies(text(cgroup)))
    agent.start()
    return agent, box.worker(cgroup), box.worker(box.cgroup.child(f"{name}-peer"))


def test_direction(box):
    agent, worker, peer = governed(box, "direction", lambda cgroup: policy(
        "direction", cgroup, {}, rules(connect=3, accept=4, listen=5)))
    with listening(peer) as listener, connection(worker, listener) as (client, accepted):
        check("SO_PRIORITY of a client", 3, client.sockopt(*SO_PRIORITY))
        check("SO_PRIORITY of its ungoverned peer", 0, accepted.sockopt(*SO_PRIORITY))
    with listening(worker) as listener:
        check("SO_PRIORITY of a listener", 5, listener.sockopt(*SO_PRIORITY))
        check("SO_PRIORITY of an accepted socket", 4, accepted_option(listener, peer))
    with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        check("SO_PRIORITY of a bound UDP socket", 5, bound.sockopt(*SO_PRIORITY))
        bound.connect(("127.0.0.1", 9))
        check("SO_PRIORITY of it once it is connected", 3, bound.sockopt(*SO_PRIORITY))
    check("applied, by rule", {"connect": 2, "accept": 1, "listen": 2}, applied_by_rule(agent))


def applied_by_rule(agent):
    return {rule["name"]: rule["applied"] for rule in agent.status()["policies"][0]["rules"]}


def test_rule_over_base(box):
    _, worker, peer = governed(box, "rule-over-base", lambda cgroup: policy(
        "rule-over-base", cgroup, {"SO_PRIORITY": 2, "TCP_KEEPIDLE": "60s"},
        rules(accept=4) + "      - name: leave\n        when: { direction: accept }\n"
        "        options: { TCP_KEEPIDLE: unset }\n"))
    with listening(worker) as listener:
        check("SO_PRIORITY of an accepted socket: the rule's", 4, accepted_option(listener, peer))
        check("TCP_KEEPIDLE of an accepted socket: unset", 7200,
              accepted_option(listener, peer, TCP_KEEPIDLE))
    check("SO_PRIORITY of a client: the base's", 2, connected_option(worker))
    check("TCP_KEEPIDLE of a client", 60, connected_option(worker, TCP_KEEPIDLE))


def test_what_a_listener_carries(box):
    """Of the base options: SO_MARK is for the SYN-ACK, too; the others are for accepted sockets."""
    _, worker, peer = governed(box, "carries", lambda cgroup: policy(
        "carries", cgroup, {"SO_MARK": 7, "SO_PRIORITY": 4, "TCP_NODELAY": "on",
                            "SO_SNDBUF": "60000"}))
    options = (SO_MARK, SO_PRIORITY, TCP_NODELAY, SO_SNDBUF)
    with worker.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        before = [listener.sockopt(*option) for option in options]
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        check("SO_MARK, SO_PRIORITY, TCP_NODELAY, SO_SNDBUF of a listener", [7] + before[1:],
              [listener.sockopt(*option) for option in options])
        check("the same of what it accepts", [7, 4, 1, 120000],
              [accepted_option(listener, peer, option) for option in options])


def test_dscp(box):
    _, worker, peer = governed(box, "dscp", lambda cgroup: policy(
        "dscp", cgroup, {"DSCP": "AF41"}))
    check("IP_TOS of a client", 0x88, connected_option(worker, IP_TOS))
    with (listening(worker, socket.AF_INET6, "::1") as listener,
          connection(peer, listener, "::1", socket.AF_INET6) as (_, accepted)):
        check("IPV6_TCLASS of an accepted socket", 0x88, accepted.sockopt(*IPV6_TCLASS))


def test_priority_after_tos(box):
    """IP_TOS sets a priority of its own; a policy that says which one it wants has the last word."""
    agent, worker, _ = governed(box, "tos", lambda cgroup: policy(
        "tos", cgroup, {"SO_PRIORITY": 3, "IP_TOS": "AF41"}))
    check("SO_PRIORITY of a client", 3, connected_option(worker))
    agent.write(FILE, policies(policy("tos", worker.cgroup, {"IP_TOS": "AF41"})))
    agent.reload_good()
    # TC_PRIO_BULK: rt_tos2priority() looks at four bits, where AF41 reads "throughput".
    check("SO_PRIORITY that the kernel derives from AF41", 2, connected_option(worker))


def test_application_has_the_last_word(box):
    """Policy goes over what was set before connect(2); what is set later stands."""
    _, worker, peer = governed(box, "last-word", lambda cgroup: policy(
        "last-word", cgroup, {"SO_PRIORITY": 4}))
    with listening(peer) as listener, worker.socket(socket.AF_INET,
                                                    socket.SOCK_STREAM) as client:
        client.setsockopt(*SO_PRIORITY, 2)
        client.connect(("127.0.0.1", listener.port()))
        check("SO_PRIORITY set by the application before", 4, client.sockopt(*SO_PRIORITY))
        client.setsockopt(*SO_PRIORITY, 6)
        client.sendall(b"x")
        check("SO_PRIORITY set by the application after", 6, client.sockopt(*SO_PRIORITY))


def test_failures_are_counted(box):
    """By option and errno; and the connection works."""
    agent, worker, peer = governed(box, "fails", lambda cgroup: policy(
        "fails", cgroup, {"SO_BINDTODEVICE": "nosuchdev0", "SO_PRIORITY": 4}))
    check("no failures yet", [], agent.policy("fails")["failed"])
    times = 1 if lacks.bpf_lsm() else 2  # at connect(2); at socket(2), too
    for count in (1, 2, 3):
        with listening(peer) as listener, connection(worker, listener) as (client, accepted):
            client.sendall(b"x")
            check("data over a connection with a failed option", b"x", accepted.recv(1))
            check("the options after the failed one", 4, client.sockopt(*SO_PRIORITY))
        failed = agent.policy("fails")["failed"]
        check("failures", [("SO_BINDTODEVICE", "ENODEV", count * times)],
              [(one["option"], one["errno"], one["count"]) for one in failed])
    text = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir",
                         agent.runtime_dir).stdout
    check("failures in words", True, "No such device" in text)


def test_applied_counts_sockets_once(box):
    agent, worker, peer = governed(box, "applied", lambda cgroup: policy(
        "applied", cgroup, {}, rules(connect=3, accept=4, listen=5)))
    with listening(peer) as listener:
        with worker.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", listener.port()))
            wait_for("a non-blocking connect", 0,
                     lambda: client.connect_ex(("127.0.0.1", listener.port())))
            listener.accept().close()
        check("applied after a non-blocking connect", 1, applied_by_rule(agent)["connect"])
    with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for port in (1009, 2009, 3009):
            datagrams.connect(("127.0.0.1", port))
        check("applied after three connects of a UDP socket", 2, applied_by_rule(agent)["connect"])
    with listening(worker) as listener:
        for _ in range(5):
            accepted_option(listener, peer)
    check("applied after five accepts on one listener", {"connect": 2, "accept": 5, "listen": 1},
          applied_by_rule(agent))
    check("applied, the policy's", 8, agent.policy("applied")["applied"])


def test_losers_are_counted(box):
    """Whoever holds is counted, whoever wins; nobody where he has nothing due."""
    agent, worker, peer = governed(box, "losers", lambda cgroup: policy(
        "losers", cgroup, {"SO_PRIORITY": 2}, rules(connect=3, accept=4) +
        "      - name: near\n        when: { remote: 127.0.0.0/9 }\n"
        "        options: { SO_PRIORITY: 1 }\n"
        "      - name: again\n        when: { remote: 127.0.0.0/8 }\n"
        "        options: { SO_PRIORITY: unset, TCP_NODELAY: on }\n"
        "      - name: far\n        when: { remote: 10.0.0.0/8 }\n"
        "        options: { SO_PRIORITY: 6 }\n") +
        policy("winner", cgroup, {"SO_PRIORITY": 5}) +
        policy("listeners", cgroup, {"TCP_SAVE_SYN": 1}))
    with listening(peer) as listener, connection(worker, listener) as (client, _):
        check("SO_PRIORITY, TCP_NODELAY of a client", (5, 1),
              (client.sockopt(*SO_PRIORITY), client.sockopt(*TCP_NODELAY)))
    applied = {one["name"]: one for one in agent.status()["policies"]}
    check("applied, by policy", {"losers": 1, "winner": 1, "listeners": 0},
          {name: one["applied"] for name, one in applied.items()})
    check("applied, by rule", {"connect": 1, "accept": 0, "near": 1, "again": 1, "far": 0},
          {one["name"]: one["applied"] for one in applied["losers"]["rules"]})


def test_refused_connections_are_applied_too(box):
    agent, worker, _ = governed(box, "refused", lambda cgroup: policy(
        "refused", cgroup, {"SO_PRIORITY": 4}))
    with worker.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        check("nobody listens there", True, client.connect_ex(("127.0.0.1", 1)) != 0)
        check("SO_PRIORITY of a refused client", 4, client.sockopt(*SO_PRIORITY))
    check("applied", 1, agent.policy("refused")["applied"])


def test_other_protocols_are_governed_at_socket_alone(box):
    agent, worker, _ = governed(box, "others", lambda cgroup: policy(
        "others", cgroup, {"SO_PRIORITY": 4, "SO_SNDBUF": "40K"}))
    for name, kind, protocol in (("raw", socket.SOCK_RAW, socket.IPPROTO_ICMP),
                                 ("UDP-Lite", socket.SOCK_DGRAM, 136)):  # IPPROTO_UDPLITE
        with worker.socket(socket.AF_INET, kind, protocol) as one:
            check(f"SO_PRIORITY of a {name} socket", 4, one.sockopt(*SO_PRIORITY))
            one.setsockopt(*SO_PRIORITY, 1)
            one.connect(("127.0.0.1", 9))
            check(f"SO_PRIORITY of a {name} socket, and whether SO_SNDBUF is a policy's", (1, False),
                  (one.sockopt(*SO_PRIORITY), one.sockopt(socket.SOL_SOCKET, 7) == 80 * 1024))
    shown = agent.policy("others")
    check("applied, and at socket(2)", (0, 2), (shown["applied"], shown["at_socket"]))


def test_respected_from_a_reload_on(box):
    """What was set before a configuration respects it is guessed, on sockets that others noted."""
    agent = box.agent("since")
    worker = box.worker(box.cgroup.child("since"))

    def respect(**more):
        return policies(policy("since", worker.cgroup, {"TCP_KEEPIDLE": "60s", **more},
                               "    application: respect\n"))
    agent.write("50-test.yaml", respect())
    agent.start()
    with listening(worker) as listener, worker.socket(socket.AF_INET,
                                                      socket.SOCK_STREAM) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        agent.write("50-test.yaml", respect(TCP_KEEPCNT=7))
        agent.reload_good()
        client.connect(("127.0.0.1", listener.port()))
        check("TCP_KEEPCNT of the application", 3,
              client.sockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT))
