#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do the conformance cases notice?  For each row of the option table, an agent that leaves this row
out (a build with SOCKPOL_MUTANTS): that row's cases must fail, and only those.  Run as root.
"""

import argparse
import io
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from conformance.run import Conformance  # noqa: E402
from harness.result import Report, check, wanted  # noqa: E402
from harness.startup import enter_sandbox, read_options  # noqa: E402

SKIP = "SOCKPOL_TEST_SKIP_OPTION"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/mutant/sockpol"),
                        metavar="PATH", help="an agent that heeds %s (default: %%(default)s)" % SKIP)
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="only options with this in their name (may repeat)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="conformance cases at a time (default: %(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    return parser.parse_args()


def failures(conformance, skipped):
    """The names of the cases that fail with an agent that leaves an option out (None: none)."""
    report = Report(out=io.StringIO())
    with conformance.governed({SKIP: skipped} if skipped else None):
        conformance.run(report)
    check("each case to be run", len(conformance.cases), len(report.passed) + len(report.failed))
    return set(report.failed), report.out.getvalue()


def try_without(conformance, name):
    """One mutant."""
    asked = f"conformance by an agent that leaves {name} out"
    own = {case.name for case in conformance.cases if case.option == name and case.given}
    failed, text = failures(conformance, name)
    check(f"{asked}: its own cases that pass all the same", set(), own - failed)
    check(f"{asked}: cases of other options that fail\n{text}\n   ", set(), failed - own)


def try_whole(conformance):
    """The same build with nothing left out."""
    failed, text = failures(conformance, None)
    check(f"conformance by an agent that leaves nothing out: cases that fail\n{text}\n   ", set(),
          failed)


def main():
    arguments = parse_arguments()
    sockpol = os.path.abspath(arguments.sockpol)
    options = read_options(sockpol)
    names = [row["name"] for row in options if wanted(row["name"], arguments.patterns)]
    if not names:
        print("error: no option has such a name", file=sys.stderr)
        return 2
    report = Report(arguments.verbose)
    with enter_sandbox(sockpol) as box:
        conformance = Conformance(box, options, arguments.jobs)
        conformance.prepare()
        for failure in conformance.blind.values():
            raise failure
        for case, why in conformance.skipped.items():
            report.skip(case.name, why)
        conformance.skipped = {}
        names = [name for name in names if name in {case.option for case in conformance.cases}]
        report.run("mutant/none", lambda: try_whole(conformance))
        for name in names:
            report.run(f"mutant/{name}", lambda name=name: try_without(conformance, name))
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
