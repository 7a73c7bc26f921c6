#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Live tests: a real agent, the running kernel, unaware programs.  Run as root.

They run in mount and network namespaces and in a cgroup of their own, beside whatever else runs
here, and remove what they made.  --check-table needs no privilege.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
PROGRAMS = ("run.py", "mutants.py")

from application import run as application  # noqa: E402
from application import table as application_table  # noqa: E402
from conformance import cases as conformance_cases  # noqa: E402
from conformance.run import Conformance  # noqa: E402
from harness.result import Failure, Report, wanted  # noqa: E402
from harness.startup import end_by_signals, enter_sandbox, read_options  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/sockpol"),
                        metavar="PATH", help="the agent (default: %(default)s)")
    parser.add_argument("-k", action="append", metavar="PATTERN", dest="patterns",
                        help="run only tests with this in their name (may repeat)")
    parser.add_argument("--without", action="append", metavar="PATTERN", default=[],
                        help="but not those with this in their name (may repeat)")
    parser.add_argument("--each", metavar="K/N",
                        help="of what is no conformance case only the K-th and each N-th after it")
    parser.add_argument("--list", action="store_true", help="print the names of the tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="tests, and conformance cases, at a time (default: %(default)s)")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes, too")
    parser.add_argument("--check-table", action="store_true",
                        help="check that each row of the option table has its cases, and end")
    parser.add_argument("--options-json", metavar="FILE",
                        help="what `sockpol options --json` prints (default: ask --sockpol)")
    return parser.parse_args()


def check_table(options):
    cases, problems, _ = conformance_cases.generate(options)
    problems += application_table.problems(options)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(options)} options, {len(cases)} conformance cases, {len(application.generate())} cases of who "
          f"has the last word, {len(problems)} problems")
    return 1 if problems else 0


def life_tests():
    """({name: function}, the names that want the machine to themselves): every function called test_*
    of the modules beside this one; ALONE in a module says it for its tests."""
    tests, alone = {}, set()
    for file in sorted(os.listdir(HERE)):
        if file.endswith(".py") and file not in PROGRAMS:
            module = importlib.import_module(file[:-3])
            found = {f"{file[:-3].replace('_', '/', 1)}/{name[5:]}": function
                     for name, function in vars(module).items() if name.startswith("test_")}
            found.update(getattr(module, "generated_tests", dict)())
            tests.update(found)
            if getattr(module, "ALONE", False):
                alone.update(found)
    return tests, alone


def run_conformance(box, options, arguments, names, report):
    conformance = Conformance(box, options, arguments.jobs)
    conformance.cases = [case for case in conformance.cases if case.name in names]
    try:
        conformance.prepare()
        with conformance.governed() as agent:
            conformance.run(report)
            report.run("conformance/refused", lambda: conformance.check_refused(agent))
    except Failure as failure:
        report.fail("conformance", failure)


def run_application(box, options, names, report):
    cases = [case for case in application.generate() if case.name in names]
    try:
        application.Application(box, options, cases).run(report)
    except Failure as failure:
        report.fail("application", failure)


def main():
    arguments = parse_arguments()
    arguments.sockpol = os.path.abspath(arguments.sockpol)
    options = read_options(arguments.sockpol, arguments.options_json)
    if arguments.check_table:
        return check_table(options)
    cases, _, _ = conformance_cases.generate(options)

    def chosen(name):
        return wanted(name, arguments.patterns) and not (
            arguments.without and wanted(name, arguments.without))

    names = [case.name for case in (*cases, *application.generate()) if chosen(case.name)]
    life, alone = life_tests()
    life = {name: test for name, test in life.items() if chosen(name)}
    if arguments.each:
        at, n = map(int, arguments.each.split("/"))
        life = dict([*life.items()][at::n])
    if arguments.list:
        print("\n".join([*names, *life]))
        return 0
    if not names and not life:
        print("error: no test has such a name", file=sys.stderr)
        return 2
    if arguments.share is None and arguments.jobs > 1 and len(life) > 1:
        return run_shares([f"{at}/{arguments.jobs}" for at in range(arguments.jobs)],
                          ["alone"] if alone & life.keys() else [])
    if arguments.share:
        names, life = share_of(arguments.share, names, life, alone)
    report = Report(arguments.verbose)
    with enter_sandbox(arguments.sockpol) as box:
        conformance = {case.name for case in cases}.intersection(names)
        if conformance:
            run_conformance(box, options, arguments, conformance, report)
        if set(names) - conformance:
            run_application(box, options, set(names), report)
        for name, test in life.items():
            report.run(name, lambda test=test: run_life_test(box, test))
    print(report.summary())
    return 1 if report.failed else 0


def share_of(share, names, life, alone):
    """What one process does: all that wants to be alone, or each n-th test, with the cases of the tables,
    which share an agent each, in the first one and in the last one."""
    if share == "alone":
        return [], {name: test for name, test in life.items() if name in alone}
    at, n = map(int, share.split("/"))
    others = [name for name in life if name not in alone][at::n]
    mine = [name for name in names if at == (0 if name.startswith("conformance/") else n - 1)]
    return mine, {name: life[name] for name in others}


SUMMARY = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped\n")


def run_shares(*groups):
    """Runs this program once a share, those of a group at a time, and adds up what they count."""
    total, worst = [0, 0, 0], 0
    end_by_signals()
    for shares in groups:
        children = [subprocess.Popen([sys.executable, "-B", *sys.argv, "--share", share], text=True,
                                     stdout=subprocess.PIPE, errors="replace") for share in shares]
        try:
            relays = [threading.Thread(target=relay, args=(child.stdout, total)) for child in children]
            for thread in relays:
                thread.start()
            for thread in relays:
                thread.join()
            worst = max([worst, *(child.wait() for child in children)], key=abs)
        finally:
            for child in children:
                child.terminate()
                child.wait()
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if worst or total[1] else 0


def relay(lines, total):
    """Prints the lines but the summary, which it adds to the total."""
    for line in lines:
        if found := SUMMARY.fullmatch(line):
            total[:] = [mine + int(its) for mine, its in zip(total, found.groups())]
        else:
            sys.stdout.write(line)
            sys.stdout.flush()


def run_life_test(box, test):
    """The agent that tests have in common goes before one whose module does not say COMMON_AGENT."""
    if not getattr(sys.modules[test.__module__], "COMMON_AGENT", False):
        box.end_common_agent()
    with box.scope():
        test(box)


if __name__ == "__main__":
    sys.exit(main())
