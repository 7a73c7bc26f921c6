#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Tests of the Debian package: what is in it, and its life on a machine with a real systemd.  As root.

    run.py --deb FILE --build DIR
"""
import argparse
import contextlib
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../system"), os.path.join(HERE, "../live")]

import contents  # noqa: E402
from harness import sandbox  # noqa: E402
from harness.result import Report, wanted  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deb", type=os.path.abspath, required=True, metavar="FILE")
    parser.add_argument("--build", type=os.path.abspath, default=os.path.join(HERE, "../../build"), metavar="DIR",
                        help="where sockpol has been built, with tests/connector (default: %(default)s)")
    parser.add_argument("--cache", type=os.path.abspath, metavar="DIR",
                        help="where the Debian tree is kept (default: the system tests' place)")
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="run only tests with this in their name (may repeat; the life is one)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    return parser.parse_args()


def tests_of(module):
    return [(name[5:], test) for name, test in vars(module).items() if name.startswith("test_")]


def missing():
    """Why there can be no machine here, or None."""
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists(os.path.join(HERE, "../system/machine.py")):
        return "there is no tests/system"
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(program):
            return f"there is no {program}"
    return None


def run_life(report, arguments):
    """All on one machine, in this order."""
    if why := missing():
        report.skip("life", why)
        return
    import life
    from harness.startup import end_by_signals
    end_by_signals()
    with contextlib.ExitStack() as stack:
        machines = []
        report.run("life/make a machine", lambda: machines.append(stack.enter_context(life.machine(arguments))))
        for name, test in tests_of(life) if machines else ():
            report.run(f"life/{name}", lambda test=test: test(machines[0], arguments))


def main():
    arguments = parse_arguments()
    sandbox.enter()
    report = Report(arguments.verbose)
    for name, test in tests_of(contents):
        if wanted(f"contents/{name}", arguments.patterns):
            report.run(f"contents/{name}", lambda test=test: test(arguments))
    if wanted("life", arguments.patterns):
        run_life(report, arguments)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
