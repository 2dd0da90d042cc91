# SPDX-License-Identifier: MIT
"""What the tests of qcow2 against qemu-img share: images, workloads, models.

A model is the bytes that an image must show. A workload is a list of operations
on it that either program can carry out.
"""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import ROOT, need, run, skip  # noqa: E402,F401

BLOCKIO = os.environ.get("BLOCKIO") or os.path.join(ROOT, "build", "tests", "io", "blockio")
SECTOR = 512


def options(path, **more):
    """The text for blockio that opens @path; dashes in names are underscores here."""
    text = f"driver=qcow2,file.driver=file,file.filename={path}"
    for name, value in more.items():
        text += f",{name.replace('_', '-')}={value}"
    return text


def blockio(path, commands, check=True, read_only=False, **more):
    """Run @commands on @path with our driver; returns (output, code)."""
    flags = ["-r"] if read_only else []
    result = subprocess.run([BLOCKIO, *flags, options(path, **more)], input="\n".join(commands),
                            capture_output=True, text=True)
    if check and result.returncode != 0:
        raise AssertionError(f"blockio {path}: code {result.returncode}\n{result.stdout}"
                             f"{result.stderr}")
    return result.stdout + result.stderr, result.returncode


def qemu_io(path, commands, discard=True):
    """Run @commands on @path with qemu-io."""
    arguments = ["-d", "unmap"] if discard else []
    for command in commands:
        arguments += ["-c", command]
    out = run("qemu-io", "-f", "qcow2", *arguments, path)
    assert "failed" not in out, out
    return out


def create(path, size, backing=None, **creation):
    """Make an image with qemu-img."""
    text = ",".join(f"{k}={v}" for k, v in creation.items())
    more = ["-o", text] if text else []
    if backing:
        more += ["-b", backing, "-F", "qcow2" if backing.endswith(".qcow2") else "raw"]
    run("qemu-img", "create", "-q", "-f", "qcow2", *more, path, str(size))


def assert_sound(path):
    """qemu-img finds no error and no leak."""
    result = subprocess.run(["qemu-img", "check", "-f", "qcow2", path], capture_output=True,
                            text=True)
    assert result.returncode == 0, f"{path}: {result.stdout}{result.stderr}"


def assert_shows(path, model, what):
    """Both programs read from @path what @model says."""
    dump = path + ".dump"
    blockio(path, [f"dump {dump}"], read_only=True)
    compare(dump, model, f"{what}: our reading")
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, dump)
    compare(dump, model, f"{what}: the rival's reading")
    os.unlink(dump)


def compare(path, model, what):
    with open(path, "rb") as f:
        data = f.read()
    if data == model:
        return
    assert len(data) == len(model), f"{what}: {len(data)} bytes for {len(model)}"
    first = next(i for i in range(len(data)) if data[i] != model[i])
    raise AssertionError(f"{what}: at {first:#x} {data[first]} for {model[first]}")


class Workload:
    """Random operations and the model of what they leave."""

    def __init__(self, seed, size, cluster=65536, base=b""):
        self.random = random.Random(seed)
        self.size = size
        self.cluster = cluster
        self.model = bytearray(base[:size].ljust(size, b"\0"))
        self.touched = set()     # clusters
        self.compressed = set()

    def _clusters(self, start, length):
        return range(start // self.cluster, (start + length - 1) // self.cluster + 1)

    def _range(self, aligned):
        unit = self.cluster if aligned else SECTOR
        most = self.random.choice([1, 4, 40]) * self.cluster
        start = self.random.randrange(self.size // unit) * unit
        length = self.random.randrange(1, max(2, most // unit)) * unit
        return start, min(length, self.size - start)

    def _write(self, flags, start, length, pattern):
        self.touched.update(self._clusters(start, length))
        self.compressed.difference_update(self._clusters(start, length))
        self.model[start:start + length] = bytes([pattern]) * length
        return f"write {flags}-P {pattern} {start} {length}"

    def _zero(self, flags, start, length):
        self._write("", start, length, 0)
        return f"write -z{flags} {start} {length}"

    def _compressed(self, cluster):
        command = self._write("-c ", cluster * self.cluster, self.cluster,
                              self.random.randrange(256))
        self.compressed.add(cluster)
        return command

    def _ordinary(self, start, length, zero):
        if zero:
            return self._zero(self.random.choice(["", "u"]), start, length)
        return self._write("", start, length, self.random.randrange(256))

    def operations(self, count, compressed=False):
        """@count commands for blockio."""
        commands = []
        for _ in range(count):
            kind = self.random.random()
            if compressed and kind < 0.3:
                commands.append(self._compressed(self.random.randrange(self.size // self.cluster)))
            else:
                aligned = self.random.random() < 0.3
                commands.append(self._ordinary(*self._range(aligned), kind > 0.75))
        return commands

    def rival_operations(self, count, compressed=False):
        """At most @count commands for qemu-io.

        It does not compress over what is there, and damages the image when it writes to a part
        of a compressed cluster (7.2 does): it must do neither.
        """
        commands = []
        for _ in range(count):
            start, length = self._range(self.random.random() < 0.3)
            if not self.compressed.intersection(self._clusters(start, length)):
                commands.append(self._ordinary(start, length, self.random.random() > 0.75))
        for cluster in range(self.size // self.cluster):
            if compressed and cluster not in self.touched and self.random.random() < 0.3:
                commands.append(self._compressed(cluster))
        return commands

    def concurrent(self, count):
        """Writes that do not overlap, in the background, and a wait for all of them."""
        commands = []
        step = self.size // count // SECTOR * SECTOR
        for i in range(count):
            start = i * step + self.random.randrange(max(1, step // SECTOR // 2)) * SECTOR
            room = (i + 1) * step - start
            length = self.random.randrange(1, room // SECTOR + 1) * SECTOR
            commands.append("aio_" + self._write("", start, length, self.random.randrange(256)))
        self.random.shuffle(commands)
        return commands + ["wait"]
