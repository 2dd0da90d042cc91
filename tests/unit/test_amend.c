/* SPDX-License-Identifier: MIT */
/* blockjobs/amend.c: the job and the node that it changes. */
#include "blockjobs/amend.h"

#include "block/node.h"
#include "schema/schema.h"
#include "tests/unit/chain_fixture.h"

CHAIN_TEST(job_may_be_the_last_user_of_its_node)
{
	struct blockdev_amend_options options = {
		.driver = BLOCKDEV_DRIVER_QCOW2,
		.u.qcow2 = {.has_lazy_refcounts = true, .lazy_refcounts = true},
	};
	c->delay_ns = 200000;
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *n = chain_open(c, "a");
	ck_assert_int_eq(amend_start(&c->jobs, &(struct x_blockdev_amend_args){
		.job_id = (char *)"j",
		.node_name = n->name,
		.options = &options,
	}, NULL), 0);
	node_unref(n);
	chain_wait_for(c, "concluded");
	job_verb_dismiss(list_first(&c->jobs.jobs, struct job, link), NULL);
	ck_assert(list_is_empty(&c->graph->nodes));
}

static const struct unit_test tests[] = {
	CHAIN_ROW(job_may_be_the_last_user_of_its_node),
};

UNIT_MAIN("amend", tests)
