# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the program says of itself."""
import functools
import json
import re
import subprocess

DEADLINE = 20  # seconds, for a run of sockpol: far more than any needs
FLAG = re.compile(r"^  (--[a-z][a-z-]*)(?: ([A-Z]\S*))? ", re.M)
COMMAND = re.compile(r"^  ([a-z][a-z-]*) ", re.M)


class Program:
    def __init__(self, path):
        self.path = path
        self.table = json.loads(self.run("options", "--json").stdout)

    def run(self, *args):
        return subprocess.run([self.path, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEADLINE, check=False)

    @functools.cached_property
    def commands(self):
        text = self.run("--help").stdout
        return set(COMMAND.findall(text[text.index("Commands:\n"):]))

    @functools.cache
    def flags(self, command):
        """{flag: its argument or ''}, without --help, which every command has."""
        text = self.run(command, "--help").stdout
        flags = dict(FLAG.findall(text[text.index("Options:\n"):]))
        del flags["--help"]
        return flags

    @property
    def option_names(self):
        return {o["name"] for part in ("options", "shorthands") for o in self.table[part]}

    def is_refused(self, name):
        """Known by name, and told why it cannot be set?"""
        return f"{name} cannot be set" in self.run("options", name).stderr
