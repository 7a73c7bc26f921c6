#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs the fuzz targets side by side, each for some seconds, from the corpus in the tree on.

    run.py --build DIR [--seconds N] TARGET...

What they learn stays in DIR/corpus-TARGET, for the next run.  A finding is a failure: the input that
shows it lies in DIR then, and belongs into tests/fuzz/corpus/TARGET, where `make test` replays it.
"""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
LENGTH_MAX = 8192  # bytes of an input: what is longer finds nothing new, and finds it slowly
STATS = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)/")


def seeds(name, build):
    """What is read beside the target's corpus."""
    return [TREE / "policies", build / "bad"] if name == "loader" else []


class Target:
    def __init__(self, name, build, seconds):
        self.name, self.build = name, build
        learnt = build / f"corpus-{name}"
        learnt.mkdir(exist_ok=True)
        dictionary = build / f"{name}.dict"
        if not dictionary.exists():
            dictionary = HERE / f"{name}.dict"
        self.log = build / f"fuzz-{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [build / f"fuzz-{name}", f"-max_total_time={seconds}", f"-max_len={LENGTH_MAX}",
                 "-timeout=60", "-report_slow_units=25", "-rss_limit_mb=2048", f"-dict={dictionary}",
                 f"-artifact_prefix={build}/finding-{name}-", "-print_final_stats=1",
                 learnt, HERE / "corpus" / name, *seeds(name, build)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def judge(self):
        """Waits for its end; returns whether it found nothing."""
        status = self.process.wait()
        lines = self.log.read_text(errors="replace").splitlines()
        done = next((m for line in reversed(lines) if (m := STATS.match(line))), None)
        if status == 0 and done:
            print(f"{self.name}: {done[1]} executions, {done[2]} edges covered, {done[3]} features,"
                  f" {done[4]} inputs kept; no finding", flush=True)
            return True
        print(*lines[-60:], f"{self.name}: FAIL, exit status {status}; all of it in {self.log}",
              sep="\n", flush=True)
        return False


def terminate(number, _):
    sys.exit(128 + number)


def run(args):
    targets = []
    try:
        for name in args.names:
            targets.append(Target(name, args.build, args.seconds))
        return [target.judge() for target in targets]
    finally:
        for target in targets:
            if target.process.poll() is None:
                target.process.kill()
                target.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="where the targets are")
    parser.add_argument("--seconds", type=int, default=60, help="each (default: %(default)s)")
    parser.add_argument("names", nargs="+", metavar="TARGET")
    args = parser.parse_args()
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    signal.signal(signal.SIGTERM, terminate)
    with tempfile.TemporaryDirectory(prefix="sockpol-") as scratch:
        os.environ["TMPDIR"] = scratch  # a target that dies leaves its own there
        good = run(args)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed, 0 skipped")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
