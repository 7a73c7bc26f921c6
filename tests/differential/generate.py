# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Random configurations and connections.  What a seed gives depends on nothing else.

Values of one option differ within a configuration where there are enough of them, so that a value
tells who set it; none is a default.
"""

import ipaddress
import random

import expect
import model
import sockets
from options import NONE, OPTIONS, ORDERED

# Below the cgroup of the test, whose name ends in .slice.
TREE = ("", "/app", "/app/one", "/app/one/deep", "/app/two", "/web.slice",
        "/web.slice/nginx.service", "/web.slice/nginx.service/worker",
        "/web.slice/haproxy@1.service", "/user.slice/user@7.service/nginx.service")

ADDRESSES = {
    "ipv4": ("127.0.1.1", "127.0.1.2", "127.0.2.1", "127.1.0.1", "127.128.0.1"),
    "ipv6": ("fd00::1", "fd00::2", "fd00:0:0:1::1", "fd00:1::1", "fd80::1"),
}
WILDCARD = {"ipv4": "0.0.0.0", "ipv6": "::"}
LENGTHS = {"ipv4": (0, 1, 8, 9, 15, 16, 22, 23, 24, 30, 31, 32),
           "ipv6": (0, 1, 8, 9, 16, 31, 32, 47, 48, 63, 64, 112, 126, 127, 128)}
PEER_PORTS = (20000, 20003, 20004, 20007, 20010, 20015)
OWN_PORTS = (20001, 20002, 20005, 20006, 20008, 20009, 20011, 20016)
EDGES = (1, 19999, *sorted(PEER_PORTS + OWN_PORTS), 20017, 40000, 65535)


# Values: {option: function of a number that nobody else has} -> text.

def seconds(n):
    return f"{n // 60}min" if n % 60 == 0 else f"{n}s"


def milliseconds(n):
    return f"{n // 1000}s" if n % 1000 == 0 else f"{n}ms"


TOS_CLASSES = ("AF11", "AF21", "AF31", "AF41", "CS1", "CS5", "EF", "VA")
VALUES = {
    "SO_REUSEADDR": lambda n: "on",
    "SO_MARK": lambda n: hex(1000 + n) if n % 2 else 1000 + n,
    "SO_RCVBUF": lambda n: f"{10 + n // 4}K" if n % 4 == 0 else 10003 + 100 * n,
    "SO_SNDBUF": lambda n: f"{9 + n // 4}K" if n % 4 == 0 else 5003 + 100 * n,
    "SO_RCVLOWAT": lambda n: 2 + n,
    "SO_MAX_PACING_RATE": lambda n: (f"{n + 1}MB/s", f"{n + 1}MiB/s", 1000001 + n,
                                     f"{8 * n + 9}Mbit/s")[n % 4],
    "SO_PRIORITY": lambda n: 100 + n,
    "SO_KEEPALIVE": lambda n: "on",
    "TCP_CONGESTION": lambda n: ("bbr", "cubic")[n % 2],
    "TCP_NOTSENT_LOWAT": lambda n: f"{20 + n}K" if n % 3 == 0 else 10001 + n,
    "TCP_NODELAY": lambda n: "on",
    "TCP_MAXSEG": lambda n: 600 + n,
    "TCP_SAVE_SYN": lambda n: 1 + n % 2,
    "TCP_SYNCNT": lambda n: 7 + n % 120,
    "TCP_USER_TIMEOUT": lambda n: milliseconds(1000 + 250 * n),
    "TCP_KEEPIDLE": lambda n: seconds(100 + 10 * n),
    "TCP_KEEPINTVL": lambda n: seconds(100 + n),
    "TCP_KEEPCNT": lambda n: 10 + n % 110,
    "TCP_THIN_LINEAR_TIMEOUTS": lambda n: "on",
    "IP_TOS": lambda n: TOS_CLASSES[n // 4 % 8] if n % 4 == 0 else 4 * (1 + n % 63),
    "IPV6_TCLASS": lambda n: TOS_CLASSES[n // 4 % 8] if n % 4 == 0 else 4 * (1 + n % 63),
    "DSCP": lambda n: TOS_CLASSES[n // 4 % 8] if n % 4 == 0 else 1 + n % 63,
}


class Generator:
    """One configuration and connections for it."""

    def __init__(self, seed, root, unix=True):
        self.random = random.Random(seed)
        self.root = root
        self.unix = unix
        self.controlled = self.chance(0.6)  # somebody says who has the last word
        self.count = dict.fromkeys(VALUES, self.random.randrange(60))
        # Few options, so that many blocks name the same.
        names = self.random.sample(sorted(VALUES), self.random.randint(3, 8))
        names.append(self.random.choice(("SO_MARK", "SO_PRIORITY", "DSCP")))
        if self.chance(0.4):  # the one that the other changes too
            names += ["SO_PRIORITY", self.random.choice(("IP_TOS", "DSCP"))]
        self.names = sorted(set(names))

    def chance(self, probability):
        return self.random.random() < probability

    def some(self, choices, most):
        return self.random.sample(choices, self.random.randint(1, min(most, len(choices))))

    def one_or_list(self, make, most=3):
        found = list(dict.fromkeys(make() for _ in range(self.random.randint(1, most))))
        return found[0] if len(found) == 1 and self.chance(0.6) else found

    # Policies

    def plain_value(self, name):
        self.count[name] += 1
        return VALUES[name](self.count[name])

    def value(self, name):
        if self.chance(0.12):
            return self.random.choice((model.UNSET, None))
        if self.controlled and name in ORDERED and self.chance(0.3):
            return self.range(name)
        if not self.controlled or self.chance(0.6):
            return self.plain_value(name)
        words = [word for word in ("override", "hold", "respect", "deny") if model.can_have(name, word, False)]
        return {"value": self.plain_value(name), "application": self.random.choice(words)}

    def range(self, name):
        """Wide enough for some of what applications set, and not for all."""
        texts = [VALUES[name](n) for n in self.random.sample(range(160), 3)]
        least, middle, most = sorted(texts, key=OPTIONS[name].parse)
        said = {"min": least, "max": most}
        if self.chance(0.4):
            said.pop(self.random.choice(("min", "max")))
        if self.chance(0.6):
            said["value"] = middle
        if self.chance(0.4):
            said["application"] = "respect"
        return said

    def word(self, probability):
        """`application` of a policy or a rule."""
        said = self.controlled and self.chance(probability)
        return {"application": self.random.choice(("override", "hold", "respect", "deny"))} if said else {}

    def options(self):
        names = self.some(self.names, 4)
        if "DSCP" in names:  # both spellings in one block are an error
            names = [name for name in names if name not in ("IP_TOS", "IPV6_TCLASS")]
        return {name: self.value(name) for name in names}

    def cgroup_glob(self):
        parts = model.components(self.root + self.random.choice(TREE))
        globs = parts[:1] + [self.component_glob(part) for part in parts[1:]]
        if self.chance(0.25):
            at = self.random.randint(1, len(globs))
            globs[at:at + self.random.randint(0, 2)] = ["**"]
        if self.chance(0.05):
            return "/"
        if self.chance(0.1):
            globs[:1] = ["**"]
        return "/" + "/".join(globs)

    def component_glob(self, name):
        kind = self.random.randrange(10)
        at = self.random.randrange(len(name))
        if kind == 0:
            return "*"
        if kind == 1:
            return name[:at] + "*" + name[self.random.randint(at, len(name)):]
        if kind == 2:
            return name[:at] + "?" + name[at + 1:]
        if kind == 3:
            return f"{name[:at]}[a-{max(name[at], 'a')}.@0-9]{name[at + 1:]}"
        if kind == 4:
            return f"{name[:at]}[!xyz]{name[at + 1:]}"
        return name

    def unit_glob(self):
        return self.component_glob(self.random.choice(
            [path.rpartition("/")[2] for path in TREE if "." in path]))

    def patterns(self, most):
        found = {}
        if self.chance(0.75):
            found["cgroup"] = [self.cgroup_glob() for _ in range(self.random.randint(1, most))]
        if not found or self.chance(0.3):
            found["unit"] = [self.unit_glob() for _ in range(self.random.randint(1, most))]
        return found

    def policy(self, number, crowded):
        match = self.patterns(2)
        if crowded and self.chance(0.6):  # at the same depth as others
            match = {"cgroup": [self.random.choice((self.root, self.root + "/*"))]}
        if self.chance(0.2):
            match["exclude"] = self.patterns(1)
        policy = {"name": f"p{number}", "match": match, **self.word(0.4)}
        if self.chance(0.8):
            policy["options"] = self.options()
        rules = [self.rule(n) for n in range(self.random.choice((0, 1, 1, 2, 3, 5)))]
        if rules or "options" not in policy:
            policy["rules"] = rules or [self.rule(0)]
        return policy

    def config(self):
        names = [f"{self.random.randint(10, 99)}-{letter}.yaml"
                 for letter in "abc"[:self.random.randint(1, 3)]]
        files = {name: [] for name in names}
        crowded = self.chance(0.15)  # more policies than may apply to one cgroup
        for number in range(self.random.randint(9, 48) if crowded else self.random.randint(1, 8)):
            files[self.random.choice(names)].append(self.policy(number, crowded))
        return {name: policies for name, policies in files.items() if policies}

    # Rules

    def rule(self, number):
        keys = self.random.sample(("direction", "protocol", "family", "remote", "local",
                                   "remote_port", "local_port"),
                                  self.random.choice((0, 1, 1, 1, 2, 2, 3)))
        makers = {"direction": lambda: self.words("connect", "accept", "listen"),
                  "protocol": lambda: self.words("tcp", "udp"), "family": self.families,
                  "remote": self.prefixes, "local": self.prefixes,
                  "remote_port": self.ports, "local_port": self.ports}
        when = {"when": {key: makers[key]() for key in keys}} if keys else {}
        return {"name": f"r{number}", **when, **self.word(0.2), "options": self.options()}

    def words(self, *words):
        return self.one_or_list(lambda: self.random.choice(words), 2)

    def families(self):
        return self.words("ipv4", "ipv6", *(["unix"] if self.unix else []))

    def prefixes(self):
        return self.one_or_list(self.prefix, 40 if self.chance(0.1) else 4)

    def prefix(self):
        family = self.random.choice(("ipv4", "ipv6"))
        address = ipaddress.ip_address(self.random.choice(ADDRESSES[family]))
        if self.chance(0.15):  # its neighbour
            address = type(address)(int(address) ^ 1)
        length = self.random.choice(LENGTHS[family])
        if family == "ipv4" and self.chance(0.15):
            address, length = ipaddress.IPv6Address(0xffff << 32 | int(address)), length + 96
        if length == address.max_prefixlen and self.chance(0.5):
            return str(address)
        return str(ipaddress.ip_network((address, length), strict=False))

    def ports(self):
        return self.one_or_list(self.port, 3)

    def port(self):
        first, last = sorted(self.random.choices(EDGES, k=2))
        return first if self.chance(0.4) else f"{first}-{last}"

    # Connections

    def address(self, family, mapped=False):
        address = self.random.choice(ADDRESSES[family])
        return f"::ffff:{address}" if mapped else address

    def ends(self):
        """(family of the socket, a function that gives addresses that it can talk to)."""
        family = self.random.choice(("ipv4", "ipv6"))
        mapped = family == "ipv6" and self.chance(0.3)
        talks = "ipv4" if mapped else family
        return family, lambda: self.address(talks, mapped)

    def peer_port(self):
        return self.random.choice(PEER_PORTS)

    def own_port(self, zero=0.3):
        return 0 if self.chance(zero) else self.random.choice(OWN_PORTS)

    def tcp_connect(self):
        family, address = self.ends()
        bind = None
        if self.chance(0.6):
            local = WILDCARD[family] if self.chance(0.15) else address()
            bind = [local, self.own_port()]
        return {"socket": family, "bind": bind, "to": [address(), self.peer_port()]}

    def tcp_listen(self):
        family, address = self.ends()
        local = WILDCARD[family] if self.chance(0.3) else address()
        return {"socket": family, "bind": [local, self.own_port(zero=0)]}

    def tcp_accept(self):
        asked = self.tcp_listen()
        local = asked["bind"][0]
        if local == WILDCARD[asked["socket"]]:
            to = self.address("ipv4" if asked["socket"] == "ipv4"
                              else self.random.choice(("ipv4", "ipv6")))
        else:
            to = local.removeprefix("::ffff:")
        port = self.random.choice([port for port in OWN_PORTS if port != asked["bind"][1]])
        client = [self.address("ipv6" if ":" in to else "ipv4"), 0 if self.chance(0.2) else port]
        return {**asked, "to": to, "client_bind": client}

    def udp(self, bound):
        family, address = self.ends()
        asked = {"socket": family, "bind": None, "to": [address(), self.peer_port()]}
        if bound:
            local = WILDCARD[family] if self.chance(0.2) else address()
            asked["bind"] = [local, self.own_port()]
        return asked

    def udp_twice(self):
        """The second peer is of the first one's family."""
        asked = self.udp(False)
        first = asked["to"][0]
        mapped = first.startswith("::ffff:")
        address = self.address("ipv4" if mapped else asked["socket"], mapped)
        return {**asked, "then": [address, self.peer_port()]}

    def fresh(self):
        return {"socket": self.random.choice(("ipv4", "ipv6"))}

    def unix_socket(self):
        return {"socket": "unix"}

    def connection(self):
        makers = {"tcp-connect": self.tcp_connect, "tcp-accept": self.tcp_accept,
                  "tcp-listen": self.tcp_listen, "udp-connect": lambda: self.udp(False),
                  "udp-send": lambda: self.udp(False), "udp-bind": lambda: self.udp(True),
                  "udp-bind-connect": lambda: self.udp(True),
                  "udp-bind-send": lambda: self.udp(True),
                  "udp-reconnect": self.udp_twice, "udp-send-connect": self.udp_twice,
                  **{f"{protocol}-fresh": self.fresh for protocol in ("tcp", "udp", "raw")},
                  "unix-connect": self.unix_socket, "unix-send": self.unix_socket}
        weights = {"tcp-connect": 25, "tcp-accept": 25, "tcp-listen": 12, "udp-connect": 8,
                   "udp-send": 6, "udp-bind": 6, "udp-bind-connect": 10, "udp-bind-send": 2,
                   "udp-reconnect": 2, "udp-send-connect": 2,
                   "tcp-fresh": 2, "udp-fresh": 2, "raw-fresh": 2,
                   "unix-connect": 3 * self.unix, "unix-send": 2 * self.unix}
        kind = self.random.choices(list(weights), list(weights.values()))[0]
        asked = {"kind": kind, "cgroup": self.root + self.random.choice(TREE), **makers[kind]()}
        return {**asked, **self.own_calls(asked)} if self.controlled else asked

    # What the application sets itself

    def own_calls(self, asked):
        """Before its socket binds, connects or listens, and when it has done so (of `accept`: on the accepted
        socket)."""
        calls = {"before": self.own_values(asked, asked["kind"].replace("accept", "listen"))}
        if not expect.is_ambiguous_afterwards(asked):
            calls["after"] = self.own_values(asked, asked["kind"])
        return {when: values for when, values in calls.items() if values}

    def own_values(self, asked, kind):
        names = {option for name in self.names for option in model.expand(name)
                 if option in sockets.settable(kind, asked["socket"])}
        if not names or self.chance(0.4):
            return {}
        return {name: self.own_value(name) for name in self.some(sorted(names), 3)}

    def own_value(self, name):
        if name in NONE and name != "TCP_MAXSEG" and self.chance(0.2):  # of which getsockopt(2) shows no 0
            return NONE[name]
        if OPTIONS[name].text:
            return self.random.choice(("bbr", "cubic", "reno"))
        if OPTIONS[name].parse is OPTIONS["TCP_NODELAY"].parse:
            return self.random.randrange(2)
        return OPTIONS[name].parse(VALUES[name](self.random.randrange(200)))

    def contended_connection(self, config, tries=12):
        """A connection for whose options, if such a one is found soon, blocks contend."""
        for _ in range(tries):
            asked = self.connection()
            if is_contended(config, asked, guess(asked)):
                break
        return asked

    def connections(self, config, number):
        return [self.contended_connection(config) if self.chance(0.8) else self.connection()
                for _ in range(number)]


def guess(asked):
    """What getsockname(2) and getpeername(2) will tell, but for what the kernel chooses."""
    if asked["kind"] == "tcp-accept":
        return {"local": [asked["to"], asked["bind"][1]], "remote": asked["client_bind"]}
    return {"local": asked.get("bind") or asked.get("to"), "remote": asked.get("to")}


def is_contended(config, asked, seen):
    return any(model.is_contended(config, asked["cgroup"], stage.facts)
               for stage in expect.stages_of(asked, seen))
