# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""`remote`: prefixes at their edges, in lists, nested, overlapping and side by side."""

from harness.judge import Connection, Row, judge_rows, local_ends, peers, rule

CONNECT = ("connect tcp", "connect udp")
NO_PEER = [Connection("send udp", remote="10.64.0.1"), Connection("send udp", remote="fd64::1"),
           Connection("listen udp", local="10.64.0.1"), Connection("listen udp", local="fd64::1"),
           Connection("listen tcp", local="10.64.0.1"), Connection("listen tcp", local="fd64::1"),
           Connection("listen tcp", local="0.0.0.0"), Connection("listen tcp", local="::")]

EDGES = {
    # The whole of a family, and no more.
    "all4": rule("remote: 0.0.0.0/0",
                 peers("1.0.0.0", "10.64.0.1", "127.0.0.1", "223.255.255.255"),
                 peers("::1", "fd64::1") + NO_PEER),
    "all6": rule("remote: \"::/0\"",
                 peers("::1", "::1:5", "2000::", "fd64::1", "feff:ffff::1"),
                 peers("127.0.0.1", "10.64.0.1") + NO_PEER),
    "half4": rule("remote: 128.0.0.0/1", peers("223.255.255.1") + peers("128.0.0.0", kinds=CONNECT),
                  peers("1.0.0.1") + peers("127.255.255.254", kinds=CONNECT)),
    "half6": rule("remote: \"8000::/1\"", peers("feff::1") + peers("8000::", kinds=CONNECT),
                  peers("2000::1") + peers("7fff:ffff::1", kinds=CONNECT)),
    # First and last address, and those just outside.
    "one4": rule("remote: 10.64.0.7", peers("10.64.0.7"), peers("10.64.0.6", "10.64.0.8")),
    "slash32": rule("remote: 10.64.0.7/32", peers("10.64.0.7"), peers("10.64.0.6", "10.64.0.8")),
    "slash31": rule("remote: 10.64.0.6/31", peers("10.64.0.6", "10.64.0.7"),
                    peers("10.64.0.5", "10.64.0.8")),
    "slash24": rule("remote: 10.64.1.0/24", peers("10.64.1.0", "10.64.1.128", "10.64.1.255"),
                    peers("10.64.0.255", "10.64.2.0")),
    "slash23": rule("remote: 10.64.2.0/23", peers("10.64.2.0", "10.64.3.255"),
                    peers("10.64.1.255", "10.64.4.0")),
    "slash12": rule("remote: 10.64.0.0/12", peers("10.64.0.0", "10.79.255.255"),
                    peers("10.63.255.255", "10.80.0.0", kinds=CONNECT)),
    "one6": rule("remote: \"fd64::7\"", peers("fd64::7"), peers("fd64::6", "fd64::8")),
    "slash128": rule("remote: \"fd64::7/128\"", peers("fd64::7"), peers("fd64::6", "fd64::8")),
    "slash127": rule("remote: \"fd64::6/127\"", peers("fd64::6", "fd64::7"),
                     peers("fd64::5", "fd64::8")),
    "slash65": rule("remote: \"fd64:0:0:1:8000::/65\"",
                    peers("fd64:0:0:1:8000::", "fd64:0:0:1:ffff:ffff:ffff:ffff"),
                    peers("fd64:0:0:1:7fff:ffff:ffff:ffff", "fd64:0:0:2::")),
    "slash64": rule("remote: \"fd64:0:0:1::/64\"",
                    peers("fd64:0:0:1::", "fd64:0:0:1:ffff:ffff:ffff:ffff"),
                    peers("fd64:0:0:0:ffff:ffff:ffff:ffff", "fd64:0:0:2::")),
    "slash33": rule("remote: \"fd64:0:8000::/33\"",
                    peers("fd64:0:8000::", "fd64:0:ffff:ffff:ffff:ffff:ffff:ffff"),
                    peers("fd64:0:7fff:ffff:ffff:ffff:ffff:ffff", "fd64:1::")),
    "slash16": rule("remote: \"fd64::/16\"", peers("fd64::", "fd64:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                    peers("fd63:ffff::1", "fd65::1", kinds=CONNECT)),
    "broadcast": rule("remote: 255.255.255.255",
                      [Connection("connect udp", remote="255.255.255.255")],
                      [Connection("connect udp", remote="255.255.255.254")]),
}

LISTS = {
    "adjacent": rule("remote: [10.64.0.0/25, 10.64.0.128/25]",
                     peers("10.64.0.0", "10.64.0.127", "10.64.0.128", "10.64.0.255"),
                     peers("10.64.1.0", "fd64::")),
    "apart": rule("remote: [10.64.0.0/30, 10.64.0.8/30]", peers("10.64.0.3", "10.64.0.8"),
                  peers("10.64.0.4", "10.64.0.7", "10.64.0.12")),
    "nested": rule("remote: [10.64.0.0/16, 10.64.5.0/24, 10.64.5.5]",
                   peers("10.64.0.0", "10.64.5.0", "10.64.5.5", "10.64.5.6", "10.64.255.255"),
                   peers("10.65.0.0")),
    "both-families": rule("remote: [10.64.0.0/24, \"fd64::/64\"]", peers("10.64.0.9", "fd64::9"),
                          peers("10.64.1.9", "fd64:0:0:1::9")),
    "same-bytes": rule("remote: \"a40:7::/32\"", peers("a40:7::1", kinds=CONNECT),
                       peers("10.64.0.7")),  # 0x0a40 0x0007 in both, but another family
}

# Rule 2 comes later than rule 1 and wins wherever it holds, however long the prefixes are.
ORDER = {
    "longer-later": Row(["remote: 10.64.0.0/16", "remote: 10.64.5.0/24"],
                        [(one, 1) for one in peers("10.64.4.255", "10.64.6.0")],
                        [(one, 2) for one in peers("10.64.5.0", "10.64.5.255")],
                        [(one, 0) for one in peers("10.65.0.0")]),
    "longer-earlier": Row(["remote: 10.64.5.0/24", "remote: 10.64.0.0/16"],
                          [(one, 2) for one in peers("10.64.4.255", "10.64.5.0", "10.64.6.0")],
                          [(one, 0) for one in peers("10.65.0.0")]),
    "longer-later6": Row(["remote: \"fd64::/32\"", "remote: \"fd64:0:5::/48\""],
                         [(one, 1) for one in peers("fd64:0:4:ffff::", "fd64:0:6::")],
                         [(one, 2) for one in peers("fd64:0:5::", "fd64:0:5:ffff::")],
                         [(one, 0) for one in peers("fd64:1::")]),
    "longer-earlier6": Row(["remote: \"fd64:0:5::/48\"", "remote: \"fd64::/32\""],
                           [(one, 2) for one in peers("fd64:0:4::", "fd64:0:5::", "fd64:0:6::")]),
    "three-deep": Row(["remote: 10.64.5.5", "remote: 10.64.5.0/24, protocol: udp",
                       "remote: 0.0.0.0/0, protocol: tcp, direction: accept"],
                      [(one, 1) for one in peers("10.64.5.5", kinds=["connect tcp"])],
                      [(one, 2) for one in peers("10.64.5.5", "10.64.5.6", kinds=["connect udp"])],
                      [(one, 3) for one in peers("10.64.5.5", "1.0.0.1", kinds=["accept tcp"])],
                      [(one, 0) for one in peers("10.64.5.6", kinds=["connect tcp"])]),
    "same-prefix-twice": Row(["remote: 10.64.5.0/24", "remote: [10.64.5.0/24, 10.64.7.0/24]"],
                             [(one, 2) for one in peers("10.64.5.1", "10.64.7.1")],
                             [(one, 0) for one in peers("10.64.6.1")]),
    "overlapping-lists": Row(["remote: [10.64.0.0/17, 10.65.0.0/16]",
                              "remote: [10.64.64.0/18, 10.65.128.0/17]"],
                             [(one, 1) for one in peers("10.64.0.0", "10.64.63.255", "10.65.0.0",
                                                        "10.65.127.255")],
                             [(one, 2) for one in peers("10.64.64.0", "10.64.127.255",
                                                        "10.65.128.0", "10.65.255.255")],
                             [(one, 0) for one in peers("10.64.128.0", "10.66.0.0")]),
    "adjacent-rules": Row(["remote: 10.64.0.0/25", "remote: 10.64.0.128/25"],
                          [(one, 1) for one in peers("10.64.0.0", "10.64.0.127")],
                          [(one, 2) for one in peers("10.64.0.128", "10.64.0.255")],
                          [(one, 0) for one in peers("10.64.1.0")]),
    "default-route-later": Row(["remote: 10.64.5.5", "remote: 0.0.0.0/0"],
                               [(one, 2) for one in peers("10.64.5.5", "1.0.0.1")],
                               [(one, 0) for one in peers("fd64::5")]),
}

MAPPED = "::ffff:"
V4_MAPPED = {
    "prefix4": rule("remote: 10.64.5.0/24",
                    peers(MAPPED + "10.64.5.0", MAPPED + "10.64.5.255", kinds=CONNECT)
                    + peers("10.64.5.5", kinds=["accept tcp"], local="::"),
                    peers(MAPPED + "10.64.4.255", MAPPED + "10.64.6.0", kinds=CONNECT)
                    + peers("10.64.6.5", kinds=["accept tcp"], local="::")),
    "all4": rule("remote: 0.0.0.0/0",
                 peers(MAPPED + "10.64.5.5", kinds=CONNECT)
                 + peers("10.64.5.5", kinds=["accept tcp"], local="::")),
    "all6": rule("remote: \"::/0\"", peers("fd64::1", kinds=["accept tcp"], local="::"),
                 peers(MAPPED + "10.64.5.5", kinds=CONNECT)
                 + peers("10.64.5.5", kinds=["accept tcp"], local="::")),
    "written-mapped": rule("remote: \"::ffff:10.64.5.0/120\"",
                           peers("10.64.5.0", "10.64.5.255")
                           + peers(MAPPED + "10.64.5.7", kinds=CONNECT),
                           peers("10.64.6.0") + peers("fd64::1")),
    "all-mapped": rule("remote: \"::ffff:0:0/96\"", peers("10.64.5.5", "1.0.0.1"),
                       peers("fd64::1", "::1")),
    "local4": rule("local: 10.64.5.0/24", local_ends(MAPPED + "10.64.5.5", remote=MAPPED + "127.0.0.1",
                                                     kinds=["connect tcp", "rebound udp"])
                   + local_ends(MAPPED + "10.64.5.5", kinds=["listen udp"]),
                   local_ends(MAPPED + "10.64.6.5", kinds=["listen udp"])),
    "local6": rule("local: \"::/0\"", local_ends("fd64::1"),
                   local_ends(MAPPED + "10.64.5.5", remote=MAPPED + "127.0.0.1",
                              kinds=["connect tcp", "rebound udp"])
                   + local_ends(MAPPED + "10.64.6.5", kinds=["listen udp"])),
}


def test_edges(box):
    judge_rows(box, "remote-edges", EDGES)


def test_lists(box):
    judge_rows(box, "remote-lists", LISTS)


def test_order(box):
    judge_rows(box, "remote-order", ORDER)


def test_v4_mapped(box):
    judge_rows(box, "v4-mapped", V4_MAPPED)


def test_a_listener_has_no_remote(box):
    """Not even when the rule names the direction: `check` warns that it cannot hold, no more."""
    judge_rows(box, "listener-no-remote", {
        "all": rule("direction: [listen, connect], remote: [0.0.0.0/0, \"::/0\"]",
                    peers("10.64.0.1", "fd64::1", kinds=CONNECT), NO_PEER),
        "any-port": rule("direction: [listen, connect], remote_port: 1-65535",
                         peers("10.64.0.1", "fd64::1", kinds=CONNECT), NO_PEER)})
