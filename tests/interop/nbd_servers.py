# SPDX-License-Identifier: MIT
"""Other people's NBD servers, for the tests of the client driver."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import TIMEOUT_S, is_listening, skip  # noqa: E402

try:
    import nbd
except ImportError:
    skip("the Python bindings of libnbd are not installed")


class Server:
    """A server process on a UNIX socket; use it in a with statement.

    @command is its command line, in which {socket} is the socket's path.
    """

    def __init__(self, socket, *command):
        self.socket = socket
        self.command = [c.replace("{socket}", socket) for c in command]
        self.process = None
        self.start()

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT_S
        # Or its pidfile, where the address is another.
        while not (os.path.isfile(self.socket) or is_listening(self.socket)):
            assert self.process.poll() is None, f"{self.command} did not start"
            assert time.monotonic() < deadline, f"{self.command} made no socket"
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(TIMEOUT_S)

    def address(self):
        return {"type": "unix", "path": self.socket}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)


def qemu_nbd(socket, path, *more, fmt="raw"):
    return Server(socket, "qemu-nbd", "-t", "-e", "20", "-f", fmt, "-k", "{socket}", *more, path)


def nbdkit(socket, *arguments):
    return Server(socket, "nbdkit", "-f", "--exit-with-parent", "-U", "{socket}", *arguments)


def wait_until(condition, complaint):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def count_clients(path):
    """The connections that the server at @path has accepted."""
    with open("/proc/net/unix", encoding="ascii") as f:
        return sum(1 for line in f if line.endswith(f" {path}\n") and line.split()[5] == "03")


def connect(path, export):
    """A client of libnbd's own on an export at a UNIX socket."""
    h = nbd.NBD()
    h.add_meta_context("base:allocation")
    h.connect_uri(f"nbd+unix:///{export}?socket={path}")
    return h


def in_order(h, offset, data, block=4096, depth=32):
    """Write @data in blocks, @depth of them at once, and return what reading does then."""
    views = [memoryview(data)[i:i + block] for i in range(0, len(data), block)]
    buffers = [nbd.Buffer(len(v)) for v in views]

    def run(issue):
        pending = []
        for i in range(len(views)):
            pending.append(issue(i))
            while len(pending) == depth or (pending and i == len(views) - 1):
                h.poll(-1)
                pending = [c for c in pending if not h.aio_command_completed(c)]

    written = [nbd.Buffer.from_bytearray(bytearray(v)) for v in views]
    run(lambda i: h.aio_pwrite(written[i], offset + i * block))
    run(lambda i: h.aio_pread(buffers[i], offset + i * block))
    return b"".join(bytes(b.to_bytearray()) for b in buffers)
