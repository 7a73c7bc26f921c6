# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The eight options of eight.h as a policy says them, and as an application then sees them."""

EIGHT = {"SO_SNDBUF": "128K", "TCP_CONGESTION": "cubic", "TCP_NOTSENT_LOWAT": "128K",
         "TCP_USER_TIMEOUT": "30s", "TCP_KEEPIDLE": "60s", "TCP_KEEPINTVL": "10s",
         "TCP_KEEPCNT": 3, "SO_KEEPALIVE": "on"}
# Others, for rules that do not hold.
OTHER = {**EIGHT, "TCP_KEEPCNT": 7, "TCP_KEEPIDLE": "90s"}

# As `load show` prints them: SO_SNDBUF is doubled.
SHOWN = ["262144", "cubic", "131072", "30000", "60", "10", "3", "1"]
