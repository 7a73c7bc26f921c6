// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "base/progress.h"
#include "daemon/existing.h"
#include "report/applied.h"

#define ALIVE_NSEC 200000000

struct existing {
	const char *pin_dir; /* borrowed */
	pthread_t thread;
};

static int apply(const char *pin_dir, struct walk_totals *totals)
{
	const struct walk_request request = { .mode = WALK_APPLY, .only_applying = true };
	_cleanup_(walker_close) struct walker *w = NULL;
	int r = walker_open(pin_dir, &w);

	return r < 0 ? r : walker_run(w, &request, totals, NULL, NULL);
}

static void *run(void *p)
{
	const struct existing *e = p;
	struct walk_totals totals = { 0 };
	_cleanup_free_ char *sentence = NULL;
	int r = apply(e->pin_dir, &totals);

	if (r < 0)
		log_warning_errno(r, "Cannot set what has changed on open sockets (`sockpol apply` "
				     "does it by hand), ignoring");
	else if ((sentence = applied_sentence(&totals)))
		log_info("existing: %s", sentence);
	walk_totals_clear(&totals);
	malloc_trim(0);
	return NULL;
}

struct existing *existing_start(const char *pin_dir)
{
	struct existing *e = calloc(1, sizeof(*e));
	int r = e ? 0 : ENOMEM;

	if (e)
		e->pin_dir = pin_dir;
	if (r == 0)
		r = pthread_create(&e->thread, NULL, run, e);
	if (r == 0)
		return e;
	log_warning_errno(r, "Cannot set what has changed on open sockets, ignoring");
	free(e);
	return NULL;
}

void existing_finish(struct existing *e)
{
	struct timespec until;

	if (!e)
		return;
	do {
		progress_made();
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += ALIVE_NSEC;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
	} while (pthread_timedjoin_np(e->thread, NULL, &until) == ETIMEDOUT);
	free(e);
}
