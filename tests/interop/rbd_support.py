# SPDX-License-Identifier: MIT
"""A daemon with nodes on images of Ceph, and requests to them, for the scripts test-rbd-*."""
import random
import time

from nbd_servers import connect, nbd
from support import Daemon

KIB, MIB = 1 << 10, 1 << 20
SIZE = 24 * MIB


def new_daemon():
    return Daemon("--nbd-server", "addr.type=unix,addr.path={dir}/out.sock")


def add(d, node, options):
    d.qmp.execute("blockdev-add", node_name=node, **options)


def export(d, node, writable=True):
    d.qmp.execute("block-export-add", type="nbd", id=f"x-{node}", node_name=node, name=node,
                  writable=writable)
    return connect(d.path("out.sock"), node)


def unexport(d, node, h):
    h.shutdown()
    d.qmp.execute("block-export-del", id=f"x-{node}")
    d.qmp.wait_event("BLOCK_EXPORT_DELETED", id=f"x-{node}")


def extents(h, offset, length):
    found = []
    h.block_status(length, offset, lambda name, at, entries, err: found.extend(entries) or 0)
    return list(zip(found[::2], found[1::2]))


def workload(h, size, seed, count=150):
    """Random requests of any alignment; returns what the image must hold."""
    r = random.Random(seed)
    model = bytearray(size)
    for _ in range(count):
        length = r.choice([1, 511, 4096, r.randrange(1, 300 * KIB)])
        offset = r.randrange(size - length)
        kind = r.random()
        if kind < 0.5:
            data = r.randbytes(length)
            h.pwrite(data, offset, nbd.CMD_FLAG_FUA if r.random() < 0.1 else 0)
            model[offset:offset + length] = data
        elif kind < 0.65:
            h.zero(length, offset, r.choice([0, nbd.CMD_FLAG_NO_HOLE]))
            model[offset:offset + length] = bytes(length)
        elif kind < 0.7:
            h.flush()
        else:
            assert h.pread(length, offset) == model[offset:offset + length], offset
    h.flush()
    return bytes(model)


def size_of(d, node):
    return next(n for n in d.qmp.execute("query-named-block-nodes")
                if n["node-name"] == node)["image"]["virtual-size"]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
