# SPDX-License-Identifier: MIT
"""What test scripts share: a running daemon, a QMP session, a writing client.

A script starts with

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
    from support import Daemon, Writer, run

The daemon under test is $CAIRND, or build/daemon/cairnd; RIVAL is the reference
program, and None where it is not installed. A script that lacks a tool calls
skip(), which ends it with code 77.
"""
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CAIRND = os.environ.get("CAIRND") or os.path.join(ROOT, "build", "daemon", "cairnd")
RIVAL = shutil.which("qemu-storage-daemon")
TIMEOUT_S = 60


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(77)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            skip(f"{program} is not installed")


def run(*command, check=True, **options):
    """Run @command and return its standard output as text."""
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: code {result.returncode}\n"
                             f"{result.stdout}{result.stderr}")
    return result.stdout


def is_listening(path):
    """Whether connections to the UNIX socket are taken: it is there before they are."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def has_stopped(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as f:
                if f.read().rpartition(")")[2].split()[0] != "T":
                    return False
        except (FileNotFoundError, ProcessLookupError):
            pass
    return True


def stop_process(pid):
    """Have a process stand still: each of its threads, which on a busy machine notice late."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + TIMEOUT_S
    while not has_stopped(pid):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


@contextlib.contextmanager
def stopped(*pids):
    """Processes that stand still meanwhile."""
    try:
        for pid in pids:
            stop_process(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class QmpError(Exception):
    """An error answer; args are the class and the description."""

    @property
    def error_class(self):
        return self.args[0]

    @property
    def desc(self):
        return self.args[1]


class Qmp:
    """A QMP session over a UNIX socket: one at a path, or one that is connected."""

    def __init__(self, where, negotiate=True):
        is_connected = isinstance(where, socket.socket)
        self.socket = where if is_connected else socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_S)
        if not is_connected:
            self.socket.connect(where)
        self.lines = self.socket.makefile("rb")
        self.events = []
        self.greeting = self.receive()
        if negotiate:
            self.execute("qmp_capabilities")

    def receive(self):
        line = self.lines.readline()
        if not line:
            raise ConnectionError("the daemon closed the monitor")
        return json.loads(line)

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode())

    def command(self, message):
        """Send @message and return its answer; events are put aside."""
        self.send(message)
        while True:
            answer = self.receive()
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def execute(self, command, arguments=None, **members):
        """The return value of @command; member names may be written with _ for -."""
        arguments = dict(arguments or {})
        arguments.update({k.replace("_", "-"): v for k, v in members.items()})
        message = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        answer = self.command(message)
        if "error" in answer:
            raise QmpError(answer["error"]["class"], answer["error"]["desc"])
        return answer["return"]

    def expect_error(self, command, arguments=None, **members):
        """Run a command that must fail; returns the QmpError."""
        try:
            result = self.execute(command, arguments, **members)
        except QmpError as error:
            return error
        raise AssertionError(f"{command} succeeded: {result}")

    def wait_event(self, name, **data):
        """Take the first event called @name whose data has these members (_ for -)."""
        wanted = {k.replace("_", "-"): v for k, v in data.items()}
        seen = 0
        while True:
            for i in range(seen, len(self.events)):
                event = self.events[i]
                if event["event"] == name and wanted.items() <= event.get("data", {}).items():
                    return self.events.pop(i)
            seen = len(self.events)
            answer = self.receive()
            assert "event" in answer, answer
            self.events.append(answer)

    def close(self):
        self.lines.close()
        self.socket.close()


class Daemon:
    """A running daemon in a folder of its own; use it in a with statement.

    @arguments are its options; {dir} in them is the folder. The monitor's socket
    is {dir}/qmp.sock, self.qmp a session on it. @program may be RIVAL, which gets a
    connected socket for that one session: it may hang up on a client that comes while
    it starts, or never answer it.
    """

    def __init__(self, *arguments, program=None, folder=None, env=None):
        self.owns_folder = folder is None
        self.dir = folder or tempfile.mkdtemp(prefix="cairn-test-")
        pidfile = f"{self.dir}/daemon.pid"
        self.log_path = f"{self.dir}/daemon.log"
        ours, theirs, address = None, None, f"path={self.dir}/qmp.sock,server=on,wait=off"
        if program and program == RIVAL:
            ours, theirs = socket.socketpair()
            address = f"fd={theirs.fileno()}"
        command = [program or CAIRND, *(a.replace("{dir}", self.dir) for a in arguments),
                   "--chardev", f"socket,id=qmp0,{address}",
                   "--monitor", "chardev=qmp0", "--pidfile", pidfile]
        if env is None and program:
            # Memory faults of others are not looked for here.
            env = {k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"}
        with open(self.log_path, "wb") as log:
            # The reference program tells on its output which images it makes.
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL if program else None, env=env,
                                            pass_fds=[theirs.fileno()] if theirs else [])
        if theirs:
            theirs.close()
        deadline = time.monotonic() + TIMEOUT_S
        while not self.has_written(pidfile):
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with code {self.process.returncode}: "
                                     + self.log())
            assert time.monotonic() < deadline, "the daemon did not start"
            time.sleep(0.005)
        self.qmp = Qmp(ours or f"{self.dir}/qmp.sock")

    def has_written(self, pidfile):
        """Whether it is this daemon's, and not that of one that was killed."""
        try:
            with open(pidfile) as file:
                return file.read().strip() == str(self.process.pid)
        except FileNotFoundError:
            return False

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def path(self, name):
        return os.path.join(self.dir, name)

    def new_session(self):
        return Qmp(f"{self.dir}/qmp.sock")

    def quit(self):
        """End the daemon by its command and insist on a clean exit."""
        self.qmp.execute("quit")
        self.wait()

    def wait(self):
        code = self.process.wait(TIMEOUT_S)
        assert code == 0, f"the daemon ended with code {code}: {self.log()}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT_S)

    def close(self):
        self.qmp.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("the daemon did not end on SIGTERM")
        if self.owns_folder:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            print(f"The daemon's log:\n{self.log()}", file=sys.stderr)
        try:
            self.close()
        except AssertionError:
            if kind is None:
                raise


class Writer(threading.Thread):
    """A client that writes random blocks over NBD and reads some of them back.

    @model holds what it wrote; blocks whose write did not return are in
    @uncertain. stop() ends it and raises what it met. It reads everything first, unless it is
    told by the argument @model what there is.
    """

    def __init__(self, uri, size, seed=1, block=4096, pause_s=0.0, model=b""):
        try:
            import nbd
        except ImportError:
            skip("the Python bindings of libnbd are not installed")
        super().__init__(daemon=True)
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.size, self.block, self.pause_s = size, block, pause_s
        self.random = random.Random(seed)
        self.model = bytearray(model)
        while len(self.model) < size:
            self.model += self.handle.pread(min(size - len(self.model), 1 << 20), len(self.model))
        self.flushed = bytes(self.model)
        self.uncertain = set()
        self.stopping = threading.Event()
        self.writes, self.slowest_s, self.error = 0, 0.0, None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step()
        except Exception as error:  # reported by stop()
            self.error = error

    def step(self):
        blocks = self.random.randrange(1, 9)
        first = self.random.randrange(self.size // self.block - blocks)
        offset, data = first * self.block, self.random.randbytes(blocks * self.block)
        self.uncertain = set(range(first, first + blocks))
        begin = time.monotonic()
        self.handle.pwrite(data, offset)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        self.model[offset:offset + len(data)] = data
        self.uncertain = set()
        self.writes += 1
        if self.writes % 64 == 0:
            self.handle.flush()
            self.flushed = bytes(self.model)
        offset = self.random.randrange(self.size // self.block) * self.block
        assert self.handle.pread(self.block, offset) == self.model[offset:offset + self.block], \
            f"wrong data at {offset}"
        if self.pause_s:
            time.sleep(self.pause_s)

    def wait(self, count):
        """Wait until so many more writes have been done."""
        end, deadline = self.writes + count, time.monotonic() + TIMEOUT_S
        while self.writes < end and self.is_alive():
            assert time.monotonic() < deadline, "no writes any more"
            time.sleep(0.002)

    def stop(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error
        self.handle.flush()
        self.flushed = bytes(self.model)
        self.handle.shutdown()


def image_bytes(path, image_format="qcow2"):
    """The guest-visible content of an image, as qemu-img reads it."""
    with tempfile.NamedTemporaryFile() as raw:
        run("qemu-img", "convert", "-f", image_format, "-O", "raw", path, raw.name)
        with open(raw.name, "rb") as content:
            return content.read()


def check_image(path):
    """Insist that qemu-img check finds neither errors nor leaks."""
    run("qemu-img", "check", path)
