/* SPDX-License-Identifier: MIT */
/*
 * The codecs of compressed clusters: raw deflate, and zstd. Pure functions of
 * memory, for any thread.
 *
 * 1. Deflate data has no header and a window of 4 KiB, which is what other
 *    readers of the format allow for; reading takes any window.
 * 2. Behind the data there may be anything up to the end of its last sector:
 *    decompression ends when it has made a whole cluster.
 */
#include <zlib.h>
#include <zstd.h>

#include "drivers/qcow2/compress.h"

#define DEFLATE_WINDOW_BITS 12
#define DEFLATE_MEMORY_LEVEL 9

static int inflate_cluster(const void *in, size_t bytes_in, void *out, size_t bytes_out)
{
	z_stream s = {
		.next_in = (Bytef *)in,
		.avail_in = bytes_in,
		.next_out = out,
		.avail_out = bytes_out,
	};

	if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
		return -ENOMEM;
	int r = inflate(&s, Z_FINISH);

	inflateEnd(&s);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && s.avail_out == 0 ? 0 : -EIO;
}

static int64_t deflate_cluster(const void *in, size_t bytes_in, void *out, size_t limit)
{
	z_stream s = {
		.next_in = (Bytef *)in,
		.avail_in = bytes_in,
		.next_out = out,
		.avail_out = limit,
	};

	if (deflateInit2(&s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW_BITS,
			 DEFLATE_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	int r = deflate(&s, Z_FINISH);
	int64_t size = limit - s.avail_out;

	deflateEnd(&s);
	return r == Z_STREAM_END && s.avail_out > 0 ? size : -ENOSPC;
}

static int zstd_decompress_cluster(const void *in, size_t bytes_in, void *out, size_t bytes_out)
{
	ZSTD_inBuffer from = {in, bytes_in, 0};
	ZSTD_outBuffer to = {out, bytes_out, 0};
	ZSTD_DCtx *context = ZSTD_createDCtx();

	if (!context)
		return -ENOMEM;
	/* One call may end early, at a frame's end for instance. */
	while (to.pos < to.size && from.pos < from.size) {
		size_t before = from.pos + to.pos;
		size_t r = ZSTD_decompressStream(context, &to, &from);

		if (ZSTD_isError(r) || from.pos + to.pos == before)
			break;
	}
	ZSTD_freeDCtx(context);
	return to.pos == to.size ? 0 : -EIO;
}

static int64_t zstd_compress_cluster(const void *in, size_t bytes_in, void *out, size_t limit)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();

	if (!context)
		return -ENOMEM;
	size_t r = ZSTD_compress2(context, out, limit, in, bytes_in);

	ZSTD_freeCCtx(context);
	return ZSTD_isError(r) || r >= limit ? -ENOSPC : (int64_t)r;
}

int qcow2_decompress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		     size_t bytes_out)
{
	return type == COMPRESSION_ZSTD ? zstd_decompress_cluster(in, bytes_in, out, bytes_out)
					: inflate_cluster(in, bytes_in, out, bytes_out);
}

int64_t qcow2_compress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		       size_t limit)
{
	return type == COMPRESSION_ZSTD ? zstd_compress_cluster(in, bytes_in, out, limit)
					: deflate_cluster(in, bytes_in, out, limit);
}
