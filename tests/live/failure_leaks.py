# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A policy that refuses lets nothing out the other way while its device comes and goes."""

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading

from faults_sockets import FAMILIES, neighbours
from failure_errnos import FILE, one_rule
from harness.result import DEADLINE, Between, Failure, check, wait_for
from harness.sandbox import FAR_AWAY, OTHER_DEVICE
from harness.size import sized
from harness.words import try_to

GOES, MARK, TABLE = "spgoes", 0x6B, 78
LEAKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness", "leaker.py")
# Of each kind; IPv6 is the same code but for the hook, and gets a quarter.
TRIES = sized(1000, 10_000, 100_000)
TURNS = 6
KINDS = ("tcp", "mptcp", "udp", "first", "second", "ping", "raw")
REACHED_BY_RULES = ("tcp", "mptcp", "udp", "first", "second")
# The policy's, and the kernel's own while the device is on its way.
REFUSALS = {errno.EPERM, errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL,
            errno.EAGAIN, errno.ENOBUFS, errno.EPROTONOSUPPORT}

SOL_PACKET, PACKET_STATISTICS, ETH_P_ALL = 263, 6, 3
SO_ATTACH_FILTER, PACKET_TYPE, PACKET_OUTGOING = 26, 0xFFFFF004, 4
LD, LDB, JEQ, RET = 0x20, 0x30, 0x15, 0x06


class Counter:
    """IP packets to an address that left by a device: the kernel counts, nobody reads them."""

    def __init__(self, name, version):
        at, words = (24, 4) if version == 6 else (16, 1)
        number = struct.unpack(f"!{words}I", socket.inet_pton(FAMILIES[version], FAR_AWAY[version]))
        tests = [(LDB, PACKET_TYPE, PACKET_OUTGOING),
                 *((LD, at + 4 * word, value) for word, value in enumerate(number))]
        steps = []
        for left, (load, where, value) in zip(range(len(tests) - 1, -1, -1), tests):
            steps += [(load, 0, 0, where), (JEQ, 0, 2 * left + 1, value)]
        steps += [(RET, 0, 0, 64), (RET, 0, 0, 0)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                               struct.pack("HP", len(steps), ctypes.addressof(program)))
        self.socket.bind((name, ETH_P_ALL))

    def count(self):
        """Since it was asked last."""
        return struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def batch(*lines, check_=True):
    for flag in ("-4", "-6"):
        chosen = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ") == (flag == "-6")]
        if chosen:
            subprocess.run(["ip", flag, "-batch", "-"], input="\n".join(chosen) + "\n", text=True,
                           check=check_, stderr=None if check_ else subprocess.DEVNULL)


MAKE = (f"link add {GOES} type veth peer name {GOES}p", f"link set {GOES} up", f"link set {GOES}p up",
        f"addr add 10.94.0.1/24 dev {GOES}", f"-6 addr add fd94::1/64 dev {GOES} nodad",
        f"route add default dev {GOES} metric 30", f"-6 route add default dev {GOES} metric 30",
        f"route add default dev {GOES} table {TABLE}", f"-6 route add default dev {GOES} table {TABLE}",
        *(f"{six}neigh replace to {FAR_AWAY[version]} lladdr 02:00:00:00:00:01 dev {GOES} nud permanent"
          for version, six in ((4, ""), (6, "-6 "))))


class Device(threading.Thread):
    """One that comes and goes until it is told to stop; each time it stays until `is_used`."""

    def __init__(self, box, is_used):
        super().__init__(daemon=True)
        self.is_used = is_used
        self.turns, self.done, self.error = 0, threading.Event(), None
        box.stack.callback(batch, f"link del {GOES}", check_=False)
        for six in ("", "-6 "):
            batch(f"{six}rule add fwmark {MARK} table {TABLE}",
                  f"{six}route add unreachable default metric 4000000 table {TABLE}")
            box.stack.callback(batch, f"{six}rule del fwmark {MARK} table {TABLE}",
                               f"{six}route flush table {TABLE}", check_=False)
        batch(*MAKE)

    def run(self):
        try:
            while not self.done.is_set():
                batch(f"link del {GOES}")
                self.turns += 1
                batch(*MAKE)
                wait_for(f"{GOES} to be used again", True, lambda: self.done.is_set() or self.is_used())
        except (subprocess.CalledProcessError, Failure) as error:
            self.error = error


def tries(box, cgroup, kinds, version, number, used=(0,)):
    """What an application of the cgroup sees while the device comes and goes, and how many packets left by
    the other device meanwhile; `used`: errnos of a first datagram while the device is there."""
    with box.scope(), Counter(OTHER_DEVICE, version) as wrong:
        neighbours(box, version, FAR_AWAY[version])
        probe = box.worker(cgroup)

        def is_used():
            """Whether new sockets are given what the policy gives at socket(2)."""
            try:
                with probe.socket(FAMILIES[version], socket.SOCK_DGRAM) as one:
                    return try_to(one.sendto, b"x", (FAR_AWAY[version], 9)) in used
            except PermissionError:  # socket(2) itself is refused
                return False

        device = Device(box, is_used)
        application = cgroup.popen([sys.executable, "-I", LEAKER, FAR_AWAY[version], str(number), *kinds],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        box.stack.enter_context(application)
        box.stack.callback(application.kill)
        device.start()
        try:
            wait_for(f"{GOES} to go {TURNS} times", True, lambda: device.turns >= TURNS or not device.is_alive())
            out, _ = application.communicate(timeout=12 * DEADLINE)
        finally:
            device.done.set()
            device.join()
        if device.error:
            raise Failure("the device to come and go", "no error", device.error)
        check("the application to end", 0, application.returncode)
        return {kind: {int(number): count for number, count in counts.items()}
                for kind, counts in json.loads(out).items()}, wrong.count()


FORMS = {
    "device": (f"options: {{ SO_BINDTODEVICE: {GOES} }}", KINDS),
    "device_by_rule": (one_rule("out", "direction: connect", f"SO_BINDTODEVICE: {GOES}"), REACHED_BY_RULES),
    "mark": (f"options: {{ SO_MARK: {MARK} }}", KINDS),
    "mark_by_rule": (one_rule("out", "direction: connect", f"SO_MARK: {MARK}"), REACHED_BY_RULES),
}


def policy_text(cgroup, form, on_failure):
    return (f"policies:\n  - name: leaks\n    match: {{ cgroup: \"{cgroup.path}\" }}\n"
            f"    on_failure: {on_failure}\n    {FORMS[form][0]}\n")


def leak_test(form):
    def test(box):
        cgroup, agent = box.cgroup.child(f"leaks-{form}"), box.agent("leaks")
        agent.write(FILE, policy_text(cgroup, form, "refuse"))
        agent.start()
        kinds = FORMS[form][1]
        for version, number in ((4, TRIES), (6, TRIES // 4)):
            seen, leaked = tries(box, cgroup, kinds, version, number,
                                 (errno.EPERM,) if form.endswith("rule") else (0,))
            check(f"packets that left by {OTHER_DEVICE}, of {number} tries of each of {kinds}, IPv{version}; "
                  f"errnos {seen}", 0, leaked)
            for kind, counts in seen.items():
                check(f"errnos of {kind}, IPv{version}", set(), counts.keys() - REFUSALS - {0})
                if form.endswith("rule") and kind == "first":
                    check(f"first datagrams, which have their route already ({counts})", {errno.EPERM},
                          counts.keys())
                elif errno.EPROTONOSUPPORT not in counts:
                    check(f"{kind}: tries that worked, and tries that did not ({counts}), IPv{version}",
                          (True, True), (counts.get(0, 0) > 0, sum(counts.values()) > counts.get(0, 0)))
    return test


def test_the_other_way_is_seen(box):
    """Without `refuse` packets take it: the tests above can fail."""
    cgroup, agent = box.cgroup.child("leaks-continue"), box.agent("leaks-continue")
    agent.write(FILE, policy_text(cgroup, "device_by_rule", "continue"))
    agent.start()
    for version in FAMILIES:
        seen, leaked = tries(box, cgroup, REACHED_BY_RULES, version, 1000)
        check(f"packets by the other device, IPv{version} ({seen})", Between(1, 1 << 30), leaked)


def generated_tests():
    return {f"failure/leaks/{form}": leak_test(form) for form in FORMS}
