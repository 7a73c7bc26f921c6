// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/counters.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct named {
	struct sp_counter counter; /* a key, hashed whole: no bytes behind the names' NULs */
	uint32_t index;
	UT_hash_handle by_name, by_index;
};

struct counters {
	struct named *by_name, *by_index;
	uint32_t next; /* greater than all indices in use */
};

static int add(struct counters *c, const struct sp_counter *counter, uint32_t index)
{
	struct named *one = calloc(1, sizeof(*one));

	if (!one)
		return -ENOMEM;
	snprintf(one->counter.policy, SP_NAME_SIZE, "%.*s", SP_NAME_SIZE - 1, counter->policy);
	snprintf(one->counter.rule, SP_NAME_SIZE, "%.*s", SP_NAME_SIZE - 1, counter->rule);
	one->index = index;
	HASH_ADD(by_index, c->by_index, index, sizeof(one->index), one);
	if (!one->by_index.tbl) {
		free(one);
		return -ENOMEM;
	}
	HASH_ADD(by_name, c->by_name, counter, sizeof(one->counter), one);
	if (index >= c->next)
		c->next = index + 1;
	return one->by_name.tbl ? 0 : -ENOMEM;
}

static int add_pinned(uint32_t index, const struct sp_counter *counter, uint64_t applied,
		      void *userdata)
{
	(void)applied;
	return add(userdata, counter, index);
}

int counters_read(const struct pinned *p, struct counters **ret)
{
	_cleanup_(counters_free) struct counters *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->next = 1; /* 0 is never used */
	r = p ? pinned_each_counter(p, add_pinned, c) : 0;
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

void counters_free(struct counters *c)
{
	struct named *one, *next;

	if (!c)
		return;
	HASH_CLEAR(by_name, c->by_name);
	HASH_ITER (by_index, c->by_index, one, next) {
		HASH_DELETE(by_index, c->by_index, one);
		free(one);
	}
	free(c);
}

const struct sp_counter *counters_at(const struct counters *c, uint32_t index)
{
	const struct named *one;

	HASH_FIND(by_index, c->by_index, &index, sizeof(index), one);
	return one ? &one->counter : NULL;
}

uint32_t counters_index(const struct policy *p, const char *rule, void *userdata)
{
	struct counters *c = userdata;
	struct sp_counter key = { 0 };
	const struct named *one;

	snprintf(key.policy, SP_NAME_SIZE, "%s", p->name);
	snprintf(key.rule, SP_NAME_SIZE, "%s", rule);
	HASH_FIND(by_name, c->by_name, &key, sizeof(key), one);
	if (one)
		return one->index;
	return add(c, &key, c->next) == 0 ? c->next - 1 : 0;
}
