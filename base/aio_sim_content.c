/* SPDX-License-Identifier: MIT */
/*
 * The content of a simulated disk, in chunks of 64 KiB. One thread.
 */
#include "base/aio_sim_content.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SECTORS 128
#define CHUNK_BYTES ((uint64_t)CHUNK_SECTORS * SIM_SECTOR)

struct sim_chunk {
	uint64_t stamps[CHUNK_SECTORS];
	uint8_t data[CHUNK_BYTES];
};

void sim_content_finish(struct sim_content *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->chunks[i]);
	free(c->chunks);
	*c = (struct sim_content){0};
}

void sim_content_copy(struct sim_content *to, const struct sim_content *from)
{
	*to = *from;
	to->chunks = xalloc(from->count, sizeof(*to->chunks));
	for (size_t i = 0; i < from->count; i++) {
		if (from->chunks[i])
			to->chunks[i] = xmemdup(from->chunks[i], sizeof(*from->chunks[i]));
	}
}

void sim_content_settle(struct sim_content *c)
{
	c->size_stamp = 0;
	for (size_t i = 0; i < c->count; i++) {
		if (c->chunks[i])
			memset(c->chunks[i]->stamps, 0, sizeof(c->chunks[i]->stamps));
	}
}

void sim_content_read(const struct sim_content *c, uint64_t offset, uint8_t *p, uint64_t bytes)
{
	while (bytes > 0) {
		uint64_t chunk = offset / CHUNK_BYTES;
		uint64_t inside = offset % CHUNK_BYTES;
		uint64_t n = MIN(bytes, CHUNK_BYTES - inside);
		if (chunk < c->count && c->chunks[chunk])
			memcpy(p, c->chunks[chunk]->data + inside, n);
		else
			memset(p, 0, n);
		p += n;
		offset += n;
		bytes -= n;
	}
}

static struct sim_chunk *chunk_for(struct sim_content *c, uint64_t sector)
{
	size_t i = sector / CHUNK_SECTORS;
	if (i >= c->count) {
		size_t count = MAX(i + 1, c->count * 2);
		c->chunks = xrealloc(c->chunks, count, sizeof(*c->chunks));
		memset(c->chunks + c->count, 0, (count - c->count) * sizeof(*c->chunks));
		c->count = count;
	}
	if (!c->chunks[i])
		c->chunks[i] = NEW(struct sim_chunk);
	return c->chunks[i];
}

void sim_content_write(struct sim_content *c, uint64_t sector, const uint8_t *data,
		       uint64_t stamp, bool grows)
{
	struct sim_chunk *chunk = chunk_for(c, sector);
	size_t i = sector % CHUNK_SECTORS;
	if (chunk->stamps[i] > stamp)
		return;
	chunk->stamps[i] = stamp;
	if (data)
		memcpy(chunk->data + i * SIM_SECTOR, data, SIM_SECTOR);
	else
		memset(chunk->data + i * SIM_SECTOR, 0, SIM_SECTOR);
	if (grows)
		c->size = MAX(c->size, (sector + 1) * SIM_SECTOR);
}

void sim_content_truncate(struct sim_content *c, uint64_t size, uint64_t stamp)
{
	if (c->size_stamp > stamp)
		return;
	c->size_stamp = stamp;
	/* All sectors beyond get the stamp, so that nothing older comes back there. */
	uint64_t end = MAX((uint64_t)c->count * CHUNK_SECTORS, div_round_up(c->size, SIM_SECTOR));
	uint64_t kept = div_round_up(size, SIM_SECTOR);
	uint64_t new_size = size;
	for (uint64_t sector = kept; sector < end; sector++) {
		if (chunk_for(c, sector)->stamps[sector % CHUNK_SECTORS] > stamp)
			new_size = MAX(new_size, (sector + 1) * SIM_SECTOR);
		else
			sim_content_write(c, sector, NULL, stamp, false);
	}
	c->size = new_size;
}
