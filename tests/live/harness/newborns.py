# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The test's side of newborn.py: what the first sockets of new cgroups have."""

import json
import os
import subprocess
import sys

from .result import check

NEWBORN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "newborn.py")
AT_A_TIME = 100


class Newborns:
    """newborn.py in a cgroup; ends with the block."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.process = cgroup.popen([sys.executable, "-I", "-S", NEWBORN, cgroup.directory],
                                    text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, paths, how="connect"):
        """Makes the cgroups (paths below its own); [what the first socket in each has]."""
        answers = []
        for start in range(0, len(paths), AT_A_TIME):
            some = [(path, how) for path in paths[start:start + AT_A_TIME]]
            self.process.stdin.write(json.dumps(some) + "\n")
            self.process.stdin.flush()
            answers += json.loads(self.process.stdout.readline())
        return answers

    def priorities(self, paths, how="connect"):
        """{path: SO_PRIORITY, or what went wrong}"""
        return {path: answer if isinstance(answer, str) else answer[0]
                for path, answer in zip(paths, self.ask(paths, how))}

    def check(self, what, expected, how="connect"):
        """expected: {path: priority}"""
        seen = self.priorities(list(expected), how)
        check(f"first sockets with another priority ({what}, {how})", {},
              {path: (seen[path], "not", wanted) for path, wanted in expected.items()
               if seen[path] != wanted})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
