# SPDX-License-Identifier: MIT
"""Worlds for tests on servers that are stopped with SIGSTOP, or at a request."""
import os
import select
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import Daemon, run, stop_process  # noqa: E402
from nbd_servers import connect, nbdkit  # noqa: E402

MIB = 1 << 20
SIZE = 4 * MIB


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class World:
    """A daemon with a local disk "disk", a server with an image, and two sessions."""

    def __init__(self, image="raw"):
        self.image = image

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cairn-test-")
        self.file = f"{self.folder.name}/far.{self.image}"
        run("qemu-img", "create", "-q", "-f", self.image, self.file, str(SIZE))
        if self.image != "raw":
            os.truncate(self.file, 2 * SIZE)  # as a device: an export does not grow
        self.server = self.start_server(f"{self.folder.name}/far.sock")
        self.d = Daemon("--nbd-server", "addr.type=unix,addr.path={dir}/out.sock")
        self.other = self.d.qmp
        self.waiting = self.d.new_session()
        run("qemu-img", "create", "-q", "-f", "qcow2", self.d.path("disk.qcow2"), str(SIZE))
        self.add_disk(self.other, "disk")
        self.is_stopped = False
        return self

    def start_server(self, socket):
        return nbdkit(socket, "file", self.file)

    def __exit__(self, kind, value, traceback):
        self.go_on()
        self.waiting.close()
        self.d.__exit__(kind, value, traceback)
        self.server.__exit__(None, None, None)
        self.folder.cleanup()

    def add_disk(self, session, name, **more):
        session.execute("blockdev-add", driver="qcow2", node_name=name,
                        file={"driver": "file", "filename": self.d.path("disk.qcow2"),
                              "node-name": f"{name}-file"}, **more)

    def far(self, **more):
        return {"driver": "nbd", "server": self.server.address(), **more}

    def patient(self, **more):
        """The same by somebody who waits for as long as others take, who may be slow."""
        return self.far(**{"open-timeout": 3600}, **more)

    def stop(self):
        self.is_stopped = True
        stop_process(self.server.process.pid)

    def go_on(self):
        if self.is_stopped and self.server.process.poll() is None:
            self.server.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def clients(self):
        """Connections to the server, taken or not."""
        with open("/proc/net/unix", encoding="ascii") as f:
            return sum(1 for line in f if line.endswith(f" {self.server.socket}\n")) - 1

    def begin_add(self, **options):
        """Have the first session wait for the server in blockdev-add."""
        self.stop()
        before = self.clients()
        self.waiting.send({"execute": "blockdev-add",
                           "arguments": {k.replace("_", "-"): v for k, v in options.items()}})
        wait_until(lambda: self.clients() > before)

    def begin(self, command, arguments):
        self.waiting.send({"execute": command, "arguments": {
            k.replace("_", "-"): v for k, v in arguments.items()}})

    def answer(self, session=None):
        """What a session, or the first one, got at last."""
        while True:
            answer = (session or self.waiting).receive()
            if "event" not in answer:
                return answer

    def nodes(self):
        return {n["node-name"]: n for n in self.other.execute("query-named-block-nodes")}

    def work(self, disk="disk"):
        """What the second client does with a healthy disk meanwhile."""
        q = self.other
        q.execute("blockdev-add", driver="null-co", node_name="w-null", size=SIZE)
        q.execute("blockdev-snapshot-sync", node_name=disk, snapshot_file=self.d.path("w.qcow2"),
                  snapshot_node_name="w-top")
        q.execute("block_resize", node_name="w-top", size=2 * SIZE)
        q.execute("block-export-add", type="nbd", id="w-x", node_name="w-top", name="w",
                  writable=True)
        h = connect(self.d.path("out.sock"), "w")
        h.pwrite(b"w" * 4096, 0)
        h.flush()
        h.shutdown()
        q.execute("block-export-del", id="w-x", mode="hard")
        q.wait_event("BLOCK_EXPORT_DELETED", id="w-x")
        q.execute("block_resize", node_name="w-top", size=SIZE)
        self.begin_job("w-top", "w-null", sync="none")
        self.steer()
        self.begin_job("w-top", "w-null", sync="full", auto_dismiss=False, auto_finalize=False)
        wait_until(lambda: q.execute("query-jobs")[0]["status"] == "pending")
        q.execute("job-finalize", id="job")
        q.execute("job-dismiss", id="job")
        q.execute("block-commit", device="w-top", job_id="w-commit")
        q.wait_event("BLOCK_JOB_READY", device="w-commit")
        q.execute("job-complete", id="w-commit")
        q.wait_event("BLOCK_JOB_COMPLETED", device="w-commit")
        for name in ("w-top", "w-null"):
            q.execute("blockdev-del", node_name=name)
        assert set(self.nodes()) >= {"disk", "disk-file"}
        q.execute("x-debug-query-block-graph")

    def begin_job(self, device, target, **more):
        self.other.events.clear()  # of earlier ones
        self.other.execute("blockdev-backup", device=device, target=target, job_id="job", **more)

    def steer(self):
        """The life of a job that ends when it is told to."""
        q = self.other
        q.execute("job-pause", id="job")
        wait_until(lambda: q.execute("query-block-jobs")[0]["status"] == "paused")
        q.execute("job-resume", id="job")
        q.execute("block-job-set-speed", device="job", speed=MIB)
        q.execute("block-job-cancel", device="job")
        q.wait_event("JOB_STATUS_CHANGE", id="job", status="null")


class Holding(World):
    """
    Its server holds requests of a kind, "pread", "pwrite" or "flush", or "header", writes to the
    first sector, while it is told to.
    """

    def start_server(self, socket):
        def wait(kind):
            return (f"if [ -e {self.file}.{kind} ]; then touch {self.file}.held; "
                    f"while [ -e {self.file}.{kind} ]; do sleep 0.02; done; fi; ")

        def rule(kind, work):
            return f"{kind}={wait(kind)}{work}"

        dd = "dd bs=64k status=none iflag="
        return nbdkit(socket, "eval", f"get_size=stat -c %s {self.file}", "can_write=exit 0",
                      "can_flush=exit 0", rule("flush", ":"),
                      rule("pread", f"{dd}skip_bytes,count_bytes if={self.file} skip=$4 count=$3"),
                      rule("pwrite", f"if [ $4 -lt 512 ]; then {wait('header')} fi; "
                                     f"{dd}fullblock of={self.file} oflag=seek_bytes seek=$4 "
                                     "conv=notrunc"))

    def hold(self, kind):
        if os.path.exists(f"{self.file}.held"):
            os.unlink(f"{self.file}.held")
        with open(f"{self.file}.{kind}", "wb"):
            pass

    def wait_held(self):
        """Until there is a request that is held."""
        wait_until(lambda: os.path.exists(f"{self.file}.held"))

    def release(self, kind):
        os.unlink(f"{self.file}.{kind}")


class HoldingReads(World):
    """Its server holds the reads from the offsets that it is told to."""

    def start_server(self, socket):
        f = self.file
        return nbdkit(socket, "eval", f"get_size=stat -c %s {f}", "can_write=exit 0",
                      "can_flush=exit 0", "thread_model=echo parallel", "flush=:",
                      f"pread=while [ -e {f}.$4 ]; do touch {f}.held.$4; sleep 0.02; done; "
                      f"dd bs=64k status=none iflag=skip_bytes,count_bytes if={f} skip=$4 count=$3",
                      f"pwrite=dd bs=64k status=none iflag=fullblock of={f} oflag=seek_bytes "
                      "seek=$4 conv=notrunc")

    def hold(self, offset):
        with open(f"{self.file}.{offset}", "wb"):
            pass

    def is_held(self, offset):
        return os.path.exists(f"{self.file}.held.{offset}")

    def release(self, offset):
        os.unlink(f"{self.file}.{offset}")
        if self.is_held(offset):
            os.unlink(f"{self.file}.held.{offset}")


class Counting(World):
    """Its server counts flushes, and holds the one that it is told to."""

    def start_server(self, socket):
        f = self.file
        return nbdkit(socket, "eval", f"get_size=stat -c %s {f}", "can_write=exit 0",
                      "can_flush=exit 0", "thread_model=echo parallel",
                      f"flush=echo >> {f}.count; n=$(wc -l < {f}.count); "
                      f"while [ -e {f}.flush.$n ]; do touch {f}.held.$n; sleep 0.02; done",
                      f"pread=dd bs=64k status=none iflag=skip_bytes,count_bytes if={f} skip=$4 "
                      "count=$3",
                      f"pwrite=dd bs=64k status=none iflag=fullblock of={f} oflag=seek_bytes "
                      "seek=$4 conv=notrunc")

    def flushes(self):
        try:
            return os.path.getsize(f"{self.file}.count")
        except FileNotFoundError:
            return 0

    def hold(self, number):
        with open(f"{self.file}.flush.{number}", "wb"):
            pass

    def wait_held(self, number):
        wait_until(lambda: os.path.exists(f"{self.file}.held.{number}"))

    def release(self, number):
        os.unlink(f"{self.file}.flush.{number}")


def check_waits(session, command):
    """Whether a session has no answer yet."""
    answered, _, _ = select.select([session.socket], [], [], 0)
    while answered:
        answer = session.receive()
        assert "event" in answer, (command, answer)
        session.events.append(answer)
        answered, _, _ = select.select([session.socket], [], [], 0)


def write_unflushed(w, export):
    h = connect(w.d.path("out.sock"), export)
    h.pwrite(b"u" * 4096, 0)
    h.shutdown()
