# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A configuration as files."""

import json
import os


def flow(value):
    """A scalar or a list, in YAML's flow style; quoted where a plain one could be misread."""
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, dict):
        return mapping(value)
    if value is None:
        return "null"
    text = str(value)
    return text if all(c.isalnum() or c in "_/-." for c in text) and ":" not in text \
        else json.dumps(text)


def mapping(values):
    return "{ " + ", ".join(f"{key}: {flow(value)}" for key, value in values.items()) + " }" \
        if values else "{}"


def globs(value):
    """A list of one is written without the brackets, too: both are the language's."""
    return flow(value[0] if len(value) == 1 else value)


def policy_yaml(policy):
    lines = [f"  - name: {policy['name']}", "    match:"]
    for key, value in policy["match"].items():
        lines.append(f"      {key}: " + (mapping(value) if key == "exclude" else globs(value)))
    if "application" in policy:
        lines.append(f"    application: {policy['application']}")
    if "options" in policy:
        lines.append(f"    options: {mapping(policy['options'])}")
    if policy.get("rules"):
        lines.append("    rules:")
    for rule in policy.get("rules", []):
        lines.append(f"      - name: {rule['name']}")
        if "when" in rule:
            lines.append(f"        when: {mapping(rule['when'])}")
        if "application" in rule:
            lines.append(f"        application: {rule['application']}")
        lines.append(f"        options: {mapping(rule['options'])}")
    return "\n".join(lines)


def file_yaml(policies):
    if not policies:
        return "policies: []\n"
    return "policies:\n" + "\n".join(map(policy_yaml, policies)) + "\n"


def write(directory, config):
    """Makes the directory hold this configuration and nothing else."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for name in set(os.listdir(directory)) - set(config):
        os.unlink(os.path.join(directory, name))
    for name, policies in config.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(file_yaml(policies))


def show(config):
    return "".join(f"# {name}\n{file_yaml(policies)}" for name, policies in sorted(config.items()))
