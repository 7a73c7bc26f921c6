#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do the manual pages and the bash completion say what the program does, all of it and nothing else?

    run.py --sockpol BINARY --pages DIR

What the program says of itself (--help, `options --json`) is held against the pages as mandoc shows them, and
against what bash offers with the completion loaded.  The last line counts; exit status 1 if anything failed.
"""
import argparse
import pathlib
import sys
import tempfile

import completion
import examples
import pages
from program import Program
from report import Report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    top = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--sockpol", type=pathlib.Path, default=top / "build/sockpol")
    parser.add_argument("--pages", type=pathlib.Path, default=top / "build/doc", help="where the built pages are")
    args = parser.parse_args()

    report = Report()
    program = Program(args.sockpol.resolve())
    with tempfile.TemporaryDirectory(prefix="sockpol-doc-") as scratch:
        pages.test(report, program, args.pages)
        examples.test(report, program, top, pathlib.Path(scratch))
        completion.test(report, program, top / "dist/sockpol.bash-completion", pathlib.Path(scratch))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
