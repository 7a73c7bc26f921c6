# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The rows of the table: a figure, its interval, its bar, and whether that is met."""


class Row:
    """`most` or `least`: the bar.  Met if the favourable end of the interval meets it; or the median
    itself, which is asked for where the samples are few."""

    def __init__(self, figure, seen, unit="", most=None, least=None, digits=2, exact=False,
                 by_median=False):
        self.figure, self.seen, self.unit = figure, seen, unit
        self.most, self.least, self.digits = most, least, digits
        self.exact = exact  # one number, no interval
        self.ends = ("median", "median") if by_median else ("low", "high")

    @property
    def met(self):
        if self.most is not None:
            return self.seen[self.ends[0]] <= self.most
        return self.least is None or self.seen[self.ends[1]] >= self.least

    def bar(self):
        sign, bar = ("≤", self.most) if self.most is not None else ("≥", self.least)
        return "" if bar is None else f"{sign} {bar:g}{self.unit}"

    def measured(self):
        median, low, high = (f"{self.seen[key]:.{self.digits}f}"
                             for key in ("median", "low", "high"))
        return f"{median}{self.unit}" + ("" if self.exact else f" [{low}, {high}]")

    def verdict(self):
        if self.most is None and self.least is None:
            return ""
        return "met" if self.met else "not met"

    def cells(self):
        return (self.figure, self.measured(), self.bar(), self.verdict())

    def json(self):
        return {"figure": self.figure, **self.seen, "unit": self.unit.strip(), "digits": self.digits,
                "most": self.most, "least": self.least, "met": self.met,
                "cells": self.cells()}


def exactly(number):
    return {"median": number, "low": number, "high": number, "n": 1}


def table(heads, rows):
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in (heads, ["-" * width for width in widths], *rows)]
    return "\n".join(lines)
