// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <systemd/sd-bus.h>

#include "host/manager.h"

#define MANAGER	  "org.freedesktop.systemd1"
#define INTERFACE "org.freedesktop.systemd1.Manager"

DEFINE_CLEANUP(sd_bus_message *, sd_bus_message_unref)

/* Returns the system bus; NULL: there is none. */
static sd_bus *get_bus(void)
{
	static sd_bus *bus; /* until the process ends */
	static bool was_tried;

	if (!was_tried && sd_bus_open_system(&bus) < 0)
		bus = NULL;
	was_tried = true;
	return bus;
}

/* Reads a property; "" where the unit has no such. */
static int read_text(const char *path, const char *interface, const char *name, char **ret)
{
	if (sd_bus_get_property_string(get_bus(), MANAGER, path, interface, name, NULL, ret) < 0)
		*ret = strdup("");
	return *ret ? 0 : -ENOMEM;
}

static int read_facts(const char *path, struct unit_facts *f)
{
	static const char unit[] = MANAGER ".Unit";
	_cleanup_free_ char *state = NULL;
	char interface[64], **triggers = NULL;
	const char *type;
	int r = read_text(path, unit, "Id", &f->name);

	if (r == 0)
		r = read_text(path, unit, "LoadState", &state);
	type = r == 0 ? strrchr(f->name, '.') : NULL;
	if (!type)
		return r < 0 ? r : -EINVAL;
	snprintf(interface, sizeof(interface), MANAGER ".%c%s", toupper(type[1]), type + 2);
	f->exists = !streq(state, "not-found");
	r = read_text(path, interface, "Slice", &f->slice);
	sd_bus_get_property_strv(get_bus(), MANAGER, path, unit, "TriggeredBy", NULL, &triggers);
	for (char **one = triggers; one && *one; one++) {
		if (r == 0)
			r = names_append(&f->triggers, *one);
		free(*one);
	}
	free(triggers);
	return r;
}

int manager_ask(const char *name, struct unit_facts *ret)
{
	_cleanup_(sd_bus_message_unref) sd_bus_message *reply = NULL;
	struct unit_facts f = { 0 };
	const char *path;
	int r = get_bus() ? sd_bus_call_method(get_bus(), MANAGER, "/org/freedesktop/systemd1",
					       INTERFACE, "LoadUnit", NULL, &reply, "s", name)
			  : -ENOTCONN;

	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	if (r >= 0)
		r = read_facts(path, &f);
	if (r < 0) {
		unit_facts_clear(&f);
		return r;
	}
	*ret = f;
	return 0;
}

static bool has_some(const char *method, const char *glob)
{
	_cleanup_(sd_bus_message_unref) sd_bus_message *reply = NULL;

	return sd_bus_call_method(get_bus(), MANAGER, "/org/freedesktop/systemd1", INTERFACE,
				  method, NULL, &reply, "asas", 0, 1, glob) >= 0 &&
	       sd_bus_message_enter_container(reply, 'a', NULL) >= 0 &&
	       sd_bus_message_at_end(reply, /* complete= */ false) == 0;
}

bool manager_has_units(const char *glob)
{
	return get_bus() &&
	       (has_some("ListUnitFilesByPatterns", glob) || has_some("ListUnitsByPatterns", glob));
}

void unit_facts_clear(struct unit_facts *f)
{
	free(f->name);
	free(f->slice);
	names_clear(&f->triggers);
	*f = (struct unit_facts){ 0 };
}
