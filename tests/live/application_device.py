# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who has the last word about a device, in its two spellings."""

import contextlib
import errno
import socket
import struct

from faults_sockets import SO_BINDTODEVICE, SO_BINDTOIFINDEX, device
from other_sockets import DATAGRAM, STREAM, Tenant, rule
from harness.flows import listening
from harness.result import check
from harness.sandbox import DEVICE, OTHER_DEVICE
from harness.words import deny, hold, respect, try_set

COMMON_AGENT = True

RAW = (socket.SOCK_RAW, 253)
KINDS = {"tcp": (STREAM, 0), "udp": (DATAGRAM, 0), "raw": RAW}


def index(name):
    return socket.if_nametoindex(name)


def calls(name=OTHER_DEVICE):
    """What an application may call: (what, option, value)."""
    return ((f"bind to {name}", SO_BINDTODEVICE, name.encode()),
            (f"bind to {name} by its index", SO_BINDTOIFINDEX, index(name)),
            ("unbind", SO_BINDTODEVICE, b""), ("unbind by index", SO_BINDTOIFINDEX, 0))


def check_calls(one, kind, ways, expected, left):
    for way in ways:
        for what, option, value in calls():
            check(f"{what} ({kind}, {way}): errno", expected, try_set(one, option, value, way))
            check(f"the device then ({kind}, {way}, {what})", left, device(one))


@contextlib.contextmanager
def connected(here, kind, family=socket.AF_INET):
    """Over loopback; raw sockets need no connection."""
    with listening(here.peer) as listener, here.worker.socket(family, *KINDS[kind]) as one:
        one.connect(("127.0.0.1", listener.port()))
        yield one


def spellings(word, name):
    return ({"SO_BINDTODEVICE": word(name)}, {"SO_BINDTOIFINDEX": word(index(name))})


def test_hold(box):
    """From socket(2) on, which gives it; both spellings, whoever calls: it is left as it is."""
    for options in spellings(hold, "lo"):
        with box.scope():
            here = Tenant(box, "device-hold", options)
            for kind, made in KINDS.items():
                with here.worker.socket(socket.AF_INET, *made) as one:
                    check(f"the device of a new socket ({kind})", "lo", device(one))
                    check_calls(one, kind, ("call", "nobody"), 0, "lo")
                with connected(here, kind) as one:
                    check_calls(one, kind, ("call", "nobody"), 0, "lo")
            with here.worker.socket(socket.AF_INET, STREAM) as listener, \
                    here.peer.socket(socket.AF_INET, STREAM) as client:
                listener.bind(("127.0.0.1", 0))
                listener.listen(1)
                check_calls(listener, "listener", ("call",), 0, "lo")
                client.connect(("127.0.0.1", listener.port()))
                with listener.accept() as accepted:
                    check("the device of an accepted socket", "lo", device(accepted))


def test_deny(box):
    for options in spellings(deny, "lo"):
        with box.scope():
            here = Tenant(box, "device-deny", options)
            for kind, made in KINDS.items():
                with here.worker.socket(socket.AF_INET, *made) as one:
                    check_calls(one, kind, ("call", "nobody"), errno.EPERM, "lo")
                with connected(here, kind) as one:
                    check_calls(one, kind, ("call", "nobody"), errno.EPERM, "lo")


def test_respect(box):
    """What the application bound to stays; that it unbound does not count."""
    for options in spellings(respect, DEVICE):
        with box.scope():
            here = Tenant(box, "device-respect", options)
            for what, option, value in calls("lo"):
                chosen = what.startswith("bind")
                for kind in ("tcp", "udp"):
                    with here.worker.socket(socket.AF_INET, *KINDS[kind]) as one:
                        check("the device of a new socket", DEVICE, device(one))
                        check(f"{what}: errno", 0, try_set(one, option, value))
                        check(f"the device then ({what})", "lo" if chosen else "", device(one))
                        one.setblocking(False)
                        one.connect_ex(("127.0.0.1", 9))
                        check(f"the device of a connected socket ({kind}, {what})",
                              "lo" if chosen else DEVICE, device(one))


def test_override(box):
    """The application's stands, but for what it unbound, which is bound again."""
    here = Tenant(box, "device-override", {"SO_BINDTODEVICE": DEVICE})
    for value, left in ((b"lo", "lo"), (b"", DEVICE)):
        with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
            check("errno", 0, try_set(one, SO_BINDTODEVICE, value))
            check("the device then", value.decode(), device(one))
            one.connect(("127.0.0.1", 9))
            check("the device of a connected socket", left, device(one))
            check("errno afterwards", 0, try_set(one, SO_BINDTODEVICE, OTHER_DEVICE.encode()))
            check("the device then", OTHER_DEVICE, device(one))


def test_hold_by_rules(box):
    """Decided at connect(2): until then the application's device is there."""
    here = Tenant(box, "device-rule", {}, rule("remote: 127.0.0.0/8", "near", SO_BINDTODEVICE=hold("lo")))
    for kind in ("tcp", "udp"):
        with listening(here.peer) as listener, here.worker.socket(socket.AF_INET, *KINDS[kind]) as one:
            check("errno before", 0, try_set(one, SO_BINDTODEVICE, OTHER_DEVICE.encode()))
            check("the device before", OTHER_DEVICE, device(one))
            check("errno before", 0, try_set(one, SO_BINDTODEVICE, b""))
            one.connect(("127.0.0.1", listener.port()))
            check("the device of a connected socket", "lo", device(one))
            check_calls(one, kind, ("call", "nobody"), 0, "lo")
    with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
        one.connect(("203.0.113.1", 9))
        check("errno where the rule does not hold", 0, try_set(one, SO_BINDTODEVICE, DEVICE.encode()))
        check("the device", DEVICE, device(one))


def test_name_of_any_length(box):
    """The kernel reads 15 bytes of a name."""
    here = Tenant(box, "device-name", {"SO_BINDTODEVICE": hold("lo"), "SO_MARK": hold(7)})
    with here.worker.socket(socket.AF_INET, DATAGRAM) as one:
        for value in (OTHER_DEVICE.encode() + bytes(11), OTHER_DEVICE.encode() + bytes(5000), b"x" * 40, b"\0"):
            check(f"errno of {value[:20]}", 0, try_set(one, SO_BINDTODEVICE, value))
            check("the device", "lo", device(one))
        check("errno by an index of eight bytes", 0, try_set(one, SO_BINDTOIFINDEX, struct.pack("=iI", 1, 0)))
        check("the device", "lo", device(one))
