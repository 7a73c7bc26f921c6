# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Medians and their 95 % intervals, by order statistics: nothing is assumed of the distribution."""

import math
import random
import statistics


def interval(samples):
    """{"median", "low", "high", "n"}; the interval holds the median with at least 95 %."""
    ordered, n = sorted(samples), len(samples)
    rank = 0  # samples left out at either end
    tail = 0.0
    for k in range(n // 2):
        tail += math.comb(n, k) / 2 ** n
        if tail > 0.025:
            break
        rank = k
    return {"median": statistics.median(ordered), "low": ordered[rank],
            "high": ordered[n - 1 - rank], "n": n}


def ratios(over, under):
    """Pair by pair; a pair without a cost to compare with (noise) says nothing."""
    return [one / other for one, other in zip(over, under) if other > 0]


def median_ratios(over, under, size):
    """One for each of the times that all was set up, which have `size` rounds each."""
    return [statistics.median(ratios(over[at:at + size], under[at:at + size]))
            for at in range(0, len(over), size)]


def differences(these, those):
    return [one - other for one, other in zip(these, those)]


def shuffled(items, number):
    """In another order each round, the same in each run: who comes after whom shall not matter."""
    items = list(items)
    random.Random(number).shuffle(items)
    return items
