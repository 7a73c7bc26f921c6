// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/utf8.h"

int utf8_decode(const char *s, size_t n, uint32_t *ret)
{
	/* By number of continuation bytes: the smallest character that needs so many. */
	static const uint32_t smallest[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)s[0];
	unsigned more;
	uint32_t c;

	if (first < 0x80) {
		*ret = first;
		return 1;
	}
	if (first >= 0xf8 || first < 0xc0)
		return -EINVAL;
	more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
	if (n <= more)
		return -EINVAL;
	c = first & (0x3fu >> more);
	for (unsigned i = 1; i <= more; i++) {
		unsigned char byte = (unsigned char)s[i];

		if ((byte & 0xc0) != 0x80)
			return -EINVAL;
		c = c << 6 | (byte & 0x3f);
	}
	if (c < smallest[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return -EINVAL;
	*ret = c;
	return (int)more + 1;
}

bool utf8_printable(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return false;
	/* Zero width, bidi marks, line and paragraph separators, embeddings, isolates, the BOM. */
	return !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
	       !(c >= 0x2066 && c <= 0x2069) && c != 0xfeff;
}

char *utf8_escape(const char *s)
{
	size_t left = strlen(s);
	char *copy = malloc(left * strlen("\\xNN") + 1);
	char *to = copy;

	if (!copy)
		return NULL;
	while (left) {
		uint32_t c;
		int n = utf8_decode(s, left, &c);

		if (n > 0 && utf8_printable(c)) {
			to = mempcpy(to, s, (size_t)n);
		} else {
			n = n > 0 ? n : 1;
			for (int i = 0; i < n; i++)
				to += sprintf(to, "\\x%02x", (unsigned char)s[i]);
		}
		s += n;
		left -= (size_t)n;
	}
	*to = '\0';
	return copy;
}
