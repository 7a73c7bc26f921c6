#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Programs that know nothing of sockpol stay whole: Python's own network tests, governed and not.

The policy sets every option that breaks no such program, by the option table's word, and of those
that can break one the harmless values.  Each case must end as it does beside it, in a cgroup that no
policy governs; where it does not, both are repeated, as the outcome of some is chance.  Run as root.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import select
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "live")]
sys.dont_write_bytecode = True

from harness import lacks  # noqa: E402
from harness.flows import policies, policy  # noqa: E402
from harness.result import PATIENCE, Failure, Report, check  # noqa: E402
from harness.startup import enter_sandbox, read_options  # noqa: E402

MODULES = (
    "test_asynchat", "test_asyncio", "test_asyncore", "test_docxmlrpc", "test_epoll", "test_ftplib",
    "test_httplib", "test_httpservers", "test_imaplib", "test_logging", "test_nntplib", "test_poll",
    "test_poplib", "test_robotparser", "test_select", "test_selectors", "test_smtpd", "test_smtplib",
    "test_socket", "test_socketserver", "test_ssl", "test_telnetlib", "test_urllib", "test_urllib2",
    "test_urllib2_localnet", "test_wsgiref", "test_xmlrpc")

VALUES = {
    "SO_MARK": "0x55",
    "SO_RCVBUF": "256K",
    "SO_SNDBUF": "256K",
    "SO_TXREHASH": "0",
    "TCP_CONGESTION": "reno",
    "TCP_BPF_SNDCWND_CLAMP": "100",
    "TCP_BPF_IW": "20",
    "SO_MAX_PACING_RATE": "500MB/s",
    "TCP_NOTSENT_LOWAT": "128K",
    "TCP_NODELAY": "on",
    "TCP_MAXSEG": "1200",
    "TCP_WINDOW_CLAMP": "256K",
    "TCP_SAVE_SYN": "1",
    "TCP_SYNCNT": "5",
    "TCP_USER_TIMEOUT": "60s",
    "TCP_KEEPIDLE": "60s",
    "TCP_KEEPINTVL": "10s",
    "TCP_KEEPCNT": "6",
    "SO_KEEPALIVE": "on",
    "TCP_THIN_LINEAR_TIMEOUTS": "on",
    "TCP_BPF_DELACK_MAX": "40ms",
    "TCP_BPF_RTO_MIN": "40ms",
    "TCP_RTO_MAX_MS": "30s",
    "IP_TOS": "AF11",
    "IPV6_TCLASS": "AF21",
    "IPV6_AUTOFLOWLABEL": "on",
    "SO_PRIORITY": "3",
    "TIMEOUT_INIT": "500ms",
    "RWND_INIT": "20",
    "NEEDS_ECN": "on",
    "BASE_RTT": "1ms",
}

# Under `hold` these stay the application's: some cases fill a buffer that they made small.
NOT_HELD = ("SO_RCVBUF", "SO_SNDBUF")
REPEATS = 5
HUNG, DIED = "hung", "died"
IN_NAMESPACE = ["unshare", "--net", "--", "/bin/sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/sockpol"),
                        metavar="PATH", help="the agent (default: %(default)s)")
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="only modules with this in their name (may repeat)")
    parser.add_argument("--also", action="append", metavar="OPTION=VALUE", default=[],
                        help="an option besides (may repeat): to see this test fail")
    parser.add_argument("--application", choices=("override", "hold", "respect"), default="override",
                        help="who has the last word about them (default: %(default)s)")
    parser.add_argument("--silence", type=float, default=180 * PATIENCE, metavar="SECONDS",
                        help="a case that takes longer hangs (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    return parser.parse_args()


def options_to_set(table, also):
    """{option: value} of all that may be set blindly."""
    harmless = [row["name"] for row in table if not row["breaks"]]
    check("options that can break no program, for which run.py has no value", [],
          [name for name in harmless if name not in VALUES])
    check("options in run.py that the table does not have", [],
          sorted(VALUES.keys() - {row["name"] for row in table}))
    chosen = dict(VALUES)
    if lacks.rto_max():
        del chosen["TCP_RTO_MAX_MS"]
    chosen.update(one.split("=", 1) for one in also)
    return chosen


def policy_text(cgroup, chosen, application):
    settings = {name: f"{{ value: {value}, application: override }}" if name in NOT_HELD else value
                for name, value in chosen.items()}
    return policies(policy("unaware", cgroup, settings, f"    application: {application}\n"))


class Side:
    """A cgroup in which cases run, one module at a time, in a network namespace of their own."""

    def __init__(self, box, name, silence):
        self.cgroup = box.cgroup.child(name)
        self.directory = box.path(name)
        self.silence = silence
        os.mkdir(self.directory)

    def run(self, module, only=None):
        """{case: (outcome, why)}"""
        ended = {}
        while True:
            hung = self.run_once(module, only, ended)
            if not hung:
                return ended
            ended[hung] = (HUNG, f"for {self.silence} s")

    def run_once(self, module, only, ended):
        """Runs those that have not ended yet; returns the name of one that hangs."""
        reading, writing = os.pipe()
        command = [*IN_NAMESPACE, sys.executable, "-B", os.path.join(HERE, "cases.py"), module,
                   str(writing)]
        with open(os.path.join(self.directory, f"{module}.log"), "ab") as log:
            process = self.cgroup.popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                        pass_fds=[writing], cwd=self.directory,
                                        start_new_session=True)
        os.close(writing)
        with process, os.fdopen(reading, "rb", buffering=0) as lines:
            process.stdin.write(json.dumps({"only": only, "but": list(ended)}).encode())
            process.stdin.close()
            try:
                return self.follow(lines, ended)
            finally:
                # What a case has started may be in another session; the cgroup has it all.
                with open(f"{self.cgroup.directory}/cgroup.kill", "w", encoding="ascii") as kill:
                    kill.write("1")

    def follow(self, lines, ended):
        running, rest = "its import", b""
        while True:
            if not select.select([lines], [], [], self.silence)[0]:
                return running
            data = lines.read(65536)
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                words = json.loads(line)
                if not words:
                    return None
                name, *outcome = words
                if outcome:
                    ended[name] = tuple(outcome)
                running = name
            if not data:
                ended[running] = (DIED, "the process that ran it")
                return None


class Sides:
    def __init__(self, governed, free):
        self.both = (governed, free)
        self.pool = concurrent.futures.ThreadPoolExecutor(2)

    def run(self, module, only=None):
        """What the two say, side by side."""
        return tuple(self.pool.map(lambda side: side.run(module, only), self.both))


def judge(case, seen):
    """seen: the pairs of outcomes, governed and not, of the first run and its repetitions."""
    governed, free = ({one[i][0] for one in seen} for i in (0, 1))
    if governed - free:
        why = next(one[0][1] for one in seen if one[0][0] not in free)
        raise Failure(f"{case}, {len(seen)} times", f"as without a policy: {', '.join(sorted(free))}",
                      f"{', '.join(sorted(governed))} ({why})")


def run_module(sides, module, report):
    """Returns how many cases there are of each kind."""
    kinds = collections.Counter()
    absent = ("absent", "")
    first = sides.run(module)
    cases = sorted(first[0].keys() | first[1].keys())
    seen = {case: [tuple(side.get(case, absent) for side in first)] for case in cases}
    differ = [case for case in cases if seen[case][0][0][0] != seen[case][0][1][0]]
    # An import or a class as a whole is repeated with its module.
    only = differ if all(case.startswith("test.") for case in differ) else None
    hung = any(HUNG in outcomes for case in differ for outcomes in seen[case][0])
    for _ in range(0 if not differ else 1 if hung else REPEATS):  # a hang is not chance
        again = sides.run(module, only)
        for case in differ:
            seen[case].append(tuple(side.get(case, absent) for side in again))
    report.run(f"{module} to its end", lambda: check(
        "cases at which its process died, or that hang, without a policy", {},
        {case: outcome for case, outcome in first[1].items() if outcome[0] in (HUNG, DIED)}))
    for case in cases:
        kinds["unlike at first" if case in differ else seen[case][0][1][0]] += 1
        report.run(case, lambda case=case: judge(case, seen[case]))
    return kinds


def show(module, kinds, failed, seconds):
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    print(f"{module:24} {sum(kinds.values()):5} cases without a policy: {counts}; "
          f"governed: {failed} otherwise ({seconds:.0f} s)", flush=True)


def main():
    arguments = parse_arguments()
    arguments.sockpol = os.path.abspath(arguments.sockpol)
    table = read_options(arguments.sockpol)
    modules = [one for one in MODULES
               if not arguments.patterns or any(p in one for p in arguments.patterns)]
    report = Report(arguments.verbose)
    with enter_sandbox(arguments.sockpol) as box:
        governed = Side(box, "unaware", arguments.silence)
        sides = Sides(governed, Side(box, "free", arguments.silence))
        agent = box.agent("unaware")
        chosen = {}
        report.run("a value for each option", lambda: chosen.update(
            options_to_set(table, arguments.also)))
        agent.write("50-test.yaml", policy_text(governed.cgroup, chosen, arguments.application))
        agent.start()
        print(f"{len(chosen)} options: {', '.join(chosen)}", flush=True)
        for module in modules:
            start, before = time.monotonic(), len(report.failed)
            kinds = run_module(sides, module, report)
            show(module, kinds, len(report.failed) - before, time.monotonic() - start)
        counted = agent.policy("unaware")
        print(f"applied to {counted['applied']} sockets; failed: {counted['failed']}", flush=True)
        if not arguments.patterns:  # some modules make no such socket
            report.run("it was applied", lambda: check("1000 sockets and more governed", True,
                                                       counted["applied"] >= 1000))
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())
