# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every file in policies/, with a cgroup of the tests in place of its match, on live sockets."""

import contextlib
import dataclasses
import functools
import glob
import ipaddress
import os
import re
import socket
import subprocess

from harness import lacks
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


def doubled_up_to(sysctl):
    """What SO_SNDBUF or SO_RCVBUF shows: at most twice the host's limit."""

    def convert(text):
        path, first = f"/proc/sys/net/core/{sysctl}", []
        if not os.path.exists(path):  # older kernels show it in the first network namespace only
            first = ["nsenter", "--net=/proc/1/ns/net"]
        limit = subprocess.run([*first, "cat", path], capture_output=True, text=True, check=True)
        return 2 * min(number(text), int(limit.stdout))

    return convert


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
    "SO_RCVBUF": (socket.SOL_SOCKET, 8, doubled_up_to("rmem_max")),
    "SO_SNDBUF": (socket.SOL_SOCKET, 7, doubled_up_to("wmem_max")),
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
# These show on the wire only: see replies_on_wire.py and the conformance table.
ON_WIRE = {"RWND_INIT", "TCP_BPF_IW", "TCP_BPF_SNDCWND_CLAMP", "TIMEOUT_INIT"}
# These bpf_setsockopt sets on any kernel, and older ones show them nowhere.
HIDDEN = {"TCP_BPF_DELACK_MAX", "TCP_BPF_RTO_MIN"}
# DSCP is IP_TOS for IPv4 and IPV6_TCLASS for IPv6.
SHOWN_DSCP = {socket.AF_INET: (socket.IPPROTO_IP, 1, dscp),
              socket.AF_INET6: (socket.IPPROTO_IPV6, 67, dscp)}


def governed_text(text, cgroup):
    """The file with its match replaced."""
    return re.sub(r"^( *)match:\n(\1 +.*\n)+", rf'\1match: {{ cgroup: "{cgroup.path}" }}\n', text,
                  flags=re.M)


@dataclasses.dataclass
class Block:
    """The base options (`when` is empty), or a rule."""

    when: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)

    def holds(self, direction, remote, remote_port):
        """For a TCP connection."""
        peer = ipaddress.ip_address(remote)
        asked = {"protocol": lambda values: "tcp" in values,
                 "direction": lambda values: direction in values,
                 "remote": lambda values: any(peer in ipaddress.ip_network(one) for one in values),
                 "remote_port": lambda values: str(remote_port) in values}
        return all(asked[key](values) for key, values in self.when.items())


def blocks(text):
    """The base options and the rules of a file of the shipped kind, in their order."""
    found = [Block()]
    for line in text.splitlines():
        line = line.partition(" #")[0] if not line.startswith("#") else ""
        if re.match(r" {6}- name:", line):
            found.append(Block())
        condition = re.match(r" {10}(\w+): (.+)$", line)
        option = re.match(r" +([A-Z][A-Z0-9_]+): (\S+)$", line)
        if option:
            found[-1].options[option[1]] = option[2]
        elif condition:
            found[-1].when[condition[1]] = re.findall(r"[^][\s,\"]+", condition[2])
    return found


def winners(found, *connection):
    """{option: value}: later rules win, `unset` leaves an option alone."""
    options = {}
    for block in found:
        if block.holds(*connection):
            options.update(block.options)
    return {option: value for option, value in options.items() if value != "unset"}


def peers(found):
    """(address, port) of peers on loopback, and in each prefix and at each port that rules name."""
    every = [("127.0.0.1", 0), ("::1", 0)]
    for block in found:
        for prefix in block.when.get("remote", []):
            network = ipaddress.ip_network(prefix)
            if network.prefixlen:
                ports = block.when.get("remote_port", [])
                every += [(str(network[1]), int(port)) for port in (0, *ports)]
    return every


def shown_as(option, family):
    shown = SHOWN_DSCP[family] if option == "DSCP" else SHOWN.get(option)
    if not shown:
        raise Failure(f"how getsockopt shows {option}", "a line in life_policies.py", "none")
    return shown


def look(subject, level, optname, convert):
    if convert is str:
        return subject.getsockopt(level, optname, 16).split(b"\0")[0].decode()
    return subject.sockopt(level, optname)


def check_options(what, subject, family, options):
    for option, value in options.items():
        if option not in ON_WIRE:
            level, optname, convert = shown_as(option, family)
            if option in HIDDEN and lacks.getsockopt(level, optname):
                continue
            check(f"{what}: {option}: {value}", convert(value),
                  look(subject, level, optname, convert))


@contextlib.contextmanager
def ends(server_worker, server_at, client_worker, client_at):
    """(client, accepted), each at (address, port); port 0 is any."""
    family = socket.AF_INET6 if ":" in server_at[0] else socket.AF_INET
    with (server_worker.socket(family, socket.SOCK_STREAM) as listener,
          client_worker.socket(family, socket.SOCK_STREAM) as client):
        for one, at in ((listener, server_at), (client, client_at)):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if at:
                one.bind(at)
        listener.listen(1)
        client.connect((server_at[0], listener.port()))
        with listener.accept() as accepted:
            yield client, accepted


def check_sockets(name, found, worker, peer, peer_at):
    """A client and an accepted socket of the governed worker."""
    family = socket.AF_INET6 if ":" in peer_at[0] else socket.AF_INET
    with ends(peer, peer_at, worker, None) as (client, _):
        remote, port = client.getpeername()[:2]
        check_options(f"{name}: connected to {remote} {port}", client, family,
                      winners(found, "connect", remote, port))
    with ends(worker, (peer_at[0], 0), peer, peer_at) as (stranger, accepted):
        remote, port = accepted.getpeername()[:2]
        check_options(f"{name}: accepted from {remote} {port}", accepted, family,
                      winners(found, "accept", remote, port))
        stranger.sendall(b"works")
        check("data", b"works", accepted.recv(5))


def try_policy(path, box):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    name = os.path.basename(path)[:-len(".yaml")]
    cgroup = box.cgroup.child(f"shipped-{name}")
    replaced = governed_text(text, cgroup)
    check("its match to be replaced", False, "unit:" in replaced.replace("# ", ""))
    found = blocks(replaced)
    check("options in the file", True, any(block.options for block in found))
    check("rules in the file", text.count("\n        when:"), len(found) - 1)
    agent = box.agent("shipped")
    agent.write(f"{name}.yaml", replaced)
    agent.start()
    worker, peer = box.worker(cgroup), box.worker(box.cgroup.child("shipped-peer"))
    for address in {address for address, _ in peers(found)} - {"127.0.0.1", "::1"}:
        own = f"{address}/{128 if ':' in address else 32}"
        box.ip("address", "add", own, "dev", "lo", undo=("address", "del", own, "dev", "lo"))
    for peer_at in peers(found):
        check_sockets(name, found, worker, peer, peer_at)
    check_words(found, text, worker, peer)
    policies = agent.status()["policies"]
    check("failed options", [], [failed for one in policies for failed in one["failed"]])
    check("applied", [], [one for policy in policies for one in (policy, *policy["rules"])
                          if one["applied"] == 0])


def check_words(found, text, worker, peer):
    """A policy that holds, or respects, what a client sets before connect(2) and afterwards."""
    word = re.search(r"^ {4}application: (\w+)$", text, re.M)
    if not word:
        return
    for option, value in found[0].options.items():
        level, optname, convert = SHOWN[option]
        own = 1 - convert(value) if convert is boolean else convert(value) + 1
        with (peer.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
              worker.socket(socket.AF_INET, socket.SOCK_STREAM) as client):
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            client.setsockopt(level, optname, own)
            client.connect(("127.0.0.1", listener.port()))
            check(f"{word[1]}: {option}, set before", {"hold": convert(value), "respect": own}[word[1]],
                  client.sockopt(level, optname))
            client.setsockopt(level, optname, own + 1 if convert is not boolean else own)
            check(f"{word[1]}: {option}, set afterwards",
                  convert(value) if word[1] == "hold" else own + (convert is not boolean),
                  client.sockopt(level, optname))


def generated_tests():
    return {f"life/policies/{os.path.basename(path)}": functools.partial(try_policy, path)
            for path in sorted(glob.glob(SHIPPED + "/*.yaml"))}


def test_there_are_policies(_):
    """At least six are shipped, and a file of the kind that is read here says what it sets; one of them holds, and
    one respects."""
    check("shipped policies", True, len(generated_tests()) >= 6)
    texts = []
    for path in glob.glob(SHIPPED + "/*.yaml"):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    check("words of the shipped policies", ["hold", "respect"],
          sorted(set(re.findall(r"^ {4}application: (\w+)$", "".join(texts), re.M))))
