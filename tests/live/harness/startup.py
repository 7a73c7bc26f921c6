# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs of this directory do first."""

import json
import os
import signal
import subprocess
import sys

from . import sandbox


def read_options(sockpol, file=None):
    """The rows of the option table."""
    if file:
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)["options"]
    out = subprocess.run([sockpol, "options", "--json"], check=True,
                         stdout=subprocess.PIPE).stdout
    return json.loads(out)["options"]


def enter_sandbox(sockpol):
    """A sandbox, in namespaces of its own; end_by_signals() holds."""
    if os.geteuid() != 0:
        sys.exit("error: live tests need root")
    sandbox.enter()
    end_by_signals()
    return sandbox.Sandbox(sockpol)


def end_by_signals():
    """From here on signals end the program by way of its `with` and `finally`."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, terminate)


def terminate(number, _):
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # cleaning up is not to be interrupted
    sys.exit(128 + number)
