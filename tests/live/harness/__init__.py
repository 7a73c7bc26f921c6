# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What every live test needs: a sandbox, agents, unaware programs, and eyes on the wire."""
