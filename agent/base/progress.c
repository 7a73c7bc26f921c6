// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <time.h>

#include "base/progress.h"
#include "base/util.h"

static progress_fn *told;
static time_t last; /* when, in seconds */

void progress_tell(progress_fn *fn)
{
	told = fn;
	last = 0;
}

void progress_made(void)
{
	struct timespec now;

	if (!told)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec == last)
		return;
	last = now.tv_sec;
	told();
}
