# SPDX-License-Identifier: MIT
"""Rows of tests/bench/bench on jobs that shorten chains of full images, with O_DIRECT.

A row says which images there are, which node is which, and what the job's command is.
Its figures are the MiB of the disk that the job gets done in a second, and the
microseconds of the daemon's time that one of them takes.
"""
import os
import time

from bench_jobs import cpu_seconds
from support import Daemon, run


def node(name, driver, path, backing=None, read_only=False):
    """Arguments of blockdev-add for an image."""
    options = {"driver": driver, "node-name": name, "read-only": read_only,
               "cache": {"direct": True},
               "file": {"driver": "file", "filename": path, "cache": {"direct": True}}}
    if backing:
        options["backing"] = backing
    return options


class ChainJobRow:
    """@images(bench, side) prepares the images and returns the nodes over them."""

    def __init__(self, name, images, command, arguments, *targets):
        self.name, self.images, self.targets = name, images, targets
        self.command, self.arguments, self.files = command, arguments, None

    def measure(self, bench, side):
        with Daemon(program=bench.program(side)) as daemon:
            for options in self.images(bench, side):
                daemon.qmp.execute("blockdev-add", options)
            os.sync()
            cpu, begin = cpu_seconds(daemon.process.pid), time.monotonic()
            daemon.qmp.execute(self.command, self.arguments, job_id="j")
            self.see_through(daemon.qmp)
            took, cpu = time.monotonic() - begin, cpu_seconds(daemon.process.pid) - cpu
        mib = bench.args.size_bytes / (1 << 20)
        return {"mib_per_s": mib / took, "cpu_us_per_mib": cpu * 1e6 / mib}

    @staticmethod
    def see_through(qmp):
        while True:
            event = qmp.receive()
            if event.get("event") == "BLOCK_JOB_READY":
                qmp.command({"execute": "block-job-complete", "arguments": {"device": "j"}})
                if any(e["event"] == "BLOCK_JOB_COMPLETED" for e in qmp.events):
                    event = next(e for e in qmp.events if e["event"] == "BLOCK_JOB_COMPLETED")
            if event.get("event") == "BLOCK_JOB_COMPLETED":
                assert "error" not in event["data"], event
                return


def overlay(bench, side, name, below, below_format):
    """A fresh image over another one."""
    path = os.path.join(bench.dir, f"{side}-{name}.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", below_format, path)
    return path


def streamed(base_format):
    def images(bench, side):
        base = bench.image(side, base_format)
        top = overlay(bench, side, "top", base, base_format)
        return [node("base", base_format, base, read_only=True), node("top", "qcow2", top, "base")]
    return images


def committed(base_format):
    """The upper image is full as well: it is made of the base, and then put over it."""
    def images(bench, side):
        base, full = bench.image(side, base_format), bench.image(side, "qcow2", "upper")
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F", base_format, full)
        top = overlay(bench, side, "top", full, "qcow2")
        return [node("base", base_format, base, read_only=True),
                node("upper", "qcow2", full, "base", read_only=True),
                node("top", "qcow2", top, "upper")]
    return images


def chain_job_rows(target):
    """@target makes what a row's figure must be."""
    def targets(at_least):
        return (target("mib_per_s", at_least=at_least),
                target("cpu_us_per_mib", at_most=0.7),
                target("mib_per_s", at_least=0.85, against="dd-raw"))
    for base_format in ("raw", "qcow2"):
        yield ChainJobRow(f"job-stream-{base_format}", streamed(base_format), "block-stream",
                     {"device": "top"}, *targets(1.3))
        yield ChainJobRow(f"job-commit-{base_format}", committed(base_format), "block-commit",
                     {"device": "top", "top-node": "upper"}, *targets(1))
        yield ChainJobRow(f"job-commit-active-{base_format}", committed(base_format), "block-commit",
                     {"device": "top"}, *targets(1))
