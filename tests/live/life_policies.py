# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every file in policies/, with a cgroup of the tests in place of its match, on live sockets."""

import functools
import glob
import os
import re
import socket

from harness.flows import connection, listening
from harness.result import Failure, check

SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../policies")

TCP = socket.IPPROTO_TCP
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "MB/s": 10**6, "Mbit/s": 10**6 // 8,
         "Gbit/s": 10**9 // 8}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}
DSCP = {"EF": 46, "LE": 1, "CS1": 8, "AF11": 10, "AF21": 18, "AF31": 26, "AF41": 34}


def number(text):
    if text.startswith("0x"):
        return int(text, 16)
    digits, unit = re.fullmatch(r"(\d+)(.*)", text).groups()
    return int(digits) * UNITS[unit]


def boolean(text):
    return {"on": 1, "off": 0}[text]


def doubled(text):
    return 2 * number(text)


def duration(per_second):
    """In the unit that getsockopt deals in."""

    def convert(text):
        digits, unit = re.fullmatch(r"(\d+)(.*)", text).groups()
        return round(int(digits) * SECONDS[unit] * per_second)

    return convert


def dscp(text):
    return DSCP[text] << 2


# Option: (level and name for getsockopt, what that shows of the value in the file)
SHOWN = {
    "SO_KEEPALIVE": (socket.SOL_SOCKET, 9, boolean),
    "SO_MARK": (socket.SOL_SOCKET, 36, number),
    "SO_MAX_PACING_RATE": (socket.SOL_SOCKET, 47, number),
    "SO_PRIORITY": (socket.SOL_SOCKET, 12, number),
    "SO_RCVBUF": (socket.SOL_SOCKET, 8, doubled),
    "SO_SNDBUF": (socket.SOL_SOCKET, 7, doubled),
    "TCP_BPF_DELACK_MAX": (TCP, 46, duration(10**6)),
    "TCP_BPF_RTO_MIN": (TCP, 45, duration(10**6)),
    "TCP_CONGESTION": (TCP, 13, str),
    "TCP_KEEPCNT": (TCP, 6, number),
    "TCP_KEEPIDLE": (TCP, 4, duration(1)),
    "TCP_KEEPINTVL": (TCP, 5, duration(1)),
    "TCP_NODELAY": (TCP, 1, boolean),
    "TCP_NOTSENT_LOWAT": (TCP, 25, number),
    "TCP_THIN_LINEAR_TIMEOUTS": (TCP, 16, boolean),
    "TCP_USER_TIMEOUT": (TCP, 18, duration(1000)),
}
# DSCP is IP_TOS for IPv4 and IPV6_TCLASS for IPv6.
SHOWN_DSCP = {socket.AF_INET: (socket.IPPROTO_IP, 1, dscp),
              socket.AF_INET6: (socket.IPPROTO_IPV6, 67, dscp)}


def governed_text(text, cgroup):
    """The file with its match replaced."""
    return re.sub(r"^( *)match:\n(\1 +.*\n)+", rf'\1match: {{ cgroup: "{cgroup.path}" }}\n', text,
                  flags=re.M)


def settings(text):
    """(direction or None for all, option, value) of a file of the shipped kind."""
    found, direction = [], None
    for line in text.splitlines():
        line = line.partition(" #")[0] if not line.startswith("#") else ""
        if re.match(r" *- name:", line):
            direction = None
        named = re.match(r" *direction: (\w+)", line)
        if named:
            direction = named[1]
        option = re.match(r" +([A-Z][A-Z0-9_]+): (\S+)$", line)
        if option:
            found.append((direction, option[1], option[2]))
    return found


def shown_as(option, family):
    shown = SHOWN_DSCP[family] if option == "DSCP" else SHOWN.get(option)
    if not shown:
        raise Failure(f"how getsockopt shows {option}", "a line in life_policies.py", "none")
    return shown


def look(subject, level, optname, convert):
    if convert is str:
        return subject.getsockopt(level, optname, 16).split(b"\0")[0].decode()
    return subject.sockopt(level, optname)


def check_sockets(what, found, worker, peer, family, address):
    """A client and an accepted socket of the governed worker, option by option."""
    with (listening(peer, family, address) as there, listening(worker, family, address) as here,
          connection(worker, there, address, family) as (client, _),
          connection(peer, here, address, family) as (stranger, accepted)):
        for direction, option, value in found:
            level, optname, convert = shown_as(option, family)
            for name, subject in (("connect", client), ("accept", accepted)):
                if direction not in (None, name):
                    continue
                check(f"{what}: {option}: {value} in direction {name}", convert(value),
                      look(subject, level, optname, convert))
        stranger.sendall(b"works")
        check("data", b"works", accepted.recv(5))


def try_policy(path, box):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    name = os.path.basename(path)[:-len(".yaml")]
    cgroup = box.cgroup.child(f"shipped-{name}")
    replaced = governed_text(text, cgroup)
    check("its match to be replaced", False, "unit:" in replaced.replace("# ", ""))
    found = settings(replaced)
    check("options in the file", True, len(found) > 0)
    agent = box.agent("shipped")
    agent.write(f"{name}.yaml", replaced)
    agent.start()
    worker, peer = box.worker(cgroup), box.worker(box.cgroup.child("shipped-peer"))
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        check_sockets(name, found, worker, peer, family, address)
    policies = agent.status()["policies"]
    check("failed options", [], [failed for one in policies for failed in one["failed"]])
    check("applied", True, all(one["applied"] > 0 for one in policies))


def generated_tests():
    return {f"life/policies/{os.path.basename(path)}": functools.partial(try_policy, path)
            for path in sorted(glob.glob(SHIPPED + "/*.yaml"))}


def test_there_are_policies(_):
    """At least six are shipped, and a file of the kind that is read here says what it sets."""
    check("shipped policies", True, len(generated_tests()) >= 6)
