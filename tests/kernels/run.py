#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the live tests on other kernels: Debian's for clouds, in virtual machines, all at once.

The kernels are downloaded once and kept in the cache.  The last line adds up what the tests of all
kernels counted.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from guest import Died, Guest, TooSlow  # noqa: E402
from image import ARCHITECTURE, ImageError, Kernel, join, make_packages, make_tests  # noqa: E402

# By the name of the metapackage that names the newest one of the series.
KERNELS = {"6.1": f"linux-image-cloud-{ARCHITECTURE}",
           "6.12": f"linux-image-6.12-cloud-{ARCHITECTURE}"}
# Under QEMU 7.2 without KVM some boots die, whatever runs in them.
BOOTS = 5
# How much more time the tests give: TCG is that much slower, and more.
PATIENCE = 8
# What these show does not depend on the kernel, and without KVM each takes half a minute and more.
LEFT_OUT = ("when/limits/100000_prefixes", "life/size/", "life/dry_run/", "life/metrics/", "life/injected/",
            "life/storms/storm")
# With --essential these, too: what they show is how the agent reads files, talks, and acts on what it
# is told, whichever kernel it runs on.
NOT_ESSENTIAL = ("faults/explain/", "life/agent/", "life/bad_days/", "life/commands/", "life/explain/", "life/hostile/",
                 "life/host/", "life/host_faults/", "life/last_good/", "life/tunnel/",
                 "life/killed/", "life/policies/", "life/programs/", "life/storms/", "life/under_hold/",
                 "life/first_sockets/during_reloads", "life/takeover/restarts",
                 "life/takeover/another_version", "life/takeover/first_edition", "life/takeover/abi_8",
                 "life/takeover/removed", "life/takeover/bad_files", "life/takeover/detach")


def parse_arguments():
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                         "sockpol", "kernels")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/sockpol"),
                        metavar="PATH", help="the agent (default: %(default)s)")
    parser.add_argument("--cache", default=cache, metavar="DIR",
                        help="where kernels are kept (default: %(default)s)")
    parser.add_argument("--kernel", action="append", choices=KERNELS, dest="kernels",
                        help="only this one (may repeat)")
    parser.add_argument("--essential", action="store_true",
                        help="only what depends on the kernel, and, but for the conformance cases, each test on "
                             "one of the kernels, on the next one another day: a quarter of the time")
    parser.add_argument("-k", action="append", default=[], metavar="PATTERN", dest="patterns",
                        help="run only tests with this in their name (may repeat)")
    parser.add_argument("--seconds", type=int, default=2400, metavar="N",
                        help="what the tests may take on one kernel (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    return parser.parse_args()


def left_out(arguments):
    """Who names tests gets them."""
    if arguments.patterns:
        return ()
    return LEFT_OUT + NOT_ESSENTIAL if arguments.essential else LEFT_OUT


def by_turns(kernel, arguments):
    """Which tests are this kernel's today."""
    if not arguments.essential or arguments.patterns:
        return []
    day = int(time.time()) // 86400
    at = (list(KERNELS).index(kernel.series) + day) % len(KERNELS)
    return ["--each", f"{at}/{len(KERNELS)}"]


def check_left_out(sockpol):
    """Each pattern names tests that there are."""
    names = subprocess.run([sys.executable, "-B", os.path.join(HERE, "../live/run.py"), "--list",
                            "--sockpol", sockpol], check=True, capture_output=True, text=True).stdout
    for pattern in LEFT_OUT + NOT_ESSENTIAL:
        if pattern not in names:
            raise ImageError(f"no test is left out by {pattern}: tests/kernels/run.py names it")


class Run:
    """One kernel: its boots until one came to the end, and what the tests said."""

    printing = threading.Lock()

    def __init__(self, kernel, initrd, arguments):
        self.kernel = kernel
        self.initrd = initrd
        self.arguments = arguments
        self.counts = (0, 1, 0)
        self.seconds = self.processor = 0

    def hear(self, line):
        if self.arguments.verbose or not line.startswith("pass "):
            self.say(line)

    def say(self, line):
        with self.printing:
            print(f"{self.kernel.series}: {line}" if line else "", flush=True)

    def run(self):
        start = time.monotonic()
        options = ["-v", "--jobs", "1"]  # each word is a sign of life
        options += [word for pattern in self.arguments.patterns for word in ("-k", pattern)]
        options += [word for pattern in left_out(self.arguments)
                    for word in ("--without", pattern)]
        options += by_turns(self.kernel, self.arguments)
        guest = Guest(self.kernel.vmlinuz, self.initrd, options, PATIENCE, self.arguments.seconds,
                      self.hear)
        for boot in range(1, BOOTS + 1):
            try:
                guest.run()
                break
            except OSError as error:
                self.say(f"FAIL: cannot start a virtual machine: {error}")
                return
            except TooSlow as why:  # another boot would be as slow
                self.say(f"FAIL: {why}")
                return
            except Died as why:
                self.say(f"boot {boot} of at most {BOOTS} died, which says nothing of the tests: "
                         f"{why}")
        else:
            self.say("FAIL: no boot came to the end of the tests")
            return
        self.seconds, self.processor = time.monotonic() - start, guest.processor
        if guest.counts is None:
            self.say(f"FAIL: the tests ended with status {guest.status}, and without a count")
            return
        passed, failed, skipped = guest.counts
        if guest.status and not failed:
            self.say(f"FAIL: exit status {guest.status} although no test failed")
            failed = 1
        self.counts = passed, failed, skipped

    def summary(self):
        passed, failed, skipped = self.counts
        return (f"{self.kernel.release()}: {passed} passed, {failed} failed, {skipped} skipped "
                f"({self.seconds:.0f} s, {self.processor:.0f} s of a processor)")


def prepare(arguments, scratch):
    """The runs, ready to go."""
    check_left_out(arguments.sockpol)
    os.makedirs(arguments.cache, exist_ok=True)
    kernels = [Kernel(series, metapackage, arguments.cache)
               for series, metapackage in KERNELS.items()
               if series in (arguments.kernels or KERNELS)]
    for kernel in kernels:
        kernel.prepare(print)
    packages = make_packages(arguments.cache)
    tests = make_tests(f"{scratch}/tests.cpio", arguments.sockpol)
    return [Run(kernel, join(f"{scratch}/initrd-{kernel.series}",
                             (packages, kernel.modules, tests)), arguments)
            for kernel in kernels]


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what cleans up
    with tempfile.TemporaryDirectory(prefix="sockpol-kernels-") as scratch:
        try:
            runs = prepare(arguments, scratch)
        except (ImageError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for pattern in left_out(arguments):
            print(f"left out, as it takes too long without KVM: {pattern}")
        for run in runs:
            if words := by_turns(run.kernel, arguments):
                run.say(f"today's: {' '.join(words)}, besides the conformance cases")
        threads = [threading.Thread(target=run.run, daemon=True) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for run in runs:
        print(run.summary())
    total = [sum(column) for column in zip(*(run.counts for run in runs))]
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
