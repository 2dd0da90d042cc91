# SPDX-License-Identifier: MIT
"""What the scripts beside this share: daemons, connections, and a way to fail.

The program under test is $CAIRND. A script raises AssertionError to fail and
calls skip() when something that it needs is missing.
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

CAIRND = os.path.abspath(os.environ.get('CAIRND', 'cairnd'))
RIVAL = 'qemu-storage-daemon'
TIME_LIMIT_S = 60


def skip(why):
    print('skipped: %s' % why)
    sys.exit(77)


def wait_until(condition, what):
    """Poll @condition until it is true."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, 'waited in vain: %s' % what
        time.sleep(0.01)


def run(options, program=None, **more):
    """Run a daemon that is expected to end by itself."""
    return subprocess.run([program or CAIRND] + list(options), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=TIME_LIMIT_S, check=False, **more)


class Monitor:
    """A connected client."""

    def __init__(self, where, negotiate=True):
        if isinstance(where, socket.socket):
            self.socket = where
        else:
            self.socket = socket.socket(socket.AF_UNIX if isinstance(where, str)
                                        else socket.AF_INET)
            wait_until(lambda: self.socket.connect_ex(where) == 0, 'connecting to %s' % (where,))
        self.socket.settimeout(TIME_LIMIT_S)
        self.buffer = b''
        self.events = []
        self.greeting = self.receive()
        if negotiate:
            assert self.command('qmp_capabilities') == {'return': {}}

    def receive(self):
        """The next line's object, or None at the end."""
        while b'\n' not in self.buffer:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b''
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else json.dumps(data).encode())

    def reply(self):
        """The next object that is no event; None at the end."""
        while True:
            value = self.receive()
            if value is None or 'event' not in value:
                return value
            self.events.append(value)

    def command(self, name, arguments=None):
        request = {'execute': name}
        if arguments is not None:
            request['arguments'] = arguments
        self.send(request)
        return self.reply()

    def is_silent(self, seconds=0.1):
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def close(self):
        self.socket.close()


class Daemon:
    """
    A running daemon with a monitor on a UNIX socket; a context manager.

    The rival gets a connected socket instead, for one client: it may hang up on one that comes
    while it starts, or never answer it.
    """

    def __init__(self, options=(), program=None, **more):
        self.directory = tempfile.TemporaryDirectory(prefix='cairn-')
        self.path = os.path.join(self.directory.name, 'monitor.sock')
        options = [o.replace('${DIR}', self.directory.name) for o in options]
        if program:
            # Memory faults of others are not looked for here.
            more.setdefault('env', {k: v for k, v in os.environ.items()
                                    if k != 'MALLOC_PERTURB_'})
        self.only_client, end, address = None, None, 'path=%s,server=on,wait=off' % self.path
        if program == RIVAL:
            self.only_client, end = socket.socketpair()
            more['pass_fds'] = [end.fileno()]
            address = 'fd=%d' % end.fileno()
        self.process = subprocess.Popen(
            [program or CAIRND] + options +
            ['--chardev', 'socket,id=monitor,' + address, '--monitor', 'chardev=monitor'],
            cwd=self.directory.name, **more)
        if end:
            end.close()

    def connect(self, negotiate=True):
        if self.only_client:
            return Monitor(self.only_client, negotiate)
        wait_until(lambda: os.path.exists(self.path) or self.process.poll() is not None,
                   'the monitor')
        assert self.process.poll() is None, 'the daemon has ended: %d' % self.process.returncode
        return Monitor(self.path, negotiate)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(TIME_LIMIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.directory.cleanup()
