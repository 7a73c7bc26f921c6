# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sockets that an earlier version governed wrongly: a test, or several, for each such fault."""

import contextlib
import errno
import json
import socket
import struct
import sys

from other_sockets import DATAGRAM, IP_TOS, IPPROTO_MPTCP, STREAM, Governed, rule
from harness import lacks
from harness.fakepeer import SEQ, SYN_OPTIONS
from harness.flows import SO_PRIORITY, accepted_option, connection, listening
from harness.packet import SYN
from harness.result import Failure, Skip, check, wait_for
from harness.sandbox import (DEVICE, DEVICE_ADDRESS, FAR_AWAY, MARK, OTHER_DEVICE, TUN_ADDRESS,
                             TUN_PEER)

EF = 0xB8
SO_MARK = (socket.SOL_SOCKET, 36)
SO_BINDTODEVICE = (socket.SOL_SOCKET, 25)
SO_BINDTOIFINDEX = (socket.SOL_SOCKET, 62)
IPV6_TCLASS = (socket.IPPROTO_IPV6, 67)
TCP_INFO, SND_CWND_AT = 11, 80  # struct tcp_info
IPPROTO_UDPLITE = 136
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def mark(subject):
    return subject.sockopt(*SO_MARK)


def device(subject):
    return subject.getsockopt(*SO_BINDTODEVICE, 16).rstrip(b"\0").decode()


def priority(subject):
    return subject.sockopt(*SO_PRIORITY)


def by_rule(here):
    return {one["name"]: one["applied"] for one in here.agent.policy(here.name)["rules"]}


# --- S1: a dual-stack sender gets the options of both families -----------------------------------

def traffic_classes(here, first, second):
    """What four datagrams of an unbound IPv6 socket bear, two to each address."""
    with (here.peer.socket(socket.AF_INET6, DATAGRAM) as server,
          here.worker.socket(socket.AF_INET6, DATAGRAM) as sender):
        server.bind(("::", 0))
        server.setsockopt(socket.IPPROTO_IPV6, 66, 1)  # IPV6_RECVTCLASS
        server.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        seen = []
        for to in (first, first, second, second):
            sender.sendto(b"x", (to, server.port()))
            seen.append(server.recvmsg(9, 200)[1][0][2][0])
        return seen


def test_s1_dual_stack_sender(box):
    here = Governed(box, "s1", {"DSCP": "EF"})
    for first, second in (("::1", "::ffff:127.0.0.1"), ("::ffff:127.0.0.1", "::1")):
        seen = traffic_classes(here, first, second)
        check(f"DSCP of datagrams to {first} twice, then to {second}, but for the first", [EF] * 3,
              seen[1:])
        # That one has the old value where the kernel reads it before the hook runs: not on 6.1.
        check("DSCP of the first datagram", True, seen[0] in (0, EF))
    here.check_counters(2)


def test_s1_sender_that_speaks_ipv6_alone(box):
    """What it cannot take is no failure."""
    here = Governed(box, "s1-only", {"DSCP": "EF"})
    with (here.peer.socket(socket.AF_INET6, DATAGRAM) as server,
          here.worker.socket(socket.AF_INET6, DATAGRAM) as sender):
        server.bind(("::1", 0))
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sender.sendto(b"x", ("::1", server.port()))
        check("IPV6_TCLASS", EF, sender.sockopt(*IPV6_TCLASS))
    here.check_counters(1)


# --- S4: what socket(2) gives --------------------------------------------------------------------

ETH_P_ALL, PACKET_OUTGOING = 0x0003, 4
PING = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
ECHO_REQUEST = {4: 8, 6: 128}
KINDS = {"udp": (DATAGRAM, 0), "udplite": (DATAGRAM, IPPROTO_UDPLITE), "ping": (DATAGRAM, None),
         "raw": (socket.SOCK_RAW, 253)}


class Wire:
    """IP packets to an address that leave by a device."""

    def __init__(self, device, to, version):
        self.at, self.to = (24, 16) if version == 6 else (16, 4), to
        self.family = FAMILIES[version]
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.bind((device, ETH_P_ALL))
        self.socket.setblocking(False)

    def count(self):
        n, (start, size) = 0, self.at
        to = socket.inet_pton(self.family, self.to)
        while True:
            try:
                data, place = self.socket.recvfrom(128)
            except BlockingIOError:
                return n
            n += place[2] == PACKET_OUTGOING and data[start:start + size] == to

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def make(worker, kind, version):
    what, protocol = KINDS[kind]
    try:
        return worker.socket(FAMILIES[version], what, PING[version] if protocol is None else protocol)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        raise Skip(f"the kernel has no {kind} sockets") from error


def neighbours(box, version, to):
    """The way to the address, by either device, needs no answer."""
    for name in (DEVICE, OTHER_DEVICE):
        where = ["to", to, "lladdr", "02:00:00:00:00:01", "dev", name]
        box.ip(f"-{version}", "neigh", "replace", *where, "nud", "permanent",
               undo=(f"-{version}", "neigh", "del", to, "dev", name))


def first_datagrams(box, here, kind, version, n=5):
    """How many of the first datagrams of n sockets went by the marked route, and how many not."""
    to = FAR_AWAY[version]
    payload = struct.pack("!BBHHH", ECHO_REQUEST[version], 0, 0, 1, 1) if kind == "ping" else b"x" * 8
    neighbours(box, version, to)
    with Wire(DEVICE, to, version) as marked, Wire(OTHER_DEVICE, to, version) as other:
        for _ in range(n):
            with make(here.worker, kind, version) as sender:
                sender.sendto(payload, (to, 0 if kind in ("ping", "raw") else 7))
        seen = 0

        def all_seen():
            nonlocal seen
            seen += marked.count()
            return seen + others(0) >= n

        unmarked = 0

        def others(more):
            nonlocal unmarked
            unmarked += other.count() + more
            return unmarked

        wait_for("all datagrams to leave", True, all_seen)
        return seen, unmarked


def first_datagram_test(kind, version):
    def test(box):
        here = Governed(box, f"s4-{kind}{version}", {"SO_MARK": MARK})
        check(f"first datagrams by the marked route, and by the other ({kind}, IPv{version})",
              (5, 0), first_datagrams(box, here, kind, version))
    return test


def generated_tests():
    return {f"faults/sockets/s4_first_datagram_{kind}{version}": first_datagram_test(kind, version)
            for kind in KINDS for version in FAMILIES}


def fresh(here, version=4, kind=DATAGRAM, protocol=0):
    return here.worker.socket(FAMILIES[version], kind, protocol)


FRESH_KINDS = {"tcp": (STREAM, 0), "mptcp": (STREAM, IPPROTO_MPTCP), "udp": (DATAGRAM, 0),
               "raw": (socket.SOCK_RAW, 253)}


def test_s4_fresh_sockets(box):
    """All four options, before any other call."""
    index = socket.if_nametoindex(DEVICE)
    for options, shown in (({"SO_MARK": 7, "SO_PRIORITY": 3}, (7, 3, "")),
                           ({"SO_BINDTODEVICE": DEVICE}, (0, 0, DEVICE)),
                           ({"SO_BINDTOIFINDEX": index, "SO_MARK": 1}, (1, 0, DEVICE))):
        with box.scope():
            here = Governed(box, "s4-fresh", options)
            for version in FAMILIES:
                for name, (kind, protocol) in FRESH_KINDS.items():
                    with fresh(here, version, kind, protocol) as one:
                        check(f"mark, priority and device of a new {name} socket, IPv{version}",
                              shown, (mark(one), priority(one), device(one)))
            here.agent.stop()
            with fresh(here) as one:
                check("mark, priority and device without the agent", (0, 0, ""),
                      (mark(one), priority(one), device(one)))


def test_s4_rules(box):
    """Family and protocol are known at socket(2); what asks for more is left to its own moment."""
    here = Governed(box, "s4-rules", {"SO_MARK": 1, "SO_PRIORITY": 1},
                    rule("protocol: udp", "udp", SO_MARK=2),
                    rule("family: ipv6", "six", SO_PRIORITY=2),
                    rule("remote: 127.0.0.0/8, protocol: tcp", "near", SO_MARK=3))
    cases = {("udp", 4): (2, 1), ("udp", 6): (2, 2), ("raw", 4): (1, 1), ("raw", 6): (1, 2),
             ("tcp", 4): (0, 1), ("tcp", 6): (0, 2)}
    for (name, version), expected in cases.items():
        with fresh(here, version, *FRESH_KINDS[name]) as one:
            check(f"mark and priority of a new {name} socket, IPv{version}", expected,
                  (mark(one), priority(one)))
    with (listening(here.peer) as listener,
          here.worker.socket(socket.AF_INET, STREAM) as near):
        near.connect(("127.0.0.1", listener.port()))
        check("mark of a socket that the rule holds for", 3, mark(near))


def test_s4_unset_gives_nothing(box):
    here = Governed(box, "s4-unset", {"SO_MARK": 1, "SO_PRIORITY": 1},
                    rule("protocol: udp", "udp", SO_MARK="unset"),
                    rule("direction: connect", "open", SO_PRIORITY="unset"))
    with fresh(here) as udp, fresh(here, 4, socket.SOCK_RAW, 253) as raw:
        check("mark and priority of a UDP socket", (0, 0), (mark(udp), priority(udp)))
        check("mark and priority of a raw socket, which does not connect for us", (1, 1),
              (mark(raw), priority(raw)))


def test_s4_policies_of_several_cgroups(box):
    """The deeper one wins; what it leaves open nobody gives."""
    here = Governed(box, "s4-deep", {"SO_MARK": 1, "SO_PRIORITY": 1})
    deeper = here.cgroup.child("deeper")
    here.agent.write("60-deeper.yaml", f"""policies:
  - name: deeper
    match: {{ cgroup: "{deeper.path}" }}
    options: {{ SO_MARK: 9 }}
    rules:
      - name: open
        when: {{ remote_port: 9 }}
        options: {{ SO_PRIORITY: 5 }}
""")
    here.agent.reload_good()
    worker = box.worker(deeper)
    with worker.socket(socket.AF_INET, DATAGRAM) as one:
        check("mark and priority at socket(2)", (9, 0), (mark(one), priority(one)))
        one.connect(("127.0.0.1", 10))
        check("mark and priority at connect(2)", (9, 1), (mark(one), priority(one)))
        one.connect(("127.0.0.1", 9))
        check("priority by the rule", 5, priority(one))


def test_s4_sends_do_without(box):
    """No send is looked at for what socket(2) gives, and nothing is attached for other options."""
    here = Governed(box, "s4-hooks", {"SO_MARK": MARK, "SO_PRIORITY": 3})
    check("hooks of a policy of base options of socket(2)", (True, False),
          ("sock_create" in here.hooks(), "sendmsg4" in here.hooks() or "sendmsg6" in here.hooks()))
    with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
        one.setsockopt(*SO_PRIORITY, 5)
        one.sendto(b"x", ("127.0.0.1", 9))
        check("SO_PRIORITY that the application set", 5, priority(one))
    here.reload({"IP_TOS": EF})
    check("sock_create for a policy of IP_TOS", False, "sock_create" in here.hooks())


def test_s4_priority_comes_after_tos(box):
    """IP_TOS at the first send overwrites SO_PRIORITY, which is given again."""
    here = Governed(box, "s4-tos", {"SO_PRIORITY": 3, "IP_TOS": EF})
    with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
        check("SO_PRIORITY at socket(2)", 3, priority(one))
        one.sendto(b"x", ("127.0.0.1", 9))
        check("IP_TOS and SO_PRIORITY after a send", (EF, 3), (one.sockopt(*IP_TOS), priority(one)))


def test_s4_family_of_a_dual_stack_sender(box):
    """socket(2) cannot know that an IPv6 socket will send to IPv4: the send does it."""
    here = Governed(box, "s4-family", {}, rule("family: ipv4", "four", SO_MARK=4))
    with here.worker.socket(socket.AF_INET6, DATAGRAM) as one:
        check("mark at socket(2)", 0, mark(one))
        one.sendto(b"x", ("::ffff:127.0.0.1", 9))
        check("mark after a datagram to IPv4", 4, mark(one))


UNPRIVILEGED = """
import json, socket
def tried(*arguments):
    try:
        one.setsockopt(socket.SOL_SOCKET, *arguments)
    except OSError as error:
        return error.errno
    return 0
one = socket.socket(type=socket.SOCK_DGRAM)
before = [one.getsockopt(socket.SOL_SOCKET, 36), one.getsockopt(socket.SOL_SOCKET, 25, 16).decode()]
print(json.dumps([before, tried(36, 1), tried(25, b"lo"), tried(25, b""), tried(12, 6),
                  one.getsockopt(socket.SOL_SOCKET, 36)]))
"""


def test_s4_without_capabilities(box):
    """Mark and device are there to stay; a priority up to 6 is the application's."""
    here = Governed(box, "s4-user", {"SO_MARK": MARK, "SO_BINDTODEVICE": DEVICE, "SO_PRIORITY": 3})
    for prefix, expected in (([], [[MARK, DEVICE], 0, 0, 0, 0, 1]),
                             (["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "--inh-caps=-all", "--bounding-set=-all"],
                              [[MARK, DEVICE], errno.EPERM, errno.EPERM, errno.EPERM, 0, MARK])):
        done = here.cgroup.run([*prefix, sys.executable, "-I", "-c", UNPRIVILEGED])
        seen = json.loads(done.stdout)
        seen[0][1] = seen[0][1].rstrip("\0")
        check(f"mark and device, and what comes of changing them ({' '.join(prefix[:2])})",
              expected, seen)


IN_ANOTHER_NAMESPACE = """
import json, socket, subprocess, sys
for command in ("link set lo up", "link add pad type veth peer name padp",
                "link add {device} type veth peer name {device}p", "link set {device} up",
                "link set {device}p up", "addr add 10.96.0.1/24 dev {device}"):
    subprocess.run(["ip", *command.split()], check=True)
def device(one):
    return one.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b"\\0").decode()
made = {{name: socket.socket(type=kind) for name, kind in (
    ("bind", socket.SOCK_DGRAM), ("connect", socket.SOCK_DGRAM), ("send", socket.SOCK_DGRAM),
    ("tcp bind", socket.SOCK_STREAM), ("tcp connect", socket.SOCK_STREAM))}}
before = sorted({{device(one) for one in made.values()}})
made["bind"].bind(("10.96.0.1", 0))
made["tcp bind"].bind(("10.96.0.1", 0))
made["connect"].connect(("10.96.0.2", 9))
made["send"].sendto(b"x", ("10.96.0.2", 9))
made["tcp connect"].setblocking(False)
made["tcp connect"].connect_ex(("10.96.0.2", 9))
print(json.dumps([before, {{name: device(one) for name, one in made.items()}}]))
"""


def in_another_namespace(here):
    done = here.cgroup.run(["unshare", "--net", sys.executable, "-I", "-c",
                            IN_ANOTHER_NAMESPACE.format(device=DEVICE)])
    return json.loads(done.stdout)


def test_s4_another_network_namespace(box):
    """The agent's index means another device there: the name is given where it can be looked up."""
    here = Governed(box, "s4-netns", {"SO_BINDTODEVICE": DEVICE})
    before, after = in_another_namespace(here)
    check("devices at socket(2)", ["" if lacks.bpf_lsm() else DEVICE], before)
    check("devices at bind(2), connect(2) and the first send",
          {name: DEVICE for name in ("bind", "connect", "send", "tcp bind", "tcp connect")}, after)


def test_s4_mark_in_another_network_namespace(box):
    here = Governed(box, "s4-netns-mark", {"SO_MARK": MARK})
    done = here.cgroup.run(["unshare", "--net", sys.executable, "-I", "-c",
                            "import socket; print(socket.socket().getsockopt(1, 36))"])
    check("mark of a new socket", str(MARK), done.stdout.strip())


def test_s4_device_that_is_not_there(box):
    """The socket is unbound, as nothing can be given; connect(2) counts that."""
    here = Governed(box, "s4-none", {"SO_BINDTODEVICE": "spnone"})
    with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
        check("the device", "", device(one))
        one.connect(("127.0.0.1", 9))
        check("the device", "", device(one))
    check("failed options", [("SO_BINDTODEVICE", "ENODEV")],
          [(one["option"], one["errno"])
           for one in here.agent.policy(here.name)["failed"]])


def test_s4_device_that_is_made_again(box):
    """The index is another one then; the name is what the policy says."""
    def make_device():
        box.ip("link", "add", "spnew", "type", "veth", "peer", "name", "spnewp")

    def remove_device():
        if "spnew" in (name for _, name in socket.if_nameindex()):
            box.ip("link", "del", "spnew")

    here = Governed(box, "s4-again", {"SO_BINDTODEVICE": "spnew"})
    box.stack.callback(remove_device)
    for _ in range(2):
        make_device()
        index = socket.if_nametoindex("spnew")
        wait_for("a new socket's device, once there is one", "spnew", lambda: of_new(here))
        box.ip("link", "del", "spnew")
        box.ip("link", "add", "index", str(index + 50), "spother", "type", "veth", "peer", "name",
               "spotherp")
        wait_for("a new socket's device, while there is none", "", lambda: of_new(here))
        box.ip("link", "del", "spother")


def of_new(here):
    with fresh(here) as one:
        try:
            return device(one)
        except OSError as error:  # until the agent has seen it: the index that is gone
            return errno.errorcode[error.errno]


def test_s4_counted_apart(box):
    here = Governed(box, "s4-counted", {"SO_MARK": 1})
    with fresh(here) as one:
        shown = here.agent.policy(here.name)
        check("applied and at_socket after socket(2), and the rules", (0, 1, []),
              (shown["applied"], shown["at_socket"], shown["rules"]))
        one.connect(("127.0.0.1", 9))
    with fresh(here, 6), fresh(here, 4, socket.SOCK_RAW, 253):
        check("at_socket after three sockets", 3, here.agent.policy(here.name)["at_socket"])
    here.check_counters(1)


# --- S6: two services on one port, each on a device of its own ----------------------------------

def test_s6_listeners_on_two_devices(box):
    """bind(2) has the device already, so that the second one is not refused."""
    here = Governed(box, "s6", {}, rule("direction: listen", SO_BINDTODEVICE=DEVICE))
    other = box.cgroup.child("s6-other")
    here.agent.write("60-other.yaml", f"""policies:
  - name: s6-other
    match: {{ cgroup: "{other.path}" }}
    options: {{ SO_BINDTOIFINDEX: {socket.if_nametoindex(OTHER_DEVICE)} }}
""")
    here.agent.reload_good()
    second_worker = box.worker(other)
    for kind in (STREAM, DATAGRAM):
        with (here.worker.socket(socket.AF_INET, kind) as first,
              second_worker.socket(socket.AF_INET, kind) as second):
            first.bind(("0.0.0.0", 0))
            second.bind(("0.0.0.0", first.port()))
            if kind == STREAM:
                first.listen(1)
                second.listen(1)
            check("devices", (DEVICE, OTHER_DEVICE), (device(first), device(second)))
    # Both answer: what is for a device's own address comes in by loopback unless it is bound.
    for name, worker, address in ((DEVICE, here.worker, DEVICE_ADDRESS[4]),):
        with worker.socket(socket.AF_INET, STREAM) as listener:
            listener.bind((address, 0))
            check("the device of a listener at an address", name, device(listener))


def test_s6_left_to_connect(box):
    """bind(2) leaves a device alone that a connect rule may name."""
    here = Governed(box, "s6-out", {"SO_BINDTODEVICE": DEVICE},
                    rule("remote: 203.0.113.0/24, direction: connect", SO_BINDTODEVICE=OTHER_DEVICE))
    with (here.worker.socket(socket.AF_INET, STREAM) as listener,
          here.worker.socket(socket.AF_INET, STREAM) as client):
        listener.bind(("0.0.0.0", 0))
        check("the device at bind(2)", "", device(listener))
        listener.listen(1)
        check("the device at listen(2)", DEVICE, device(listener))
        client.bind(("0.0.0.0", 0))
        client.setblocking(False)
        client.connect_ex((FAR_AWAY[4], 9))
        check("the device at connect(2)", OTHER_DEVICE, device(client))


# --- S7: who called connect(2) is `connect` ------------------------------------------------------

BOTH_WAYS = (rule("direction: connect", "connect", SO_PRIORITY=3, TCP_BPF_IW=30),
             rule("direction: accept", "accept", SO_PRIORITY=5, TCP_BPF_IW=20))


def window(subject):
    return struct.unpack_from("I", subject.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 128),
                              SND_CWND_AT)[0]


def test_s7_self_connect(box):
    here = Governed(box, "s7", {}, *BOTH_WAYS)
    for version, address in ((4, "127.0.0.1"), (6, "::1")):
        with here.worker.socket(FAMILIES[version], STREAM) as one:
            one.bind((address, 0))
            one.connect((address, one.port()))
            check("SO_PRIORITY and window of a socket that connects to itself", (3, 30),
                  (priority(one), window(one)))
    check("applied, by rule", {"connect": 2, "accept": 0}, by_rule(here))
    here.check_counters(2)


def test_s7_simultaneous_open(box):
    here = Governed(box, "s7-both", {}, *BOTH_WAYS)
    for version in FAMILIES:
        with (box.fake_peer as peer, here.worker.socket(FAMILIES[version], STREAM) as one):
            one.bind((TUN_ADDRESS[version], 0))
            one.setblocking(False)
            one.connect_ex((TUN_PEER[version], 80))
            syn = peer.syn_from(one.port())
            peer.send(syn, SEQ, 0, SYN, SYN_OPTIONS)  # a SYN of its own, not an answer
            synack = peer.wait("a SYN-ACK", lambda p, port=one.port(): p.is_synack and p.sport == port)
            peer.establish(synack)
            wait_for("the connection's peer", True, lambda one=one: has_peer(one))
            check("SO_PRIORITY and window of both who open", (3, 30), (priority(one), window(one)))
    check("applied, by rule", {"connect": 2, "accept": 0}, by_rule(here))


def has_peer(one):
    state = one.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 128)[0]
    return state == 1  # TCP_ESTABLISHED


def test_s7_accept_is_still_accept(box):
    here = Governed(box, "s7-accept", {}, *BOTH_WAYS)
    with (listening(here.worker) as listener,
          connection(here.worker, listener) as (client, accepted)):
        check("SO_PRIORITY and window of both ends", [(3, 30), (5, 20)],
              [(priority(one), window(one)) for one in (client, accepted)])
    check("applied, by rule", {"connect": 1, "accept": 1}, by_rule(here))


# --- S8: connect(2) to any address ---------------------------------------------------------------

# what it is bound to, what it connects to, whom the kernel connects it to
ANY = ((4, None, "0.0.0.0", "127.0.0.1"), (6, None, "::", "::1"),
       (4, DEVICE_ADDRESS[4], "0.0.0.0", DEVICE_ADDRESS[4]),
       (6, "::ffff:127.0.0.1", "::", "::ffff:127.0.0.1"),
       (6, DEVICE_ADDRESS[6], "::", "::1"))


def any_address_test(kind):
    def test(box):
        here = Governed(box, f"s8-{kind}", {},
                        rule('remote: [127.0.0.0/8, "::1"]', "loopback", SO_PRIORITY=3, SO_SNDBUF="40K"),
                        rule(f'remote: ["{DEVICE_ADDRESS[4]}"]', "own", SO_PRIORITY=5))
        for version, local, to, peer in ANY:
            with (here.peer.socket(FAMILIES[version], kind) as server,
                  here.worker.socket(FAMILIES[version], kind) as client):
                server.bind((peer, 0))
                if kind == STREAM:
                    server.listen(1)
                if local:
                    client.bind((local, 0))
                client.connect((to, server.port()))
                check(f"the peer of a socket at {local} that connects to {to}", peer,
                      client.getpeername()[0])
                own = peer == DEVICE_ADDRESS[4]
                check(f"SO_PRIORITY and SO_SNDBUF of a socket at {local} that connects to {to}",
                      (5, False) if own else (3, True),
                      (priority(client), client.sockopt(socket.SOL_SOCKET, 7) == 2 * 40 * 1024))
        check("applied, by rule", {"loopback": 4, "own": 1}, by_rule(here))
    return test


test_s8_tcp_to_any_address = any_address_test(STREAM)
test_s8_udp_to_any_address = any_address_test(DATAGRAM)


# --- S10: senders that are missed ----------------------------------------------------------------

def test_s10_sender_older_than_its_policy(box):
    here = Governed(box, "s10", {"SO_SNDBUF": "unset"})
    with here.worker.socket(socket.AF_INET, DATAGRAM) as sender:
        for _ in range(2):
            sender.sendto(b"x", ("127.0.0.1", 9))
        here.reload({"IP_TOS": EF})
        sender.sendto(b"x", ("127.0.0.1", 9))
        check("IP_TOS after the next send", EF, sender.sockopt(*IP_TOS))
    here.check_counters(1)


def test_s10_sender_whose_bind_failed(box):
    here = Governed(box, "s10-bind", {"IP_TOS": EF}, rule("direction: connect", SO_SNDBUF="40K"))
    for version, address in ((4, "127.0.0.1"), (6, "::1")):
        with (here.peer.socket(FAMILIES[version], DATAGRAM) as taken,
              here.worker.socket(FAMILIES[version], DATAGRAM) as sender):
            taken.bind((address, 0))
            for place in ((address, taken.port()), (FAR_AWAY[version], 0)):
                with contextlib.suppress(OSError):
                    sender.bind(place)
                    raise Failure("bind(2)", "an error", "none")
            sender.sendto(b"x", (address, taken.port()))
            check("SO_SNDBUF after a failed bind(2) and a send", 2 * 40 * 1024,
                  sender.sockopt(socket.SOL_SOCKET, 7))


# --- S11: the priority that IP_TOS implies -------------------------------------------------------

def test_s11_priority_of_accepted_sockets(box):
    here = Governed(box, "s11", {"SO_SNDBUF": "unset"})
    with listening(here.worker) as older:
        here.reload({"DSCP": "EF"})
        with listening(here.worker) as newer:
            check("SO_PRIORITY by IP_TOS, accepted by an older and a newer listener", (4, 4),
                  tuple(accepted_option(one, here.peer) for one in (older, newer)))
            with connection(here.worker, newer) as (client, _):
                check("SO_PRIORITY of a client", 4, priority(client))


def test_s11_a_policy_of_priority_wins(box):
    here = Governed(box, "s11-set", {"DSCP": "EF", "SO_PRIORITY": 3})
    with listening(here.worker) as listener:
        check("SO_PRIORITY that a policy sets", 3, accepted_option(listener, here.peer))


def test_s11_each_class(box):
    """As setsockopt(2) does it."""
    classes = {0x08: 2, 0x10: 6, 0x18: 4, 0x20: 0, 0x28: 2, 0xE0: 0}
    here = Governed(box, "s11-each", {"IP_TOS": 0})
    for tos, expected in classes.items():
        here.reload({"IP_TOS": tos})
        with listening(here.worker) as listener, here.peer.socket(socket.AF_INET, STREAM) as one:
            one.setsockopt(*IP_TOS, tos)
            check(f"SO_PRIORITY of IP_TOS {tos}: by setsockopt(2), of an accepted socket",
                  (expected, expected), (priority(one), accepted_option(listener, here.peer)))
