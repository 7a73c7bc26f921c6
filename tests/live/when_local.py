# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""`local`: what the socket is bound to, or what the kernel chose for it."""

from harness.judge import Connection, Row, judge_rows, local_ends, peers, rule
from harness.sandbox import DEVICE_ADDRESS, OTHER_ADDRESS

LISTEN = ("listen tcp", "listen udp")
UNBOUND_UDP = ("connect udp", "send udp")
WILDCARD = [Connection("listen udp", local="0.0.0.0"), Connection("listen udp", local="::")]

BOUND = {
    "all4": rule("local: 0.0.0.0/0", local_ends("1.0.0.0", "10.64.0.1", "223.255.255.255")
                 + [Connection("listen udp", local="0.0.0.0", local_port=4099)],
                 local_ends("fd64::1") + peers("10.64.0.1", "fd64::1", kinds=UNBOUND_UDP)),
    "all6": rule("local: \"::/0\"", local_ends("fd64::1", "feff::1", "::1")
                 + [Connection("listen udp", local="::", local_port=4099)],
                 local_ends("10.64.0.1") + peers("10.64.0.1", "fd64::1", kinds=UNBOUND_UDP)),
    "slash32": rule("local: 10.64.0.7/32", local_ends("10.64.0.7"),
                    local_ends("10.64.0.6", "10.64.0.8") + WILDCARD),
    "slash128": rule("local: \"fd64::7/128\"", local_ends("fd64::7"),
                     local_ends("fd64::6", "fd64::8") + WILDCARD),
    "slash24": rule("local: 10.64.1.0/24", local_ends("10.64.1.0", "10.64.1.255"),
                    local_ends("10.64.0.255", "10.64.2.0") + WILDCARD),
    "slash64": rule("local: \"fd64:0:0:1::/64\"",
                    local_ends("fd64:0:0:1::", "fd64:0:0:1:ffff:ffff:ffff:ffff"),
                    local_ends("fd64:0:0:0:ffff:ffff:ffff:ffff", "fd64:0:0:2::") + WILDCARD),
    "list": rule("local: [10.64.0.0/25, 10.64.0.128/25, \"fd64::/32\"]",
                 local_ends("10.64.0.127", "10.64.0.128", "fd64::1"),
                 local_ends("10.64.1.0", "fd64:1::")),
    "listen": rule("direction: listen, local: 10.64.1.0/24",
                   local_ends("10.64.1.0", "10.64.1.255", kinds=LISTEN),
                   local_ends("10.64.0.255", "10.64.2.0", kinds=LISTEN)
                   + [Connection("listen tcp", local="0.0.0.0"),
                      Connection("connect tcp", local="10.64.1.1")]),
    "listen6": rule("direction: listen, local: \"fd64::/64\"", local_ends("fd64::7", kinds=LISTEN),
                    local_ends("fd64:0:0:1::", "10.64.0.1", "::", kinds=LISTEN)),
    "order": Row(["local: 10.64.0.0/16", "local: 10.64.5.0/24"],
                 [(one, 1) for one in local_ends("10.64.4.255", "10.64.6.0")],
                 [(one, 2) for one in local_ends("10.64.5.0", "10.64.5.255")],
                 [(one, 0) for one in local_ends("10.65.0.0")]),
    "order-earlier": Row(["local: 10.64.5.0/24", "local: 10.64.0.0/16"],
                         [(one, 2) for one in local_ends("10.64.4.255", "10.64.5.1")]),
    # A listener at the wildcard address: what it accepts has an address.
    "accepted": rule("local: 127.0.0.0/8", peers("10.64.0.1", kinds=["accept tcp"], local="0.0.0.0")
                     + peers("10.64.0.1", kinds=["accept tcp"], local="::"),
                     peers("fd64::1", kinds=["accept tcp"], local="::")),
}

# Not bound: the kernel chooses with the route.  UDP sockets have no local address for the rules then.
CHOSEN = {
    "loopback4": rule("local: 127.0.0.1", peers("127.0.0.1", kinds=["connect tcp"]),
                      peers("10.98.0.77", "::1", kinds=["connect tcp"])
                      + peers("127.0.0.1", kinds=UNBOUND_UDP)),
    "loopback6": rule("local: \"::1\"", peers("::1", kinds=["connect tcp"]),
                      peers("fd98::77", "127.0.0.1", kinds=["connect tcp"])
                      + peers("::1", kinds=UNBOUND_UDP)),
    "device4": rule(f"local: {DEVICE_ADDRESS[4]}", peers("10.98.0.77", kinds=["connect tcp"]),
                    peers("127.0.0.1", "10.99.0.77", "203.0.113.9", kinds=["connect tcp"])
                    + peers("10.98.0.77", kinds=UNBOUND_UDP)),
    "device6": rule(f"local: \"{DEVICE_ADDRESS[6]}\"", peers("fd98::77", kinds=["connect tcp"]),
                    peers("::1", "fd99::77", "2001:db8::9", kinds=["connect tcp"])
                    + peers("fd98::77", kinds=UNBOUND_UDP)),
    "default-route4": rule(f"local: {OTHER_ADDRESS[4]}",
                           peers("10.99.0.77", "203.0.113.9", kinds=["connect tcp"]),
                           peers("10.98.0.77", kinds=["connect tcp"])),
    "default-route6": rule(f"local: \"{OTHER_ADDRESS[6]}\"",
                           peers("fd99::77", "2001:db8::9", kinds=["connect tcp"]),
                           peers("fd98::77", kinds=["connect tcp"])),
    "mapped": rule("local: 127.0.0.1", peers("::ffff:127.0.0.1", kinds=["connect tcp"])),
    "remote-and-local": Row(["remote: 10.98.0.0/16", "remote: 10.98.0.0/16, local: 10.98.0.1",
                             "remote: 10.98.0.0/16, local: 10.64.0.1"],
                            [(one, 2) for one in peers("10.98.0.77", kinds=["connect tcp"])],
                            [(one, 1) for one in peers("10.98.0.77", kinds=["connect udp"])],
                            [(Connection("connect tcp", remote="10.98.0.77", local="10.64.0.1"), 3),
                             (Connection("connect tcp", remote="10.98.0.77", local="10.64.0.2"), 1)]),
    # A rule without `local` that comes later wins all the same, though it is known sooner.
    "later-without": Row(["local: 127.0.0.1", "remote_port: 4000"],
                         [(Connection("connect tcp", remote="127.0.0.1", remote_port=4000), 2),
                          (Connection("connect tcp", remote="127.0.0.1", remote_port=4001), 1)]),
    "local-port": rule("direction: connect, local_port: 1-65535",
                       peers("127.0.0.1", "::1", "10.98.0.77", kinds=["connect tcp"])),
}


def test_bound(box):
    judge_rows(box, "local-bound", BOUND)


def test_chosen_by_the_kernel(box):
    judge_rows(box, "local-chosen", CHOSEN)
