# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How often a run repeats what can be repeated: SOCKPOL_TEST_SIZE."""

import os

SIZES = ("short", "full", "long")  # make test, .ci/run, make test-long


def sized(short, full, long):
    """The number that this run's size asks for."""
    size = os.environ.get("SOCKPOL_TEST_SIZE") or "short"
    if size not in SIZES:
        raise SystemExit(f"SOCKPOL_TEST_SIZE={size}: known are {', '.join(SIZES)}")
    return {"short": short, "full": full, "long": long}[size]
