# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The conformance table: each option's effect, wherever the option table says that it has one."""
