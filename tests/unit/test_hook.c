// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/hook.h"
#include "policy/stage.h"

static void every_stage_has_a_hook(void **state)
{
	(void)state;
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		uint64_t stages = 0;

		assert_int_not_equal(hook_set(BIT(s)), 0);
		for (int i = 0; i < HOOK_MAX; i++)
			stages |= hook_table[i].stages;
		assert_true(stages & BIT(s));
	}
	assert_int_equal(hook_set(0), 0);
	/* By the kernel's name for a program the next agent knows it for ours. */
	for (int i = 0; i < HOOK_MAX; i++)
		assert_true(strlen(hook_table[i].name) < BPF_OBJ_NAME_LEN);
}

static void only_what_is_due_is_attached(void **state)
{
	const uint32_t binds = BIT(HOOK_BIND4) | BIT(HOOK_BIND6),
		       connects = BIT(HOOK_CONNECT4) | BIT(HOOK_CONNECT6),
		       sends = BIT(HOOK_SENDMSG4) | BIT(HOOK_SENDMSG6);

	(void)state;
	assert_int_equal(hook_set(BIT(SP_STAGE_TCP_BIND)), binds);
	assert_int_equal(hook_set(BIT(SP_STAGE_TCP_CONNECT)), connects);
	assert_int_equal(hook_set(BIT(SP_STAGE_TCP_LISTEN)), BIT(HOOK_SOCK_OPS));
	/* Was the socket bound? */
	assert_int_equal(hook_set(BIT(SP_STAGE_UDP_CONNECT)), connects | binds);
	assert_int_equal(hook_set(BIT(SP_STAGE_UDP_SEND)), sends | binds);
	assert_int_equal(hook_set(BIT(SP_STAGE_UNIX)),
			 BIT(HOOK_CONNECT_UNIX) | BIT(HOOK_SENDMSG_UNIX));
	assert_int_equal(hook_set(BIT(SP_STAGE_LOCAL_SOCKET)), BIT(HOOK_POST_CREATE));
	assert_int_equal(hook_set(SP_DUE_DEVICE_NAME), BIT(HOOK_POST_CREATE));
}

static void what_a_kernel_lacks_is_not_due(void **state)
{
	const uint64_t stages = BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UNIX);
	const uint32_t connects = BIT(HOOK_CONNECT4) | BIT(HOOK_CONNECT6);
	char *names;

	(void)state;
	assert_int_equal(hook_set_there(stages, 0),
			 connects | BIT(HOOK_CONNECT_UNIX) | BIT(HOOK_SENDMSG_UNIX));
	assert_int_equal(hook_set_there(stages, BIT(SP_STAGE_UNIX)), connects);
	names = hook_names(connects | BIT(HOOK_SOCK_OPS));
	assert_string_equal(names, "sock_ops, connect4, connect6");
	free(names);
	names = hook_names(0);
	assert_string_equal(names, "");
	free(names);
}

static void hooks_of_stages_in_words(void **state)
{
	(void)state;
	assert_string_equal(stage_hooks(SP_STAGE_TCP_BIND), "bind4, bind6");
	assert_string_equal(stage_hooks(SP_STAGE_UDP_CONNECT), "connect4, connect6");
	assert_string_equal(stage_hooks(SP_STAGE_UDP_SEND), "sendmsg4, sendmsg6");
	assert_string_equal(stage_hooks(SP_STAGE_TCP_SYN), "sock_ops TCP_CONNECT_CB");
	assert_string_equal(stage_hooks(SP_STAGE_TCP_LISTEN), "sock_ops TCP_LISTEN_CB");
	assert_string_equal(stage_hooks(SP_STAGE_REPLY_PASSIVE), "sock_ops");
	assert_string_equal(stage_hooks(SP_STAGE_UNIX), "connect_unix, sendmsg_unix");
	assert_string_equal(stage_hooks(SP_STAGE_LOCAL_SOCKET), "post_create");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_stage_has_a_hook),
		cmocka_unit_test(only_what_is_due_is_attached),
		cmocka_unit_test(what_a_kernel_lacks_is_not_due),
		cmocka_unit_test(hooks_of_stages_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
