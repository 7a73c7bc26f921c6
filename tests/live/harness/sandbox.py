# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A place of the tests' own: namespaces, bpffs, devices, a cgroup; all of it goes at the end."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile

from .agent import Agent
from .cgroup import Cgroup, mount_point
from .fakepeer import FakePeer
from .foreign import newest_program
from .remote import Worker
from .result import Skip

INSIDE = "SOCKPOL_TEST_INSIDE"

# Two devices with a way to everywhere, the second preferred: what binds a socket to the first, or
# routes it there by its mark, shows in the address that it sends from.
DEVICE, OTHER_DEVICE = "spv0", "spv1"
MARK, TABLE = 0x5A, 77
DEVICE_ADDRESS = {4: "10.98.0.1", 6: "fd98::1"}
OTHER_ADDRESS = {4: "10.99.0.1", 6: "fd99::1"}
FAR_AWAY = {4: "203.0.113.1", 6: "2001:db8::1"}
# Whoever is marked may not send there.
FORBIDDEN = {4: "203.0.113.2", 6: "2001:db8::2"}

# Segments of their own, so that the kernel does not hold the last of a window back to make a larger
# packet of it (tcp_tso_should_defer); a short retransmission timeout, since that ends a first flight.
TUN = "spt0"
TUN_ADDRESS = {4: "10.97.0.1", 6: "fd97::1"}
TUN_PEER = {4: "10.97.0.2", 6: "fd97::2"}

NETWORK = f"""
link set lo up
link add {DEVICE} type veth peer name {DEVICE}p
link add {OTHER_DEVICE} type veth peer name {OTHER_DEVICE}p
tuntap add {TUN} mode tun
""" + "".join(f"""
link set {device} up
addr add {v4}/24 dev {device}
addr add {v6}/64 dev {device} nodad
""" for device, v4, v6 in (
    (DEVICE, DEVICE_ADDRESS[4], DEVICE_ADDRESS[6]),
    (OTHER_DEVICE, OTHER_ADDRESS[4], OTHER_ADDRESS[6]),
    (TUN, TUN_ADDRESS[4], TUN_ADDRESS[6]))) + f"""
link set {DEVICE}p up
link set {OTHER_DEVICE}p up
link set {TUN} gso_max_segs 1
route replace {TUN_PEER[4]}/32 dev {TUN} rto_min 40ms
route replace {TUN_PEER[6]}/128 dev {TUN} rto_min 40ms
"""
ROUTES = f"""
route add default dev {OTHER_DEVICE} metric 10
route add default dev {DEVICE} metric 20
route add default dev {DEVICE} table {TABLE}
rule add fwmark {MARK} table {TABLE}
"""


def routes(version):
    return ROUTES + f"""
route add prohibit {FORBIDDEN[version]} table {TABLE}
route add {TUN_PEER[version]} dev {TUN} rto_min 40ms table {TABLE}
"""


# The host's defaults may be anything; what policies ask for differs from these.  reno is always there.
# And a test that is slow to send is not to find its initial window halved.
# Ping sockets are root's.  Fast Open, for those who ask for it, without cookies, which the first
# connection to a host would be for.
SYSCTLS = {"tcp_congestion_control": "reno", "tcp_ecn": "0", "tcp_slow_start_after_idle": "0",
           "ping_group_range": "0 0", "tcp_fastopen": str(0x1 | 0x2 | 0x4 | 0x200)}


def enter():
    """Starts this program again in mount and network namespaces of its own; returns inside."""
    if os.environ.get(INSIDE) == str(os.getpid()):
        return
    os.environ[INSIDE] = str(os.getpid())  # exec keeps the pid
    command = ["unshare", "--mount", "--net", "--propagation", "private", "--", sys.executable]
    os.execvp(command[0], [*command, *sys.argv])


def write_sysctl(name, value):
    with open(f"/proc/sys/net/ipv4/{name}", "r+", encoding="ascii") as file:
        before = file.read().strip()
        file.seek(0)
        file.write(value)
    return before


class Sandbox:
    """Use it as a context manager; what is made here goes with it, last first."""

    def __init__(self, sockpol):
        self.sockpol = sockpol
        self.numbers = itertools.count(1)
        self.stack = contextlib.ExitStack()
        self.common = None
        self.directory = self.bpffs = self.cgroup = self.fake_peer = None
        self.older = newest_program()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.stack = stack
            self.directory = tempfile.mkdtemp(prefix="sockpol-test-")
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            os.chmod(self.directory, 0o755)  # for programs that drop their privileges
            self.mount_bpffs()
            for family, batch in (([], NETWORK), (["-4"], routes(4)), (["-6"], routes(6))):
                subprocess.run(["ip", *family, "-batch", "-"], input=batch, text=True, check=True)
            for name, value in SYSCTLS.items():
                write_sysctl(name, value)
            self.fake_peer = FakePeer(TUN)
            stack.callback(self.fake_peer.close)
            self.cgroup = self.root_cgroup("")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.end_common_agent()
        self.stack.close()

    def mount_bpffs(self):
        self.bpffs = os.path.join(self.directory, "bpf")
        os.mkdir(self.bpffs)
        subprocess.run(["mount", "-t", "bpf", "bpf", self.bpffs], check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", self.bpffs], check=False)

    @contextlib.contextmanager
    def scope(self):
        """What is made within goes at its end."""
        outer = self.stack
        with contextlib.ExitStack() as self.stack:
            try:
                yield self
            finally:
                inner, self.stack = self.stack, outer
                inner.close()

    def sysctl(self, name, value):
        """One of net.ipv4, until the end of the scope."""
        self.stack.callback(write_sysctl, name, write_sysctl(name, value))

    def ip(self, *command, undo=()):
        """An ip(8) command in the tests' network namespace, and what takes it back."""
        subprocess.run(["ip", *command], check=True)
        if undo:
            self.stack.callback(subprocess.run, ["ip", *undo], check=False)

    def root_cgroup(self, suffix):
        """A cgroup right below the mount."""
        cgroup = Cgroup(mount_point(), f"/sockpol-test-{os.getpid()}{suffix}")
        self.stack.callback(cgroup.remove_all)
        return cgroup.make()

    def path(self, name):
        """A new one.  (Names on bpffs have no dots.)"""
        return os.path.join(self.directory, f"{name}-{next(self.numbers)}")

    def agent(self, name, cgroup=None, environment=None, sockpol=None):
        """An agent that is not started yet, attached to `cgroup` (default: all of the tests')."""
        return self.stack.enter_context(self.new_agent(name, cgroup, environment, sockpol))

    def new_agent(self, name, cgroup=None, environment=None, sockpol=None):
        """The same, to be cleaned up by whoever asks."""
        directory = self.path(name)
        agent = Agent(sockpol or self.sockpol, directory,
                      os.path.join(self.bpffs, os.path.basename(directory)),
                      (cgroup or self.cgroup).directory, environment)
        agent.older = self.older
        return agent

    def common_agent(self):
        """One that several tests have, each with policies of its own: see COMMON_AGENT in run.py."""
        if not self.common:
            self.common = self.new_agent("common", self.cgroup.child("common"))
            self.common.start()
        return self.common

    def end_common_agent(self):
        if self.common:
            self.common.abandon()
        self.common = None

    def build(self, name):
        """The agent of another build, made beside the one that is tested."""
        path = self.built(os.path.join(name, "sockpol"))
        if not os.access(path, os.X_OK):
            raise Skip(f"there is no {path} (make {name})")
        return path

    def built(self, name):
        """A file that was made beside the agent, or beside the build of which it is a variant."""
        directory = os.path.dirname(self.sockpol)
        path = os.path.join(os.path.dirname(directory), name)
        return path if os.path.exists(path) else os.path.join(directory, name)

    def worker(self, cgroup):
        return self.stack.enter_context(Worker(cgroup))
