# SPDX-License-Identifier: MIT
"""Rows of tests/bench/bench on jobs that copy: how fast, at which price, and what users feel.

Each measurement starts a daemon of its own with a source and a fresh target of one
format, both with O_DIRECT, and runs the job from its command until it is ready or has
ended.
"""
import json
import os
import subprocess
import time

from support import Daemon, run

# Bytes per second that no copy here exceeds: reads beside one last as long as at that rate.
READ_WHILE_COPYING = 2 << 30
# The pace of a slow target, and how long a client writes beside a backup to it.
SLOW_BYTES_PER_S = 20 << 20
SLOW_SECONDS = 4
# Of the clocks that the kernel numbers by process; /proc/PID/stat counts in ticks of 10 ms.
CPUCLOCK_SCHED = 2


def cpu_seconds(pid):
    """What all its threads have used, those that ended included."""
    return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)


def blockdev(qmp, name, path, image_format):
    direct = {"direct": True}
    qmp.execute("blockdev-add", driver=image_format, node_name=name, cache=direct,
                file={"driver": "file", "filename": path, "cache": direct})


class JobRow:
    """One job over a full image. start(qmp) sends its command for the nodes source and target."""

    def __init__(self, name, image_format, start, *targets, end="BLOCK_JOB_READY", reads=False):
        self.name, self.format, self.start, self.targets = name, image_format, start, targets
        self.end, self.reads, self.files = end, reads, image_format

    def measure(self, bench, side):
        image = bench.image(side, self.format)
        target = f"{bench.dir}/{side}-target.{self.format}"
        run("qemu-img", "create", "-q", "-f", self.format, target, str(bench.args.size_bytes))
        try:
            with Daemon("--nbd-server", "addr.type=unix,addr.path={dir}/nbd.sock",
                        program=bench.program(side)) as daemon:
                blockdev(daemon.qmp, "source", image, self.format)
                blockdev(daemon.qmp, "target", target, self.format)
                return self.run(bench, daemon)
        finally:
            os.unlink(target)

    def run(self, bench, daemon):
        qmp, pid = daemon.qmp, daemon.process.pid
        load = self.load(bench, daemon) if self.reads else None
        cpu, begin = cpu_seconds(pid), time.monotonic()
        self.start(qmp)
        qmp.wait_event(self.end)
        took, cpu = time.monotonic() - begin, cpu_seconds(pid) - cpu
        mib = bench.args.size_bytes / (1 << 20)
        result = {"mib_per_s": mib / took, "cpu_us_per_mib": cpu * 1e6 / mib}
        if load:
            reads = json.loads(load.communicate()[0])
            result.update(p99_us=reads["p99_us"], reads_per_s=reads["iops"])
        if qmp.execute("query-block-jobs"):
            qmp.execute("block-job-cancel", device="j", force=True)
            qmp.wait_event("JOB_STATUS_CHANGE", status="null")
        return result

    def load(self, bench, daemon):
        """A client's random reads while the job runs, and no longer than it does."""
        seconds = bench.args.size_bytes / READ_WHILE_COPYING
        daemon.qmp.execute("block-export-add", type="nbd", id="e", node_name="source")
        return subprocess.Popen([bench.args.nbdload, "--op", "randread", "--depth", "4",
                                 "--bs", "4K", "--seconds", f"{seconds:.2f}", "--export", "source",
                                 "--server-pid", str(daemon.process.pid),
                                 f"unix:{daemon.dir}/nbd.sock"],
                                stdout=subprocess.PIPE, text=True)


class DdRow:
    """The same bytes copied by dd, with which rows of jobs are compared; the sides do the same."""

    def __init__(self, name):
        self.name, self.targets, self.files = name, (), "raw"

    @staticmethod
    def measure(bench, side):
        target = f"{bench.dir}/{side}-target.raw"
        run("qemu-img", "create", "-q", "-f", "raw", target, str(bench.args.size_bytes))
        image = bench.image(side, "raw")
        try:
            begin = time.monotonic()
            run("dd", f"if={image}", f"of={target}", "bs=4M", "iflag=direct", "oflag=direct",
                "conv=notrunc,fdatasync", "status=none")
            return {"mib_per_s": bench.args.size_bytes / (1 << 20) / (time.monotonic() - begin)}
        finally:
            os.unlink(target)


class SlowBackupRow:
    """A client's random writes while its disk is backed up to a target of SLOW_BYTES_PER_S."""

    def __init__(self, name, image_format, *targets):
        self.name, self.format, self.targets = name, image_format, targets
        self.files = image_format

    def measure(self, bench, side):
        image = bench.image(side, self.format)
        target = f"{bench.dir}/{side}-target.{self.format}"
        run("qemu-img", "create", "-q", "-f", self.format, target, str(bench.args.size_bytes))
        try:
            with Daemon("--nbd-server", "addr.type=unix,addr.path={dir}/nbd.sock",
                        program=bench.program(side)) as daemon:
                blockdev(daemon.qmp, "source", image, self.format)
                blockdev(daemon.qmp, "disk", target, self.format)
                return self.run(bench, daemon)
        finally:
            os.unlink(target)

    @staticmethod
    def run(bench, daemon):
        qmp = daemon.qmp
        qmp.execute("object-add", qom_type="throttle-group", id="slow",
                    limits={"bps-total": SLOW_BYTES_PER_S})
        qmp.execute("blockdev-add", driver="throttle", node_name="target", throttle_group="slow",
                    file="disk")
        qmp.execute("block-export-add", type="nbd", id="e", node_name="source", writable=True)
        backup(qmp)
        writes = json.loads(run(bench.args.nbdload, "--op", "randwrite", "--depth", "4",
                                "--bs", "4K", "--seconds", str(SLOW_SECONDS), "--export", "source",
                                "--server-pid", str(daemon.process.pid),
                                f"unix:{daemon.dir}/nbd.sock"))
        copied = qmp.execute("query-block-jobs")[0]["offset"]
        # Nobody waits for what is under way at that pace.
        qmp.execute("qom-set", path="/objects/slow", property="limits", value={"bps-total": 0})
        qmp.execute("block-job-cancel", device="j", force=True)
        qmp.wait_event("JOB_STATUS_CHANGE", status="null")
        # Where no write at all has ended, none took less than all the time.
        p99_us = writes["p99_us"] if writes["ios"] else SLOW_SECONDS * 1e6
        return {"p99_us": p99_us, "max_us": writes["max_us"], "writes_per_s": writes["iops"],
                "copied_mib": copied / (1 << 20)}


def backup(qmp):
    qmp.execute("blockdev-backup", job_id="j", device="source", target="target", sync="full")


def mirror(qmp):
    qmp.execute("blockdev-mirror", job_id="j", device="source", target="target", sync="full")


def job_rows(target):
    """@target makes what a row's figure must be."""
    yield DdRow("dd-raw")
    beside_dd = target("mib_per_s", at_least=0.85, against="dd-raw")
    for image_format in ("raw", "qcow2"):
        yield JobRow(f"mirror-{image_format}", image_format, mirror,
                     target("mib_per_s", at_least=1), target("cpu_us_per_mib", at_most=0.7),
                     beside_dd)
        yield JobRow(f"mirror-{image_format}-reads", image_format, mirror,
                     target("mib_per_s", at_least=1), target("p99_us", at_most=0.5), reads=True)
        yield JobRow(f"backup-{image_format}", image_format, backup,
                     target("mib_per_s", at_least=1.3), target("cpu_us_per_mib", at_most=0.7),
                     beside_dd, end="BLOCK_JOB_COMPLETED")
        yield SlowBackupRow(f"backup-slow-{image_format}-writes", image_format,
                            target("p99_us", at_most=0.5))
