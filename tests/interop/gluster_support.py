# SPDX-License-Identifier: MIT
"""A GlusterFS server of a test's own, by tests/servers/gluster."""
import contextlib
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import ROOT, TIMEOUT_S, run, skip  # noqa: E402

SCRIPT = os.path.join(ROOT, "tests", "servers", "gluster")
MEMORY = "/dev/shm"


def is_running(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            return "(zombie)" not in f.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid):
    """Kill a process, and wait until it has gone."""
    os.kill(pid, signal.SIGKILL)
    while is_running(pid):
        time.sleep(0.01)


class Gluster:
    """The server; use it in a with statement. Skips the test where it cannot run.

    With @size its disk has so many bytes. @brick is the folder of the volume's
    files, @socket the management daemon's. It listens at @host, or at an address of
    its own.
    """

    def __init__(self, size=None, host=None):
        self.dir = tempfile.mkdtemp(prefix="cairn-gluster-",
                                    dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        self.is_mounted = False
        if size:
            self.is_mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}",
                                              "cairn-test", self.dir]).returncode == 0
        # Port 24007 it is, so that tests at the same time need addresses of their own.
        self.host = host or "127.%d.%d.%d" % tuple(random.randrange(1, 255) for _ in range(3))
        self.start()

    def start(self):
        result = subprocess.run([SCRIPT, "start", self.dir], capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=TIMEOUT_S * 2,
                                env=dict(os.environ, GLUSTER_ADDR=self.host))
        if result.returncode == 77:
            self.remove()
            skip(result.stderr.strip())
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        told = dict(line.split("=", 1) for line in result.stdout.splitlines())
        self.brick, self.socket = told["brick"], told["socket"]
        self.brick_pid, self.daemon_pid = int(told["brick_pid"]), int(told["daemon_pid"])

    def uri(self, path):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"gluster://{host}/testvol/{path}"

    def options(self, path, volume="testvol", **more):
        """Options of a node on the file @path of a volume."""
        server = {"type": "inet", "host": self.host, "port": "0"}
        return {"driver": "gluster", "volume": volume, "path": path, "server": [server],
                "logfile": f"{self.dir}/client.log",
                **{k.replace("_", "-"): v for k, v in more.items()}}

    def file(self, path):
        """The brick's file behind the volume's @path."""
        return os.path.join(self.brick, path)

    def kill_brick(self):
        """Kill it, and wait until it has gone."""
        kill(self.brick_pid)

    def command(self, *arguments):
        """Run a command of gluster's shell."""
        run("gluster", "--mode=script", f"--glusterd-sock={self.dir}/run/glusterd.sock",
            f"--log-file={self.dir}/log/cli.log", *arguments, timeout=TIMEOUT_S * 2)

    def make_volume(self, name, *kind, bricks=1, options=()):
        """Make and start a volume; returns the folders of its bricks."""
        folders = [f"{self.dir}/{name}-{i}" for i in range(bricks)]
        self.command("volume", "create", name, *kind, *(f"{self.host}:{f}" for f in folders),
                     "force")
        for option in options:
            self.command("volume", "set", name, *option)
        self.command("volume", "start", name)
        return folders

    def pid_of_brick(self, name, folder):
        """The process of one brick of the volume @name."""
        with open(glob.glob(f"{self.dir}/run/vols/{name}/*-{os.path.basename(folder)}.pid")[0]) as f:
            return int(f.read())

    def start_bricks(self, name, folders):
        """Start those that were killed; they count as running for a while."""
        deadline = time.monotonic() + TIMEOUT_S
        while not all(is_running(self.pid_of_brick(name, f)) for f in folders):
            assert time.monotonic() < deadline, "a brick does not start"
            self.command("volume", "start", name, "force")
            time.sleep(0.2)

    @contextlib.contextmanager
    def mounted(self, name):
        """A folder with the volume, as GlusterFS itself shows it."""
        where = f"{self.dir}/mount-{name}"
        os.mkdir(where)
        run("glusterfs", f"--volfile-server={self.host}", f"--volfile-id={name}",
            f"--log-file={self.dir}/fuse.log", where)
        try:
            while not os.path.ismount(where):
                time.sleep(0.05)
            yield where
        finally:
            subprocess.run(["umount", where])
            os.rmdir(where)

    def remove(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.dir])
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([SCRIPT, "stop", self.dir], timeout=TIMEOUT_S * 2)
        self.remove()
