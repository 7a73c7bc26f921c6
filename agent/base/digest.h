/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Digests tell contents apart, unless somebody wants them to collide.  Those of 32 bits are FNV-1a.
 */
#ifndef SOCKPOL_DIGEST_H
#define SOCKPOL_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_START 2166136261u

static inline uint32_t digest_bytes(uint32_t digest, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		digest = (digest ^ ((const unsigned char *)bytes)[i]) * 16777619u;
	return digest;
}

/* Adds a number, with the same outcome on machines of either byte order. */
static inline uint32_t digest_number(uint32_t digest, uint32_t n)
{
	for (unsigned shift = 0; shift < 32; shift += 8) {
		const unsigned char byte = (unsigned char)(n >> shift);

		digest = digest_bytes(digest, &byte, 1);
	}
	return digest;
}

/* Adds bytes to a digest of 64 bits, a word at a time: for contents of megabytes.  It is the same
 * only on machines of one byte order. */
static inline uint64_t digest_large(uint64_t digest, const void *bytes, size_t size)
{
	const unsigned char *p = (const unsigned char *)bytes;
	uint64_t word = size;

	for (;;) {
		digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
		digest ^= digest >> 32;
		if (!size)
			return digest;
		word = 0;
		memcpy(&word, p, size < sizeof(word) ? size : sizeof(word));
		p += sizeof(word);
		size -= size < sizeof(word) ? size : sizeof(word);
	}
}

#endif
