# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""`remote_port` and `local_port`: single ports, ranges and lists at their edges."""

from harness.judge import Connection, Row, judge_rows, local_ports, peer_ports, rule

V6 = {"remote": "fd64::1"}
LOCAL6 = {"local": "fd64::1"}
LISTEN = ("listen tcp", "listen udp")
NO_PEER = [Connection("send udp", remote_port=5432), Connection("listen udp", local_port=5432),
           Connection("listen tcp", local_port=5432)]

REMOTE = {
    "first": rule("remote_port: 1", peer_ports(1) + peer_ports(1, **V6), peer_ports(2, 65535)),
    "last": rule("remote_port: 65535", peer_ports(65535) + peer_ports(65535, **V6),
                 peer_ports(1, 65534)),
    "one": rule("remote_port: 5432", peer_ports(5432) + peer_ports(5432, **V6),
                peer_ports(5431, 5433) + peer_ports(5431, 5433, **V6) + NO_PEER),
    "range": rule("remote_port: 6432-6439", peer_ports(6432, 6435, 6439) + peer_ports(6439, **V6),
                  peer_ports(6431, 6440) + peer_ports(6440, **V6)),
    "range-of-one": rule("remote_port: 6432-6432", peer_ports(6432), peer_ports(6431, 6433)),
    "whole": rule("remote_port: 1-65535", peer_ports(1, 2, 255, 256, 32768, 65535), NO_PEER),
    "low-half": rule("remote_port: 1-32767", peer_ports(1, 32767), peer_ports(32768, 65535)),
    "high-half": rule("remote_port: 32768-65535", peer_ports(32768, 65535), peer_ports(1, 32767)),
    "bytes": rule("remote_port: 256-511", peer_ports(256, 511), peer_ports(1, 255, 512)),
    "list": rule("remote_port: [80, 443, 8000-8010, 65535]",
                 peer_ports(80, 443, 8000, 8010, 65535), peer_ports(79, 81, 444, 7999, 8011, 65534)),
    "adjacent": rule("remote_port: [100-199, 200-299]", peer_ports(100, 199, 200, 299),
                     peer_ports(99, 300)),
    "overlapping": rule("remote_port: [100-200, 150-299, 160]", peer_ports(100, 160, 201, 299),
                        peer_ports(99, 300)),
    "order": Row(["remote_port: 100-299", "remote_port: 200-399", "remote_port: 250"],
                 [(one, 1) for one in peer_ports(100, 199)],
                 [(one, 2) for one in peer_ports(200, 249, 251, 399)],
                 [(one, 3) for one in peer_ports(250)],
                 [(one, 0) for one in peer_ports(99, 400)]),
    "order-wide-later": Row(["remote_port: 250", "remote_port: 100-299"],
                            [(one, 2) for one in peer_ports(250, 100)]),
    "adjacent-rules": Row(["remote_port: 100-199", "remote_port: 200-299"],
                          [(one, 1) for one in peer_ports(100, 199)],
                          [(one, 2) for one in peer_ports(200, 299)]),
}

LOCAL = {
    "first": rule("local_port: 1", local_ports(1) + local_ports(1, **LOCAL6), local_ports(2, 65535)),
    "last": rule("local_port: 65535", local_ports(65535) + local_ports(65535, **LOCAL6),
                 local_ports(1, 65534)),
    "range": rule("local_port: 6432-6439", local_ports(6432, 6439) + local_ports(6439, **LOCAL6),
                  local_ports(6431, 6440) + local_ports(6440, **LOCAL6)),
    "list": rule("local_port: [80, 8000-8010]", local_ports(80, 8000, 8010),
                 local_ports(79, 81, 7999, 8011)),
    "listen": rule("direction: listen, local_port: [53, 8000-8010]",
                   local_ports(53, 8000, 8010, kinds=LISTEN)
                   + local_ports(53, local="::", kinds=LISTEN)
                   + local_ports(53, local="fd64::1", kinds=LISTEN),
                   local_ports(52, 54, 7999, 8011, kinds=LISTEN)
                   + local_ports(53, kinds=["connect tcp"])),
    "not-bound": rule("local_port: 1-65535", [Connection("listen udp", local="127.0.0.1",
                                                         local_port=4999)],
                      [Connection("connect udp", remote="127.0.0.1"),
                       Connection("send udp", remote="127.0.0.1")]),
    "order": Row(["local_port: 100-299", "local_port: 200-399"],
                 [(one, 1) for one in local_ports(100, 199)],
                 [(one, 2) for one in local_ports(200, 399)],
                 [(one, 0) for one in local_ports(99, 400)]),
    # The port of the one end is not taken for that of the other.
    "both": rule("local_port: 7001, remote_port: 7002",
                 [Connection(kind, remote_port=7002, local_port=7001)
                  for kind in ("connect tcp", "connect udp", "accept tcp")],
                 [Connection(kind, remote_port=7001, local_port=7002)
                  for kind in ("connect tcp", "connect udp", "accept tcp")]),
}


def test_remote(box):
    judge_rows(box, "remote-port", REMOTE)


def test_local(box):
    judge_rows(box, "local-port", LOCAL)
