# SPDX-License-Identifier: MIT
"""What the tests of cairn-img share: the same work done by it and by qemu-img.

Twins have a folder each. do() runs the same arguments in both, and insists on the
same exit code and, unless told otherwise, the same words.
"""
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import ROOT, is_listening, need, run, skip  # noqa: E402,F401

CAIRN_IMG = os.environ.get("CAIRN_IMG") or os.path.join(ROOT, "build", "tools", "img", "cairn-img")


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    def __repr__(self):
        return f"code {self.code}\n{self.out}{self.err}"

    def json(self):
        return json.loads(self.out)


def cairn(*arguments, cwd=None, code=0, **options):
    """Run cairn-img and insist on the exit code (None: any)."""
    result = Result(subprocess.run([CAIRN_IMG, *map(str, arguments)], cwd=cwd, text=True,
                                   capture_output=True, timeout=100, **options))
    assert code is None or result.code == code, f"{arguments}: {result}"
    return result


def normal(text):
    """Without what may differ: the program's name, and what a newer rival says otherwise."""
    text = re.sub(r"(cairn|qemu)-img", "IMG", text)
    text = re.sub(r"(?m)^Child node .*\n(?: .*\n?)*", "", text)
    text = re.sub(r"disk size: .*", "disk size: N", text)
    text = re.sub(r"(?m)^ID .*", "ID", text)
    text = re.sub(r"(?m)^(\d+) +(.*?) +([\d.]+ \w*B).*", r"\1 \2 \3", text)
    text = re.sub(r"Image end offset: \d+", "Image end offset: N", text)
    text = re.sub(r"\(use (version|compat)=\S+ or greater\)", "(use a later version)", text)
    return text


class Twins:
    def __init__(self):
        need("qemu-img", "qemu-io")
        self.dir = tempfile.mkdtemp(prefix="cairn-img-test-")
        self.ours, self.theirs = os.path.join(self.dir, "ours"), os.path.join(self.dir, "theirs")
        os.mkdir(self.ours)
        os.mkdir(self.theirs)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        shutil.rmtree(self.dir)

    def both(self, *arguments, **options):
        """The results of ours and theirs."""
        ours = cairn(*arguments, cwd=self.ours, code=None, **options)
        theirs = Result(subprocess.run(["qemu-img", *map(str, arguments)], cwd=self.theirs,
                                       text=True, capture_output=True, timeout=100, **options))
        return ours, theirs

    def do(self, *arguments, words=True, **options):
        """Run in both; the exit code, and with @words what is said, are the same."""
        ours, theirs = self.both(*arguments, **options)
        assert ours.code == theirs.code, f"{arguments}\nours: {ours}\ntheirs: {theirs}"
        for a, b in ((ours.out, theirs.out), (ours.err, theirs.err)) if words else ():
            a, b = normal(a), normal(b)
            assert a == b, f"{arguments}\n" + "\n".join(
                difflib.unified_diff(b.splitlines(), a.splitlines(), "theirs", "ours", "", "", 9))
        return ours

    def fails(self, *arguments):
        """Both fail with the same code, and ours says something."""
        ours = self.do(*arguments, words=False)
        assert ours.code != 0 and "cairn-img: " in ours.err, f"{arguments}: {ours}"
        return ours

    def io(self, name, *commands, image_format="qcow2"):
        """Let qemu-io do the same to both images."""
        for folder in (self.ours, self.theirs):
            parts = [part for command in commands for part in ("-c", command)]
            out = run("qemu-io", "-f", image_format, *parts, os.path.join(folder, name))
            assert "failed" not in out, out

    def same(self, name, image_format=None, strict=True):
        """Both images show the same, with @strict also the same holes, and are sound."""
        paths = [os.path.join(folder, name) for folder in (self.ours, self.theirs)]
        formats = ["-f", image_format, "-F", image_format] if image_format else []
        run("qemu-img", "compare", *(["-s"] if strict else []), *formats, *paths)
        check = subprocess.run(["qemu-img", "check", *(formats[:2]), paths[0]],
                               capture_output=True, text=True)
        assert check.returncode in (0, 63), check.stdout + check.stderr

    def info(self, name):
        """What qemu-img says of both, without what depends on where clusters lie."""
        infos = []
        for folder in (self.ours, self.theirs):
            info = json.loads(run("qemu-img", "info", "--output=json", name, cwd=folder))
            info.pop("actual-size")
            for snapshot in info.get("snapshots", []):
                snapshot.pop("date-sec")
                snapshot.pop("date-nsec")
                snapshot.pop("icount", None)
            infos.append(info)
        assert infos[0] == infos[1], infos
        return infos[0]


def main(*tests):
    """Run those tests, or the one that is named."""
    for test in tests:
        if len(sys.argv) < 2 or sys.argv[1] == test.__name__:
            with Twins() as twins:
                test(twins)
            print(f"ok {test.__name__}")
