// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "host/capabilities.h"
#include "base/log.h"

static const struct {
	unsigned number;
	const char *name;
} needed[] = {
	{ CAP_BPF, "CAP_BPF" },
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
	{ CAP_PERFMON, "CAP_PERFMON" },
};

static int read_effective(uint64_t *ret)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = (uint64_t)data[1].effective << 32 | data[0].effective;
	return 0;
}

int capabilities_check(void)
{
	char missing[64] = "";
	uint64_t effective = 0;

	/* Where they cannot be told, loading reports what is wrong.  CAP_SYS_ADMIN includes them
	 * all. */
	if (read_effective(&effective) < 0 || effective & 1ull << CAP_SYS_ADMIN)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (effective & 1ull << needed[i].number)
			continue;
		if (missing[0])
			strcat(missing, ", ");
		strcat(missing, needed[i].name);
	}
	if (!missing[0])
		return 0;
	log_error("Not permitted: an agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and "
		  "these are missing: %s",
		  missing);
	return -EPERM;
}
