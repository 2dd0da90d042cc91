# SPDX-License-Identifier: MIT
"""Rows of tests/bench/bench on commands that shall take a moment, however large the disks."""
import time

import support
from support import Daemon, run

TIB = 1 << 40
# The other side is given up after so long, and its figure is at least that.
PATIENCE_S = 5
SNAPSHOTS = 100
MERGED_BYTES, MERGED_GRANULARITY = 8 * TIB, 64 << 10
MARKS = 20000  # places that each of the merged bitmaps has, all over the disk


class EmptyRow:
    """A mirror of an empty image of 1 TiB to another one."""

    def __init__(self, name, *targets):
        self.name, self.targets, self.files = name, targets, None

    def measure(self, bench, side):
        with Daemon(program=bench.program(side)) as daemon:
            for name in ("source", "target"):
                path = daemon.path(name)
                run("qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
                daemon.qmp.execute("blockdev-add", driver="qcow2", node_name=name,
                                   file={"driver": "file", "filename": path})
            daemon.qmp.socket.settimeout(PATIENCE_S)
            begin = time.monotonic()
            try:
                daemon.qmp.execute("blockdev-mirror", job_id="j", device="source",
                                   target="target", sync="full")
                daemon.qmp.wait_event("BLOCK_JOB_READY")
            except TimeoutError:
                daemon.kill()
            return {"ready_ms": (time.monotonic() - begin) * 1e3}


class SnapshotRow:
    """One transaction that takes a snapshot of each of many disks."""

    def __init__(self, name, *targets):
        self.name, self.targets, self.files = name, targets, None

    def measure(self, bench, side):
        with Daemon(program=bench.program(side)) as daemon:
            actions = []
            for i in range(SNAPSHOTS):
                path = daemon.path(f"disk{i}")
                run("qemu-img", "create", "-q", "-f", "qcow2", path, "1G")
                daemon.qmp.execute("blockdev-add", driver="qcow2", node_name=f"disk{i}",
                                   file={"driver": "file", "filename": path})
                actions.append({"type": "blockdev-snapshot-sync",
                                "data": {"node-name": f"disk{i}",
                                         "snapshot-file": daemon.path(f"overlay{i}"),
                                         "snapshot-node-name": f"overlay{i}"}})
            begin = time.monotonic()
            daemon.qmp.execute("transaction", actions=actions)
            return {"ms": (time.monotonic() - begin) * 1e3}


class MergeRow:
    """Two bitmaps of a large disk, written all over, are merged into a third."""

    def __init__(self, name, *targets):
        self.name, self.targets, self.files = name, targets, None

    def measure(self, bench, side):
        with Daemon("--blockdev", f"null-co,node-name=disk,size={MERGED_BYTES}",
                    "--nbd-server", "addr.type=unix,addr.path={dir}/nbd.sock",
                    "--export", "nbd,id=e,node-name=disk,writable=on",
                    program=bench.program(side)) as daemon:
            for seed, name in enumerate(("a", "b")):
                self.add(daemon.qmp, name)
                self.mark(f"nbd+unix:///disk?socket={daemon.path('nbd.sock')}", seed)
                daemon.qmp.execute("block-dirty-bitmap-disable", node="disk", name=name)
            self.add(daemon.qmp, "sum", disabled=True)
            begin = time.monotonic()
            daemon.qmp.execute("block-dirty-bitmap-merge", node="disk", target="sum",
                               bitmaps=["a", "b"])
            return {"ms": (time.monotonic() - begin) * 1e3}

    @staticmethod
    def add(qmp, name, **more):
        qmp.execute("block-dirty-bitmap-add", node="disk", name=name,
                    granularity=MERGED_GRANULARITY, **more)

    @staticmethod
    def mark(uri, seed):
        """Write at places that are spread evenly, and not the same for another @seed."""
        try:
            import nbd
        except ImportError:
            support.skip("the Python bindings of libnbd are not installed")
        handle = nbd.NBD()
        handle.connect_uri(uri)
        stride = MERGED_BYTES // MARKS // MERGED_GRANULARITY * MERGED_GRANULARITY
        for i in range(MARKS):
            handle.pwrite(bytes(512), i * stride + seed * (stride // 2))
        handle.shutdown()


def moment_rows(target):
    """@target makes what a row's figure must be."""
    yield EmptyRow("mirror-empty-1t", target("ready_ms", below=50))
    yield SnapshotRow("snapshot-100", target("ms", at_most=0.25))
    yield MergeRow("bitmap-merge-8t", target("ms", below=50))
