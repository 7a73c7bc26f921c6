# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An application that tries to reach an address, again and again, each time with a new socket.

Started as `leaker.py ADDRESS TRIES KIND...`; it tries at least so often, until its stdin is closed.  Prints
{kind: {errno: how often}} as JSON.
"""

import errno
import json
import select
import socket
import struct
import sys

IPPROTO_MPTCP = 262
ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ICMP = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


class Tries:
    """One try each; `connect` and `send` raise OSError where they are refused."""

    def __init__(self, address):
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.address = address, 7
        self.bare = address, 0
        self.echo = struct.pack("!BBHHH", ECHO_REQUEST[self.family], 0, 0, 1, 1)

    def open(self, kind, protocol=0):
        one = socket.socket(self.family, kind, protocol)
        one.setblocking(False)
        return one

    def connect(self, protocol=0):
        with self.open(socket.SOCK_STREAM, protocol) as one:
            seen = one.connect_ex(self.address)
            if seen not in (0, errno.EINPROGRESS):
                raise OSError(seen, "")

    def tcp(self):
        self.connect()

    def mptcp(self):
        self.connect(IPPROTO_MPTCP)

    def udp(self):
        with self.open(socket.SOCK_DGRAM) as one:
            one.connect(self.address)
            one.send(b"x")

    def first(self):
        with self.open(socket.SOCK_DGRAM) as one:
            one.sendto(b"x", self.address)

    def second(self):
        with self.open(socket.SOCK_DGRAM) as one:
            try:
                one.sendto(b"x", self.address)
            except OSError:
                pass
            one.sendto(b"x", self.address)

    def ping(self):
        with self.open(socket.SOCK_DGRAM, ICMP[self.family]) as one:
            one.sendto(self.echo, self.bare)

    def raw(self):
        with self.open(socket.SOCK_RAW, 253) as one:
            one.sendto(b"x", self.bare)


def main():
    address, number, *kinds = sys.argv[1:]
    tries, found = Tries(address), {kind: {} for kind in kinds}
    done = 0
    while done < int(number) or not select.select([sys.stdin], [], [], 0)[0]:
        done += 1
        for kind, counts in found.items():
            try:
                getattr(tries, kind)()
                seen = 0
            except OSError as error:
                seen = error.errno
            counts[seen] = counts.get(seen, 0) + 1
    print(json.dumps(found))


main()
