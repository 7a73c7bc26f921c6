/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a fuzz target shares with libFuzzer, and with replay.c, which takes libFuzzer's place. */
#ifndef SOCKPOL_FUZZ_H
#define SOCKPOL_FUZZ_H

#include <stdint.h>

#include "base/util.h"

int LLVMFuzzerInitialize(int *argc, char ***argv); /* once, first */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input; also with NDEBUG, and told apart from what the code asserts. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
