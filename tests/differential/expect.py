# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a connection's socket goes through, and what getsockopt(2) must tell in the end."""

from dataclasses import dataclass

import model
from model import End, Facts, to_address
from options import OPTIONS, priority_of_tos

BIND_OPTIONS = ("SO_REUSEADDR",)
OF_FAMILY = {"IP_TOS": "ipv4", "IPV6_TCLASS": "ipv6"}


@dataclass(frozen=True)
class Stage:
    """A moment at which policy is set: what is known then, and which options may come."""
    facts: Facts
    speaks: frozenset  # IP families whose options mean something
    bind_only: bool = False  # bind(2) of a TCP socket
    child: bool = False  # an accepted socket, new from its listener

    def is_beyond_explain(self, option):
        """`explain` is asked about a sender by the family of a datagram, of an IPv6 socket too."""
        family = OF_FAMILY.get(option)
        return (family in self.speaks and family != self.facts.family
                and model.is_send(self.facts))

    def takes(self, option):
        if self.bind_only != (option in BIND_OPTIONS) and self.facts.protocol == "tcp":
            return False
        family = OF_FAMILY.get(option)
        return family is None or family in self.speaks


def end(name):
    return End(to_address(name[0]), name[1] or None) if name else End()


def is_wildcard(address):
    return address is not None and address.is_unspecified


def family_of(address):
    return f"ipv{address.version}"


def listening(protocol, name, **more):
    """A wildcard IPv6 socket is `ipv6`, and speaks IPv4, too."""
    local = end(name)
    family = family_of(local.address)
    both = family == "ipv6" and is_wildcard(local.address)
    return Stage(Facts("listen", protocol, family, local=local),
                 frozenset({"ipv4", "ipv6"} if both else {family}), **more)


def talking(direction, protocol, remote, local, **more):
    family = family_of(remote.address)
    return Stage(Facts(direction, protocol, family, remote, local), frozenset({family}), **more)


def tcp_stages(asked, seen):
    bound = [listening("tcp", asked["bind"], bind_only=True)] if asked["bind"] else []
    if asked["kind"] == "tcp-connect":
        return [*bound, talking("connect", "tcp", end(seen["remote"]), end(seen["local"]))]
    stages = [*bound, listening("tcp", asked["bind"])]
    if asked["kind"] == "tcp-accept":
        stages.append(talking("accept", "tcp", end(seen["remote"]), end(seen["local"]),
                              child=True))
    return stages


def udp_stages(asked, seen):
    if not asked["bind"]:
        stages = [talking("connect", "udp", end(asked["to"]), End())]
        if "send" in asked["kind"]:  # the family shows, the peer does not count
            first = stages[0]
            both = frozenset({"ipv4", "ipv6"}) if asked["socket"] == "ipv6" else first.speaks
            stages = [Stage(Facts("connect", "udp", first.facts.family), both)]
        if "then" in asked:
            stages.append(talking("connect", "udp", end(asked["then"]), End()))
        return stages
    stages = [listening("udp", asked["bind"])]
    if asked["kind"] == "udp-bind-connect":
        bound = end([asked["bind"][0], seen["local"][1]])
        if is_wildcard(bound.address):  # the kernel chooses the address after the policy is set
            bound = End(None, bound.port)
        stages.append(talking("connect", "udp", end(seen["remote"]), bound))
    return stages


def stages_of(asked, seen):
    """In their order; none of a socket that is only made."""
    if asked["kind"].endswith("-fresh"):
        return []
    if asked["kind"].startswith("tcp"):
        return tcp_stages(asked, seen)
    if asked["kind"].startswith("udp"):
        return udp_stages(asked, seen)
    return [Stage(Facts("connect", None, "unix"), frozenset())]


def passages_of(asked, seen):
    """Of each socket that the connection takes in that cgroup: what is known of it at each hook that
    counts."""
    passages = [stages_of(asked, seen)]
    if asked["kind"] == "tcp-accept":  # its client is of the same process
        passages.append([talking("connect", "tcp", end(seen["local"]), end(seen["remote"]))])
    return [[stage.facts for stage in stages if not stage.bind_only] for stages in passages]


def is_ambiguous_afterwards(asked):
    """Rules are asked again when the application sets something, and may see more than at the socket's moment: an
    IPv6 socket that has sent to IPv4 is IPv6, and the kernel has chosen a port."""
    if asked["kind"] in ("udp-bind", "udp-bind-send"):
        return not asked["bind"][1]
    return asked["kind"] == "udp-send" and asked["to"][0].startswith("::ffff:")


class Socket:
    """The options of a socket as the kernel keeps them; those not in `values` are its own: `fresh`."""

    def __init__(self, fresh):
        self.fresh = fresh
        self.values = {}
        self.own = {}  # what the application has set
        self.brought = {}  # the same, brought into ranges
        self.given = set()  # what a moment has brought
        self.doubtful = set()  # options of which two outcomes are right
        self.denied = []

    def become_child(self):
        """sk_clone(): everything but the priority."""
        self.values.pop("SO_PRIORITY", None)

    def number(self, option):
        """What the socket has, as setsockopt(2) takes it."""
        value = self.values.get(option, self.fresh.get(option, 0))  # what is not read back matters to nobody
        return value // 2 if OPTIONS[option].kernel(2 ** 16) == 2 ** 17 else value

    def has(self, option, numbers):
        return option in numbers and self.values.get(option) == OPTIONS[option].kernel(numbers[option])

    def is_set_by_application(self, option, word):
        """For a range, what the kernel shows; where it is respected, whatever it called with success."""
        if word.application == "respect":
            return self.has(option, self.own) and (option != "SO_MARK" or self.own[option] != 0)
        return self.has(option, self.brought) and (
            not OPTIONS[option].steady or self.values[option] not in (self.fresh.get(option), word.value))

    def is_doubtful(self, option, words, facts):
        """A socket has something else than the application set, and it cannot be told who gave it: a policy, a
        call before one that failed, or IP_TOS, of which SO_PRIORITY comes.  Or a send may do without what
        socket(2) gave, and the application took away."""
        word = words[option]
        if model.is_send(facts) and option in model.AT_SOCKET and option in self.own:
            return True
        if word.has_range and option in self.given:
            return True
        if word.application != "respect" or option not in self.own:
            return False
        return not self.has(option, self.own) or (option == "SO_PRIORITY" and "IP_TOS" in words)

    def give(self, option, word, child):
        """At a moment."""
        if not (word.application == "respect" or word.has_range) or not self.is_set_by_application(option, word):
            if word.value is not None:
                self.given.add(option)
                self.brought.pop(option, None)
                self.set(option, word.value, child)
        elif word.has_range:
            self.brought[option] = word.clamped(option, self.number(option))
            self.set(option, self.brought[option], child)

    def call(self, when, option, value, word):
        """The application sets it; word: of who has the last word by then, if somebody has."""
        if word and word.application == "deny":
            self.denied.append([when, option])
            return
        self.own[option] = value
        if word and word.application == "hold":
            value = word.value
        elif word and word.has_range:
            value = word.clamped(option, value)
        self.brought[option] = value
        self.set(option, value)

    def set(self, option, value, child=False):
        """An accepted socket gets the priority of its IP_TOS, whether or not its listener had that."""
        if option == "IP_TOS" and (child or value != self.values.get("IP_TOS", 0)):
            self.values["SO_PRIORITY"] = priority_of_tos(value)
        self.values[option] = OPTIONS[option].kernel(value)

    def pass_stage(self, stage, words):
        """words: {option: Word} of the winners at this stage."""
        if stage.child:
            self.become_child()
        self.doubtful |= {option for option in words
                          if stage.takes(option) and self.is_doubtful(option, words, stage.facts)}
        for option in sorted(words, key=lambda name: name != "IP_TOS"):
            if stage.takes(option):
                self.give(option, words[option], stage.child)


def given_at_socket(config, asked):
    """{option: Word}"""
    protocol = asked["kind"].split("-")[0]
    if protocol == "unix":
        return {}
    return model.given_at_socket(config, asked["cgroup"], protocol if protocol != "raw" else None,
                                 asked["socket"])


def expected(config, asked, fresh, stages, words_by_stage):
    """The Socket in the end.  fresh: what such a socket has by itself."""
    given = given_at_socket(config, asked)
    sock = Socket(fresh)
    sock.values.update({option: word.value for option, word in given.items()})
    for option, value in asked.get("before", {}).items():
        sock.call("before", option, value, given.get(option))
    for stage, words in zip(stages, words_by_stage):
        sock.pass_stage(stage, words)
    for option, value in asked.get("after", {}).items():
        facts = stages[-1].facts if stages else None
        word = model.last_word(config, asked["cgroup"], facts, given, option)
        # Of the other family's options nothing was given.
        sock.call("after", option, value, word if is_telling(option, stages) else None)
    return sock


def is_telling(option, stages):
    """Does the option mean something on a socket that ends so?"""
    family = OF_FAMILY.get(option)
    return family is None or not stages or family in stages[-1].speaks
