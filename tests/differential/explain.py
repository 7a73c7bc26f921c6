# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What `sockpol explain` says of a connection."""

import json
import shlex
import subprocess

from model import UNSET, Setting, Word
from options import OPTIONS


class ExplainError(Exception):
    """It did not answer."""


def end_text(end):
    """ADDRESS, ADDRESS:PORT or :PORT; an IPv6 address in brackets where a port follows."""
    address = "" if end.address is None else str(end.address)
    if end.port is None:
        return address
    return f"[{address}]:{end.port}" if ":" in address else f"{address}:{end.port}"


def arguments(cgroup, facts):
    yield from ("--cgroup", cgroup, "--direction", facts.direction, "--family", facts.family)
    if facts.protocol:
        yield from ("--protocol", facts.protocol)
    for key, end in (("--remote", facts.remote), ("--local", facts.local)):
        if end_text(end):
            yield from (key, end_text(end))


def value_of(answer):
    if answer["value"] == UNSET:
        return UNSET
    return answer["value"] if OPTIONS[answer["option"]].text else answer["number"]


def word_of(answer):
    ends = {key: OPTIONS[answer["option"]].parse(answer[key]) for key in ("min", "max") if answer[key]}
    return Word(value_of(answer), answer["application"], **ends)


def answer(question, out, status, said):
    if status != 0:
        errors = [line for line in said.splitlines() if ": warning: " not in line]
        return ExplainError(f"explain {shlex.join(arguments(*question))}: status {status}; of all "
                            f"asked with it: {errors}")
    return {one["option"]: Setting(one["policy"], one["rule"], word_of(one))
            for one in json.loads(out)["options"]
            if one["option"] in OPTIONS and one["stages"] and one["value"] != UNSET}


def ask(sockpol, policy_dir, questions):
    """{(cgroup, facts): {option: Setting} or ExplainError}: what it says is set on such sockets.

    Processes are what this test spends its time on: a small shell starts them in half the time.
    """
    # The directory has no pins either: this is of the files alone.
    start = [sockpol, "explain", "--json", "--policy-dir", policy_dir, "--pin-dir", policy_dir]
    script = "".join(f"{shlex.join([*start, *arguments(*question)])}\nprintf '\\0%s\\0' $?\n"
                     for question in questions)
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, timeout=120,
                          check=False)
    told = done.stdout.split("\0")
    if len(told) != 2 * len(questions) + 1:
        raise ExplainError(f"explain: the shell ended early: {done.stderr}")
    return {question: answer(question, out, int(status), done.stderr)
            for question, out, status in zip(questions, told[::2], told[1::2])}
