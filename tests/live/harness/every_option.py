# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Two policies that set every option of the table, each differently; how it is read, and of which
hook it is."""

import socket

SOL_SOCKET, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
LEVELS = {"SOL_SOCKET": SOL_SOCKET, "IPPROTO_TCP": TCP, "IPPROTO_IP": socket.IPPROTO_IP,
          "IPPROTO_IPV6": socket.IPPROTO_IPV6}
REPLY = "reply"

# Of the one policy and of the other.  SO_BINDTODEVICE and SO_BINDTOIFINDEX are one option in two
# spellings: the one policy has this, the other that.
VALUES = {
    "SO_REUSEADDR": ("on", "off"),
    "SO_REUSEPORT": ("off", "on"),
    "SO_BINDTODEVICE": ("lo", None),
    "SO_BINDTOIFINDEX": (None, "0"),
    "SO_MARK": ("0x11", "0x22"),
    "SO_RCVBUF": ("64K", "96K"),
    "SO_SNDBUF": ("48K", "80K"),
    "SO_RCVLOWAT": ("2", "3"),
    "SO_TXREHASH": ("0", "1"),
    "TCP_CONGESTION": ("reno", "cubic"),
    "TCP_BPF_SNDCWND_CLAMP": ("20", "30"),
    "TCP_BPF_IW": ("11", "13"),
    "SO_MAX_PACING_RATE": ("500MB/s", "700MB/s"),
    "TCP_NOTSENT_LOWAT": ("16K", "32K"),
    "TCP_NODELAY": ("on", "off"),
    "TCP_MAXSEG": ("1000", "1200"),
    "TCP_WINDOW_CLAMP": ("20000", "30000"),
    "TCP_SAVE_SYN": ("1", "2"),
    "TCP_SYNCNT": ("3", "4"),
    "TCP_USER_TIMEOUT": ("20s", "30s"),
    "TCP_KEEPIDLE": ("60s", "70s"),
    "TCP_KEEPINTVL": ("10s", "11s"),
    "TCP_KEEPCNT": ("5", "6"),
    "SO_KEEPALIVE": ("on", "off"),
    "TCP_THIN_LINEAR_TIMEOUTS": ("on", "off"),
    "TCP_BPF_DELACK_MAX": ("40ms", "80ms"),
    "TCP_BPF_RTO_MIN": ("40ms", "80ms"),
    "TCP_RTO_MAX_MS": ("5s", "6s"),
    "IP_TOS": ("AF11", "AF41"),
    "IPV6_TCLASS": ("AF21", "AF31"),
    "IPV6_AUTOFLOWLABEL": ("on", "off"),
    "SO_PRIORITY": ("3", "5"),
    "TIMEOUT_INIT": ("1s", "2s"),
    "RWND_INIT": ("10", "12"),
    "NEEDS_ECN": ("on", "off"),
    "BASE_RTT": ("50ms", "60ms"),
}

# Where getsockopt has another name for it, or TCP_INFO shows it: level, name, offset and length of
# what is filled in.
TCP_INFO = 11
READ_AS = {
    "SO_BINDTODEVICE": (SOL_SOCKET, 62, 0, 4),
    "SO_BINDTOIFINDEX": (SOL_SOCKET, 62, 0, 4),
    "TCP_BPF_SNDCWND_CLAMP": (TCP, TCP_INFO, 76, 4),  # sets tcpi_snd_ssthresh
    "TCP_BPF_IW": (TCP, TCP_INFO, 80, 4),             # tcpi_snd_cwnd
    "TCP_MAXSEG": (TCP, TCP_INFO, 84, 4),             # tcpi_advmss
    "TCP_BPF_DELACK_MAX": (TCP, 46, 0, 4),
    "TCP_BPF_RTO_MIN": (TCP, 45, 0, 4),
    "TCP_CONGESTION": (TCP, 13, 0, 16),
}
# What getsockopt does not know; of these two it is an application's only from some kernel on.
UNREADABLE = "-"
UNREADABLE_BEFORE_6_18 = {"TCP_BPF_DELACK_MAX", "TCP_BPF_RTO_MIN"}
# On TCP the ECN bits are the kernel's.
MASKS = {"IP_TOS": 0xFC, "IPV6_TCLASS": 0xFC}

# What a socket of each role goes through: (direction in the option table, what its hooks begin
# with), and, of what those do not set, what it has of its listener.
ROLES = {
    "connect": (("connect", "tcp-"),),
    "accept": (("accept", "tcp-"), ("listen", "tcp-")),
    "listen": (("listen", "tcp-"),),
    "udp-listen": (("listen", "udp-bind"),),
    "udp-connect": (("connect", "udp-connect"),),
    "udp-send": (("connect", "udp-send"),),
}
FAMILIES = ("ipv4", "ipv6")


def missing(rows):
    """Rows that have no values here, and values that have no row."""
    return {row["name"] for row in rows} ^ set(VALUES)


def usable(rows):
    return [row for row in rows if row["supported"]]


def settings(rows, which, direction=None):
    """{name: value} of one of the two policies; with a direction: what a rule for it may have."""
    return {row["name"]: VALUES[row["name"]][which] for row in usable(rows)
            if VALUES[row["name"]][which] and (not direction or row["hooks"][direction])}


def flow(values):
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def block(values):
    return f"options: {{ {flow(values)} }}"


def rule(name, when, values):
    return f"      - name: {name}\n        when: {{ {when} }}\n        {block(values)}\n"


def option_lines(rows):
    """Of the plan for whole.c."""
    for row in rows:
        level, optname, offset, length = READ_AS.get(
            row["name"], (LEVELS.get(row["level"], -1), row["optname"], 0, 4))
        yield (f"option {row['name']} {level} {optname} {offset} {length} "
               f"{MASKS.get(row['name'], 0xFF)}\n")


def hook_of(row, role):
    """The stage that has the last word on the option in a socket of this role, or None."""
    for direction, prefix in ROLES[role]:
        stages = [stage for stage in row["hooks"][direction] if stage.startswith(prefix)]
        if stages:
            return stages[-1]
    return None


def differences(rows, one, other):
    """(what is to be expected, as lines of the plan; {role/family: names that show no difference}).

    one, other: {(role/family, option's number): value}, as whole.c saw them under each policy.
    """
    lines, hidden = [], {}
    for role in ROLES:
        for family in FAMILIES:
            place = f"{role}/{family}"
            for number, row in enumerate(rows):
                hook = hook_of(row, role)
                seen = one.get((place, number)), other.get((place, number))
                if not hook or hook.startswith(REPLY) or not row["supported"]:
                    continue
                if seen == (UNREADABLE, UNREADABLE) and row["name"] in UNREADABLE_BEFORE_6_18:
                    continue
                if seen[0] == seen[1]:
                    hidden.setdefault(place, set()).add(row["name"])
                else:
                    lines.append(f"expect {place} {number} {hook} {seen[0]} {seen[1]}\n")
    return lines, hidden
