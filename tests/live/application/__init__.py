# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Who has the last word about an option: each that can be held, in each mode, at each moment."""
