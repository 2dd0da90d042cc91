# SPDX-License-Identifier: MIT
"""Clients that start random jobs on the chain of images below a disk, and meddle with them.

Several may be at one disk: each looks at the chain, draws a command that may make sense there and
sends it; what another has done in between it is to be told by an error. None changes what the
disk shows.
"""
import random
import threading
import time

from support import Qmp, QmpError, run

SIZE = 12 << 20
ANSWER_MAX_S = 100
CHAIN_MAX = 7  # images in a chain, beyond which no snapshot is made
BITMAPS = ("b0", "b1", "b2")
SNAPSHOTS = ("s0", "s1", "s2")
VERBS = ("job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize", "job-dismiss")
# What gets a job on that is in a status, so that the disk is free for others.
HELPFUL_VERBS = {"paused": "job-resume", "standby": "job-resume", "ready": "job-complete",
                 "pending": "job-finalize", "concluded": "job-dismiss"}


def create_image(path, *options):
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(SIZE))


class History:
    """What all clients have sent, in this order, and what came of it."""

    def __init__(self):
        self.lines = []  # [seconds, client, command, arguments, outcome]
        self.begin = time.monotonic()

    def note(self, client, command, arguments):
        """A line for what is about to be sent; its last item is for the outcome."""
        line = [time.monotonic() - self.begin, client, command, arguments, "NOT ANSWERED"]
        self.lines.append(line)
        return line

    def text(self):
        return "".join(f"{at:.3f} {client}: {command} {arguments}: {outcome}\n"
                       for at, client, command, arguments, outcome in list(self.lines))


class Chain:
    """What there is of a disk at one moment, from its export down."""

    def __init__(self, qmp, disk):
        self.nodes = {n["node-name"]: n
                      for n in qmp.execute("query-named-block-nodes", flat=True)}
        exports = {e["id"]: e["node-name"] for e in qmp.execute("query-block-exports")}
        self.top = exports[disk]
        self.names = []
        name = self.top
        while name in self.nodes:  # the exports are of a later moment
            self.names.append(name)
            name = self.below(name)
        self.images = [n for n in self.names if self.nodes[n]["drv"] == "qcow2"]

    def child(self, name, role):
        children = {c["child"]: c["node-name"] for c in self.nodes[name].get("children", [])}
        return children.get(role)

    def below(self, name):
        """The backing file, or what a filter filters; None below the last."""
        is_filter = self.nodes[name]["drv"] not in ("qcow2", "file")
        return self.child(name, "backing") or (self.child(name, "file") if is_filter else None)

    def bitmaps(self, name):
        return [b["name"] for b in self.nodes[name].get("dirty-bitmaps", []) if "name" in b]


class Client(threading.Thread):
    """One session that sends random commands about one disk until @over is set.

    @error is what it met that no command may end in: no answer, or no daemon; it sets @over then.
    """

    def __init__(self, daemon, disk, number, seed, over, history):
        super().__init__(daemon=True, name=f"{disk}-{number}")
        self.daemon_, self.disk, self.over, self.history = daemon, disk, over, history
        self.qmp = Qmp(daemon.path("qmp.sock"))
        self.qmp.socket.settimeout(ANSWER_MAX_S)
        self.random = random.Random(f"{seed}/{self.name}")
        self.names = 0
        self.error = None

    def run(self):
        try:
            while not self.over.is_set():
                chain = Chain(self.qmp, self.disk)
                if chain.names:
                    self.random.choice(ACTIONS)(self, chain)
                self.qmp.events.clear()
                time.sleep(self.random.random() * 0.02)
        except Exception as error:  # reported by who started it
            self.error = error
            self.over.set()
        finally:
            self.qmp.close()

    def send(self, command, **arguments):
        """Whether @command did what it is to; _ in names of arguments is written for -."""
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        line = self.history.note(self.name, command, arguments)
        try:
            self.qmp.execute(command, arguments)
            line[-1] = "ok"
        except QmpError as error:
            line[-1] = error.desc
        return line[-1] == "ok"

    def new_name(self):
        self.names += 1
        return f"{self.name}-{self.names}"

    def path(self, name):
        return self.daemon_.path(f"{name}.qcow2")

    def is_drawn(self, probability):
        return self.random.random() < probability

    def add_target(self):
        """A new empty image as a node; its name, or None."""
        name = self.new_name()
        create_image(self.path(name))
        file = {"driver": "file", "filename": self.path(name), "node-name": f"{name}-file"}
        is_added = self.send("blockdev-add", driver="qcow2", node_name=name, file=file,
                             discard=self.random.choice(["unmap", "ignore"]))
        return name if is_added else None

    def draw_ending(self):
        """Whether a job ends by itself when its work is done."""
        return {"auto-finalize": self.is_drawn(0.8), "auto-dismiss": self.is_drawn(0.9)}

    def draw_job(self):
        """One of this disk as (id, status), or None."""
        jobs = [(j["id"], j["status"]) for j in self.qmp.execute("query-jobs")
                if j["id"].startswith(self.disk)]
        return self.random.choice(jobs) if jobs else None

    # --- What changes the chain ---

    def snapshot(self, chain):
        if len(chain.images) < CHAIN_MAX:
            self.send("blockdev-snapshot-sync", **self.snapshot_arguments(chain))

    def snapshot_arguments(self, chain):
        name = self.new_name()
        return {"node-name": chain.top, "snapshot-file": self.path(name),
                "snapshot-node-name": name}

    def snapshot_in_transaction(self, chain):
        """Taken back more often than not."""
        actions = [{"type": "blockdev-snapshot-sync", "data": self.snapshot_arguments(chain)}]
        if self.is_drawn(0.6):
            actions.append({"type": "abort", "data": {}})
        self.send("transaction", actions=actions)

    def commit(self, chain):
        self.send("block-commit", device=chain.top, job_id=self.new_name(),
                  **self.draw_ending())

    def commit_intermediate(self, chain):
        if len(chain.images) > 2:
            top, base = sorted(self.random.sample(range(1, len(chain.images)), 2))
            self.send("block-commit", device=chain.top, job_id=self.new_name(),
                      top_node=chain.images[top], base_node=chain.images[base])

    def stream(self, chain):
        more = {}
        if len(chain.images) > 1 and self.is_drawn(0.6):
            more["base_node"] = self.random.choice(chain.images[1:])
        if self.is_drawn(0.3):
            more["speed"] = 4 << 20
        self.send("block-stream", device=chain.top, job_id=self.new_name(), **more)

    def reopen(self, chain):
        if not chain.images:
            return
        name = chain.images[0]
        self.send("blockdev-reopen", options=[{
            "driver": "qcow2", "node-name": name, "file": chain.child(name, "file"),
            "backing": chain.child(name, "backing"), "lazy-refcounts": self.is_drawn(0.5),
            "l2-cache-size": self.random.choice([128 << 10, 1 << 20]),
            "discard": self.random.choice(["unmap", "ignore"])}])

    # --- Copies ---

    def mirror(self, chain):
        target = self.add_target()
        if target:
            self.send("blockdev-mirror", device=chain.top, target=target, sync="full",
                      job_id=self.new_name(), **self.draw_ending(),
                      copy_mode=self.random.choice(["background", "write-blocking"]))

    def mirror_to_new(self, chain):
        name = self.new_name()
        self.send("drive-mirror", device=chain.top, target=self.path(name), node_name=name,
                  job_id=self.new_name(), format="qcow2", **self.draw_ending(),
                  sync=self.random.choice(["full", "top", "none"]))

    def backup(self, chain):
        target = self.add_target()
        if target:
            self.send("blockdev-backup", device=chain.top, target=target, job_id=self.new_name(),
                      sync=self.random.choice(["full", "full", "none"]),
                      speed=self.random.choice([0, 0, 3 << 20]))

    def backup_to_new(self, chain):
        self.send("drive-backup", device=chain.top, target=self.path(self.new_name()),
                  job_id=self.new_name(), format="qcow2", compress=self.is_drawn(0.2),
                  sync=self.random.choice(["full", "top", "none"]))

    def backup_group(self, chain):
        """Backups of one or two nodes of the chain, at one moment, by their bitmaps or whole."""
        actions = [{"type": "drive-backup", "data": self.backup_arguments(chain, name)}
                   for name in sorted({chain.top, self.random.choice(chain.names)})]
        if self.is_drawn(0.3):
            actions.append({"type": "abort", "data": {}})
        mode = self.random.choice(["grouped", "individual"])
        self.send("transaction", actions=actions, properties={"completion-mode": mode})

    def backup_arguments(self, chain, name):
        arguments = {"device": name, "target": self.path(self.new_name()), "sync": "full",
                     "job-id": self.new_name(), "format": "qcow2",
                     "speed": self.random.choice([0, 0, 5 << 20])}
        bitmaps = chain.bitmaps(name)
        if bitmaps and self.is_drawn(0.7):
            arguments.update({
                "sync": "bitmap", "bitmap": self.random.choice(bitmaps),
                "bitmap-mode": self.random.choice(["on-success", "always", "never"])})
        return arguments

    # --- What else is done to nodes ---

    def bitmap(self, chain):
        arguments = {"node": (chain.images or chain.names)[0],
                     "name": self.random.choice(BITMAPS)}
        verb = self.random.choice(["add", "remove", "clear"])
        if verb == "add":
            arguments["persistent"] = self.is_drawn(0.7)
        self.send(f"block-dirty-bitmap-{verb}", **arguments)

    def internal_snapshot(self, chain):
        """Made, or one that there is deleted."""
        image = chain.nodes[chain.top].get("image", {})
        names = [snapshot["name"] for snapshot in image.get("snapshots", [])]
        if names and self.is_drawn(0.7):
            self.send("blockdev-snapshot-delete-internal-sync", device=chain.top,
                      name=self.random.choice(names))
        else:
            self.send("blockdev-snapshot-internal-sync", device=chain.top,
                      name=self.random.choice(SNAPSHOTS))

    def amend(self, chain):
        """An image that is in the chain, where that is refused, or is not."""
        name = self.draw_image(chain)
        if name:
            self.send("x-blockdev-amend", job_id=self.new_name(), node_name=name,
                      options={"driver": "qcow2", "lazy-refcounts": self.is_drawn(0.5)})

    def resize(self, chain):
        """Likewise, to the size that it has."""
        name = self.draw_image(chain)
        if name:
            self.send("block_resize", node_name=name, size=SIZE)

    def draw_image(self, chain):
        images = [n for n, node in chain.nodes.items()
                  if n.startswith(self.disk) and node["drv"] == "qcow2"]
        return self.random.choice(images) if images else None

    def delete_unused(self, chain):
        """What jobs have left of this disk, where nobody uses it."""
        for name in chain.nodes:
            if (name.startswith(self.disk) and name not in chain.names
                    and not name.endswith("-file")):
                self.send("blockdev-del", node_name=name)

    # --- What is done to jobs ---

    def meddle(self, _chain):
        """Any verb, in any status."""
        job = self.draw_job()
        if job:
            self.send(self.random.choice(VERBS), id=job[0])

    def help_on(self, _chain):
        job = self.draw_job()
        if job and job[1] in HELPFUL_VERBS:
            self.send(HELPFUL_VERBS[job[1]], id=job[0])

    def cancel(self, _chain):
        """Of a mirror that is ready, without force, also an end."""
        job = self.draw_job()
        if job:
            self.send("block-job-cancel", device=job[0], force=self.is_drawn(0.4))


# Each as often as it stands here, compared with the others.
ACTIONS = [
    *[Client.help_on] * 6, *[Client.meddle] * 2, Client.cancel, *[Client.snapshot] * 2,
    *[Client.commit] * 2, *[Client.stream] * 2, *[Client.mirror] * 2,
    *[Client.mirror_to_new] * 2, *[Client.bitmap] * 2, *[Client.backup_group] * 2,
    *[Client.internal_snapshot] * 2, Client.commit_intermediate, Client.backup,
    Client.backup_to_new, Client.snapshot_in_transaction, Client.reopen, Client.amend,
    Client.resize, Client.delete_unused,
]
