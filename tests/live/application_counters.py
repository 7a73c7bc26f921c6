# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What became of applications' calls is counted, by policy, rule and option."""

import errno
import socket

from application_calls import SO_SNDBUF, TCP_CONGESTION, TCP_KEEPCNT, connected
from life_metrics import check_with_promtool, metrics, metrics_text
from other_sockets import DATAGRAM, STREAM, Governed, Tenant, rule
from harness.flows import SO_PRIORITY, TCP_KEEPIDLE, TCP_NODELAY, connection, listening
from harness.result import check
from harness.words import between, deny, hold, respect, try_set

COMMON_AGENT = True

INET = socket.AF_INET
METRICS = {**{f"sockpol_sets_{kind}_total": kind for kind in ("held", "respected", "clamped", "denied", "untold")},
           "sockpol_calls_refused_total": "refused", "sockpol_calls_not_refused_total": "not_refused"}


def counted(here):
    """{(kind, rule, option): number} of the test's policy; metrics and status say the same."""
    found = {}
    for (name, labels), number in metrics(here.agent).items():
        if name in METRICS:
            labels = dict(labels)
            check(f"labels of {name}", {"policy", "rule", "option"}, set(labels))
            if labels["policy"] == here.name:
                found[METRICS[name], labels["rule"], labels["option"]] = int(number)
    check("what status --json has of it", found, {
        (one["kind"], one["rule"] or "", one["option"]): one["count"]
        for one in here.agent.policy(here.name)["outcomes"]})
    return found


def test_kinds(box):
    here = Governed(box, "counted", {
        "TCP_KEEPIDLE": hold("60s"), "SO_PRIORITY": deny(3), "TCP_KEEPCNT": between(2, 5),
        "TCP_NODELAY": respect("on"), "SO_SNDBUF": "40K"})
    with connected(here) as one:
        for _ in range(3):
            check("errno of TCP_KEEPIDLE", 0, try_set(one, TCP_KEEPIDLE, 9))
        for _ in range(4):
            check("errno of SO_PRIORITY", errno.EPERM, try_set(one, SO_PRIORITY, 5))
        for value in (1, 3, 9, 4, 10):
            check("errno of TCP_KEEPCNT", 0, try_set(one, TCP_KEEPCNT, value))
        check("errno of SO_SNDBUF, which no policy has a word about", 0, try_set(one, SO_SNDBUF, 9000))
    expected = {("held", "", "TCP_KEEPIDLE"): 3, ("denied", "", "SO_PRIORITY"): 4,
                ("clamped", "", "TCP_KEEPCNT"): 3}
    check("counted", expected, counted(here))
    with listening(here.peer) as listener, here.worker.socket(INET, STREAM) as one:
        check("errnos", [0, 0], [try_set(one, TCP_NODELAY, 0), try_set(one, TCP_KEEPCNT, 10)])
        one.connect(("127.0.0.1", listener.port()))
        check("TCP_NODELAY and TCP_KEEPCNT", (0, 5), (one.sockopt(*TCP_NODELAY), one.sockopt(*TCP_KEEPCNT)))
    expected |= {("respected", "", "TCP_NODELAY"): 1, ("clamped", "", "TCP_KEEPCNT"): 4}
    check("counted, after a socket that had set them before", expected, counted(here))
    check("failed options", [], here.agent.policy(here.name)["failed"])
    here.agent.kill()
    here.agent.start()
    here.reload({"TCP_KEEPIDLE": hold("61s")})
    with connected(here) as one:
        check("errno of TCP_KEEPIDLE", 0, try_set(one, TCP_KEEPIDLE, 9))
    check("counted, after another agent and a reload", expected | {("held", "", "TCP_KEEPIDLE"): 4},
          counted(here))
    check_with_promtool(metrics_text(here.agent))


def test_by_rule(box):
    """The winner's: its policy, its rule."""
    here = Tenant(box, "by-rule", {"TCP_KEEPIDLE": hold("60s")},
                    rule("direction: accept", "accepted", TCP_KEEPIDLE=hold("61s")),
                    rule("protocol: udp", "datagrams", SO_SNDBUF=between(20000, 40000)))
    with connected(here) as one:
        check("errno", 0, try_set(one, TCP_KEEPIDLE, 9))
    with listening(here.worker) as listener, connection(here.peer, listener) as (_, accepted):
        for _ in range(2):
            check("errno", 0, try_set(accepted, TCP_KEEPIDLE, 9))
    with here.worker.socket(INET, DATAGRAM) as one:
        check("errno", 0, try_set(one, SO_SNDBUF, 10000))
        one.connect(("127.0.0.1", 9))
        check("errno", 0, try_set(one, SO_SNDBUF, 10000))
    check("counted", {("held", "", "TCP_KEEPIDLE"): 1, ("held", "accepted", "TCP_KEEPIDLE"): 2,
                      ("clamped", "datagrams", "SO_SNDBUF"): 2}, counted(here))


def test_refused(box):
    """Calls that failed for a policy, not options."""
    here = Tenant(box, "refused", {})
    here.agent.write(here.file, f"""policies:
  - name: {here.name}
    match: {{ cgroup: "{here.cgroup.path}" }}
    on_failure: refuse
    options: {{ SO_BINDTODEVICE: nosuchdev0, TCP_CONGESTION: cubic }}
    rules:
      - {{ name: other, when: {{ remote: 127.0.0.2 }}, options: {{ SO_BINDTODEVICE: nosuchdev1 }} }}
      - name: lax
        when: {{ remote: 127.0.0.3 }}
        on_failure: continue
        options: {{ SO_BINDTODEVICE: nosuchdev2 }}
""")
    here.agent.reload_good()
    with listening(here.peer, address="0.0.0.0") as listener:
        for last, expected in ((1, errno.EPERM), (2, errno.EPERM), (2, errno.EPERM), (3, 0)):
            with here.worker.socket(INET, STREAM) as one:
                check(f"errno of connect(2) to 127.0.0.{last}", expected,
                      one.connect_ex((f"127.0.0.{last}", listener.port())))
    check("counted", {("refused", "", "SO_BINDTODEVICE"): 1, ("refused", "other", "SO_BINDTODEVICE"): 2},
          counted(here))
    check("failures", [("lax", "SO_BINDTODEVICE", "ENODEV", 1)],
          [(one["rule"], one["option"], one["errno"], one["count"])
           for one in here.agent.policy(here.name)["failed"] if one["rule"] == "lax"])


def test_names_of_congestion_controls(box):
    here = Tenant(box, "names", {"TCP_CONGESTION": hold("cubic")})
    with connected(here) as one:
        check("errnos", [0, 0], [try_set(one, TCP_CONGESTION, name) for name in (b"reno", b"bbr")])
    check("counted", {("held", "", "TCP_CONGESTION"): 2}, counted(here))
