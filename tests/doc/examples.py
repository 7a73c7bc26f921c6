# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The examples in the manual pages and the README: policies that pass `sockpol check`, commands that exist."""
import re
import shlex


BLOCK = re.compile(r"^```(?:yaml)?\n(.*?)^```$", re.M | re.S)


def check_policy(report, program, name, block, scratch):
    path = scratch / "example.yaml"
    path.write_text(block)
    path.chmod(0o644)
    run = program.run("check", path)
    # Warnings are the host's: which congestion controls it has, its limits of buffers.
    report.check(name, [] if run.returncode == 0 else [run.stderr])


def check_command(report, program, name, line):
    words = shlex.split(line[line.index("sockpol "):])
    command, flags = words[1], [w for w in words[2:] if w.startswith("--")]
    if command not in program.commands:
        report.check(name, [f"there is no command {command}: {line}"])
        return
    report.check(name, [f"{command} has no {f}: {line}" for f in flags
                        if f not in program.flags(command)])


def test(report, program, top, scratch):
    policies = 0
    for source in [*sorted((top / "doc").glob("*.scd")), top / "README.md"]:
        for i, block in enumerate(BLOCK.findall(source.read_text()), 1):
            name = f"{source.name}: example {i}"
            if "policies:\n" in block:
                policies += 1
                check_policy(report, program, name, block, scratch)
            for line in re.findall(r"^(?:ExecStart=/usr/bin/)?sockpol [a-z].*$", block, re.M):
                check_command(report, program, name, line)
    report.check("examples of policies", [] if policies else ["found none"])
