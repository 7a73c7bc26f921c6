# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How many rules and prefixes there may be: up to the limit they work, beyond it nothing changes."""

import ipaddress
import random
import time

from harness.flows import policies, policy
from harness.judge import FILE, Connection, Judge, own_addresses
from harness.result import PATIENCE, Containing, check

RULES_MAX = 64
PREFIXES_MAX = 100_000
RELOAD_SECONDS = 3.0 * PATIENCE
QUICK_SECONDS = 1.0 * PATIENCE  # a reload that brings no prefixes: reading 100,000 of them is what is left


def port_rules(first, count):
    """Rule N is for remote port 1000 + N and the ones after it, so that the last to hold decides."""
    return "    rules:\n" + "".join(
        f"      - name: rule-{n}\n        when: {{ remote_port: {1000 + n}-65535 }}\n"
        f"        options: {{ SO_PRIORITY: {n} }}\n" for n in range(first, first + count))


def check_rules(judge, last):
    for number in range(1, last + 2):
        connection = Connection("connect tcp", remote="10.64.0.1", remote_port=1000 + number)
        check(f"{connection}: the rule that wins", min(number, last), judge.priority(connection))


def test_rules_of_several_policies(box):
    """The limit is a policy's, not a cgroup's: the inner one has 64 more than the outer one has."""
    own_addresses(box)
    agent, outer = box.agent("rules"), box.cgroup.child("rules")
    inner = outer.child("inner")
    agent.write(FILE, policies(policy("outer", outer, {}, port_rules(1, RULES_MAX)),
                               policy("inner", inner, {}, port_rules(1 + RULES_MAX, RULES_MAX))))
    agent.start()
    check_rules(Judge(box.worker(inner), None), 2 * RULES_MAX)
    check_rules(Judge(box.worker(outer), None), RULES_MAX)


def test_65_rules_in_a_policy(box):
    agent, cgroup = box.agent("one-policy"), box.cgroup.child("one-policy")
    own_addresses(box)
    agent.write(FILE, policies(policy("crowded", cgroup, {}, port_rules(1, RULES_MAX))))
    agent.start()
    judge = Judge(box.worker(cgroup), None)
    path = agent.write(FILE, policies(policy("crowded", cgroup, {}, port_rules(1, RULES_MAX + 1))))
    done = agent.reload()
    check("exit status of a reload with 65 rules in a policy", 1, done.returncode)
    check("the place", Containing(f"{path}:"), done.stdout + done.stderr)
    check_rules(judge, RULES_MAX)


def random_prefixes(numbers, count):
    """Half of them IPv4, half IPv6, nested and adjacent as it happens; within what is routed here."""
    found = set()
    while len(found) < count:
        if len(found) % 2:
            length = numbers.randrange(24, 33)
            bits = numbers.getrandbits(32) & 0x000FFFFF | 0x0A400000  # 10.64.0.0/12
            found.add(ipaddress.ip_network((bits >> (32 - length) << (32 - length), length)))
        else:
            length = numbers.randrange(32, 129)
            bits = numbers.getrandbits(112) | 0xFD64 << 112  # fd64::/16
            found.add(ipaddress.ip_network((bits >> (128 - length) << (128 - length), length)))
    return sorted(found, key=str)


def prefix_rules(lists, last):
    text = "    rules:\n"
    for number, prefixes in enumerate(lists, 1):
        quoted = ", ".join(f'"{one}"' for one in prefixes)
        text += (f"      - name: rule-{number}\n        when: {{ remote: [{quoted}] }}\n"
                 f"        options: {{ SO_PRIORITY: {number} }}\n")
    return text + ("      - name: last\n        when: { remote_port: 7 }\n"
                   f"        options: {{ SO_PRIORITY: {last} }}\n")


def winner(lists, address):
    """What the look-up is to say, by looking at every prefix: the last rule that has it in one."""
    address = ipaddress.ip_address(address)
    for number in range(len(lists), 0, -1):
        if any(address in one for one in lists[number - 1]):
            return number
    return 0


def sample(numbers, lists):
    """Addresses in prefixes, at their ends, just outside, and anywhere."""
    for prefix in numbers.sample([one for some in lists for one in some], 12):
        yield prefix[0]
        yield prefix[-1]
        for outside in (int(prefix[0]) - 1, int(prefix[-1]) + 1):
            yield type(prefix[0])(outside)
    for _ in range(6):
        yield ipaddress.IPv4Address(0x0A400000 | numbers.getrandbits(20))
        yield ipaddress.IPv6Address(0xFD64 << 112 | numbers.getrandbits(112))


def timed_reload(agent):
    start = time.monotonic()
    agent.reload_good()
    return time.monotonic() - start


def check_peers(judge, numbers, lists):
    for address in sample(numbers, lists):
        connection = Connection("connect udp", remote=str(address))
        check(f"{connection}: the rule that wins", winner(lists, address),
              judge.priority(connection))


def test_100000_prefixes(box):
    own_addresses(box)
    numbers = random.Random(100_000)
    prefixes = random_prefixes(numbers, PREFIXES_MAX)
    numbers.shuffle(prefixes)
    lists = [prefixes[:50_000], prefixes[50_000:80_000], prefixes[80_000:]]
    agent, cgroup = box.agent("prefixes"), box.cgroup.child("prefixes")
    agent.start()
    judge = Judge(box.worker(cgroup), None)

    agent.write(FILE, policies(policy("many", cgroup, {}, prefix_rules(lists, 9))))
    first = timed_reload(agent)
    check_peers(judge, numbers, lists)
    agent.write(FILE, policies(policy("many", cgroup, {}, prefix_rules(lists, 8))))
    second = timed_reload(agent)
    check("the new value", 8, judge.priority(
        Connection("connect udp", remote="10.65.0.1", remote_port=7)))
    check_peers(judge, numbers, lists)
    lists = [lists[1], lists[2], lists[0]]
    agent.write(FILE, policies(policy("many", cgroup, {}, prefix_rules(lists, 8))))
    third = timed_reload(agent)
    check_peers(judge, numbers, lists)
    print(f"     {PREFIXES_MAX} prefixes: reload in {first:.2f} s; with the same ones {second:.2f} s; "
          f"in other rules {third:.2f} s", flush=True)
    check(f"reloads (took {first:.2f} s, {third:.2f} s) within {RELOAD_SECONDS} s", True,
          max(first, third) < RELOAD_SECONDS)
    check(f"a reload that leaves the prefixes alone (took {second:.2f} s) within {QUICK_SECONDS} s",
          True, second < QUICK_SECONDS)
