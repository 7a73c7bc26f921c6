# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who has the last word about an option, as policies say it, and what comes of an application's calls."""

import struct


def said(value, application):
    return f"{{ value: {value}, application: {application} }}"


def hold(value):
    return said(value, "hold")


def respect(value):
    return said(value, "respect")


def deny(value):
    return said(value, "deny")


def between(least=None, most=None, value=None, more=""):
    words = {"value": value, "min": least, "max": most}
    return "{ %s%s }" % (", ".join(f"{key}: {number}" for key, number in words.items()
                                   if number is not None), more)


def try_to(call, *arguments):
    """The errno of a call, 0 if it succeeded."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


def try_set(one, option, value, way="call"):
    """The errno of setsockopt(2) with an integer, or with these bytes."""
    data = struct.pack("=i", value) if isinstance(value, int) else value
    return one.set_all(way, [(*option, data)])[0]
