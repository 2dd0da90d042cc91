# SPDX-License-Identifier: MIT
"""The jobs that a daemon may be at when it ends, and how each comes to the phase in question.

A phase is reached by asking the daemon, never by waiting for time to pass. What must not get on
is held by a speed, by a throttle whose bucket has been filled for a day, or by an error.
"""
import os
import time

from support import run

SIZE = 4 << 20
REACH_MAX_S = 60
SLOW = 8 << 10
# A read or write of this size keeps others waiting for as many seconds, at one byte a second.
POURED = 128 << 10


class Job:
    """A command that starts a job on the images base <- mid <- top, dst and raw.

    @reads and @writes are the images whose data it needs; @ready: it becomes so; @protects: users'
    writes to top wait for @writes; @over: the image below dst.
    """

    def __init__(self, command, reads, writes, ready=False, protects=False, is_block=True,
                 over=None, **arguments):
        self.command, self.reads, self.writes, self.ready = command, reads, writes, ready
        self.protects, self.is_block, self.over = protects, is_block, over
        self.arguments = {k.replace("_", "-"): v for k, v in arguments.items()}

    def message(self, daemon, **options):
        """The command as sent; @options are added where the job has such."""
        arguments = {"job-id": "j", **self.arguments}
        if self.is_block:
            arguments.update({k.replace("_", "-"): v for k, v in options.items()})
        if "target" in arguments and arguments["target"].endswith(".qcow2"):
            arguments["target"] = daemon.path(arguments["target"])
        return {"execute": self.command, "arguments": arguments}


class Group(Job):
    """Two backups that complete together: j, and k, which is kept from getting on."""

    def message(self, daemon, **options):
        first = super().message(daemon, **options)["arguments"]
        second = {"job-id": "k", "device": "mid", "target": "dst2", "sync": "full", "speed": 1,
                  "auto-dismiss": first.get("auto-dismiss", True),
                  # One that fails ends the other.
                  "on-source-error": first.get("on-source-error", "report")}
        return {"execute": "transaction", "arguments": {
            "actions": [{"type": "blockdev-backup", "data": a} for a in (first, second)],
            "properties": {"completion-mode": "grouped"}}}


def mirror(sync, reads, **more):
    return Job("blockdev-mirror", reads, "dst", ready=True, device="top", target="dst", sync=sync,
               **more)


def backup(sync, reads, **more):
    return Job("blockdev-backup", reads, "dst", protects=True, device="top", target="dst",
               sync=sync, **more)


JOBS = {
    "stream": Job("block-stream", "base", "top", device="top"),
    "stream-part": Job("block-stream", "mid", "top", device="top", base_node="base"),
    "stream-middle": Job("block-stream", "base", "mid", device="mid"),
    "commit-middle": Job("block-commit", "mid", "base", device="top", top_node="mid",
                         base_node="base"),
    "commit-active": Job("block-commit", "mid", "base", ready=True, device="top"),
    "commit-blocking": Job("block-commit", "mid", "base", ready=True, protects=True, device="top",
                           copy_mode="write-blocking"),
    "mirror-full": mirror("full", "base"),
    "mirror-top": mirror("top", "top", over="mid"),
    "mirror-none": mirror("none", None),
    "mirror-blocking": mirror("full", "base", protects=True, copy_mode="write-blocking"),
    "drive-mirror": Job("drive-mirror", "base", None, ready=True, device="top",
                        target="new.qcow2", sync="full", format="qcow2"),
    "backup-full": backup("full", "base"),
    "backup-top": backup("top", "top"),
    "backup-none": backup("none", None),
    "backup-bitmap": backup("incremental", "top", bitmap="kept"),
    "drive-backup": Job("drive-backup", "base", None, device="top", target="new.qcow2",
                        sync="full", format="qcow2"),
    "create": Job("blockdev-create", None, "raw", is_block=False,
                  options={"driver": "qcow2", "file": "raw", "size": SIZE,
                           "preallocation": "full"}),
    "amend": Job("x-blockdev-amend", None, "dst", is_block=False, node_name="dst",
                 options={"driver": "qcow2", "lazy-refcounts": True, "refcount-bits": 32}),
    "group": Group("blockdev-backup", "base", "dst", protects=True, device="top", target="dst",
                   sync="full"),
}


class Trial:
    """One daemon with its images, in which a job is brought to a phase."""

    def __init__(self, daemon, job):
        self.daemon, self.qmp, self.job = daemon, daemon.qmp, job
        self.fault, self.faulty = None, None
        self.client = None  # a libnbd handle on top, for the phases' own writes
        self.writes_on = False  # another client does
        self.poured = None  # what keeps the throttle full
        self.extra = []     # what was written by a phase: (offset, data)

    def add_image(self, name, **options):
        file = {"driver": "file", "filename": self.daemon.path(f"{name}.qcow2")}
        if name == self.faulty:
            file = self.with_fault(file)
        driver = "qcow2" if name != "raw" else "raw"
        self.qmp.execute("blockdev-add", driver=driver, node_name=name, file=file, **options)

    def with_fault(self, file):
        kind, direction = self.fault
        if kind == "throttle":
            return {"driver": "throttle", "throttle-group": "tg", "file": file}
        fault = {"event": f"{direction}_aio", "iotype": direction}
        fault.update({"errno": 5} if kind == "error" else {"errno": 0, "delay-ns": 200000000})
        return {"driver": "blkdebug", "inject-error": [fault], "image": file}

    def open_images(self):
        self.qmp.execute("object-add", {"qom-type": "throttle-group", "id": "tg"})
        for name, backing in (("base", None), ("mid", "base"), ("top", "mid")):
            self.add_image(name, backing=backing, read_only=name != "top")
        if self.job.over:
            run("qemu-img", "rebase", "-u", "-b", f"{self.job.over}.qcow2", "-F", "qcow2",
                self.daemon.path("dst.qcow2"))
        self.add_image("dst", backing=self.job.over)
        for name in ("dst2", "raw"):
            self.add_image(name)
        self.qmp.execute("blockdev-add", driver="throttle", node_name="poured",
                         throttle_group="tg",
                         file={"driver": "null-co", "size": POURED, "read-zeroes": True})
        self.qmp.execute("block-export-add", type="nbd", id="e", node_name="top", writable=True)
        self.qmp.execute("block-export-add", type="nbd", id="p", node_name="poured", writable=True)

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.daemon.path('nbd.sock')}"

    def hold(self, direction):
        """From now on nothing goes through the throttle."""
        import nbd
        self.qmp.execute("qom-set", path="/objects/tg", property="limits",
                         value={f"bps-{direction}": 1})
        handle = nbd.NBD()
        handle.connect_uri(self.uri("poured"))
        buffer = nbd.Buffer(POURED)
        # It waits itself where a client's request has filled the bucket before.
        (handle.aio_pread if direction == "read" else handle.aio_pwrite)(buffer, 0)
        handle.flush()  # the request has arrived
        self.poured = (handle, buffer)

    # What the phases consist of.

    def start(self, **options):
        answer = self.qmp.command(self.job.message(self.daemon, **options))
        assert "return" in answer, answer

    def send(self, command, **arguments):
        """Send what is not waited for."""
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.qmp.send({"execute": command, "arguments": arguments})

    def wait_for(self, condition):
        """Ask until @condition holds of j, as query-jobs shows it."""
        deadline = time.monotonic() + REACH_MAX_S
        while True:
            j = [j for j in self.qmp.execute("query-jobs") if j["id"] == "j"]
            if j and condition(j[0]):
                return
            assert j and time.monotonic() < deadline, (j, self.qmp.events)
            time.sleep(0.001)

    def wait_status(self, *status):
        self.wait_for(lambda j: j["status"] in status)

    def write(self, pattern, offset, count=1 << 16):
        data = bytes([pattern]) * count
        self.client.pwrite(data, offset)
        self.extra.append((offset, data))

    def get_ready(self, **options):
        self.start(**options)
        self.wait_status("ready")

    def end_well(self, **options):
        """Start, and complete what needs that."""
        self.start(**options)
        if self.job.ready:
            self.wait_status("ready")
            self.qmp.execute("job-complete", id="j")


# --- Phases: each brings a trial's job there -------------------------------------------------

def unanswered(t):
    """The command that starts it has only been sent."""
    t.qmp.send(t.job.message(t.daemon))


def created(t):
    t.start()


def running(t):
    t.start(speed=SLOW)
    t.wait_for(lambda j: j["status"] == "running" and
               (j["current-progress"] > 0 or "none" in t.job.arguments.get("sync", "")))


def stuck_reading(t):
    t.hold("read")
    t.start()
    t.wait_status("running")


def stuck_writing(t):
    t.hold("write")
    t.start()
    t.wait_status("running")


def delayed(t):
    """It is running now, or has been, where somebody was slow to look."""
    t.start(auto_dismiss=False)
    t.wait_for(lambda j: j["status"] != "created")


def delayed_reading(t):
    delayed(t)


def delayed_writing(t):
    delayed(t)


def paused(t):
    t.start(speed=SLOW)
    t.qmp.execute("job-pause", id="j")
    t.wait_status("paused")


def stop_on_error(t):
    sides = ("",) if t.job.command in ("block-commit", "block-stream") else ("source-", "target-")
    t.start(**{f"on-{side}error": "stop" for side in sides})
    t.qmp.wait_event("BLOCK_JOB_ERROR", action="stop")
    t.wait_status("paused")
    j = [j for j in t.qmp.execute("query-block-jobs") if j["device"] == "j"]
    assert j[0]["io-status"] == "failed"


def stopped_reading(t):
    stop_on_error(t)


def stopped_writing(t):
    stop_on_error(t)


def failed(t):
    t.start(auto_dismiss=False)
    t.wait_status("concluded")
    t.wait_for(lambda j: "error" in j)


def ready(t):
    t.get_ready()


def standby(t):
    t.get_ready()
    t.qmp.execute("job-pause", id="j")
    t.wait_status("standby")


def completing(t):
    t.get_ready()
    t.send("job-complete", id="j")


def completing_stuck(t):
    """The last sweep waits, with the users, for the target."""
    t.get_ready()
    t.hold("write")
    if not t.job.protects and not t.writes_on:
        t.write(9, 3 << 20, 1 << 19)
    t.qmp.execute("job-complete", id="j")


def leaving(t):
    t.get_ready()
    t.send("block-job-cancel", device="j")


def cancelling(t):
    t.start(speed=SLOW)
    t.send("job-cancel", id="j")


def cancelling_stuck(t):
    t.hold("write")
    t.start()
    t.wait_status("running")
    t.qmp.execute("job-cancel", id="j")


def cancelled(t):
    t.start(speed=SLOW, auto_dismiss=False)
    t.qmp.execute("job-cancel", id="j")
    t.wait_status("concluded")


def waiting(t):
    t.start()
    t.wait_status("waiting")


def pending(t):
    t.end_well(auto_finalize=False)
    t.wait_status("pending")


def finalizing(t):
    pending(t)
    t.send("job-finalize", id="j")


def concluded(t):
    t.end_well(auto_dismiss=False)
    t.wait_status("concluded")
    assert "error" not in t.qmp.execute("query-jobs")[0]


def is_sync_none(job):
    return job.arguments.get("sync") == "none"


def is_completed(job):
    """Whether clients complete such a job: what goes on for ever does not end well by itself."""
    return not isinstance(job, Group) and not is_sync_none(job)


# Phase: (which jobs know it, the fault that it needs and where: an attribute of the job).
PHASES = {
    unanswered: (lambda j: True, None),
    created: (lambda j: True, None),
    running: (lambda j: j.is_block and not (is_sync_none(j) and j.ready), None),
    stuck_reading: (lambda j: j.reads, ("throttle", "read")),
    stuck_writing: (lambda j: j.writes and not is_sync_none(j), ("throttle", "write")),
    delayed_reading: (lambda j: j.reads and j.is_block, ("delay", "read")),
    delayed_writing: (lambda j: j.writes and j.is_block and not is_sync_none(j),
                      ("delay", "write")),
    paused: (lambda j: j.is_block and not (is_sync_none(j) and j.ready), None),
    stopped_reading: (lambda j: j.reads and j.is_block, ("error", "read")),
    stopped_writing: (lambda j: j.writes and j.is_block and not is_sync_none(j),
                      ("error", "write")),
    failed: (lambda j: j.reads and j.is_block, ("error", "read")),
    ready: (lambda j: j.ready, None),
    standby: (lambda j: j.ready, None),
    completing: (lambda j: j.ready and is_completed(j), None),
    completing_stuck: (lambda j: j.ready and j.writes and is_completed(j), ("throttle", "write")),
    leaving: (lambda j: j.ready, None),
    cancelling: (lambda j: j.is_block, None),
    cancelling_stuck: (lambda j: j.is_block and j.writes and not is_sync_none(j),
                       ("throttle", "write")),
    cancelled: (lambda j: j.is_block, None),
    waiting: (lambda j: isinstance(j, Group), None),
    pending: (lambda j: j.is_block and is_completed(j), None),
    finalizing: (lambda j: j.is_block and is_completed(j), None),
    concluded: (is_completed, None),
}
# Here the job cannot go on by itself: it is at work when the daemon ends.
SETTLED = {running, stuck_writing, paused, stopped_reading, stopped_writing, ready, standby,
           waiting, pending}
# Here it has ended before.
ENDED = {failed, cancelled, concluded}
# Here the users may be moved to where the job has copied to.
MAY_MOVE = {completing, completing_stuck, finalizing, concluded}


def make_images(folder):
    """The images of every trial, of which each gets a copy; their names."""
    def image(name, *backing):
        path = f"{folder}/{name}.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", *backing, path, *([] if backing else [str(SIZE)]))
        return path
    run("qemu-io", "-c", f"write -P 1 0 {SIZE}", image("base"))
    run("qemu-io", "-c", "write -P 2 1M 2M", image("mid", "-b", "base.qcow2", "-F", "qcow2"))
    run("qemu-io", "-c", "write -P 3 2560K 1M", image("top", "-b", "mid.qcow2", "-F", "qcow2"))
    run("qemu-img", "bitmap", "--add", f"{folder}/top.qcow2", "kept")
    for name in ("dst", "dst2", "spare"):
        image(name)
    with open(f"{folder}/raw.qcow2", "wb"):
        pass
    return [n for n in os.listdir(folder) if n.endswith(".qcow2")]
