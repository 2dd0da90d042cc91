/* SPDX-License-Identifier: MIT */
/*
 * What each sector of a simulated guest's disk may hold.
 *
 * Every sector written carries the number of its write and its own place, so
 * that a read tells which write it shows. The oracle is told when each request
 * of the guest begins and ends; requests may overlap in any way. One thread.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include "base/aio_sim_disk.h"

/* The number of "zeroes", and of what was never written. */
#define ORACLE_ZERO 0

struct oracle;

enum oracle_kind {
	ORACLE_WRITE,   /* the sectors carry the operation's number */
	ORACLE_ZEROES,  /* the sectors are zero */
	ORACLE_DISCARD, /* the sectors are zero or as before */
	ORACLE_RESIZE,  /* the disk gets another size */
};

/* A disk of at most @sectors, which the positions of @store's record time. All sectors are zero. */
struct oracle *oracle_create(struct sim_store *store, uint64_t sectors);
void oracle_destroy(struct oracle *o);
uint64_t oracle_sectors(const struct oracle *o);
/* Before any operation: what @sector holds, by the number of a write to another oracle. */
void oracle_set_initial(struct oracle *o, uint64_t sector, uint64_t number);

/* Begin an operation; returns its number, which is unique in this process. */
uint64_t oracle_begin(struct oracle *o, enum oracle_kind kind, uint64_t sector, uint64_t count,
		      bool durable);
/* It has ended: with 0, or an error after which all or nothing of it may show. */
void oracle_end(struct oracle *o, uint64_t number, int result);
/*
 * The disk's size changes from @old_sectors to @new_sectors; what is cut off is
 * zero afterwards. One at a time; ends with oracle_end().
 */
uint64_t oracle_resize_begin(struct oracle *o, uint64_t old_sectors, uint64_t new_sectors);
/* A flush begins; returns a token for its end. */
uint64_t oracle_flush_begin(struct oracle *o);
void oracle_flush_end(struct oracle *o, uint64_t token, int result);
/* A read begins; returns a token for the checks of what it got. */
uint64_t oracle_read_begin(const struct oracle *o);

/* Fill @p with what sector @sector holds after write @number. */
void oracle_fill(uint64_t number, uint64_t sector, void *p);
/* The write that sector @sector with content @p shows; false when it is no write's. */
bool oracle_decode(uint64_t sector, const void *p, uint64_t *ret_number);

/*
 * Whether a read that began at @token and ends now may find write @number in
 * @sector. If not, *ret_reason is a sentence to free.
 */
bool oracle_check_read(const struct oracle *o, uint64_t token, uint64_t sector, uint64_t number,
		       char **ret_reason);
/*
 * The same for a copy of the disk as it was at one moment between the tokens @from and
 * @until.
 */
bool oracle_check_moment(const struct oracle *o, uint64_t from, uint64_t until, uint64_t sector,
			 uint64_t number, char **ret_reason);
/* The same for what is found after a crash at @position of the record. */
bool oracle_check_crash(const struct oracle *o, uint64_t position, uint64_t sector,
			uint64_t number, char **ret_reason);
/* Whether the disk may have @sectors after a crash, when it had @initial_sectors at first. */
bool oracle_check_size(const struct oracle *o, uint64_t position, uint64_t initial_sectors,
		       uint64_t sectors, char **ret_reason);

#endif
