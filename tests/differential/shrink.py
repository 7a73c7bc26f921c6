# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Makes a configuration that fails smaller while it still fails."""

import copy
import time


def smaller_lists(container, key):
    """Steps that drop one entry of a list; the last one stays."""
    value = container[key]
    if isinstance(value, list) and len(value) > 1:
        for index in range(len(value)):
            yield lambda c, k=key, i=index: c[k].pop(i)


def without(container, keep=0):
    """Steps that drop one key, as long as more than `keep` are left."""
    for key in list(container) if len(container) > keep else []:
        yield lambda c, k=key: c.pop(k)


def at(path, step):
    """The same step, at a path from the configuration's top."""
    def apply(config):
        place = config
        for key in path:
            place = place[key]
        step(place)
    return apply


def pattern_steps(path, patterns, keep):
    globs = {key: value for key, value in patterns.items() if key != "exclude"}
    yield from (at(path, step) for step in without(globs, keep))
    for key in globs:
        yield from (at(path, step) for step in smaller_lists(patterns, key))


def plain(options, name):
    """Puts the value alone in the place of a mapping."""
    options[name] = options[name]["value"]


def option_steps(path, options):
    yield from (at(path, step) for step in without(options))
    for name, said in options.items():
        if isinstance(said, dict):
            if "value" in said:
                yield at(path, lambda o, n=name: plain(o, n))
            yield from (at((*path, name), step) for step in without(said, 1))


def block_steps(path, block):
    if "application" in block:
        yield at(path, lambda b: b.pop("application"))
    if "options" in block:
        yield from option_steps((*path, "options"), block["options"])
    if "when" in block:
        yield at(path, lambda b: b.pop("when"))
        yield from (at((*path, "when"), step) for step in without(block["when"]))
        for key in block["when"]:
            yield from (at((*path, "when"), step) for step in smaller_lists(block["when"], key))


def policy_steps(path, policy):
    for index, rule in enumerate(policy.get("rules", [])):
        yield at((*path, "rules"), lambda rules, i=index: rules.pop(i))
        yield from block_steps((*path, "rules", index), rule)
    if "exclude" in policy["match"]:
        yield at((*path, "match"), lambda match: match.pop("exclude"))
        yield from pattern_steps((*path, "match", "exclude"), policy["match"]["exclude"], 1)
    yield from pattern_steps((*path, "match"), policy["match"], 1)
    yield from block_steps(path, policy)


def steps(config):
    """What can be left out, the largest first."""
    yield from without(config)
    for name, policies in config.items():
        for index in range(len(policies)):
            yield at((name,), lambda p, i=index: p.pop(i))
    for name, policies in config.items():
        for index, policy in enumerate(policies):
            yield from policy_steps((name, index), policy)


def shrink(config, still_fails, seconds=30):
    """still_fails(config) -> bool.  Gives the smallest that it finds until the time is up."""
    deadline = time.monotonic() + seconds
    progress = True
    while progress:
        progress = False
        for step in steps(config):
            if time.monotonic() > deadline:
                return config
            candidate = copy.deepcopy(config)
            step(candidate)
            if still_fails(candidate):
                config, progress = candidate, True
                break
    return config
