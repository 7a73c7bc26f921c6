/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* FNV-1a, 32 bits: tells contents apart, unless somebody wants them to collide. */
#ifndef SOCKPOL_DIGEST_H
#define SOCKPOL_DIGEST_H

#include <stddef.h>
#include <stdint.h>

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

#endif
