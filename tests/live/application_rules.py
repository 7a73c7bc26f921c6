# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which policy, rule and statement counts for a socket, from its addresses, whenever it was made."""

import contextlib
import errno
import json
import socket
import sys

from other_sockets import DATAGRAM, IPPROTO_MPTCP, STREAM, Governed, Tenant, rule
from application_counters import counted
from harness import lacks
from harness.flows import SO_PRIORITY, TCP_KEEPIDLE, TCP_NODELAY, connection, listening, policies, policy
from harness.result import Skip, check
from harness.tcp_options import Subflow
from harness.words import deny, hold, respect, try_set

INET, INET6 = socket.AF_INET, socket.AF_INET6

COMMON_AGENT = True
SO_SNDBUF, SO_RCVBUF = (socket.SOL_SOCKET, 7), (socket.SOL_SOCKET, 8)
SO_MARK = (socket.SOL_SOCKET, 36)
TCP_USER_TIMEOUT = (socket.IPPROTO_TCP, 18)
HOOK = "setsockopt"


@contextlib.contextmanager
def to(here, address="127.0.0.1", family=INET, bound=None):
    """A TCP connection to the address."""
    with here.peer.socket(family, STREAM) as listener, here.worker.socket(family, STREAM) as client:
        listener.bind((address, 0))
        listener.listen(1)
        if bound:
            client.bind(bound)
        client.connect((address, listener.port()))
        yield client


@contextlib.contextmanager
def accepted_from(here, address, listener):
    """What the listener accepts from that address."""
    with here.peer.socket(INET, STREAM) as client:
        client.bind((address, 0))
        client.connect(("127.0.0.1", listener.port()))
        with listener.accept() as accepted:
            yield accepted


def after(one, option, value, way="call"):
    """(errno, what is there then) of a call."""
    return try_set(one, option, value, way), one.sockopt(*option)


# --- which statement counts ------------------------------------------------------------------------

def test_the_winners_statement(box):
    """Its option's, else its rule's, else its policy's; a loser's is gone with it."""
    here = Tenant(box, "winner", {"TCP_KEEPIDLE": hold("60s"), "TCP_USER_TIMEOUT": "20s", "SO_PRIORITY": 3},
                    rule("remote: 127.0.0.2", "free", TCP_KEEPIDLE="61s"),
                    rule("remote: 127.0.0.3", "held", TCP_USER_TIMEOUT=hold("21s"), SO_PRIORITY=deny(4)))
    with to(here, "127.0.0.1") as one:
        check("the base's: held, free, free", [(0, 60), (0, 9), (0, 5)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9), after(one, SO_PRIORITY, 5)])
    with to(here, "127.0.0.2") as one:
        check("the rule's, which says nothing: free", (0, 9), after(one, TCP_KEEPIDLE, 9))
    with to(here, "127.0.0.3") as one:
        check("held by base, held and denied by the rule", [(0, 60), (0, 21000), (errno.EPERM, 4)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9), after(one, SO_PRIORITY, 5)])


def test_statements_of_policy_and_rule(box):
    here = Tenant(box, "levels", {})
    text = """    application: hold
    options: { TCP_KEEPIDLE: 60s, SO_PRIORITY: { value: 3, application: override }, SO_REUSEADDR: on }
    rules:
      - { name: said, when: { remote: 127.0.0.2 }, application: respect, options: { TCP_KEEPIDLE: 61s,
          TCP_USER_TIMEOUT: { value: 20s, application: hold } } }
      - { name: unsaid, when: { remote: 127.0.0.3 }, options: { TCP_KEEPIDLE: 62s } }
"""
    here.agent.write(here.file, policies(policy(here.name, here.cgroup, {}, text)))
    here.agent.reload_good()
    with to(here, "127.0.0.1") as one:
        check("held by the policy's word, free by the option's", [(0, 60), (0, 5)],
              [after(one, TCP_KEEPIDLE, 9), after(one, SO_PRIORITY, 5)])
    with to(here, "127.0.0.2") as one:
        check("respected by the rule's word, held by the option's", [(0, 9), (0, 20000)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9)])
    with to(here, "127.0.0.3") as one:
        check("held by the policy's word", (0, 62), after(one, TCP_KEEPIDLE, 9))
    with here.worker.socket(INET, STREAM) as one:
        check("SO_REUSEADDR cannot be held", (0, 0), (try_set(one, (1, 2), 1), try_set(one, (1, 2), 0)))
        check("SO_REUSEADDR", 0, one.sockopt(1, 2))


def test_several_policies(box):
    """The deeper one wins, with its own statement; `unset` holds nothing."""
    here = Tenant(box, "outer", {"TCP_KEEPIDLE": hold("60s"), "TCP_USER_TIMEOUT": hold("20s"),
                                   "SO_PRIORITY": "3", "TCP_NODELAY": hold("on")})
    deeper = here.cgroup.child("deeper")
    here.add("deeper", policies(policy(f"{here.name}-inner", deeper, {
        "TCP_KEEPIDLE": "61s", "TCP_USER_TIMEOUT": "unset", "SO_PRIORITY": hold(4)})))
    with to(here) as one:
        check("the outer policy's: held, held, free", [(0, 60), (0, 20000), (0, 5)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9), after(one, SO_PRIORITY, 5)])
    here.worker = box.worker(deeper)
    with to(here) as one:
        check("the deeper policy's: free, unset, held; what it leaves to the outer one: held",
              [(0, 9), (0, 9), (0, 4), (0, 1)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9), after(one, SO_PRIORITY, 5),
               after(one, TCP_NODELAY, 0)])


# --- rules are evaluated again -------------------------------------------------------------------

def test_hold_by_peer(box):
    """Each connection by its own peer, whenever the call comes; IPv4, IPv6 and mapped."""
    here = Tenant(box, "peers", {"TCP_KEEPIDLE": hold("50s")},
                    rule("remote: 127.0.0.2", "two", TCP_KEEPIDLE=hold("52s")),
                    rule('remote: "::1"', "six", TCP_KEEPIDLE=hold("56s")),
                    rule("remote: 127.0.0.3, direction: accept", "accepted", TCP_KEEPIDLE=hold("53s")))
    with (to(here) as one, to(here, "127.0.0.2") as two, to(here, "::1", INET6) as six,
          to(here, "127.0.0.3") as three):
        for _ in range(2):
            check("TCP_KEEPIDLE by peer", [50, 52, 56, 50],
                  [after(subject, TCP_KEEPIDLE, 9)[1] for subject in (one, two, six, three)])
    with here.peer.socket(INET, STREAM) as listener, here.worker.socket(INET6, STREAM) as mapped:
        listener.bind(("127.0.0.2", 0))
        listener.listen(1)
        mapped.connect(("::ffff:127.0.0.2", listener.port()))
        check("TCP_KEEPIDLE of a mapped peer", 52, after(mapped, TCP_KEEPIDLE, 9)[1])
    with (listening(here.worker) as listener, accepted_from(here, "127.0.0.2", listener) as two,
          accepted_from(here, "127.0.0.3", listener) as three, accepted_from(here, "127.0.0.4", listener) as four):
        check("TCP_KEEPIDLE of accepted sockets, by peer", [52, 53, 50],
              [after(subject, TCP_KEEPIDLE, 9)[1] for subject in (two, three, four)])


def test_hold_by_port(box):
    """Of a client that bound itself to a port, too: it connects."""
    here = Tenant(box, "ports", {},
                    rule("direction: connect, local_port: 20000-20999", "bound", TCP_KEEPIDLE=hold("51s")),
                    rule("direction: listen, local_port: 21000-21999", "listener", TCP_KEEPIDLE=hold("52s")),
                    rule("direction: accept, local_port: 21000-21999", "accepted", TCP_KEEPIDLE=hold("53s")))
    for port in range(20000, 20999):  # other tests have ports of their own
        with contextlib.suppress(OSError), to(here, bound=("127.0.0.1", port)) as one:
            check("TCP_KEEPIDLE of a client that is bound", (0, 51), after(one, TCP_KEEPIDLE, 9))
            break
    with here.worker.socket(INET, STREAM) as listener:
        for port in range(21000, 21999):
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                break
        check("TCP_KEEPIDLE before listen(2)", (0, 9), after(listener, TCP_KEEPIDLE, 9))
        listener.listen(1)
        check("TCP_KEEPIDLE of a listener", (0, 52), after(listener, TCP_KEEPIDLE, 9))
        with accepted_from(here, "127.0.0.1", listener) as accepted:
            check("TCP_KEEPIDLE of an accepted socket", (0, 53), after(accepted, TCP_KEEPIDLE, 9))


def buffers(one):
    return [after(one, SO_SNDBUF, 10000), after(one, SO_RCVBUF, 10000)]


def test_udp_bound_and_then_connected(box):
    """It is `listen` until connect(2); an unconnected sender has no remote, whomever it sends to."""
    here = Tenant(box, "udp", {},
                    rule("direction: listen", "listen", SO_SNDBUF=hold(40000)),
                    rule("direction: connect", "connect", SO_SNDBUF=hold(50000)),
                    rule("remote: 127.0.0.0/8", "near", SO_RCVBUF=hold(60000)))
    with here.peer.socket(INET, DATAGRAM) as server, here.worker.socket(INET, DATAGRAM) as one:
        server.bind(("127.0.0.1", 0))
        check("before bind(2)", [(0, 20000), (0, 20000)], buffers(one))
        one.bind(("127.0.0.1", 0))
        check("bound", [(0, 80000), (0, 20000)], buffers(one))
        one.sendto(b"x", ("127.0.0.1", server.port()))
        check("after a send", [(0, 80000), (0, 20000)], buffers(one))
        one.connect(("127.0.0.1", server.port()))
        check("connected", [(0, 100000), (0, 120000)], buffers(one))
    with here.peer.socket(INET, DATAGRAM) as server, here.worker.socket(INET, DATAGRAM) as one:
        server.bind(("127.0.0.1", 0))
        check("before the first send", (0, 20000), after(one, SO_SNDBUF, 10000))
        one.sendto(b"x", ("127.0.0.1", server.port()))
        check("after it", [(0, 100000), (0, 20000)], buffers(one))


def test_connection_refused(box):
    """connect(2) failed: the socket is not a connection, and may be set up for the next one."""
    here = Tenant(box, "again", {"TCP_KEEPIDLE": hold("60s")})
    with here.worker.socket(INET, STREAM) as one, listening(here.peer) as listener:
        check("errno of connect(2)", errno.ECONNREFUSED, one.connect_ex(("127.0.0.1", 1)))
        check("errno of setsockopt(2)", 0, try_set(one, TCP_KEEPIDLE, 9))
        with contextlib.suppress(ConnectionAbortedError):  # what became of the first one is said once more
            one.connect(("127.0.0.1", 1))
        one.connect(("127.0.0.1", listener.port()))
        check("TCP_KEEPIDLE of the connection", 60, one.sockopt(*TCP_KEEPIDLE))
        check("TCP_KEEPIDLE afterwards", (0, 60), after(one, TCP_KEEPIDLE, 9))


# --- sockets that are older ------------------------------------------------------------------------

class Old:
    """Sockets of each kind, none of which has seen a policy."""

    def __init__(self, box, cgroup, peer):
        worker, stack = box.worker(cgroup), box.stack
        listener = stack.enter_context(listening(worker))
        there = stack.enter_context(listening(peer))
        client, _ = stack.enter_context(connection(worker, there))
        _, accepted = stack.enter_context(connection(peer, listener))
        six = stack.enter_context(listening(peer, INET6, "::1"))
        client6, _ = stack.enter_context(connection(worker, six, "::1", INET6))
        server = stack.enter_context(peer.socket(INET, DATAGRAM))
        server.bind(("127.0.0.1", 0))
        self.udp = {}
        for kind in ("UDP, connected", "UDP, bound", "UDP, sender"):
            self.udp[kind] = one = stack.enter_context(worker.socket(INET, DATAGRAM))
            if kind.endswith("connected"):
                one.connect(("127.0.0.1", server.port()))
            elif kind.endswith("bound"):
                one.bind(("127.0.0.1", 0))
            else:
                one.sendto(b"x", ("127.0.0.1", server.port()))
        self.tcp = {"client": client, "client, IPv6": client6, "accepted": accepted}
        self.listener = listener


def test_older_sockets_are_held(box):
    """From the next call on, which is when they are met; nothing is set before."""
    old = Old(box, box.cgroup.child("older"), box.worker(box.cgroup.child("older-peer")))
    Governed(box, "older", {"TCP_KEEPIDLE": hold("60s"), "SO_SNDBUF": hold(60000), "SO_RCVBUF": hold(50000),
                            "SO_PRIORITY": deny(3)},
             rule("direction: accept", "accepted", TCP_USER_TIMEOUT=hold("20s")),
             rule('direction: connect, remote: [127.0.0.0/8, "::1"]', "near", TCP_USER_TIMEOUT=hold("30s")))
    for kind, one in old.tcp.items():
        check(f"TCP_KEEPIDLE and SO_PRIORITY without a call ({kind})", (7200, 0),
              (one.sockopt(*TCP_KEEPIDLE), one.sockopt(*SO_PRIORITY)))
        check(f"TCP_KEEPIDLE, TCP_USER_TIMEOUT and SO_PRIORITY after a call ({kind})",
              [(0, 60), (0, 20000 if kind == "accepted" else 30000), (errno.EPERM, 0)],
              [after(one, TCP_KEEPIDLE, 9), after(one, TCP_USER_TIMEOUT, 9), after(one, SO_PRIORITY, 5)])
    for kind, one in old.udp.items():
        check(f"SO_SNDBUF and SO_PRIORITY after a call ({kind})", [(0, 120000), (errno.EPERM, 0)],
              [after(one, SO_SNDBUF, 10000), after(one, SO_PRIORITY, 5)])
    check("SO_RCVBUF, which the listener gets, and TCP_KEEPIDLE, which it does not", [(0, 100000), (0, 9)],
          [after(old.listener, SO_RCVBUF, 10000), after(old.listener, TCP_KEEPIDLE, 9)])


def test_reload_changes_who_has_the_last_word(box):
    """For sockets that are there as well."""
    here = Governed(box, "turns", {"TCP_KEEPIDLE": "60s"})
    with to(here) as one:
        check("override", (0, 9), after(one, TCP_KEEPIDLE, 9))
        check("is there a hook?", False, HOOK in here.hooks())
        for said, expected in ((hold("60s"), 60), (hold("70s"), 70), (respect("60s"), 9), ("60s", 9),
                               (hold("60s"), 60), ("unset", 9)):
            here.reload({"TCP_KEEPIDLE": said})
            check(f"after a reload with {said}", (0, expected), after(one, TCP_KEEPIDLE, 9))
        check("is there a hook?", False, HOOK in here.hooks())
        here.reload({"TCP_KEEPIDLE": hold("60s")})
        check("is there a hook?", True, HOOK in here.hooks())
        here.agent.kill()
        check("the agent dead", (0, 60), after(one, TCP_KEEPIDLE, 9))
        here.agent.start()
        check("another agent", (0, 60), after(one, TCP_KEEPIDLE, 8))
        here.agent.stop()
        check("no agent", (0, 9), after(one, TCP_KEEPIDLE, 9))


def test_listen_without_a_backlog(box):
    """Whether what listen(fd, 0) accepts was accepted cannot be told: rules that ask are not held."""
    here = Tenant(box, "backlog", {"TCP_KEEPIDLE": hold("60s")},
                    rule("direction: accept", "accepted", TCP_USER_TIMEOUT=hold("20s")),
                    rule("direction: connect", "connects", SO_SNDBUF=hold(40000)),
                    rule("remote: 127.0.0.0/8", "near", TCP_NODELAY=hold("on")))
    with here.worker.socket(INET, STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with accepted_from(here, "127.0.0.1", listener) as one:
            check("given at accept(2)", (60, 20000, 1),
                  (one.sockopt(*TCP_KEEPIDLE), one.sockopt(*TCP_USER_TIMEOUT), one.sockopt(*TCP_NODELAY)))
            check("held: base, and a rule that asks for the peer alone", [(0, 60), (0, 1)],
                  [after(one, TCP_KEEPIDLE, 9), after(one, TCP_NODELAY, 0)])
            check("not held, by rules that ask for the direction", [(0, 9), (0, 20000)],
                  [after(one, TCP_USER_TIMEOUT, 9), after(one, SO_SNDBUF, 10000)])
    check("counted", {("held", "", "TCP_KEEPIDLE"): 1, ("held", "near", "TCP_NODELAY"): 1,
                      ("untold", "accepted", "TCP_USER_TIMEOUT"): 1,
                      ("untold", "connects", "SO_SNDBUF"): 1}, counted(here))


# --- whose socket, and which -----------------------------------------------------------------------

ELSEWHERE = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(listener.getsockname())
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write("0")
other = socket.create_connection(listener.getsockname())
for subject in (one, other):
    subject.setsockopt(socket.IPPROTO_TCP, 4, 9)
print(json.dumps([subject.getsockopt(socket.IPPROTO_TCP, 4) for subject in (one, other)]))
"""


def test_the_sockets_cgroup_counts(box):
    """Not the one where the process that calls is."""
    here = Tenant(box, "moves", {"TCP_KEEPIDLE": hold("60s")})
    free = box.cgroup.child("moves-free")
    for start, end, expected in ((here.cgroup, free, [60, 9]), (free, here.cgroup, [9, 60])):
        done = start.run([sys.executable, "-I", "-c", ELSEWHERE, end.directory])
        check(f"TCP_KEEPIDLE of a socket made in {start.path}, and one made in {end.path} ({done.stderr})",
              expected, json.loads(done.stdout))


def test_hold_on_an_mptcp_parent(box):
    """Parent and subflow have the policy's value; what the parent was told counts for the subflow."""
    here = Tenant(box, "mptcp", {"TCP_KEEPIDLE": hold("60s"), "TCP_NODELAY": hold("on"), "SO_SNDBUF": hold(60000),
                                   "SO_MARK": hold(7), "SO_PRIORITY": deny(3), "TCP_CONGESTION": hold("cubic"),
                                   "SO_KEEPALIVE": respect("on"), "TCP_KEEPCNT": respect(3)})
    try:
        probe = here.peer.socket(INET, STREAM, IPPROTO_MPTCP)
    except OSError as error:
        raise Skip("this kernel has no MPTCP") from error
    with probe as listener, here.worker.socket(INET, STREAM, IPPROTO_MPTCP) as one:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        check("errno of TCP_KEEPCNT before", 0, try_set(one, (6, 6), 5))
        one.connect(("127.0.0.1", listener.port()))
        with listener.accept() as accepted:
            subflow = Subflow(box, one.port(), accepted.port())

            def below(level, optname):
                return int.from_bytes(subflow.getsockopt(level, optname, 4), sys.byteorder)

            for option, value, shown in ((TCP_KEEPIDLE, 9, 60), (TCP_NODELAY, 0, 1), (SO_SNDBUF, 10000, 120000),
                                         (SO_MARK, 9, 7)):
                check(f"errno of option {option}", 0, try_set(one, option, value))
                check(f"option {option} of parent and subflow", (shown, shown),
                      (one.sockopt(*option), below(*option)))
            check("errno of SO_PRIORITY", errno.EPERM, try_set(one, SO_PRIORITY, 5))
            check("SO_PRIORITY of the subflow", 3, below(*SO_PRIORITY))
            check("errno of TCP_CONGESTION", 0, try_set(one, (6, 13), b"bbr"))
            check("TCP_CONGESTION of parent and subflow", [b"cubic"] * 2,
                  [subject.getsockopt(6, 13, 16).rstrip(b"\0") for subject in (one, subflow)])
            check("TCP_KEEPCNT, which the application set on the parent, of the subflow", 5, below(6, 6))


UNIX_OPTIONS = {"SO_SNDBUF": hold(40000), "SO_PRIORITY": deny(3), "SO_MARK": hold(7)}


def check_unix(one):
    check("SO_SNDBUF, SO_MARK and SO_PRIORITY", [(0, 80000), (0, 7), (errno.EPERM, 3)],
          [after(one, SO_SNDBUF, 10000), after(one, SO_MARK, 9), after(one, SO_PRIORITY, 5)])


def test_hold_at_socket_of_other_families(box):
    """Where BPF LSM gives it at socket(2), it is held from then on."""
    lacks.need_bpf_lsm()
    here = Tenant(box, "local", {}, rule("family: [netlink, packet]", "local", **UNIX_OPTIONS))
    for kind in ((socket.AF_NETLINK, socket.SOCK_RAW, 0), (socket.AF_PACKET, socket.SOCK_RAW, 0)):
        with here.worker.socket(*kind) as one:
            check_unix(one)
    with here.worker.socket(INET, DATAGRAM) as one:
        check("SO_SNDBUF of another family's", (0, 20000), after(one, SO_SNDBUF, 10000))
