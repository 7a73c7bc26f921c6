# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The eight options of eight.h as policies and as calls say them, and as an application sees them."""

import socket

EIGHT = {"SO_SNDBUF": "128K", "TCP_CONGESTION": "cubic", "TCP_NOTSENT_LOWAT": "128K",
         "TCP_USER_TIMEOUT": "30s", "TCP_KEEPIDLE": "60s", "TCP_KEEPINTVL": "10s",
         "TCP_KEEPCNT": 3, "SO_KEEPALIVE": "on"}
# Others, for rules that do not hold.
OTHER = {**EIGHT, "TCP_KEEPCNT": 7, "TCP_KEEPIDLE": "90s"}

# As (level, name, value), where there is no compiler to read eight.h; in the same order.
CALLS = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 131072),
         (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic\0"),
         (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 131072),
         (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30000),
         (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
         (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
         (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
         (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]

# As `load show` prints them: SO_SNDBUF is doubled.
SHOWN = ["262144", "cubic", "131072", "30000", "60", "10", "3", "1"]
