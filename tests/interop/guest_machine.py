# SPDX-License-Identifier: MIT
"""A virtual machine with Debian's kernel and busybox, whose only disk is an NBD export.

It runs a shell script from memory, so that all that the disk sees is what the
script does to it. What the script prints, the host reads line by line.
"""
import glob
import os
import subprocess

from support import need, run, skip

PACKAGES = "qemu-system-x86, busybox-static and linux-image-cloud-amd64"
LINE_S = 300

# What is done before the script: /dev/vda is there then.
PROLOGUE = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for m in $(cat /modules/order); do insmod /modules/$m; done
mkdir /disk
fail() { echo "FAILED: $*"; poweroff -f; }
"""


def find_kernel():
    """The newest kernel for virtual machines, and its version."""
    kernels = sorted(glob.glob("/boot/vmlinuz-*-cloud-amd64"))
    if not kernels or not os.path.exists("/bin/busybox"):
        skip(f"{PACKAGES} are not installed")
    return kernels[-1], kernels[-1].partition("vmlinuz-")[2]


def modules(version):
    """The files that virtio disks and ext4 need, in the order of their loading."""
    order = []
    for name in ("virtio_pci", "virtio_blk", "ext4"):
        for line in run("/sbin/modprobe", "-S", version, "--show-depends", name).splitlines():
            kind, _, path = line.strip().partition(" ")
            if kind == "insmod" and path not in order:
                order.append(path)
    return order


def make_initramfs(path, version, script):
    """Pack busybox, the modules and @script into the file system that the kernel starts with."""
    root = path + ".d"
    for folder in ("bin", "dev", "proc", "sys", "modules"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    run("cp", "/bin/busybox", f"{root}/bin/busybox")
    order = modules(version)
    if order:
        run("cp", *order, f"{root}/modules")
    with open(f"{root}/modules/order", "w") as f:
        f.write(" ".join(os.path.basename(m) for m in order))
    with open(f"{root}/init", "w") as f:
        f.write(PROLOGUE + script + "\npoweroff -f\n")
    os.chmod(f"{root}/init", 0o755)
    names = run("find", ".", cwd=root)
    with open(path, "wb") as f:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), stdout=f,
                       stderr=subprocess.DEVNULL, cwd=root, check=True)


class Guest:
    """A running machine. @disk is what -drive file= takes; use it in a with statement."""

    def __init__(self, folder, disk, script):
        need("qemu-system-x86_64", "busybox", "timeout")
        kernel, version = find_kernel()
        initramfs = os.path.join(folder, "initramfs")
        make_initramfs(initramfs, version, script)
        self.lines = []
        # Without the hardware's help, which is there on some machines, and works on fewer.
        self.process = subprocess.Popen(
            ["timeout", str(LINE_S * 4), "qemu-system-x86_64", "-machine", "q35,accel=tcg",
             "-cpu", "max", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none",
             "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs,
             "-append", "console=ttyS0 quiet panic=-1",
             "-drive", f"file={disk},format=raw,if=virtio,cache=none,discard=unmap"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_for(self, text):
        """Read on until a line has @text; what the guest calls a failure ends the test."""
        for line in self.process.stdout:
            line = line.decode(errors="replace").strip()
            self.lines.append(line)
            assert "FAILED" not in line and "I/O error" not in line, self.tail()
            if text in line:
                return line
        raise AssertionError(f"the guest ended before it said '{text}': {self.tail()}")

    def tail(self):
        return "\n".join(self.lines[-20:])

    def wait_end(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())
        assert self.process.wait() == 0, self.tail()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
