# SPDX-License-Identifier: MIT
"""A GlusterFS server of a test's own, by tests/servers/gluster."""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import ROOT, TIMEOUT_S, skip  # noqa: E402

SCRIPT = os.path.join(ROOT, "tests", "servers", "gluster")
MEMORY = "/dev/shm"


class Gluster:
    """The server; use it in a with statement. Skips the test where it cannot run.

    With @size its disk has so many bytes. @brick is the folder of the volume's
    files, @socket the management daemon's.
    """

    def __init__(self, size=None):
        self.dir = tempfile.mkdtemp(prefix="cairn-gluster-",
                                    dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        self.is_mounted = False
        if size:
            self.is_mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}",
                                              "cairn-test", self.dir]).returncode == 0
        # Port 24007 it is, so that tests at the same time need addresses of their own.
        self.host = "127.%d.%d.%d" % tuple(random.randrange(1, 255) for _ in range(3))
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
        return f"gluster://{self.host}/testvol/{path}"

    def options(self, path, **more):
        """Options of a node on the volume's file @path."""
        server = {"type": "inet", "host": self.host, "port": "0"}
        return {"driver": "gluster", "volume": "testvol", "path": path, "server": [server],
                "logfile": f"{self.dir}/client.log",
                **{k.replace("_", "-"): v for k, v in more.items()}}

    def file(self, path):
        """The brick's file behind the volume's @path."""
        return os.path.join(self.brick, path)

    def kill_brick(self):
        """Kill it, and wait until it has gone."""
        os.kill(self.brick_pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{self.brick_pid}/task/{self.brick_pid}/children") and \
                "(zombie)" not in open(f"/proc/{self.brick_pid}/status").read():
            time.sleep(0.01)

    def remove(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.dir])
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([SCRIPT, "stop", self.dir], timeout=TIMEOUT_S)
        self.remove()
