#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What does it cost to add something?  Applies a patch of tests/examples to a copy of the sources, builds that, and
# runs the unit tests that the patch touches.  The patch's first line, "At most N files: ...", is the limit.
#
#   tests/lint/examples.sh PATCH DIRECTORY SOURCE...
#
# The copy lies in DIRECTORY, which is made anew.
set -eu

fail() {
	echo "$patch: $1" >&2
	exit 1
}

patch=$1 copy=$2
shift 2
limit=$(sed -n '1s/^At most \([0-9][0-9]*\) files: ..*/\1/p' "$patch")
[ "$limit" ] || fail "the first line is not 'At most N files: WHAT'"
rm -rf "$copy"
mkdir -p "$copy"
tar -c --exclude=__pycache__ "$@" | tar -x -C "$copy"
patch --quiet --forward --strip=1 --fuzz=0 --no-backup-if-mismatch --directory="$copy" <"$patch" ||
	fail "it does not apply"
touched=$(for source; do diff --recursive --brief --new-file --exclude=__pycache__ "$source" "$copy/$source" || true; done |
	sed 's/^Files \(.*\) and .* differ$/\1/')
n=$(echo "$touched" | wc -l)
[ "$touched" ] || fail "it changes nothing"
[ "$n" -le "$limit" ] || fail "it touches $n files, more than $limit: $(echo "$touched" | tr '\n' ' ')"
tests=$(echo "$touched" | sed -n 's|^tests/unit/\(test_.*\)\.c$|build/unit/\1|p')
# shellcheck disable=SC2086 # words, none of which has a blank
${MAKE:-make} -C "$copy" O=build all $tests >"$copy/log" 2>&1 || {
	cat "$copy/log" >&2
	fail "it does not build"
}
for test in $tests; do
	"$copy/$test" >"$copy/log" 2>&1 || {
		cat "$copy/log" >&2
		fail "$test fails"
	}
done
