# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The policy language as its manual page tells it, written without a look at the agent.

A configuration is {file name: [policy, ...]} with the keys and the texts that stand in the files.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass

from options import DENIABLE, NEVER_HELD, NONE, OPTIONS, SHORTHANDS

UNSET = "unset"
POLICIES_MAX = 32  # that apply to a cgroup


@dataclass(frozen=True)
class End:
    """An address, v4-mapped ones as IPv4, and a port; None: the socket has no such value."""
    address: object = None
    port: int | None = None


@dataclass(frozen=True)
class Facts:
    """What rules can ask of a socket."""
    direction: str
    protocol: str | None  # None: AF_UNIX
    family: str
    remote: End = End()
    local: End = End()


@dataclass(frozen=True)
class Word:
    """What a block says of an option: a value (None: a range alone), and who has the last word."""
    value: object
    application: str = "override"
    min: int | None = None
    max: int | None = None

    @property
    def has_range(self):
        return self.min is not None or self.max is not None

    def clamped(self, option, value):
        if self.max is not None and (value > self.max or value == NONE.get(option)):
            return self.max
        return value if self.min is None or value == NONE.get(option) else max(value, self.min)


@dataclass(frozen=True)
class Setting:
    """One option of one block that applies and holds."""
    policy: str
    rule: str | None
    word: Word

    @property
    def value(self):
        return self.word.value


def as_list(value):
    return value if isinstance(value, list) else [value]


def to_address(text):
    """A v4-mapped address is an IPv4 address."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@functools.cache
def to_network(text):
    network = ipaddress.ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


# Which cgroups


@functools.cache
def component_regex(glob):
    """`*` and `?` within one component, `[...]` a class; everything else is literal."""
    parts = re.split(r"(\*|\?|\[!?[^\]]+\])", glob)
    special = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(
        special.get(part) or ("[" + part[1:].replace("!", "^", 1) if part.startswith("[")
                              else re.escape(part)) for part in parts))


def components(path):
    return [part for part in path.split("/") if part]


def components_match(globs, names):
    if not globs:
        return not names
    if globs[0] == "**":
        return any(components_match(globs[1:], names[skip:]) for skip in range(len(names) + 1))
    return (bool(names) and bool(component_regex(globs[0]).fullmatch(names[0]))
            and components_match(globs[1:], names[1:]))


@functools.cache
def cgroup_matches(glob, path):
    if path == "/" or glob == "/":
        return path == glob
    return components_match(components(glob), components(path))


@functools.cache
def unit_matches(glob, path):
    names = components(path)
    return (bool(names) and all(name.endswith(".slice") for name in names[:-1])
            and bool(component_regex(glob).fullmatch(names[-1])))


def any_matches(patterns, path):
    return (any(cgroup_matches(glob, path) for glob in patterns.get("cgroup", []))
            or any(unit_matches(glob, path) for glob in patterns.get("unit", [])))


def way_down(cgroup):
    """The cgroups from the root down to this one."""
    names = components(cgroup)
    return ["/" + "/".join(names[:depth]) for depth in range(len(names) + 1)]


def walk(config, cgroup):
    """(the policies that apply, the weakest first; those that match and found no place)"""
    found, left_out = [], []
    in_files = [policy for file in sorted(config) for policy in config[file]]
    for path in way_down(cgroup):
        for policy in in_files:
            if policy not in found and policy not in left_out and any_matches(policy["match"], path):
                (found if len(found) < POLICIES_MAX else left_out).append(policy)
    return [policy for policy in found if not is_excluded(policy, cgroup)], left_out


def is_excluded(policy, cgroup):
    return any(any_matches(policy["match"].get("exclude", {}), path) for path in way_down(cgroup))


def policies_in_order(config, cgroup):
    """Those that apply, the weakest first."""
    return walk(config, cgroup)[0]


# Which connections


def in_networks(address, networks):
    return address is not None and any(
        address.version == network.version and address in network
        for network in map(to_network, as_list(networks)))


def in_ports(port, ranges):
    if port is None:
        return False
    for text in map(str, as_list(ranges)):
        first, _, last = text.partition("-")
        if int(first) <= port <= int(last or first):
            return True
    return False


HOLDS = {
    "direction": lambda facts, wanted: facts.direction in as_list(wanted),
    "protocol": lambda facts, wanted: facts.protocol in as_list(wanted),
    "family": lambda facts, wanted: facts.family in as_list(wanted),
    "remote": lambda facts, wanted: in_networks(facts.remote.address, wanted),
    "local": lambda facts, wanted: in_networks(facts.local.address, wanted),
    "remote_port": lambda facts, wanted: in_ports(facts.remote.port, wanted),
    "local_port": lambda facts, wanted: in_ports(facts.local.port, wanted),
}


def rule_holds(when, facts):
    if facts.family == "unix" and "unix" not in as_list(when.get("family", [])):
        return False
    return all(HOLDS[key](facts, wanted) for key, wanted in when.items())


# Which values


def expand(name):
    return [option for option, _ in SHORTHANDS.get(name, [(name, 1)])]


def can_have(option, application, has_range):
    """Can that be who has the last word about it?"""
    if application == "override":
        return True
    if set(expand(option)) & set(NEVER_HELD) or (has_range and application != "respect"):
        return False
    return application != "deny" or option in DENIABLE


def who_counts(option, said, has_range):
    """said: by the option, its rule, its policy; None: nothing."""
    return next((one for one in said if one and can_have(option, one, has_range)), "override")


def words_of(options, *around):
    """(option, Word) of each option of a block, shorthands expanded.  around: what its rule and its policy
    say of all of theirs."""
    for name, text in options.items():
        written = text if isinstance(text, dict) else {"value": text}
        ends = {key: OPTIONS[name].parse(written[key]) for key in ("min", "max") if key in written}
        value = written.get("value", UNSET if not ends else None)
        unset = not ends and (value is None or value == UNSET)
        for option, factor in SHORTHANDS.get(name, [(name, 1)]):
            if unset:
                yield option, Word(UNSET)
            else:
                yield option, Word(value if value is None else OPTIONS[name].parse(value) * factor,
                                   who_counts(option, (written.get("application"), *around), bool(ends)), **ends)


def words_of_block(policy, rule=None):
    block = rule or policy
    return words_of(block.get("options", {}), rule and rule.get("application"), policy.get("application"))


def contenders(config, cgroup, facts):
    """{option: [Setting, the weakest first]} of every block that applies and holds."""
    found = {}
    for policy in policies_in_order(config, cgroup):
        blocks = [] if facts.family == "unix" else [None]
        blocks += [rule for rule in policy.get("rules", []) if rule_holds(rule.get("when", {}), facts)]
        for rule in blocks:
            for option, word in words_of_block(policy, rule):
                found.setdefault(option, []).append(Setting(policy["name"], rule and rule["name"], word))
    return found


def is_of_moment(option, facts):
    """Can it be set on such a socket?"""
    row = OPTIONS[option]
    return facts.direction in row.directions and (facts.protocol or "unix") in row.protocols


def is_effective(option, setting, facts):
    """Is a winner set on such a socket?"""
    row = OPTIONS[option]
    if not is_of_moment(option, facts):
        return False
    if facts.direction == "listen" and facts.protocol == "tcp":
        return setting.rule is not None or row.carried
    return True


# At socket(2)

AT_SOCKET = ("SO_MARK", "SO_PRIORITY")
MORE = ("direction", "remote", "local", "remote_port", "local_port")
ALL_DIRECTIONS = {"connect", "accept", "listen"}


def asks_for_more(when):
    """Than family and protocol, which are all that is known then?"""
    return (not ALL_DIRECTIONS <= set(as_list(when.get("direction", sorted(ALL_DIRECTIONS))))
            or any(key in when for key in MORE if key != "direction"))


def families_of(when):
    """Those in which a socket can be all that is asked of addresses."""
    listed = [{f"ipv{to_network(text).version}" for text in as_list(when[key])}
              for key in ("remote", "local") if key in when]
    return set.intersection(set(as_list(when.get("family", ["ipv4", "ipv6"]))), *listed)


def may_hold_later(when, protocol, family):
    """Does a socket that socket(2) made come to a moment for the rule?  A listener has no peer, and an
    IPv6 socket may have IPv4 peers or addresses, an IPv4 socket none of IPv6."""
    directions = as_list(when.get("direction", sorted(ALL_DIRECTIONS)))
    listens = "listen" in directions and not {"remote", "remote_port"} & when.keys()
    return (protocol in ("tcp", "udp") and protocol in as_list(when.get("protocol", protocol))
            and bool({"ipv4", family} & families_of(when))
            and ("connect" in directions or listens))


def given_at_socket(config, cgroup, protocol, family):
    """{option: Word}; protocol None: a raw socket or the like."""
    found = {}
    for policy in policies_in_order(config, cgroup):
        for rule in (None, *policy.get("rules", [])):
            when = rule.get("when", {}) if rule else {}
            is_open = asks_for_more(when)
            if is_open and not may_hold_later(when, protocol, family):
                continue
            if not is_open and not (protocol in as_list(when.get("protocol", protocol))
                                    and family in as_list(when.get("family", family))):
                continue
            found.update({option: Word(UNSET) if is_open else word
                          for option, word in words_of_block(policy, rule) if option in AT_SOCKET})
    return {option: word for option, word in found.items() if word.value != UNSET}


def is_send(facts):
    """Of an unconnected UDP socket: it may do without what socket(2) gave."""
    return (facts.protocol, facts.direction, facts.remote) == ("udp", "connect", End())


# What is counted


def has_due(options, facts, without, rule=None):
    """Does a block that holds ask for something that is set on such a socket?  An option of the other IP
    family counts, too."""
    return any(word.value != UNSET and option not in without
               and is_effective(option, Setting("", rule, word), facts)
               for option, word in words_of(options))


def due_blocks(policy, facts, without):
    """None for the base options, and the names of rules, of those that hold and have something due."""
    if facts.family != "unix" and has_due(policy.get("options", {}), facts, without):
        yield None
    for rule in policy.get("rules", []):
        when = rule.get("when", {})
        if rule_holds(when, facts) and has_due(rule["options"], facts, without, rule["name"]):
            yield rule["name"]


def counted(config, cgroup, all_facts, sends_do_without):
    """{(policy, rule or None for the policy)} of a socket, with the direction: whatever wins.

    A policy counts a socket once a direction, where it first has something due, and a rule where it
    first holds then.
    """
    found = set()
    for facts in all_facts:
        for policy in policies_in_order(config, cgroup):
            without = AT_SOCKET if sends_do_without and is_send(facts) else ()
            blocks = set(due_blocks(policy, facts, without))
            found |= {(policy["name"], block, facts.direction) for block in blocks | {None} if blocks}
    return found


def winners(config, cgroup, facts):
    """{option: Setting} of what is set on such a socket."""
    last = {option: all_of_it[-1]
            for option, all_of_it in contenders(config, cgroup, facts).items()}
    return {option: setting for option, setting in last.items()
            if setting.value != UNSET and is_effective(option, setting, facts)}


def last_word(config, cgroup, facts, given, option):
    """The Word that counts once the socket has its moments behind it, or None.  facts: of the last one, None:
    it had socket(2) alone, which brought what is in `given`."""
    wanted = contenders(config, cgroup, facts).get(option) if facts else None
    if not wanted or not is_of_moment(option, facts):
        return given.get(option)
    return wanted[-1].word if wanted[-1].value != UNSET and is_effective(option, wanted[-1], facts) else None


def is_contended(config, cgroup, facts):
    """Do two blocks want the same option, and do they want it where it is effective?"""
    return any(len(all_of_it) > 1 and is_effective(option, all_of_it[-1], facts)
               for option, all_of_it in contenders(config, cgroup, facts).items())
