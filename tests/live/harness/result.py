# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How a test says what it asked, what it expected and what it saw."""

import fnmatch
import os
import sys
import threading
import time

# How many times as long as on ordinary hardware everything may take: for emulated machines.
PATIENCE = float(os.environ.get("SOCKPOL_TEST_PATIENCE") or 1)
DEADLINE = 10.0 * PATIENCE  # seconds; nothing here takes longer unless it is broken


class Failure(Exception):
    """A test failed: what was asked, what was expected, what was seen."""

    def __init__(self, asked, expected, seen):
        super().__init__(asked)
        self.asked, self.expected, self.seen = asked, expected, seen


class Skip(Exception):
    """A test cannot run here; the text says why."""


def check(asked, expected, seen):
    """Fails unless what was seen is what was expected."""
    if not expected == seen:
        raise Failure(asked, expected, seen)


def wait_for(asked, expected, look, seconds=DEADLINE):
    """Looks again and again until it sees what was expected; fails at the deadline."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while True:
        seen = look()
        if expected == seen:
            return seen
        if time.monotonic() > deadline:
            raise Failure(f"{asked}, within {seconds} s", expected, seen)
        time.sleep(pause)  # between two looks; not a guess at how long it takes
        pause = min(pause * 2, 0.02)


class Between:
    """Equal to every number of a closed range."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __eq__(self, other):
        return other is not None and self.low <= other <= self.high

    def __repr__(self):
        return f"{self.low} to {self.high}"


class OneOf:
    """Equal to each of some values."""

    def __init__(self, values):
        self.values = values

    def __eq__(self, other):
        return other in self.values

    def __repr__(self):
        return " or ".join(map(str, self.values))


class Containing:
    """Equal to every text or collection that contains something."""

    def __init__(self, part):
        self.part = part

    def __eq__(self, other):
        return self.part in other

    def __repr__(self):
        return f"something with {self.part!r}"


class Report:
    """Counts and prints results; may be used from several threads."""

    def __init__(self, verbose=False, out=sys.stdout):
        self.verbose, self.out = verbose, out
        self.passed, self.failed, self.skipped = [], [], []
        self.lock = threading.Lock()

    def run(self, name, test):
        """Runs one test and records what became of it."""
        start = time.monotonic()
        try:
            test()
        except Skip as why:
            self.skip(name, why)
        except Failure as failure:
            self.fail(name, failure)
        except Exception as error:  # a test that breaks has failed; the others still run
            self.fail(name, Failure("the test to run to its end", "no error",
                                    f"{type(error).__name__}: {error}{where(error)}"))
        else:
            with self.lock:
                self.passed.append(name)
                if self.verbose:
                    self.say(f"pass {name} ({time.monotonic() - start:.3f} s)")

    def fail(self, name, failure):
        with self.lock:
            self.failed.append(name)
            self.say(f"FAIL {name}\n    asked:    {failure.asked}\n"
                     f"    expected: {failure.expected}\n    seen:     {failure.seen}")

    def skip(self, name, why):
        with self.lock:
            self.skipped.append(name)
            self.say(f"SKIP {name}: {why}")

    def say(self, text):
        print(text, file=self.out, flush=True)

    def summary(self):
        return (f"{len(self.passed)} passed, {len(self.failed)} failed, "
                f"{len(self.skipped)} skipped")


def where(error):
    """The innermost place of an unexpected error."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"


def wanted(name, patterns):
    """Whether -k asks for this test: part of its name, or a glob over the whole of it."""
    return not patterns or any(p in name or fnmatch.fnmatchcase(name, p) for p in patterns)
