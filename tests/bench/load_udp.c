/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* UDP: connects to random peers, datagrams from a socket neither bound nor connected, and sockets
 * that are made and closed. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define FIRST_UNICAST 0x01000000u /* 1.0.0.0 */
#define UNICAST_SIZE  0xdf000000u /* to 223.255.255.255 */
#define DISCARD_PORT  9

/* IPv6: 2001:db8:0:0::/64 and the next ones, where also the second half of an address is looked up.
 */
#define DOCUMENTATION 0x20010db8u
#define N_NETWORKS    0x10000u

/* xorshift64* (Vigna, 2016): a few cycles, and the same addresses in each process. */
static uint32_t random_number(void)
{
	static uint64_t state = 1;

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 2685821657736338717ull) >> 32);
}

static int connect_to(int family, const void *to, socklen_t size)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = connect(fd, to, size) < 0 ? -errno : 0;
	close(fd);
	/* Some addresses may be none to connect to; the hook has run by then. */
	return r == -ENETUNREACH || r == -EACCES || r == -EINVAL || r == -EADDRNOTAVAIL ? 0 : r;
}

static int connect_once(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT) };

	to.sin_addr.s_addr = htonl(FIRST_UNICAST + random_number() % UNICAST_SIZE);
	return connect_to(AF_INET, &to, sizeof(to));
}

static int connect_once_ipv6(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT) };

	to.sin6_addr.s6_addr32[0] = htonl(DOCUMENTATION);
	to.sin6_addr.s6_addr32[1] = htonl(random_number() % N_NETWORKS);
	to.sin6_addr.s6_addr32[2] = random_number();
	to.sin6_addr.s6_addr32[3] = random_number();
	return connect_to(AF_INET6, &to, sizeof(to));
}

int run_udp_connects(bool v6, unsigned long n)
{
	int r = 0;

	while (n-- && r == 0)
		r = v6 ? connect_once_ipv6() : connect_once();
	return r;
}

int run_sockets(unsigned long n)
{
	while (n--) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		close(fd);
	}
	return 0;
}

static int open_sender(bool to_device)
{
	static const char loopback[] = "lo";
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && to_device &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, loopback, sizeof(loopback)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int run_sends(struct sockets *s, bool to_device, unsigned long n)
{
	int *sender = to_device ? &s->device_sender : &s->sender;
	static const char datagram[64];
	struct sockaddr_in to;
	socklen_t size = sizeof(to);

	if (*sender < 0)
		*sender = open_sender(to_device);
	if (*sender < 0 || getsockname(s->deaf, (struct sockaddr *)&to, &size) < 0)
		return -errno;
	while (n--)
		if (sendto(*sender, datagram, sizeof(datagram), 0, (const struct sockaddr *)&to,
			   sizeof(to)) < 0)
			return -errno;
	return 0;
}
