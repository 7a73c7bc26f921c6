#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Wrong policy files, each with the exact diagnostics expected of `sockpol check`.

A topic file (*.cases) has many: NAME.yaml is the file, NAME.expected all of stderr; what depends on
the host stands as @FACT@.  What cannot be checked in (sizes, bytes, permissions, kinds of files) is
made here, in a temporary directory.  The exit status is 1 when something failed, 2 when a topic file
is malformed.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import cases
import large
import made
from runner import Runner

HERE = pathlib.Path(__file__).resolve().parent


def sysctl(name):
    return pathlib.Path("/proc/sys", name.replace(".", "/")).read_text().split()


def host_facts():
    """What the expected texts name as @FACT@; a fact that cannot be read is left out."""
    facts = {}
    for name, key in (("RMEM_MAX", "net.core.rmem_max"), ("WMEM_MAX", "net.core.wmem_max")):
        try:
            value = int(sysctl(key)[0])
        except OSError:
            continue
        facts[name] = str(value)
        facts[name + "_DOUBLED"] = str(min(value, (2**31 - 1) // 2) * 2)
    try:
        facts["TCP_RMEM_HALF"] = str(int(sysctl("net.ipv4.tcp_rmem")[2]) // 2)
    except OSError:
        pass
    usec = round(time.clock_getres(6) * 1e6)  # 6: CLOCK_MONOTONIC_COARSE, a tick
    facts["TICK"] = f"{usec // 1000}ms" if usec % 1000 == 0 else f"{usec}us"
    return facts


def run_cases(r, checked_in):
    facts = host_facts()
    for case in checked_in:
        expected = case.parts["expected"]
        for fact, value in facts.items():
            expected = expected.replace(f"@{fact}@", value)
        if "@" in expected.replace("user@UID", "").replace("web@", ""):
            r.skip(case.name, "this host does not show what it depends on")
            continue
        r.write(case.file_name, case.parts["yaml"])
        r.expect(case.name, expected.splitlines(), case.file_name)
        r.expect_json(case.name + " --json", expected.splitlines(), case.file_name)
        if not any(": error: " in line for line in expected.splitlines()):
            r.expect(case.name + " --strict", expected.splitlines(), "--strict", case.file_name,
                     status=1)


def run_topic_files(r):
    """A malformed topic file is an error that names the line; no case is lost in silence."""
    good = "# comment\n\n-- a.yaml --\nx\n-- a.expected --\n"
    topics = r.tmp / "topics"
    for name, content, expected in (
            ("empty", "", "t.cases: no case"),
            ("only comments", "# a\n", "t.cases: no case"),
            ("text before", "x\n" + good, "t.cases:1: before the first case there are only "
                                          "comments"),
            ("cut short", good + "x", "t.cases:6: the last line does not end"),
            ("misspelt separator", good + "-- b.yml --\n",
             "t.cases:6: neither '-- NAME.yaml --' nor '-- NAME.expected --', NAME of a-z 0-9 -"),
            ("nothing expected", good + "-- b.yaml --\nx\n",
             "t.cases:7: 'b.expected' is missing"),
            ("nothing expected, another case", "-- b.yaml --\n" + good,
             "t.cases:4: 'b.expected' is missing"),
            ("of another case", "-- b.yaml --\n-- a.expected --\n",
             "t.cases:2: 'a.expected' does not follow 'a.yaml'"),
            ("expected twice", good + "-- a.expected --\n",
             "t.cases:6: 'a.expected' does not follow 'a.yaml'"),
            ("a name twice", good + good, "t.cases:8: a second case 'a'"),
            ("good", good, None)):
        r.write("topics/t.cases", content)
        try:
            found = cases.read_all(topics)[0].parts
            problem = None if found == {"yaml": "x\n", "expected": ""} else str(found)
        except cases.Malformed as malformed:
            problem = str(malformed).removeprefix(f"{topics}/")
        if problem == expected:
            r.ok()
        else:
            r.fail(f"topic file: {name}", [f"expected {expected}", f"got {problem}"])
    r.write("topics/u.cases", good)
    try:
        cases.read_all(topics)
        r.fail("topic file: a name in two", ["is taken"])
    except cases.Malformed:
        r.ok()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=HERE.parent.parent / "build/sockpol",
                        type=pathlib.Path, help="the binary to test")
    parser.add_argument("--write", type=pathlib.Path, metavar="DIR",
                        help="write the topic files' policy files there, and test nothing")
    args = parser.parse_args()
    try:
        checked_in = cases.read_all(HERE)
    except cases.Malformed as malformed:
        print(f"error: {malformed}", file=sys.stderr)
        return 2
    if args.write:
        cases.write_all(checked_in, args.write)
        return 0
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="sockpol-bad-") as tmp:
        os.chmod(tmp, 0o755)
        r = Runner(args.sockpol, pathlib.Path(tmp))
        large.run_large(r)  # first: the memory of its children is measured
        run_topic_files(r)
        run_cases(r, checked_in)
        for part in (made.run_bytes, made.run_harmless, made.run_kinds, made.run_directories,
                     made.run_too_many_files):
            part(r)
    print(f"{r.passed} passed, {r.failed} failed, {r.skipped} skipped")
    return 1 if r.failed else 0


if __name__ == "__main__":
    sys.exit(main())
