/* SPDX-License-Identifier: MIT */
/*
 * The rules by which faults are injected: a state machine that knows no node.
 *
 * 1. A rule for a fault lies idle until its event happens in its state. All such
 *    rules of one event then take the place of those that were in force.
 * 2. Of the rules in force that fit a request, the one given first decides.
 * 3. The state changes after all rules of an event have been looked at, as the first says.
 * 4. A rule with @once is gone when it has decided about a request.
 */
#ifndef DRIVERS_BLKDEBUG_RULES_H
#define DRIVERS_BLKDEBUG_RULES_H

#include "base/error.h"
#include "base/list.h"
#include "schema/types.h"

struct rules {
	struct list by_event[BLKDEBUG_EVENT__COUNT]; /* struct rule.link, in their order */
	struct list in_force;                        /* struct rule.force_link, in their order */
	int64_t state;
};

/* What happens to a request. */
struct fault {
	int error; /* 0 or a negative errno */
	uint64_t delay_ns;
	bool immediately;
};

void rules_init(struct rules *r);
void rules_finish(struct rules *r);
/* Both copy what they are given. -EINVAL for what no rule can have. */
int rules_add_error(struct rules *r, const struct blkdebug_inject_error_options *o,
		    struct error **errp);
void rules_add_state(struct rules *r, const struct blkdebug_set_state_options *o);

/* Note that @event has happened. */
void rules_happen(struct rules *r, enum blkdebug_event event);
/* True and *ret when a rule fits the request. @bytes is 0 for a flush. */
bool rules_match(struct rules *r, enum blkdebug_io_type type, uint64_t offset, uint64_t bytes,
		 struct fault *ret);

/*
 * Add the rules in @text, a file called @name in the errors: sections
 * "[inject-error]" and "[set-state]", optionally with a name in quotes, of lines
 * "key = "value"", where the quotes may be left out. '#' begins a remark.
 */
int rules_parse(struct rules *r, const char *text, const char *name, struct error **errp);

#endif
