# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the kernel says of other programs' sockets: getsockopt on them, ss, packets on the wire."""
import ctypes
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time

SYS_PIDFD_GETFD = 438  # asm-generic/unistd.h, the same number everywhere
TCP_ESTABLISHED, TCP_LISTEN = "01", "0A"  # as /proc/net/tcp writes them
ETH_P_IP = 0x0800
DEADLINE = 20  # seconds


def until(condition, what, child=None):
    """Waits until condition() is true, and returns it; gives up when `child` ends."""
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        if child and child.poll() is not None:
            result = condition()
            if result:
                return result
            sys.exit(f"demo: {child.args[0]} ended (exit status {child.returncode}); waited for {what}")
        if time.monotonic() > end:
            sys.exit(f"demo: waited {DEADLINE} s in vain for {what}")
        select.select([], [], [], 0.01)
    return result


def json_of(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def tcp_sockets():
    """(local port, remote port, state, inode) of the IPv4 sockets in this network namespace."""
    with open("/proc/self/net/tcp") as f:
        next(f)
        for line in f:
            _, local, remote, state, *rest = line.split()
            yield int(local.split(":")[1], 16), int(remote.split(":")[1], 16), state, int(rest[5])


def listens(port):
    return any(local == port and state == TCP_LISTEN for local, _, state, _ in tcp_sockets())


def connection_of(pid, port, end):
    """The process's established connection whose `end` has this port, as a socket of ours, or None."""
    inodes = {f"socket:[{inode}]" for local, remote, state, inode in tcp_sockets()
              if state == TCP_ESTABLISHED and (local if end == "local" else remote) == port}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") in inodes:
                return socket.socket(fileno=borrow(pid, int(fd)))
        except FileNotFoundError:  # closed since it was listed
            continue
    return None


def borrow(pid, fd):
    """A file descriptor of our own for another process's open socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        ours = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if ours < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return ours


def getsockopt(sock, option):
    """The kernel's answer: an int, or a str where the option is one; None: it does not know it."""
    level = getattr(socket, option["level"])
    try:
        if option["type"] == "name":
            return sock.getsockopt(level, option["optname"], 16).split(b"\0")[0].decode()
        raw = sock.getsockopt(level, option["optname"], 4)
    except OSError:
        return None
    return struct.unpack("=I" if option["max"] > 0x7fffffff else "=i", raw)[0]


RATES = {10**9: "GB/s", 10**6: "MB/s", 10**3: "kB/s", 1: "B/s"}


def words(option, answer):
    if isinstance(answer, int) and option["type"] == "rate":
        if answer == 0xffffffff:
            return "unlimited"
        step = next(step for step in RATES if answer % step == 0)
        return f"{answer // step}{RATES[step]}"
    unit = option.get("unit") or ""
    return f"{answer} {unit}".rstrip()


def ss_timer(port):
    """The timer that ss shows for the client's end of the connection, without its countdown."""
    out = subprocess.run(["ss", "-Hton", "state", "established", "dport", "=", f":{port}"], check=True,
                         capture_output=True, text=True).stdout
    timer = re.search(r"timer:\((\w+)", out)
    return timer[1] if timer else "none"


class Wire:
    """Packets on the loopback interface of this network namespace."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self.socket.bind(("lo", ETH_P_IP))
        self.socket.setblocking(False)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def dscp_of_syn(self, port):
        """The DSCP of a SYN to this port, as text, or None if none has passed yet."""
        while True:
            try:
                packet = self.socket.recv(128)
            except BlockingIOError:
                return None
            header = (packet[0] & 15) * 4
            tcp = packet[header:]
            syn_only = len(tcp) >= 14 and tcp[13] & 0x12 == 0x02
            if packet[9] == socket.IPPROTO_TCP and syn_only and tcp[2:4] == port.to_bytes(2):
                return str(packet[1] >> 2)
