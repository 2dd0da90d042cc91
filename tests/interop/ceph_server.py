# SPDX-License-Identifier: MIT
"""A Ceph cluster for the scripts test-rbd-*, and its own client.

with-ceph starts one for several scripts and names its folder in $CEPH_TEST_DIR; a
script that is run alone starts its own.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import ROOT, need, run, skip, stopped  # noqa: E402

SCRIPT = os.path.join(ROOT, "tests", "servers", "ceph")
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "rados", "rbd")
# Names of objects, which need not be there, one for each of the eight placement groups of the pool.
PROBES = ("probe0", "probe1", "probe4", "probe8", "probe9", "probe10", "probe22", "probe30")
PROBE_S = 10


class Ceph:
    def __init__(self, folder):
        self.dir = folder
        self.conf = f"{folder}/ceph.conf"

    def start(self, store="memstore", osds=1):
        result = subprocess.run([SCRIPT, "start", self.dir], capture_output=True, text=True,
                                env=dict(os.environ, CEPH_STORE=store, CEPH_OSDS=str(osds)))
        if result.returncode != 0:
            skip(f"no Ceph cluster: {result.stderr.strip()}")

    def stop(self):
        run(SCRIPT, "stop", self.dir)

    def pid(self, which):
        return int(run(SCRIPT, "pid", self.dir, which))

    def signal(self, which, number):
        os.kill(self.pid(which), number)

    @contextlib.contextmanager
    def frozen(self, *which):
        """The monitor, the OSD ("osd.1": the second) or both do not answer meanwhile."""
        with stopped(*(self.pid(w) for w in which)):
            yield
        osds = [w.partition(".")[2] or "0" for w in which if w.startswith("osd")]
        if osds:
            self.wake(osds)

    def wake(self, osds):
        """
        Have halted OSDs serve all placement groups again. The right to read, which it gives
        itself for some seconds at a time, has run out; once in a while it does not get it again, and
        whatever comes ("waiting for readable") waits for ever. A new start of the group ends that.
        """
        probes = [subprocess.Popen(["rados", "-c", self.conf, "-p", "rbd", "stat", name],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                  for name in PROBES]
        deadline = time.monotonic() + PROBE_S
        while any(p.poll() is None for p in probes) and time.monotonic() < deadline:
            time.sleep(0.02)
        if any(p.poll() is None for p in probes):
            self.ceph("osd", "down", *osds)
        for p in probes:
            p.wait(120)

    def rbd(self, *arguments, **options):
        return run("rbd", "-c", self.conf, *arguments, timeout=120, **options)

    def ceph(self, *arguments):
        return run("ceph", "-c", self.conf, *arguments, timeout=120)

    def set_osd(self, number, name, value):
        """Change a setting of a running OSD."""
        run("ceph", "daemon", f"{self.dir}/run/osd.{number}.asok", "config", "set", name, str(value),
            timeout=120)

    def object_on(self, image, osd):
        """The number of an object of @image that lies on OSD @osd."""
        prefix = next(line.split()[-1] for line in self.rbd("info", image).splitlines()
                      if "block_name_prefix" in line)
        for i in range(1 << 16):
            place = self.ceph("osd", "map", "rbd", f"{prefix}.{i:016x}", "--format", "json")
            if json.loads(place)["acting_primary"] == osd:
                return i
        raise AssertionError(f"no object on osd.{osd}")

    def remove(self, name):
        """Remove an image, if it is there; who was slow to close it may be watching it for a while."""
        deadline = time.monotonic() + 60
        while "watchers" in subprocess.run(["rbd", "-c", self.conf, "rm", name], timeout=120,
                                           capture_output=True, text=True).stderr:
            assert time.monotonic() < deadline, f"image {name} stays in use"
            time.sleep(0.5)

    def create(self, name, size, *arguments):
        """A new image in place of any old one."""
        self.remove(name)
        self.rbd("create", name, "--size", f"{size}B", *arguments)

    def content(self, name):
        """The bytes as Ceph's own client sees them."""
        with tempfile.TemporaryDirectory() as folder:
            self.rbd("export", name, f"{folder}/image")
            with open(f"{folder}/image", "rb") as f:
                return f.read()

    def name(self, image, *settings):
        return ":".join([f"rbd:rbd/{image}", f"conf={self.conf}", *settings])

    def options(self, image, **more):
        return dict(driver="rbd", pool="rbd", image=image, conf=self.conf, **more)


@contextlib.contextmanager
def cluster(store="memstore", own=False, osds=1):
    """The shared cluster, or one of one's own, with several OSDs if so."""
    need(*PROGRAMS)
    suppressions = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ceph.lsan")
    os.environ.setdefault("LSAN_OPTIONS", f"suppressions={suppressions}:print_suppressions=0")
    shared = os.environ.get("CEPH_TEST_DIR")
    if shared and not own:
        yield Ceph(shared)
        return
    # Nobody who is told to end shall leave a cluster behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="cairn-ceph-")
    ceph = Ceph(folder)
    try:
        ceph.start(store, osds)
        yield ceph
    finally:
        if os.path.exists(ceph.conf):
            ceph.stop()
        shutil.rmtree(folder, ignore_errors=True)


def need_module():
    """Skip where cairnd has no rbd."""
    from support import CAIRND
    folder = os.environ.get("CAIRN_MODULES") or os.path.join(os.path.dirname(CAIRND), "..", "drivers")
    module = os.path.join(folder, "cairn-block-rbd.so")
    if not os.path.exists(module):
        skip("the module of rbd is not built")
