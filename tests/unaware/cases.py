# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the cases of one module of Python's own tests, and says what becomes of each.

    cases.py MODULE FD

Standard input: {"only": names or null, "but": names} in JSON.  A line of JSON on FD before each case, its
name, and one after it: name, outcome, why.  Outcomes: passed, failed, skipped.
"""

import json
import os
import sys
import unittest

from test import support

LEFT_OUT = ("VSOCK",)  # those wait for ever where there is no hypervisor
RESOURCES = {"test_socketserver": ["network"]}  # it asks for the network and is content with loopback

out = None


def tell(*words):
    out.write(json.dumps(words) + "\n")
    out.flush()


class Result(unittest.TestResult):
    """A case fails as soon as a part of it does; what fails outside of cases is one by its own name."""

    def __init__(self):
        super().__init__()
        self.outcome = ("passed", "")

    def startTest(self, test):
        super().startTest(test)
        self.outcome = ("passed", "")
        tell(test.id())

    def stopTest(self, test):
        super().stopTest(test)
        tell(test.id(), *self.outcome)

    def become(self, test, outcome, why):
        if isinstance(test, unittest.TestCase) or hasattr(test, "test_case"):
            self.outcome = (outcome, why)
        else:
            tell(test.id(), outcome, why)

    def broken(self, test, error):
        self.become(test, "failed", f"{error[0].__name__}: {error[1]}"[:300])

    def addError(self, test, err):
        self.broken(test, err)

    def addFailure(self, test, err):
        self.broken(test, err)

    def addSubTest(self, test, subtest, err):
        if err:
            self.broken(test, err)

    def addSkip(self, test, reason):
        self.become(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        self.become(test, "failed", "it was expected to fail")


def every(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from every(test)
        else:
            yield test


def main():
    global out
    module, out = sys.argv[1], os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
    asked = json.load(sys.stdin)
    # By default nothing that needs the world outside, or minutes.
    support.use_resources = RESOURCES.get(module, [])
    support.verbose = 0
    chosen = unittest.TestSuite(
        test for test in every(unittest.defaultTestLoader.loadTestsFromName(f"test.{module}"))
        if (asked["only"] is None or test.id() in asked["only"]) and test.id() not in asked["but"]
        and not any(part in test.id() for part in LEFT_OUT))
    chosen.run(Result())
    tell()
    out.flush()
    os._exit(0)  # threads that a case has left behind do not matter


main()
