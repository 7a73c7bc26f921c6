# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs `sockpol check` in a directory of its own, and counts."""

import difflib
import json
import os
import shutil
import subprocess

DEADLINE = 20  # seconds, for a run of sockpol: far more than any needs
PLAIN_POLICY = "policies: [{name: %s, match: {unit: a.service}, options: {SO_MARK: 1}}]\n"


class Runner:
    def __init__(self, sockpol, tmp):
        self.tmp = tmp
        self.sockpol = tmp / "sockpol"  # a copy: the tree need not be readable to other users
        shutil.copy(sockpol, self.sockpol)
        self.sockpol.chmod(0o755)
        self.passed = self.failed = self.skipped = 0

    def check(self, *args, user=None):
        """Runs `sockpol check`; returns its exit status, lines of stderr, lines of stdout."""
        env = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        run = subprocess.run([self.sockpol, "check", *map(os.fspath, args)], cwd=self.tmp, env=env,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE,
                             user=user, extra_groups=[] if user else None, check=False)
        return (run.returncode, run.stderr.decode().splitlines(),
                run.stdout.decode().splitlines())

    def expect(self, name, expected, *args, status=None, user=None):
        """One case.  expected: the lines of stderr; status: by default as they demand."""
        if status is None:
            status = 1 if any(": error: " in line for line in expected) else 0
        try:
            got_status, lines, _ = self.check(*args, user=user)
        except subprocess.TimeoutExpired:
            return self.fail(name, [f"still running after {DEADLINE} s"])
        problems = []
        if lines != expected:
            problems += difflib.unified_diff(expected, lines, "expected", "got", lineterm="")
        if got_status != status:
            problems.append(f"exit status {got_status}, expected {status}")
        return self.fail(name, problems) if problems else self.ok()

    def expect_json(self, name, expected, *args):
        """The same lines, put together from --json, with an exit status that tells the same."""
        status, errors, out = self.check("--json", *args)
        told = json.loads("\n".join(out))
        lines = []
        for one in told["diagnostics"]:
            at = one["file"] + (f":{one['line']}:{one['column']}" if one["line"] else "")
            lines.append(f"{at}: {one['severity']}: {one['message']}")
        seen = (lines, errors, status, told["errors"] > 0)
        wanted = (expected, [], int(any(": error: " in line for line in expected)))
        if seen != (*wanted, wanted[2] > 0):
            return self.fail(name, [f"expected {wanted}", f"got {seen}"])
        return self.ok()

    def ok(self):
        self.passed += 1

    def fail(self, name, problems):
        self.failed += 1
        print(f"FAIL {name}")
        for line in problems:
            print(f"    {line}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}")

    def write(self, path, content, mode=0o644):
        path = self.tmp / path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path
