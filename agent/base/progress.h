/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Work that may take long says from within that it goes on, so that nobody takes it for hanging. */
#ifndef SOCKPOL_PROGRESS_H
#define SOCKPOL_PROGRESS_H

/* Is called at most once a second; NULL: nobody wants to know. */
typedef void progress_fn(void);
void progress_tell(progress_fn *fn);

/* One more part is done: a file, a policy, a map. */
void progress_made(void);

#endif
