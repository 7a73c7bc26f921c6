#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""System tests: the installed sockpol in a real systemd, Debian 12's, on the running kernel.  As root.

The machines are systemd-nspawn containers with cgroups, mounts and a network of their own; nothing
of them is left at the end.  The Debian tree that they boot is made once and kept in a cache.
"""

import argparse
import contextlib
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../live")]
sys.dont_write_bytecode = True

import boot  # noqa: E402
import life  # noqa: E402
import readme  # noqa: E402
from harness import sandbox  # noqa: E402
from harness.result import Failure, Report, wanted  # noqa: E402
from harness.startup import end_by_signals  # noqa: E402
from machine import Machine  # noqa: E402
from scene import Scene  # noqa: E402
from tree import cached_tree, default_cache  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=os.path.join(HERE, "../../build"), metavar="DIR",
                        help="where sockpol has been built (default: %(default)s)")
    parser.add_argument("--cache", default=default_cache(), metavar="DIR",
                        help="where the Debian tree is kept (default: %(default)s)")
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="run only tests with this in their name (may repeat)")
    parser.add_argument("--list", action="store_true", help="print the names of the tests")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    return parser.parse_args()


def tests_of(module, patterns):
    """{name: function}: a module's functions called test_*, in their order."""
    found = {f"{module.__name__}/{name[5:]}": function for name, function in vars(module).items()
             if name.startswith("test_")}
    return {name: test for name, test in found.items() if wanted(name, patterns)}


def missing():
    """Why this cannot run here, or None."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(program):
            return f"there is no {program}"
    return None


def run_boot(report, scene, tests):
    for name, test in tests.items():
        report.run(name, lambda test=test: test(scene, f"sockpol-boot-{os.getpid()}"))


def run_life(report, scene, tests):
    """All on one machine."""
    if not tests:
        return
    with contextlib.ExitStack() as stack:
        machines = []

        def start():
            machine = stack.enter_context(Machine(scene.tree, f"sockpol-life-{os.getpid()}"))
            scene.furnish(machine)
            machines.append(machine.boot())

        report.run("life/boot", start)
        for name, test in tests.items() if machines else ():
            report.run(name, lambda test=test: test(machines[0], scene))


def run(report, arguments, boots, lives):
    try:
        tree = cached_tree(os.path.abspath(arguments.cache))  # from the network, so before
    except OSError as error:
        report.fail("tree", Failure("a Debian tree", arguments.cache, error))
        return
    sandbox.enter()
    end_by_signals()
    scene = Scene(tree, os.path.abspath(os.path.join(HERE, "../..")),
                  os.path.abspath(arguments.build))
    run_boot(report, scene, boots)
    run_life(report, scene, lives)


def main():
    arguments = parse_arguments()
    boots, readmes, lives = (tests_of(module, arguments.patterns) for module in (boot, readme, life))
    boots |= readmes
    if arguments.list:
        print("\n".join([*boots, *lives]))
        return 0
    if not boots and not lives:
        print("error: no test has such a name", file=sys.stderr)
        return 2
    report = Report(arguments.verbose)
    if why := missing():
        for name in [*boots, *lives]:
            report.skip(name, why)
    else:
        run(report, arguments, boots, lives)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
