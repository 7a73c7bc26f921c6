# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Siblings of the faults of faults_sockets.py: the same kind, on another socket or another option."""

from faults_sockets import FRESH_KINDS, fresh, mark
from other_sockets import Governed, rule
from harness.result import check


# --- S4: what socket(2) gives --------------------------------------------------------------------

def test_s4_prefixes_tell_the_family(box):
    """No IPv4 socket has an IPv6 address, so such a rule leaves nothing open there."""
    here = Governed(box, "s4-prefix", {"SO_MARK": 1}, rule('remote: "fd00::/8"', "far", SO_MARK=2),
                    rule('direction: listen, local: "fd00::/8"', "own", SO_MARK=3))
    seen = {}
    for name in ("tcp", "udp"):
        for version in (4, 6):
            with fresh(here, version, *FRESH_KINDS[name]) as one:
                seen[name, version] = mark(one)
    check("marks of new sockets", {("tcp", 4): 1, ("tcp", 6): 0, ("udp", 4): 1, ("udp", 6): 0}, seen)
