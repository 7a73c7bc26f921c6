// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "option/sockopt.h"

/* Under ASan too, what cannot be had is NULL, as everywhere. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

#define LEVEL 6
#define NAME  13

static void inline_value(void **state)
{
	struct sockopt s;
	int value = -1;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, sizeof(int)), 0);
	assert_int_equal(s.level, LEVEL);
	assert_int_equal(s.name, NAME);
	assert_ptr_equal(sockopt_data(&s), s.inside);
	assert_int_equal(sockopt_getint(&s, &value), 0);
	assert_int_equal(value, 0); /* zero until set */
	assert_int_equal(sockopt_setint(&s, INT32_MIN), 0);
	assert_int_equal(sockopt_getint(&s, &value), 0);
	assert_int_equal(value, INT32_MIN);
	sockopt_destroy(&s);
}

static void allocated_value(void **state)
{
	static const char text[16] = "0123456789abcde";
	char got[sizeof(text)] = "";
	struct sockopt s;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, sizeof(text)), 0);
	assert_int_equal(sockopt_set(&s, text, sizeof(text)), 0);
	assert_true((const void *)sockopt_data(&s) != (const void *)s.inside);
	assert_int_equal(sockopt_get(&s, got, sizeof(got)), 0);
	assert_string_equal(got, text);
	sockopt_destroy(&s);
}

/* 8 bytes lie inside, 9 do not. */
static void boundary(void **state)
{
	struct sockopt s;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, 8), 0);
	assert_ptr_equal(sockopt_data(&s), s.inside);
	sockopt_destroy(&s);
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, 9), 0);
	assert_ptr_equal(sockopt_data(&s), s.allocated);
	sockopt_destroy(&s);
}

static void wrong_size(void **state)
{
	char buf[16] = "unchanged";
	struct sockopt s;
	int value = 7;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, sizeof(int)), 0);
	assert_int_equal(sockopt_setint(&s, 42), 0);
	assert_int_equal(sockopt_set(&s, buf, sizeof(int) - 1), -EINVAL);
	assert_int_equal(sockopt_set(&s, buf, sizeof(int) + 1), -EINVAL);
	assert_int_equal(sockopt_set(&s, buf, 0), -EINVAL);
	assert_int_equal(sockopt_get(&s, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(sockopt_get(&s, buf, 1), -EINVAL);
	assert_string_equal(buf, "unchanged");
	assert_int_equal(sockopt_getint(&s, &value), 0);
	assert_int_equal(value, 42); /* as it was */
	sockopt_destroy(&s);

	assert_int_equal(sockopt_init(&s, LEVEL, NAME, 3), 0);
	assert_int_equal(sockopt_setint(&s, 1), -EINVAL);
	value = 7;
	assert_int_equal(sockopt_getint(&s, &value), -EINVAL);
	assert_int_equal(value, 7);
	sockopt_destroy(&s);
}

static void unset_is_allocated_by_set(void **state)
{
	static const char text[12] = "hello world";
	char got[sizeof(text)];
	struct sockopt s;
	int value = 7;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, 0), 0);
	assert_null(sockopt_data(&s));
	assert_int_equal(sockopt_getint(&s, &value), -EINVAL);
	assert_int_equal(sockopt_get(&s, got, 0), -EINVAL);
	assert_int_equal(sockopt_set(&s, text, 0), -EINVAL);
	assert_int_equal(sockopt_set(&s, text, sizeof(text)), 0);
	assert_int_equal(s.size, sizeof(text));
	assert_int_equal(s.level, LEVEL);
	assert_int_equal(s.name, NAME);
	assert_int_equal(sockopt_get(&s, got, sizeof(got)), 0);
	assert_string_equal(got, text);
	/* It has its size now. */
	assert_int_equal(sockopt_setint(&s, 1), -EINVAL);
	sockopt_destroy(&s);
}

static void destroy_and_init_to_change(void **state)
{
	static const char text[9] = "12345678";
	struct sockopt s;
	int value;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, sizeof(text)), 0);
	assert_int_equal(sockopt_set(&s, text, sizeof(text)), 0);
	assert_int_equal(sockopt_setint(&s, 1), -EINVAL);
	sockopt_destroy(&s);
	assert_null(sockopt_data(&s));
	sockopt_destroy(&s); /* nothing is left to be freed twice */
	assert_int_equal(sockopt_init(&s, LEVEL + 1, NAME + 1, sizeof(int)), 0);
	assert_int_equal(sockopt_setint(&s, 5), 0);
	assert_int_equal(sockopt_getint(&s, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(s.level, LEVEL + 1);
	sockopt_destroy(&s);
}

static void out_of_memory(void **state)
{
	struct sockopt s = { .level = -7 };
	/* Volatile: the compiler is not to see that it is too much. */
	volatile size_t too_much = PTRDIFF_MAX;

	(void)state;
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, too_much), -ENOMEM);
	assert_int_equal(s.level, -7);
	assert_int_equal(sockopt_init(&s, LEVEL, NAME, 0), 0);
	assert_int_equal(sockopt_set(&s, &s, too_much), -ENOMEM);
	assert_null(sockopt_data(&s));
}

static void copy_is_deep(void **state)
{
	static const char text[10] = "123456789";
	struct sockopt a, b;

	(void)state;
	assert_int_equal(sockopt_init(&a, LEVEL, NAME, sizeof(text)), 0);
	assert_int_equal(sockopt_set(&a, text, sizeof(text)), 0);
	assert_int_equal(sockopt_copy(&b, &a), 0);
	assert_int_equal(b.level, LEVEL);
	assert_int_equal(b.name, NAME);
	assert_int_equal(b.size, sizeof(text));
	assert_true(sockopt_data(&a) != sockopt_data(&b));
	sockopt_destroy(&a);
	assert_string_equal(sockopt_data(&b), text);
	sockopt_destroy(&b);

	assert_int_equal(sockopt_init(&a, LEVEL, NAME, 0), 0);
	assert_int_equal(sockopt_copy(&b, &a), 0);
	assert_int_equal(b.level, LEVEL);
	assert_int_equal(b.name, NAME);
	assert_null(sockopt_data(&b));
}

/* As an array that grows does it. */
static void moved_by_assignment(void **state)
{
	struct sockopt a, b;
	int value = 0;

	(void)state;
	assert_int_equal(sockopt_init(&a, LEVEL, NAME, sizeof(int)), 0);
	assert_int_equal(sockopt_setint(&a, 77), 0);
	b = a;
	memset(&a, 0xff, sizeof(a));
	assert_ptr_equal(sockopt_data(&b), b.inside);
	assert_int_equal(sockopt_getint(&b, &value), 0);
	assert_int_equal(value, 77);
	sockopt_destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inline_value),
		cmocka_unit_test(allocated_value),
		cmocka_unit_test(boundary),
		cmocka_unit_test(wrong_size),
		cmocka_unit_test(unset_is_allocated_by_set),
		cmocka_unit_test(destroy_and_init_to_change),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(copy_is_deep),
		cmocka_unit_test(moved_by_assignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
