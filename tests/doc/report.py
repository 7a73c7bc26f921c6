# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Counts, and says what failed."""


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, problems):
        """One test: it has passed when there are no problems (a list of lines)."""
        if not problems:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAIL {name}")
        for problem in problems:
            print(f"    {problem}")

    def same(self, name, documented, real):
        """Two sets that are to be equal."""
        self.check(name, [f"not there: {x}" for x in sorted(real - documented)]
                   + [f"there, and does not exist: {x}" for x in sorted(documented - real)])

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0
