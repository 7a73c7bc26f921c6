// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "daemon/agent.h"
#include "host/cgroup.h"
#include "host/host.h"
#include "daemon/control.h"
#include "base/diag.h"
#include "daemon/governor.h"
#include "daemon/last_good.h"
#include "base/log.h"
#include "report/metrics.h"
#include "report/overview.h"
#include "daemon/metrics_file.h"
#include "kernel/kernel.h"
#include "kernel/pin_dir.h"
#include "kernel/pinned.h"
#include "kernel/programs.h"
#include "base/utf8.h"

#define DIAGNOSTICS_REPLY_MAX 65536 /* bytes; the rest is in the journal */

#define RETRY_FIRST_USEC (5 * 1000000ull)
#define RETRY_LAST_USEC	 (600 * 1000000ull)

DEFINE_CLEANUP(sd_event *, sd_event_unref)
DEFINE_CLEANUP(sd_event_source *, sd_event_source_unref)

/* The source of the configuration in force. */
enum source {
	SOURCE_FILES,	  /* files that this agent has read */
	SOURCE_PINS,	  /* what an earlier agent left */
	SOURCE_LAST_GOOD, /* see last_good.h */
	SOURCE_MAX,
};

static const char *const source_names[] = {
	[SOURCE_FILES] = "files",
	[SOURCE_PINS] = "pins",
	[SOURCE_LAST_GOOD] = "last-good",
};
static_assert(ARRAY_SIZE(source_names) == SOURCE_MAX, "a name for each source");

struct agent {
	const struct agent_options *options;
	int pin_fd; /* holds the lock */
	sd_event *event;
	struct control *control;
	struct metrics_file *metrics; /* NULL: not asked for */
	struct governor governor;
	bool degraded; /* the files are not what is in force */
	enum source source;
	char *source_dir;	 /* SOURCE_LAST_GOOD: the files; owned */
	bool to_keep;		 /* the files of what is in force ... */
	sd_event_source *keeper; /* ... by this, when there is time */
	sd_event_source *retry;	 /* of a start that failed, but not for the files */
	uint64_t retry_usec;
	bool unpinned;	   /* pins were removed, and cannot be made again */
	uint32_t mended;   /* BIT(enum hook_id): somebody detached them, and this load attached
			    * them again */
	char verdict[256]; /* of the last load, one line */
};

static void PRINTF_LIKE(2, 3) set_verdict(struct agent *a, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(a->verdict, sizeof(a->verdict), format, ap);
	va_end(ap);
	sd_notifyf(0, "STATUS=%s", a->verdict);
}

/* Whatever became of the load. */
static void say_what_was_mended(struct agent *a)
{
	_cleanup_free_ char *hooks = a->mended ? hook_names(a->mended) : NULL;
	char before[sizeof(a->verdict)];

	if (!hooks)
		return;
	memcpy(before, a->verdict, sizeof(before));
	set_verdict(a, "%.*s; attached again, as somebody had detached it: %s",
		    (int)sizeof(before) / 2, before, hooks);
}

/* Takes dir. */
static void come_from(struct agent *a, enum source source, char *dir)
{
	free(a->source_dir);
	a->source_dir = dir;
	a->source = source;
	a->to_keep = source == SOURCE_FILES && a->options->state_dir;
	if (a->to_keep)
		(void)sd_event_source_set_enabled(a->keeper, SD_EVENT_ONESHOT);
	else if (a->governor.config)
		config_drop_texts(a->governor.config);
}

/*
 * Files to force: see governor_load().  Logs what is wrong with them, but not the verdict.
 * *ret_diagnostics: the same as text, owned; NULL: memory is out.
 */
static int load(struct agent *a, char **ret_diagnostics)
{
	struct diags diags = { 0 };
	int r = governor_load(&a->governor, a->options->policy_dirs, &diags);
	char only[64] = "";
	size_t n;

	diags_log(&diags);
	a->degraded = r < 0;
	if (r == 0)
		come_from(a, SOURCE_FILES, NULL);
	if (r == -EBADMSG) {
		set_verdict(a, "refused: %zu error%s; what was in force stays", diags.n_errors,
			    plural(diags.n_errors));
	} else if (r < 0) {
		set_verdict(a, "failed: %s; what was in force stays", strerror(-r));
	} else {
		n = a->governor.config->n_policies;
		if (a->governor.only)
			snprintf(only, sizeof(only), ", attached at cgroup %" PRIu64 " only",
				 a->governor.only);
		set_verdict(a, "%zu %s in force%s%s", n, n == 1 ? "policy" : "policies", only,
			    a->unpinned ? "; they cannot be pinned, and end with the agent" : "");
	}
	say_what_was_mended(a);
	if (ret_diagnostics)
		*ret_diagnostics = diags_text(&diags, DIAGNOSTICS_REPLY_MAX);
	diags_clear(&diags);
	return r;
}

static int print_metrics(FILE *to, void *userdata)
{
	const struct agent *a = userdata;

	return metrics_read_by_agent(a->options->pin_dir, a->degraded, to);
}

/* Has the pin directory been removed, and perhaps been made again, since it was locked? */
static bool lost_pin_dir(const struct agent *a)
{
	struct stat ours, there;

	return fstat(a->pin_fd, &ours) < 0 || stat(a->options->pin_dir, &there) < 0 ||
	       ours.st_dev != there.st_dev || ours.st_ino != there.st_ino;
}

/*
 * What somebody unpinned works on while the agent lives, and with it only: so it is pinned again.
 * Returns 0 or a negative errno, logged.
 */
static int renew_pins(struct agent *a)
{
	struct kernel *k = a->governor.kernel;

	if (!k || !kernel_n_lost(k))
		return 0;
	if (lost_pin_dir(a)) {
		int fd = pin_dir_open(a->options->pin_dir);

		if (fd < 0)
			return fd;
		close(a->pin_fd);
		a->pin_fd = fd;
	}
	return kernel_mend(k, &a->mended);
}

/* *ret_text: what is wrong with the files, and the listeners for which the change comes too late.
 */
static int reload(struct agent *a, char **ret_text)
{
	_cleanup_free_ char *diagnostics = NULL, *listeners = NULL;
	int r;

	sd_notify(0, "RELOADING=1");
	a->mended = 0;
	a->unpinned = renew_pins(a) < 0;
	r = load(a, &diagnostics);
	listeners = governor_settle(&a->governor);
	if (ret_text)
		(void)sentence(ret_text, 0, "%s%s", diagnostics ? diagnostics : "",
			       listeners ? listeners : "");
	if (a->metrics)
		metrics_file_refresh(a->metrics);
	log_message(r < 0 ? LOG_ERR : LOG_INFO, "reload: %s", a->verdict);
	sd_notify(0, "READY=1");
	return r;
}

static int on_sighup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct agent *a = userdata;

	(void)s;
	(void)si;
	if (!a->control) /* it still waits for a bpffs */
		return 0;
	control_renew(a->control);
	reload(a, NULL);
	return 0;
}

static json_t *answer_reload(struct agent *a)
{
	_cleanup_free_ char *text = NULL;
	int r = reload(a, &text);
	json_t *reply = json_pack("{s:b, s:s, s:s}", "ok", r == 0, "message", a->verdict,
				  "diagnostics", text ? text : "");
	if (reply)
		return reply;
	/* Whatever is wrong with the text, the client must learn the outcome. */
	return json_pack("{s:b, s:s}", "ok", r == 0, "message", a->verdict);
}

/* A client may have another working directory. */
static json_t *absolute_path(const char *path)
{
	_cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

	return here ? json_sprintf("%s/%s", here, path) : json_string(path);
}

/* NULL: they cannot be told in JSON, or memory is out. */
static json_t *policy_dirs_json(const struct agent *a)
{
	json_t *dirs = json_array();

	for (const char *const *dir = a->options->policy_dirs; *dir; dir++)
		dirs = document_append(dirs, absolute_path(*dir));
	return dirs;
}

/* With the place of the pins: the client may mean another agent's. */
static json_t *answer_status(const struct agent *a)
{
	_cleanup_free_ char *real = realpath(a->options->pin_dir, NULL);
	_cleanup_free_ char *pins = utf8_escape(real ? real : a->options->pin_dir);
	const struct kernel *k = a->governor.kernel;
	json_t *reply =
		json_pack("{s:b, s:s, s:b, s:s, s:o, s:s, s:s?, s:I, s:o?}", "ok", 1, "message",
			  a->verdict, "degraded", a->degraded, "source", source_names[a->source],
			  "source_dir", document_string(a->source_dir), "version", SOCKPOL_VERSION,
			  "pin_dir", pins, "pins_lost", k ? (json_int_t)kernel_n_lost(k) : 0,
			  "policy_dirs", policy_dirs_json(a));
	struct stat st;

	if (reply && stat(a->options->pin_dir, &st) == 0) {
		json_object_set_new(reply, "pin_dir_device", json_integer((json_int_t)st.st_dev));
		json_object_set_new(reply, "pin_dir_inode", json_integer((json_int_t)st.st_ino));
	}
	if (reply && a->governor.config)
		json_object_set_new(reply, "unsupported", document_unsupported(a->governor.config));
	return reply;
}

static json_t *on_request(const char *command, void *userdata)
{
	struct agent *a = userdata;

	if (streq(command, "reload"))
		return answer_reload(a);
	if (streq(command, "status"))
		return answer_status(a);
	return json_pack("{s:b, s:s}", "ok", 0, "message", "no such command");
}

/* When whoever waits for the load knows the outcome. */
static void keep_files(struct agent *a)
{
	if (!a->to_keep || !a->governor.config)
		return;
	a->to_keep = false;
	last_good_keep(a->options->state_dir, a->governor.config);
	config_drop_texts(a->governor.config);
	malloc_trim(0);
}

static int on_idle(sd_event_source *s, void *userdata)
{
	(void)s;
	keep_files(userdata);
	return 0;
}

static int set_up_loop(struct agent *a)
{
	int r = sd_event_default(&a->event);

	if (r >= 0)
		r = sd_event_set_signal_exit(a->event, true); /* SIGTERM and SIGINT */
	if (r >= 0)
		r = sd_event_add_signal(a->event, NULL, SIGHUP, on_sighup, a);
	if (r >= 0)
		r = sd_event_add_defer(a->event, &a->keeper, on_idle, a);
	if (r >= 0)
		r = sd_event_source_set_priority(a->keeper, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->keeper, SD_EVENT_OFF);
	return r < 0 ? log_error_errno(r, "Cannot set up the event loop") : 0;
}

/* A step that failed may work now. */
static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct agent *a = userdata;
	int r = a->degraded && a->source == SOURCE_PINS ? reload(a, NULL) : 0;

	(void)usec;
	if (r == 0 || r == -EBADMSG)
		return 0;
	if (a->retry_usec < RETRY_LAST_USEC)
		a->retry_usec *= 2;
	r = sd_event_source_set_time_relative(s, a->retry_usec);
	return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void retry_later(struct agent *a)
{
	int r;

	a->retry_usec = RETRY_FIRST_USEC;
	r = sd_event_add_time_relative(a->event, &a->retry, CLOCK_MONOTONIC, a->retry_usec, 0,
				       on_retry, a);
	if (r < 0)
		log_warning_errno(r, "Only a reload will try that again");
}

/* The files are wrong: those that came in force last.  -EBADMSG: there are none, or they are not
 * good either. */
static int load_last_good(struct agent *a)
{
	_cleanup_free_ char *dir = NULL;
	struct diags diags = { 0 };
	size_t n;
	int r = a->options->state_dir ? last_good_find(a->options->state_dir, &dir) : -ENOENT;

	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	r = governor_load(&a->governor, (const char *const[]){ dir, NULL }, &diags);
	diags_log(&diags);
	diags_clear(&diags);
	if (r < 0)
		return r;
	come_from(a, SOURCE_LAST_GOOD, TAKE_PTR(dir));
	n = a->governor.config->n_policies;
	set_verdict(a, "the policy files have errors: %zu %s in force from the last good files", n,
		    n == 1 ? "policy is" : "policies are");
	return 0;
}

static void name_policies(const struct agent *a)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	_cleanup_(json_decref) json_t *o = NULL;
	_cleanup_free_ char *names = NULL;

	if (pinned_open(a->options->pin_dir, &p) < 0 ||
	    overview_read(a->options->pin_dir, NULL, p, &o) < 0)
		return;
	names = overview_name_policies(o);
	if (names && a->source_dir)
		log_warning("in force from %s: %s", a->source_dir, names);
	else if (names)
		log_warning("in force from an earlier agent: %s", names);
}

/*
 * The first load.  With wrong files an agent that finds an earlier one's pins leaves those in
 * force; one that finds none puts the last good files in force.  Returns 0 if something is.
 */
static int load_first(struct agent *a)
{
	bool pins = pin_dir_has_policy(a->options->pin_dir);
	int r = load(a, NULL);

	if (r == 0)
		return 0;
	if (!a->governor.kernel && !(r == -EBADMSG && pins))
		return r == -EBADMSG ? load_last_good(a) : r;
	come_from(a, SOURCE_PINS, NULL);
	if (r != -EBADMSG)
		retry_later(a);
	return 0;
}

static int start(struct agent *a)
{
	int r = load_first(a);

	if (r < 0) {
		set_verdict(a, "not started: %s",
			    r == -EBADMSG ? "the policy files have errors" : strerror(-r));
		log_error("%s", a->verdict);
		return r;
	}
	if (a->metrics)
		metrics_file_refresh(a->metrics);
	if (a->degraded) {
		log_warning("ready, but degraded: %s", a->verdict);
		name_policies(a);
	} else {
		log_info("ready: %s", a->verdict);
	}
	sd_notify(0, "READY=1");
	free(governor_settle(&a->governor));
	return 0;
}

static void agent_clear(struct agent *a)
{
	sd_event_source_disable_unref(a->keeper);
	sd_event_source_disable_unref(a->retry);
	free(a->source_dir);
	if (a->control)
		control_free(a->control);
	if (a->metrics)
		metrics_file_free(a->metrics);
	governor_clear(&a->governor);
	sd_event_unref(a->event);
	if (a->pin_fd >= 0) {
		/* An empty directory is of no use, whoever made it.  Under systemd it is a mount,
		 * which stays. */
		rmdir(a->options->pin_dir);
		close(a->pin_fd);
	}
}

static void say_what_stays(struct agent *a)
{
	_cleanup_(pinned_close) struct pinned *pinned = NULL;
	const char *dir = a->options->pin_dir;
	bool is_default = a->options->pin_dir_is_default;
	uint32_t n;

	if (pinned_open(dir, &pinned) < 0) {
		set_verdict(a, "stopped: what is pinned at %s stays in force", dir);
		return;
	}
	n = pinned_generation(pinned)->n_policies;
	set_verdict(a, "stopped: %u %s in force (sockpol detach%s%s takes %s out)", n,
		    n == 1 ? "policy stays" : "policies stay", is_default ? "" : " --pin-dir ",
		    is_default ? "" : dir, n == 1 ? "it" : "them");
}

static void stop(struct agent *a)
{
	keep_files(a);
	if (a->options->persist) {
		say_what_stays(a);
	} else {
		governor_detach(&a->governor);
		set_verdict(a, "stopped: nothing is governed any more");
	}
	log_info("%s", a->verdict); /* the service manager shows it when the agent is gone, too */
}

/* The loop looks again after each change of the mounts. */
static int on_mount(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	(void)s;
	(void)fd;
	(void)revents;
	(void)userdata;
	return 0;
}

/*
 * Returns when a bpffs is mounted where the pins go: 1; 0: it was told to stop.  A service manager
 * would fill its log with starts that all fail for the same reason; so it is told that the agent is
 * ready, in order to hold up no boot, and that nothing is governed.
 */
static int wait_for_bpffs(struct agent *a)
{
	_cleanup_close_ int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	_cleanup_(sd_event_source_unref) sd_event_source *mounts = NULL;
	int r = fd < 0 ? -errno : 0;

	if (r == 0)
		r = sd_event_add_io(a->event, &mounts, fd, EPOLLPRI, on_mount, NULL);
	if (r >= 0)
		r = sd_event_set_watchdog(a->event, true);
	if (r < 0)
		return log_error_errno(r, "Cannot wait for a bpffs");
	set_verdict(a, "nothing is governed: waiting for a bpffs");
	log_warning("ready, but %s", a->verdict);
	sd_notify(0, "READY=1");
	while (!pin_dir_has_bpffs(a->options->pin_dir)) {
		r = sd_event_run(a->event, UINT64_MAX);
		if (r < 0)
			return log_error_errno(r, "Cannot wait for a bpffs");
		if (sd_event_get_state(a->event) == SD_EVENT_FINISHED)
			return 0;
	}
	return 1;
}

static int open_pin_dir(struct agent *a)
{
	a->pin_fd = pin_dir_open(a->options->pin_dir);
	if (a->pin_fd == -ENODEV && getenv("NOTIFY_SOCKET")) {
		int r = wait_for_bpffs(a);

		if (r <= 0)
			return r;
		a->pin_fd = pin_dir_open(a->options->pin_dir);
	}
	return a->pin_fd < 0 ? a->pin_fd : 1;
}

static int run(struct agent *a)
{
	int r = host_check_capabilities();

	if (r == 0)
		r = programs_check_kernel();
	if (r == 0)
		r = governor_init(&a->governor, a->options->cgroup_root, a->options->pin_dir);
	if (r == 0)
		r = set_up_loop(a);
	if (r == 0)
		r = open_pin_dir(a);
	if (r <= 0) /* 0: told to stop */
		return r;
	governor_watch_devices(&a->governor, a->event);
	r = pin_dir_recover(a->options->pin_dir);
	if (r == 0)
		r = control_new(a->options->runtime_dir, a->event, on_request, a, &a->control);
	if (r == 0 && a->options->metrics_file)
		r = metrics_file_new(a->options->metrics_file, a->event, print_metrics, a,
				     &a->metrics);
	if (r == 0)
		r = start(a);
	if (r < 0)
		return r;
	/* From here on: the first load may take its time. */
	r = sd_event_set_watchdog(a->event, true);
	if (r < 0)
		log_warning_errno(r, "Cannot answer the watchdog, ignoring");
	r = sd_event_loop(a->event);
	sd_notify(0, "STOPPING=1");
	if (r < 0)
		return log_error_errno(r, "The event loop failed (what is in force stays)");
	stop(a);
	return 0;
}

int agent_run(const struct agent_options *options)
{
	struct agent a = { .options = options, .pin_fd = -1 };
	sigset_t hup;
	int r;

	/* One that comes before the loop waits for it. */
	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	r = sigprocmask(SIG_BLOCK, &hup, NULL) < 0 ? -errno : run(&a);
	if (r < 0 && !log_has_erred()) /* rather this than no word */
		log_error_errno(r, "sockpol run ends");
	agent_clear(&a);
	return r;
}
