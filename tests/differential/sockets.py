# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real sockets: a process in each cgroup that makes them and tells what options they have.

It knows nothing of policies: what it does is what any program does.  A connection to make is a
dictionary (see generate.py): `kind`, `socket` ("ipv4" or "ipv6": the address family of the socket
looked at), and, as the kind needs them, `bind`, `to`, `then`, `client_bind`: [address, port]; `before` and
`after`: {option: value} that the application sets itself.
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct

from options import OPTIONS

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "unix": socket.AF_UNIX}
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset: no TIME_WAIT that keeps the port


def family_of(address):
    return "ipv6" if ":" in address else "ipv4"


def tcp_socket(stack, family):
    sock = stack.enter_context(socket.socket(FAMILIES[family], socket.SOCK_STREAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    return sock


def call(sock, asked, when):
    """The application's own setsockopt(2) calls."""
    for option, value in asked.get(when, {}).items():
        try:
            OPTIONS[option].write(sock, value)
        except PermissionError:
            asked.setdefault("denied", []).append([when, option])


def bind(sock, where):
    """Binds, unless there is nothing to bind to; returns the name it got."""
    if where:
        sock.bind(tuple(where))
    return sock.getsockname()[:2]


def tcp_connect(stack, asked):
    sock = tcp_socket(stack, asked["socket"])
    call(sock, asked, "before")
    bind(sock, asked["bind"])
    sock.connect(tuple(asked["to"]))
    return sock


def tcp_listen(stack, asked):
    sock = tcp_socket(stack, asked["socket"])
    call(sock, asked, "before")
    bind(sock, asked["bind"])
    sock.listen(1)
    return sock


def tcp_accept(stack, asked):
    listener = tcp_listen(stack, asked)
    client = tcp_socket(stack, family_of(asked["to"]))
    bind(client, asked["client_bind"])
    client.connect((asked["to"], asked["bind"][1]))
    return stack.enter_context(listener.accept()[0])


def udp_bind(stack, asked):
    sock = stack.enter_context(socket.socket(FAMILIES[asked["socket"]], socket.SOCK_DGRAM))
    call(sock, asked, "before")
    bind(sock, asked["bind"])
    return sock


def udp_connect(stack, asked):
    sock = udp_bind(stack, asked)
    sock.connect(tuple(asked["to"]))
    return sock


def udp_send(stack, asked):
    sock = udp_bind(stack, asked)
    sock.sendto(b"", tuple(asked["to"]))
    return sock


def udp_send_connect(stack, asked):
    sock = udp_send(stack, asked)
    sock.connect(tuple(asked["then"]))
    return sock


def udp_reconnect(stack, asked):
    sock = udp_connect(stack, asked)
    sock.connect(tuple(asked["then"]))
    return sock


FRESH = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0),
         "raw": (socket.SOCK_RAW, 253)}


def fresh(stack, asked):
    """It does not talk."""
    sock = stack.enter_context(socket.socket(FAMILIES[asked["socket"]],
                                             *FRESH[asked["kind"].split("-")[0]]))
    call(sock, asked, "before")
    return sock


def unix_pair(stack, kind):
    """A receiver with a name of the kernel's choice, and a socket that does not talk yet."""
    receiver = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
    receiver.bind("")
    return receiver, stack.enter_context(socket.socket(socket.AF_UNIX, kind))


def unix_connect(stack, asked):
    listener, sock = unix_pair(stack, socket.SOCK_STREAM)
    call(sock, asked, "before")
    listener.listen(1)
    sock.connect(listener.getsockname())
    return sock


def unix_send(stack, asked):
    receiver, sock = unix_pair(stack, socket.SOCK_DGRAM)
    call(sock, asked, "before")
    sock.sendto(b"", receiver.getsockname())
    return sock


KINDS = {"tcp-connect": tcp_connect, "tcp-listen": tcp_listen, "tcp-accept": tcp_accept,
         "udp-bind": udp_bind, "udp-connect": udp_connect, "udp-bind-connect": udp_connect,
         "udp-reconnect": udp_reconnect, "udp-send-connect": udp_send_connect,
         "udp-send": udp_send, "udp-bind-send": udp_send,
         **{f"{protocol}-fresh": fresh for protocol in FRESH},
         "unix-connect": unix_connect, "unix-send": unix_send}


def settable(kind, family):
    """The options that an application sets on a socket of this kind."""
    return [name for name in option_names(kind, family)
            if name != "SO_REUSEADDR" and not (name == "IP_TOS" and family == "ipv6")]


def option_names(kind, family):
    """The options that a socket of this kind can be asked for."""
    protocol, what = kind.split("-", 1)
    direction = what if what in ("accept", "listen") else "connect"
    is_raw = protocol == "raw"
    for name, row in OPTIONS.items():
        if is_raw:
            if row.level == socket.SOL_SOCKET and "udp" in row.protocols:
                yield name
        elif (protocol in row.protocols and direction in row.readable
                and (family == "ipv6" or row.level != socket.IPPROTO_IPV6)):
            yield name


def name_of(getname):
    """[address, port], or None."""
    try:
        name = getname()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return None
    return list(name[:2]) if isinstance(name, tuple) else None


def make(asked):
    """Makes one connection and looks at its socket."""
    with contextlib.ExitStack() as stack:
        sock = KINDS[asked["kind"]](stack, asked)
        call(sock, asked, "after")
        return {"denied": asked.get("denied", []),
                "local": name_of(sock.getsockname), "remote": name_of(sock.getpeername),
                "options": {name: OPTIONS[name].read(sock)
                            for name in option_names(asked["kind"], asked["socket"])}}


def serve(channel):
    """The life of a process in a cgroup: a line asks for some connections, a line answers."""
    with channel.makefile("rw") as stream:
        for line in stream:
            answers = []
            for asked in json.loads(line):
                try:
                    answers.append(make(asked))
                except OSError as error:
                    answers.append({"error": str(error)})
            print(json.dumps(answers), file=stream, flush=True)


class Maker:
    """The process in a cgroup, seen from outside.  Starts it before any thread is."""

    def __init__(self, cgroup):
        self.channel, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                self.channel.close()
                with open(f"{cgroup.directory}/cgroup.procs", "w", encoding="ascii") as procs:
                    procs.write("0")
                serve(theirs)
                status = 0
            finally:
                os._exit(status)  # nothing of the parent's is to be cleaned up here
        theirs.close()
        self.channel.settimeout(60)
        self.stream = self.channel.makefile("rw")

    def make(self, connections):
        print(json.dumps(connections), file=self.stream, flush=True)
        return json.loads(self.stream.readline())

    def close(self):
        self.stream.close()
        self.channel.close()
        os.waitpid(self.pid, 0)


class Peers:
    """Listeners that nothing governs, on every address: what clients connect to."""

    def __init__(self, ports):
        self.listeners = []
        for port in ports:
            listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", port))
            listener.listen(1024)
            listener.setblocking(False)
            self.listeners.append(listener)

    def drain(self):
        """Forgets who has connected, so that there is room for more."""
        for listener in select.select(self.listeners, [], [], 0)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()

    def close(self):
        for listener in self.listeners:
            listener.close()
