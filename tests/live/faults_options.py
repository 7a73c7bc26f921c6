# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the option table, the manual and `check` say of options that do not do what their name promises:
each statement, on real sockets."""

import contextlib
import errno
import os
import platform
import re
import socket
import subprocess
import time

from harness.capture import Capture
from harness.flows import connection, listening
from harness.host import Host
from harness.openings import asking, connecting, listening_on_tun
from harness.packet import ECE, SYN
from harness.result import Between, Containing, Skip, check, wait_for
from harness.sandbox import DEVICE, DEVICE_ADDRESS, FAR_AWAY, MARK, TABLE, TUN, TUN_ADDRESS, TUN_PEER
from life_policies import governed_text
from replies_on_wire import USUAL_WINDOW
from other_sockets import AF41, FILE, IP_TOS, IPPROTO_MPTCP, STREAM, Governed, rule

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
TCP, LEVEL = socket.IPPROTO_TCP, socket.SOL_SOCKET
TCP_WINDOW_CLAMP, TCP_CONGESTION, TCP_SAVED_SYN = 10, 13, 28
KERNEL = tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups()))


def warned(here, what, *arguments):
    """What `check` says of the test's policy, as far as it has this in it."""
    done = here.agent.command("check", *arguments, "--policy-dir", here.agent.policy_dir)
    return [line.partition("warning: ")[2] for line in done.stderr.splitlines() if what in line]


def explained(here, option, direction, *arguments):
    """What the kernel makes of it, as `explain` says."""
    told = here.agent.json("explain", "--policy-dir", here.agent.policy_dir, "--pin-dir",
                           here.agent.pin_dir, "--cgroup", here.cgroup.path, "--direction", direction,
                           *arguments)
    return next(one["kernel"] for one in told["options"] if one["option"] == option)


def shown(one):
    """What ss(8) says of a connected socket."""
    ends = f"sport = :{one.port()} and dport = :{one.getpeername()[1]}"
    return subprocess.run(["ss", "-tineH", ends], capture_output=True, text=True,
                          check=True).stdout


# --- S2: congestion controls that need ECN -------------------------------------------------------

@contextlib.contextmanager
def needs_ecn(box):
    """The name of a congestion control that needs ECN: dctcp, or one of ours where it is not there."""
    with socket.socket() as one:
        with contextlib.suppress(FileNotFoundError):
            one.setsockopt(TCP, TCP_CONGESTION, b"dctcp")
            yield "dctcp"
            return
    name = f"specn{os.getpid():07d}"
    built = box.built("tests/needs_ecn.bpf.o")
    path = box.path("needs-ecn")
    with open(built, "rb") as source, open(path, "wb") as target:
        target.write(source.read().replace(b"sockpol_name", name.encode()))
    done = subprocess.run(["bpftool", "struct_ops", "register", path], capture_output=True, text=True,
                          check=False)
    number = re.search(r"Registered \S+ \S+ id (\d+)", done.stdout + done.stderr)
    if not number:
        raise Skip(f"neither dctcp nor struct_ops here: {done.stderr.strip()}")
    try:
        yield name
    finally:
        subprocess.run(["bpftool", "struct_ops", "unregister", "id", number[1]],
                       capture_output=True, check=True)


def has_ecn(one):
    return "ecn" in shown(one).split()


def accepted_has_ecn(worker, address=DEVICE_ADDRESS[4]):
    """(does the SYN ask for it, does the accepted socket have it), both ends governed"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with listening(worker, family, address) as listener, Capture(listener.port()) as wire, connection(
            worker, listener, address, family) as (_, accepted):
        syn = next(packet for packet in wire.packets() if packet.is_syn)
        return bool(syn.flags & ECE), has_ecn(accepted)


def test_s2_the_manual_s_example(box):
    """The rule `inside` of sockpol.policy(5): accepted sockets have the ECN that dctcp needs."""
    with open(os.path.join(TOP, "doc/sockpol.policy.5.scd"), encoding="utf-8") as page:
        text = re.search(r"^```\n(# /etc/.*?)^```$", page.read(), re.M | re.S)[1]
    here = Governed(box, "s2-manual", {"SO_SNDBUF": "unset"})
    here.agent.write(FILE, governed_text(text, here.cgroup))
    here.agent.reload_good()
    for address in DEVICE_ADDRESS.values():
        check(f"ECN asked for, and of an accepted socket, by the manual's example, {address}",
              (True, True), accepted_has_ecn(here.worker, address))


def test_s2_congestion_control_that_needs_ecn(box):
    """Connecting sockets have it; accepted ones by NEEDS_ECN or from their listener, else check warns."""
    with needs_ecn(box) as name, box.scope():
        here = Governed(box, "s2", {"TCP_CONGESTION": name})
        says = "needs ECN"
        check("ECN asked for, and of an accepted socket, without NEEDS_ECN", (True, False),
              accepted_has_ecn(here.worker))
        check("check warns", 1, len(warned(here, says)))
        for what, options, rules in (
                ("NEEDS_ECN", {"TCP_CONGESTION": name, "NEEDS_ECN": "on"}, ()),
                ("the listener", {"TCP_CONGESTION": name},
                 [rule("direction: listen", TCP_CONGESTION=name)])):
            here.reload(options, *rules)
            check(f"ECN asked for, and of an accepted socket, by {what}", (True, True),
                  accepted_has_ecn(here.worker))
            check(f"check warns, {what}", [], warned(here, says))


# --- S3: a congestion control that a route brings ------------------------------------------------

FAR = "10.95.0.1"


def congestion(one):
    return one.getsockopt(TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode()


def congestions(here, address):
    """Of a socket that connects, and of the one that is accepted."""
    with listening(here.worker, address=address) as listener, here.worker.socket(
            socket.AF_INET, STREAM) as client:
        client.bind((DEVICE_ADDRESS[4], 0))
        client.connect((address, listener.port()))
        with listener.accept() as accepted:
            return congestion(client), congestion(accepted)


def test_s3_route_with_a_congestion_control(box):
    here = Governed(box, "s3", {"TCP_CONGESTION": "cubic"})
    says = "brings congctl reno"
    check("check --host warns without such a route", [], warned(here, says, "--host"))
    for lock in ([], ["lock"]):
        with box.scope():
            for address in (FAR, DEVICE_ADDRESS[4]):
                box.ip("route", "replace", "local", address, "dev", "lo", "table", "local", "congctl",
                       *lock, "reno", undo=("route", "replace", "local", address, "dev", "lo",
                                            "table", "local"))
            box.stack.callback(subprocess.run, ["ip", "route", "del", "local", FAR, "dev", "lo",
                                                "table", "local"], check=False)
            check(f"congestion controls, connected and accepted, congctl {' '.join(lock)} reno",
                  ("reno", "reno" if lock else "cubic"), congestions(here, FAR))
            check("check --host warns", [Containing(
                "locked, on accepted sockets as well" if lock else "wins at connect(2)")],
                  warned(here, says, "--host"))
            check("and without --host it does not", [], warned(here, says))
            for direction, loses in (("connect", True), ("accept", bool(lock))):
                check(f"explain, {direction}", Containing(
                    "reno: congctl of the route (table 255) wins" if loses else "cubic"),
                      explained(here, "TCP_CONGESTION", direction, "--remote", FAR))
    check("failed options", [("TCP_CONGESTION", "EPERM")],
          [(one["option"], one["errno"]) for one in here.agent.policy(here.name)["failed"]])


def test_s3_route_of_a_mark(box):
    """What explain looks up is the route of a socket with the policy's mark."""
    here = Governed(box, "s3-mark", {"TCP_CONGESTION": "cubic"})
    for version, to in FAR_AWAY.items():
        route = (f"-{version}", "route", "{}", to, "dev", DEVICE, "table", str(TABLE))
        box.ip(*(part.format("add") for part in route), "congctl", "reno",
               undo=[part.format("del") for part in route])
    for mark, expected in (({}, "cubic"),
                           ({"SO_MARK": MARK}, f"reno: congctl of the route (table {TABLE}) wins")):
        here.reload({"TCP_CONGESTION": "cubic", **mark})
        for to in FAR_AWAY.values():
            check(f"explain, with {mark}", expected,
                  explained(here, "TCP_CONGESTION", "connect", "--protocol", "tcp", "--remote", to))


# --- S5: a mark for accepted sockets comes after the SYN-ACK --------------------------------------

BEHIND = "10.77.0.1"  # routed to the TUN device in the marked table alone


def has_syn_ack(box, listener):
    with box.fake_peer as peer:
        sport = next(peer.ports)
        peer.send_syn(BEHIND, TUN_ADDRESS[4], sport, listener.port(), SYN)
        return bool(peer.next(lambda packet: packet.is_synack and packet.dport == sport, 1.0))


def test_s5_mark_of_accepted_sockets(box):
    box.ip("route", "add", BEHIND, "dev", TUN, "table", str(TABLE), undo=("route", "del", BEHIND, "table", str(TABLE)))
    here = Governed(box, "s5", {}, rule("direction: accept, remote: 10.77.0.0/16", "in", SO_MARK=MARK))
    with listening_on_tun(here.worker, TUN_PEER[4]) as listener:
        check("the SYN-ACK goes the marked way", False, has_syn_ack(box, listener))
    check("check warns", ["SO_MARK: rule 'in' asks for the peer of accepted sockets, and the SYN-ACK leaves "
                          "before it holds: by the listener's route, not by this one"], warned(here, "SYN-ACK"))
    check("explain says it", "the SYN-ACK leaves before it, by the listener's route",
          explained(here, "SO_MARK", "accept", "--remote", BEHIND))
    here.reload({"SO_MARK": MARK})
    with listening_on_tun(here.worker, TUN_PEER[4]) as listener:
        check("with the listener's own mark it does", True, has_syn_ack(box, listener))
    check("check warns", [], warned(here, "SYN-ACK"))


# --- S12: the window clamp -----------------------------------------------------------------------

CLAMP = 20000


def clamp_after_data(here):
    """(before any data, after it, the largest window that was advertised)"""
    with (listening(here.worker) as listener, Capture(listener.port()) as wire,
          connection(here.peer, listener) as (client, accepted)):
        before = accepted.sockopt(TCP, TCP_WINDOW_CLAMP)
        for _ in range(4):
            client.sendall(bytes(60000))
            left = 60000
            while left:
                left -= len(accepted.recv(left))
        packets = [packet for packet in wire.packets() if packet.sport == wire.port]
        scale = next(packet for packet in packets if packet.is_synack).options[3]
        window = max(packet.window << scale for packet in packets if not packet.is_synack)
        return before, accepted.sockopt(TCP, TCP_WINDOW_CLAMP), window


def test_s12_window_clamp(box):
    here = Governed(box, "s12", {"TCP_WINDOW_CLAMP": CLAMP})
    for more in ({}, {"SO_RCVBUF": "64K"}):
        here.reload({"TCP_WINDOW_CLAMP": CLAMP, **more})
        lasts = bool(more) and KERNEL < (6, 6)
        before, after, window = clamp_after_data(here)
        if (6, 6) <= KERNEL < (6, 11) and after == CLAMP:
            raise Skip("this kernel may or may not have the change")
        check(f"the clamp before data, with {more}", CLAMP, before)
        check(f"whether clamp and window are within it after data, with {more}",
              (lasts, lasts), (after <= CLAMP, window <= CLAMP))
        check("check warns", 1, len(warned(here, "does not last on 6.12")))
    check("the window stays within SO_RCVBUF", True, window <= 2 * 64 * 1024)
    check("explain", Containing("until data comes"), explained(here, "TCP_WINDOW_CLAMP", "accept"))


# --- S13: MPTCP ----------------------------------------------------------------------------------

def mptcp(protocol):
    return "MPTCP" if protocol else "TCP"


def seconds_until_error(here, near, far, protocol):
    """From the moment at which the far host is gone."""
    with (far.unaware.socket(socket.AF_INET, STREAM, protocol) as listener,
          near.socket(socket.AF_INET, STREAM, protocol) as client):
        listener.bind(("10.94.0.2", 0))
        listener.listen(1)
        client.connect(("10.94.0.2", listener.port()))
        with listener.accept() as accepted:
            client.sendall(b"x")
            check("data", b"x", accepted.recv(1))
            client.settimeout(30)
            far.ip("link set s13 down")
            start = time.monotonic()
            client.sendall(b"y")
            try:
                check("what comes from a host that is gone", "an error", client.recv(1))
            except OSError:
                took = time.monotonic() - start
            far.ip("link set s13 up")
            return took


def need_mptcp():
    try:
        socket.socket(socket.AF_INET, STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        raise Skip(f"this kernel has no MPTCP: {error.strerror}") from None


def test_s13_user_timeout(box):
    """The application learns of it net.mptcp.close_timeout after the subflow has ended."""
    need_mptcp()
    if not os.path.exists("/proc/sys/net/mptcp/close_timeout"):
        raise Skip("this kernel has no net.mptcp.close_timeout")
    here = Governed(box, "s13", {"TCP_USER_TIMEOUT": "1s"})
    near, far = Host(box, "s13-near"), Host(box, "s13-far")
    near.ip("link set lo up", f"link add s13 type veth peer name s13 netns {far.pid}",
            "addr add 10.94.0.1/24 dev s13", "link set s13 up")
    far.ip("link set lo up", "addr add 10.94.0.2/24 dev s13", "link set s13 up")
    near.sysctl("mptcp.close_timeout", "4")
    worker = near.worker(here.cgroup)
    check("seconds until a TCP socket ends", Between(1, 3.5),
          seconds_until_error(here, worker, far, 0))
    check("seconds until an MPTCP socket ends", Between(4.5, 9),
          seconds_until_error(here, worker, far, IPPROTO_MPTCP))


def queued(sender_worker, receiver_worker, protocol, buffer):
    """How many bytes a sender with this SO_SNDBUF can send to one that does not read."""
    with (receiver_worker.socket(socket.AF_INET, STREAM, protocol) as listener,
          sender_worker.socket(socket.AF_INET, STREAM, protocol) as client):
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client.setsockopt(LEVEL, socket.SO_SNDBUF, buffer)
        client.connect(("127.0.0.1", listener.port()))
        with listener.accept():
            client.setblocking(False)
            n, full = 0, 0
            while full < 20:
                try:
                    n += client.send(bytes(1000))
                    full = 0
                except BlockingIOError:
                    time.sleep(0.005)  # what was sent may still be on its way
                    full += 1
            return n


def test_s13_buffers(box):
    """They reach the subflow, and MPTCP's own socket does as if they were not."""
    need_mptcp()
    here = Governed(box, "s13-buffers", {"SO_RCVBUF": "16K"})
    for option, value, sender, receiver, buffer in (
            ("SO_RCVBUF", "16K", here.peer, here.worker, 10000),
            ("TCP_NOTSENT_LOWAT", 2000, here.worker, here.peer, 200000)):
        here.reload({option: value})
        for protocol in (0, IPPROTO_MPTCP):
            ratio = (queued(sender, receiver, protocol, buffer)
                     / queued(here.peer, here.peer, protocol, buffer))
            check(f"what is queued on {mptcp(protocol)} by {option}, of what is without",
                  Between(0.75, 1.5) if protocol else Between(0, 0.7), ratio)


# --- S14: what the kernel does without asking ----------------------------------------------------

def answer_and_socket(box, here):
    """(ECN, the window in segments) of a SYN-ACK, (saved SYN, ECN) of an accepted socket"""
    with listening_on_tun(here.worker, TUN_PEER[4]) as listener:
        with asking(box, listener, TUN_PEER[4]) as made:
            answer = made.ecn, made.window
    with (listening(here.worker) as listener,
          connection(here.worker, listener) as (_, accepted)):
        saved = len(accepted.getsockopt(TCP, TCP_SAVED_SYN, 256))
        return answer, (saved > 0, has_ecn(accepted))


def test_s14_syn_cookies(box):
    """Where the kernel answers with them (2: always) it takes no reply, and keeps no SYN."""
    here = Governed(box, "s14", {"RWND_INIT": 5, "NEEDS_ECN": "on", "TCP_SAVE_SYN": 1})
    for cookies, expected in (("1", ((True, 5), (True, True))),
                              ("2", ((False, USUAL_WINDOW), (False, False)))):
        with box.scope():
            box.sysctl("tcp_syncookies", cookies)
            check(f"ECN and window of the SYN-ACK, saved SYN and ECN, tcp_syncookies={cookies}",
                  expected, answer_and_socket(box, here))


def test_s14_reflected_tos(box):
    """net.ipv4.tcp_reflect_tos: the SYN-ACK has the SYN's DSCP, what follows has the policy's."""
    here = Governed(box, "s14-tos", {"DSCP": "AF41"})
    for reflect in ("0", "1"):
        with box.scope():
            box.sysctl("tcp_reflect_tos", reflect)
            for family, address, option in (
                    (socket.AF_INET, "127.0.0.1", IP_TOS),
                    (socket.AF_INET6, "::1", (socket.IPPROTO_IPV6, socket.IPV6_TCLASS))):
                with (listening(here.worker, family, address) as listener,
                      Capture(listener.port()) as wire, here.peer.socket(family, STREAM) as client):
                    client.setsockopt(*option, 0x20)
                    client.connect((address, listener.port()))
                    with listener.accept() as accepted:
                        accepted.sendall(b"x")
                        check("data", b"x", client.recv(1))
                        sent = [p for p in wire.packets() if p.sport == wire.port]
                        synack = next(p.tos for p in sent if p.is_synack)
                        data = next(p.tos for p in sent if p.payload)
                check(f"DSCP of SYN-ACK and data, tcp_reflect_tos={reflect}, {address}",
                      (0x20 if reflect == "1" else AF41, AF41), (synack, data))


# --- S15: how long it takes ----------------------------------------------------------------------

LINEAR = "tcp_syn_linear_timeouts"


def need_linear():
    if not os.path.exists(f"/proc/sys/net/ipv4/{LINEAR}"):
        raise Skip(f"this kernel has no net.ipv4.{LINEAR} (6.5 and later have)")


def test_s15_syn_retransmissions(box):
    """TCP_USER_TIMEOUT takes the place of the time that TCP_SYNCNT stands for; the number that is left has
    the linear timeouts in it."""
    need_linear()
    here = Governed(box, "s15", {"TCP_SYNCNT": 1}, rule("remote_port: 91", TCP_USER_TIMEOUT="90s"))
    box.sysctl(LINEAR, "3")
    with (box.fake_peer as peer, here.worker.socket(socket.AF_INET, STREAM) as alone,
          here.worker.socket(socket.AF_INET, STREAM) as beside):
        start = time.monotonic()
        for one, port in ((alone, 90), (beside, 91)):
            one.setblocking(False)
            one.connect_ex((TUN_PEER[4], port))
        seen = {90: 0, 91: 0}
        while time.monotonic() < start + 6.5:
            packet = peer.next(lambda p: p.is_syn and p.dport in seen, 0.5)
            if packet:
                seen[packet.dport] += 1
        errors = [one.getsockopt(LEVEL, socket.SO_ERROR) for one in (alone, beside)]
    check("SYNs with TCP_SYNCNT: 1, alone and beside TCP_USER_TIMEOUT: 90s", {90: 3, 91: 5}, seen)
    check("errors", [errno.ETIMEDOUT] * 2, errors)


def retransmissions(box, here, n):
    """Seconds from each SYN to the next."""
    with connecting(box, here.worker, TUN_PEER[4]) as made:
        return [made.repeated_after(5) for _ in range(n)]


def test_s15_timeout_init(box):
    """It is doubled each time, after equal ones of net.ipv4.tcp_syn_linear_timeouts."""
    need_linear()
    here = Governed(box, "s15-init", {"TIMEOUT_INIT": "100ms"})
    for linear, third in (("0", Between(0.3, 0.7)), ("4", Between(0.05, 0.25))):
        with box.scope():
            box.sysctl(LINEAR, linear)
            check(f"seconds to the third retransmission, {LINEAR}={linear}", third,
                  retransmissions(box, here, 3)[2])


def test_s15_user_timeout_of_a_live_peer(box):
    """It is there, and acknowledges, but does not read."""
    here = Governed(box, "s15-live", {"TCP_USER_TIMEOUT": "1s"})
    with listening(here.peer) as listener, connection(here.worker, listener) as (client, accepted):
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(bytes(100000))
        wait_for("the error of the side that sends", errno.ETIMEDOUT,
                 lambda: client.getsockopt(LEVEL, socket.SO_ERROR))
        check("the other side's data", True, len(accepted.recv(1000)) > 0)


# --- S16: options that programs do not expect ----------------------------------------------------

def test_s16_low_water_mark(box):
    """A request that is smaller is not read until more comes."""
    here = Governed(box, "s16", {"SO_RCVLOWAT": 4096})
    with listening(here.worker) as listener, connection(here.peer, listener) as (client, accepted):
        accepted.settimeout(0.3)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            check("what is read of a small request", "nothing", accepted.recv(100))
        except TimeoutError:
            pass
        client.sendall(bytes(8192))
        check("what is read once there is more", b"GET ", accepted.recv(4))
    check("check warns", 1, len(warned(here, "both sides wait for ever")))
    here.reload({}, rule("local_port: 80", SO_RCVLOWAT=4096))
    check("check warns of a rule that names ports", [], warned(here, "both sides wait for ever"))


def test_s16_reuseport(box):
    """A second server on the port of the first is not refused, and takes connections."""
    here = Governed(box, "s16-port", {"SO_REUSEPORT": "on"})
    with (listening(here.worker) as first, here.worker.socket(socket.AF_INET, STREAM) as second,
          contextlib.ExitStack() as stack):
        second.bind(("127.0.0.1", first.port()))
        second.listen(64)
        for one in (first, second):
            one.setblocking(False)
        taken = {"first": 0, "second": 0}
        for _ in range(40):
            client = stack.enter_context(here.peer.socket(socket.AF_INET, STREAM))
            client.connect(("127.0.0.1", first.port()))
            for name, one in (("first", first), ("second", second)):
                with contextlib.suppress(BlockingIOError):
                    stack.enter_context(one.accept())
                    taken[name] += 1
    check("connections of each, of 40", (Between(1, 39), Between(1, 39), 40),
          (*taken.values(), sum(taken.values())))
    check("check warns", 1, len(warned(here, "takes some of the first one's connections")))
