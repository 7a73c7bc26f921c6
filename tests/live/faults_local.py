# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What BPF LSM adds at socket(2): sockets that are not IP's, and devices by their names."""

import json
import os
import socket
import struct
import sys

from faults_sockets import SO_MARK, device, fresh, in_another_namespace, mark, priority
from harness import lacks
from harness.foreign import BPF_LINK_CREATE, bpf
from harness.flows import SO_PRIORITY
from harness.result import Skip, check
from harness.sandbox import DEVICE, OTHER_DEVICE
from life_host import detach
from other_sockets import DATAGRAM, IPPROTO_MPTCP, STREAM, Governed, rule

SO_SNDBUF, SO_RCVBUF = (socket.SOL_SOCKET, 7), (socket.SOL_SOCKET, 8)
HOOK = "post_create"
LSM = "hooks of BPF LSM (boot with lsm=...,bpf)"
ALL_FOUR = {"SO_SNDBUF": "40K", "SO_RCVBUF": "30K", "SO_PRIORITY": 3, "SO_MARK": 7}
SHOWN = (80 * 1024, 60 * 1024, 3, 7)
NETLINK = {"netlink": (socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE),
           "netlink, datagram": (socket.AF_NETLINK, DATAGRAM, 15)}  # NETLINK_KOBJECT_UEVENT
PACKET = {"packet": (socket.AF_PACKET, socket.SOCK_RAW, 0),
          "packet, datagram": (socket.AF_PACKET, DATAGRAM, 0)}
UNIX = {"unix": (socket.AF_UNIX, STREAM, 0), "unix, datagram": (socket.AF_UNIX, DATAGRAM, 0),
        "unix, packets": (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0)}


def options_of(worker, kind):
    with worker.socket(*kind) as one:
        return tuple(one.sockopt(*name) for name in (SO_SNDBUF, SO_RCVBUF, SO_PRIORITY, SO_MARK))


def check_kinds(here, governed, left_alone):
    """By getsockopt(2), before any other call."""
    for name, kind in governed.items():
        check(f"options of a new socket ({name})", SHOWN, options_of(here.worker, kind))
    for name, kind in left_alone.items():
        check(f"options of a new socket ({name}), as of an ungoverned one",
              options_of(here.peer, kind), options_of(here.worker, kind))


def test_b4_netlink_and_packet(box):
    lacks.need_bpf_lsm()
    others = {**UNIX, "udp": (socket.AF_INET, DATAGRAM, 0)}
    for family, governed, left_alone in (("netlink", NETLINK, {**PACKET, **others}),
                                         ("packet", PACKET, {**NETLINK, **others}),
                                         ("[packet, netlink]", {**PACKET, **NETLINK}, others)):
        with box.scope():
            here = Governed(box, "b4-families", {}, rule(f"family: {family}", "local", **ALL_FOUR))
            check_kinds(here, governed, left_alone)
            here.check_counters(len(governed))
            check("applied, by the rule", len(governed),
                  here.agent.policy(here.name)["rules"][0]["applied"])


def test_b4_unix_at_socket(box):
    """Where AF_UNIX has no hooks of its own: both ends of a pair and a listener, too."""
    lacks.need_bpf_lsm()
    if not lacks.unix_hooks():
        raise Skip("this kernel has hooks for AF_UNIX sockets, which come later")
    here = Governed(box, "b4-unix", {}, rule("family: unix", "local", **ALL_FOUR),
                    rule("family: unix, direction: connect", "more", SO_MARK=9))
    check_kinds(here, UNIX, {**NETLINK, **PACKET, "udp": (socket.AF_INET, DATAGRAM, 0)})
    done = here.cgroup.run([sys.executable, "-I", "-c", "import socket; print(["
                            "one.getsockopt(1, 36) for one in socket.socketpair()])"])
    check("marks of a pair", "[7, 7]", done.stdout.strip())
    here.check_counters(len(UNIX) + 2)


def test_b4_unix_has_hooks_of_its_own(box):
    """Then nobody pays at socket(2), and nothing is given there, also beside netlink sockets."""
    lacks.need_unix_hooks()
    here = Governed(box, "b4-own", {}, rule("family: unix", SO_MARK=7))
    check("the hook of BPF LSM for AF_UNIX", False, HOOK in here.hooks())
    here.reload({}, rule("family: [unix, netlink, packet]", SO_MARK=7))
    check_kinds(here, {}, UNIX)


def test_b4_base_options_are_for_ip(box):
    """And so are rules that do not name the family."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-base", {"SO_MARK": 7, "SO_SNDBUF": "40K"},
                    rule("direction: connect", "connect", SO_PRIORITY=4),
                    rule("family: netlink", SO_RCVBUF="30K"))
    check_kinds(here, {}, {**PACKET, **UNIX})
    default = options_of(here.peer, NETLINK["netlink"])
    check("options of a netlink socket", (default[0], 60 * 1024, 0, 0),
          options_of(here.worker, NETLINK["netlink"]))


def test_b4_policies_of_several_cgroups(box):
    """The deeper one wins, option by option; `unset` leaves alone."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-deep", {}, rule("family: [netlink, packet]", "local", **ALL_FOUR))
    deeper = here.cgroup.child("deeper")
    here.agent.write("60-deeper.yaml", f"""policies:
  - name: deeper
    match: {{ cgroup: "{deeper.path}" }}
    rules:
      - name: netlink
        when: {{ family: netlink }}
        options: {{ SO_MARK: 9, SO_PRIORITY: unset }}
      - name: connect
        when: {{ family: [netlink, ipv4], direction: connect }}
        options: {{ SO_MARK: 10 }}
""")
    here.agent.reload_good()
    worker = box.worker(deeper)
    check("options of a packet socket", SHOWN, options_of(worker, PACKET["packet"]))
    check("options of a netlink socket", (*SHOWN[:2], 0, 9), options_of(worker, NETLINK["netlink"]))


def test_b4_only_while_it_is_due(box):
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-hooks", {"SO_MARK": 7, "SO_PRIORITY": 3, "SO_BINDTOIFINDEX": 1})
    check("the hook of BPF LSM, by what sock_create gives", False, HOOK in here.hooks())
    for settings in (({"SO_BINDTODEVICE": DEVICE},), ({}, rule("family: packet", SO_PRIORITY=3))):
        here.reload(*settings)
        check(f"the hook of BPF LSM, by {settings}", True, HOOK in here.hooks())
        here.reload({"SO_MARK": 7})
        check("the hook of BPF LSM, by a mark", False, HOOK in here.hooks())
    here.reload({}, rule("protocol: tcp, direction: connect", SO_BINDTODEVICE=DEVICE))
    check("the hook of BPF LSM, by a device that waits for connect(2)", False, HOOK in here.hooks())


def test_b4_device_in_another_network_namespace(box):
    """By its name, which is another index there, before any other call."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-netns", {"SO_BINDTODEVICE": DEVICE})
    before, after = in_another_namespace(here)
    check("devices at socket(2)", [DEVICE], before)
    check("devices afterwards", {DEVICE}, set(after.values()))
    check("failed options", [], here.agent.policy(here.name)["failed"])


KINDS = """
import json, socket
print(json.dumps([socket.socket(*kind).getsockopt(1, 25, 16).rstrip(b"\\0").decode() for kind in (
    (2, 1, 0), (10, 1, 262), (2, 2, 0), (10, 2, 136), (2, 2, 1))]))
"""
UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                "--bounding-set=-all")
ELSEWHERE = f"""ip link add pad type veth peer name padp
ip link add {DEVICE} type veth peer name {DEVICE}p
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
exec "$@"
"""


def test_b4_device_of_each_kind(box):
    """TCP, MPTCP, UDP, UDP-Lite, ping, in another namespace; of a process without capabilities as well, and
    of one without the agent."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-kinds", {"SO_BINDTODEVICE": DEVICE})
    elsewhere = ("unshare", "--net", "sh", "-ec", ELSEWHERE, "sh")
    for prefix in ((), UNPRIVILEGED):
        done = here.cgroup.run([*elsewhere, *prefix, sys.executable, "-I", "-c", KINDS])
        check(f"devices of new sockets {prefix[:2]}", [DEVICE] * 5, json.loads(done.stdout))
    check("failed options", [], here.agent.policy(here.name)["failed"])
    here.agent.kill()
    done = here.cgroup.run([*elsewhere, sys.executable, "-I", "-c", KINDS])
    check("devices of new sockets, the agent dead", [DEVICE] * 5, json.loads(done.stdout))


def test_b4_device_that_is_made_again(box):
    """Its name is looked up, so it does not matter that nobody keeps the index fresh."""
    lacks.need_bpf_lsm()

    def make():
        box.ip("link", "add", "spagain", "type", "veth", "peer", "name", "spagainp")

    make()
    here = Governed(box, "b4-again", {"SO_BINDTODEVICE": "spagain"})
    here.agent.kill()
    box.ip("link", "del", "spagain")
    box.ip("link", "add", "spbetween", "type", "veth", "peer", "name", "spbetweenp",
           undo=("link", "del", "spbetween"))
    make()
    box.stack.callback(box.ip, "link", "del", "spagain")
    with fresh(here) as one:
        check("the device of a new socket", "spagain", device(one))


def test_b4_device_that_is_not_there(box):
    """socket(2) works, and the failure is counted."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-none", {"SO_BINDTODEVICE": "spnone"})
    with fresh(here) as one, fresh(here, 4, socket.SOCK_RAW, 253):
        check("the device", "", device(one))
    check("failed options", [("SO_BINDTODEVICE", "ENODEV", 2)],
          [(one["option"], one["errno"], one["count"])
           for one in here.agent.policy(here.name)["failed"]])


def test_b4_device_by_index_beside_a_name(box):
    """Each by its own hook."""
    lacks.need_bpf_lsm()
    index = socket.if_nametoindex(OTHER_DEVICE)
    here = Governed(box, "b4-index", {"SO_BINDTODEVICE": DEVICE, "SO_MARK": 7, "SO_PRIORITY": 2},
                    rule("protocol: udp", SO_BINDTOIFINDEX=index, SO_MARK=8))
    for kind, shown in ((DATAGRAM, (OTHER_DEVICE, 8, 2)), (STREAM, (DEVICE, 7, 2))):
        with fresh(here, 4, kind) as one:
            check("device, mark and priority", shown, (device(one), mark(one), priority(one)))
    with fresh(here, 6, STREAM, IPPROTO_MPTCP) as one:
        check("device, mark and priority (MPTCP)", (DEVICE, 7, 2),
              (device(one), mark(one), priority(one)))
    check("failed options", [], here.agent.policy(here.name)["failed"])


def mark_of_new(worker):
    with worker.socket(*NETLINK["netlink"]) as one:
        return mark(one)


def test_b4_life_of_the_hook(box):
    """Killed, adopted, taken over by another build, its link taken away and mended, taken out."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-life", {}, rule("family: netlink", SO_MARK=7))
    here.agent.kill()
    check("mark, the agent dead", 7, mark_of_new(here.worker))
    here.agent.start()
    check("mark, by the next agent", 7, mark_of_new(here.worker))
    here.agent.kill()
    here.agent.sockpol = box.build("other-abi")
    here.agent.start()
    check("mark, by another build", 7, mark_of_new(here.worker))
    here.reload({}, rule("family: netlink", SO_MARK=8))
    check("mark after a reload", 8, mark_of_new(here.worker))
    detach(here.agent, HOOK)
    check("mark without the link", 0, mark_of_new(here.worker))
    check("is it attached?", [(HOOK, False)],
          [(one["hook"], one["attached"]) for one in here.agent.status(expected=1)["attachments"]])
    here.agent.reload_good()
    check("mark once it is mended", 8, mark_of_new(here.worker))
    check("is it attached?", [(HOOK, True)],
          [(one["hook"], one["attached"]) for one in here.agent.status()["attachments"]])
    here.agent.stop()
    check("mark without the agent", 0, mark_of_new(here.worker))


def test_b4_neighbours(box):
    """Of the programs of others those that run at the same function."""
    lacks.need_bpf_lsm()
    here = Governed(box, "b4-neighbours", {}, rule("family: netlink", SO_MARK=7))
    directory = os.open(box.cgroup.directory, os.O_RDONLY)
    box.stack.callback(os.close, directory)
    for function in ("socket_bind", "socket_post_create"):
        program = lacks.load_lsm(function)
        box.stack.callback(os.close, program)
        box.stack.callback(os.close, bpf(BPF_LINK_CREATE, struct.pack(
            "<IIII", program, directory, lacks.BPF_LSM_CGROUP, 0)))
    check("neighbours", [(HOOK, "socket_post_cre")],
          [(one["hook"], one["name"]) for one in here.agent.neighbours()])


def test_b4_said_where_it_is_not_to_be_had(box):
    if not lacks.bpf_lsm():
        raise Skip("this kernel has BPF LSM")
    here = Governed(box, "b4-lacks", {}, rule("family: [netlink, packet]", "local", SO_MARK=7),
                    rule("remote: 127.0.0.0/8", "near", SO_PRIORITY=3))
    done = here.agent.command("check", "--kernel", "--policy-dir", here.agent.policy_dir)
    check("check --kernel", True,
          f"  lacks {LSM} (since 6.0): policy b4-lacks, rule local\n" in done.stdout)
    check("status: unsupported", [("b4-lacks", "local", LSM)],
          [(one["policy"], one["rule"], one["what"]) for one in here.agent.status()["unsupported"]])
    check_kinds(here, {}, {**NETLINK, **PACKET})
    here.agent.write("60-strict.yaml", f"""policies:
  - name: strict
    match: {{ cgroup: "{here.cgroup.path}" }}
    on_unsupported: refuse
    rules: [ {{ name: local, when: {{ family: packet }}, options: {{ SO_MARK: 8 }} }} ]
""")
    check("reload of a policy that insists: exit status", 1, here.agent.reload().returncode)
