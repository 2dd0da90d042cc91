# SPDX-License-Identifier: MIT
"""A client with many writes in flight, driven by the script that uses it.

It writes as fast as it can, zeroes and writes with FUA among them, whenever the script
calls step(), write() or run_until(); its model holds what has been written.
"""
import random
import time

from support import skip

BLOCK = 4096
DEPTH = 16


class Load:
    """Random writes over @size bytes that do not overlap, always DEPTH of them in flight."""

    def __init__(self, uri, size):
        try:
            import nbd
        except ImportError:
            skip("the Python bindings of libnbd are not installed")
        self.nbd, self.size = nbd, size
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.random = random.Random(5)
        self.model = bytearray(size)
        self.busy, self.flying, self.writes = set(), {}, 0

    def submit(self):
        count = self.random.randrange(1, 9)
        first = self.random.randrange(self.size // BLOCK - count)
        blocks = range(first, first + count)
        if self.busy.intersection(blocks):
            return
        self.busy.update(blocks)
        kind = self.random.randrange(8)
        if kind == 0:
            data = bytes(count * BLOCK)
            cookie = self.handle.aio_zero(count * BLOCK, first * BLOCK)
            self.flying[cookie] = (blocks, data, None)
            return
        data = self.random.randbytes(BLOCK) * count
        flags = self.nbd.CMD_FLAG_FUA if kind == 1 else 0
        buffer = self.nbd.Buffer.from_bytearray(bytearray(data))
        cookie = self.handle.aio_pwrite(buffer, first * BLOCK, flags=flags)
        self.flying[cookie] = (blocks, data, buffer)

    def retire(self):
        for cookie in list(self.flying):
            if self.handle.aio_command_completed(cookie):
                blocks, data, _ = self.flying.pop(cookie)
                self.busy.difference_update(blocks)
                self.model[blocks[0] * BLOCK:(blocks[-1] + 1) * BLOCK] = data
                self.writes += 1

    def step(self):
        while len(self.flying) < DEPTH:
            self.submit()
        self.handle.poll(10)
        self.retire()

    def write(self, count):
        """Go on until so many more have been done."""
        end = self.writes + count
        while self.writes < end:
            self.step()

    def finish(self):
        while self.flying:
            self.handle.poll(10)
            self.retire()
        self.handle.flush()
        self.handle.shutdown()


def run_until(load, qmp, event, **data):
    """Keep the load up until the event has come."""
    wanted = {k.replace("_", "-"): v for k, v in data.items()}
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for _ in range(20):
            load.step()
        qmp.execute("query-jobs")  # lets events in
        for i, e in enumerate(qmp.events):
            assert e["event"] != "BLOCK_JOB_ERROR", e
            if e["event"] == event and wanted.items() <= e["data"].items():
                return qmp.events.pop(i)
    raise AssertionError(f"{event} {data} does not come: {qmp.execute('query-block-jobs')}")
