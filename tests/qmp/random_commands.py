# SPDX-License-Identifier: MIT
"""Random QMP commands that are often right, sometimes wrong, and always meant.

A Generator chooses with its own random.Random. What it knows of the daemon is
told by the caller: the names of the nodes, jobs and exports that are there.
"""
import random

# The images in each directory: name, format, backing file, and its format.
IMAGES = [
    ('base.raw', 'raw', None, None),
    ('a.qcow2', 'qcow2', 'base.raw', 'raw'),
    ('b.qcow2', 'qcow2', 'a.qcow2', 'qcow2'),
    ('c.qcow2', 'qcow2', 'b.qcow2', 'qcow2'),
    ('solo.qcow2', 'qcow2', None, None),
    ('solo.raw', 'raw', None, None),
]
IMAGE_BYTES = 3 << 20
OVERLAYS = ['o%d.qcow2' % i for i in range(4)]
NODES = ['n%d' % i for i in range(6)]
JOBS = ['j0', 'j1', 'j2']
EXPORTS = ['e0', 'e1']
BITMAPS = ['b0', 'b1', 'b2']
MANGLED = [None, 1, -1, True, '', 'x', [], {}, 1.5, '1n']
JOB_VERBS = ['pause', 'resume', 'cancel', 'complete', 'dismiss', 'finalize']


class Generator:
    """An endless source of (command, arguments)."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.nodes, self.jobs, self.exports, self.files = [], [], [], []
        self.bitmaps = []  # pairs of node and name
        self.kinds = [
            (14, self.blockdev_add), (4, self.blockdev_del), (4, self.blockdev_reopen),
            (4, self.block_resize), (8, self.snapshot_sync), (6, self.snapshot),
            (5, self.transaction), (18, self.block_commit), (12, self.job_verb),
            (10, self.block_stream), (4, self.set_speed), (4, self.nbd_server), (5, self.export_add), (3, self.export_del),
            (3, self.nbd_add), (3, self.change_backing_file), (3, self.query), (6, self.write),
            (5, self.bitmap_add), (6, self.bitmap_change), (3, self.bitmap_merge),
            (3, self.bitmap_sha256), (4, self.bitmap_transaction), (8, self.backup),
            (8, self.mirror),
        ]

    def next(self):
        weights = [weight for weight, _ in self.kinds]
        command, arguments = self.random.choices([make for _, make in self.kinds], weights)[0]()
        if arguments and command not in ('write', 'query-version') and self.chance(0.06):
            self.mangle(arguments)
        return command, arguments

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *values):
        return self.random.choice(values)

    def optional(self, arguments, probability, **members):
        """Add each of @members (_ for -) with @probability."""
        for name, value in members.items():
            if self.chance(probability):
                arguments[name.replace('_', '-')] = value() if callable(value) else value
        return arguments

    def mangle(self, arguments):
        """Break one member."""
        key = self.pick(*arguments)
        kind = self.pick('drop', 'replace', 'rename')
        value = arguments.pop(key)
        if kind == 'replace':
            arguments[key] = self.pick(*MANGLED)
            if key == 'bitmaps' and arguments[key] == []:
                arguments[key] = None  # the rival does not survive an empty list
        elif kind == 'rename':
            arguments[key + 'x'] = value

    # Names.

    def node(self):
        """A node that is there, mostly."""
        return self.pick(*self.nodes) if self.nodes and self.chance(0.93) else self.pick(*NODES)

    def new_node(self):
        free = [name for name in NODES if name not in self.nodes]
        return self.pick(*free) if free and self.chance(0.9) else self.pick(*NODES)

    def job(self):
        return self.pick(*self.jobs) if self.jobs and self.chance(0.9) else self.pick(*JOBS, 'x')

    def image(self):
        return '${DIR}/' + self.pick(*[image[0] for image in IMAGES])

    def open_file(self):
        """A file name as the nodes tell it."""
        return self.pick(*self.files) if self.files and self.chance(0.85) else self.image()

    # Nodes.

    def file_options(self, filename=None):
        options = {'driver': 'file', 'filename': filename or self.image()}
        return self.optional(options, 0.05, locking='off',
                             aio=lambda: self.pick('threads', 'native'))

    def common(self, options, name):
        if name:
            options['node-name'] = name
        self.optional(options, 0.1, read_only=lambda: self.pick(True, False),
                      auto_read_only=True, discard=lambda: self.pick('unmap', 'ignore'))
        self.optional(options, 0.04, detect_zeroes=lambda: self.pick('off', 'on', 'unmap'),
                      force_share=True,
                      cache=lambda: self.pick({'direct': True}, {'no-flush': True}))
        return options

    def child(self, make):
        return self.node() if self.nodes and self.chance(0.25) else make()

    def definition(self, name):
        driver = self.pick('file', 'raw', 'null-co', 'qcow2', 'qcow2', 'qcow2', 'qcow2')
        if driver == 'file':
            return self.common(self.file_options(), name)
        if driver == 'null-co':
            options = {'driver': driver, 'size': self.pick(0, 65536, IMAGE_BYTES, IMAGE_BYTES)}
            options['read-zeroes'] = True  # else anything may be read
            return self.common(options, name)
        return self.common(self.format_options(driver), name)

    def format_options(self, driver, filename=None):
        if not filename:
            # Mostly the right format for the file.
            formats = [i[0] for i in IMAGES if i[1] == driver or self.chance(0.1)]
            filename = '${DIR}/' + self.pick(*formats, *(OVERLAYS if driver == 'qcow2' else []))
        options = {'driver': driver, 'file': self.child(lambda: self.common(
            self.file_options(filename), self.new_node() if self.chance(0.1) else None))}
        if driver == 'raw':
            self.optional(options, 0.1, offset=lambda: self.pick(0, 512, 65536),
                          size=lambda: self.pick(0, 512, 65536, IMAGE_BYTES))
        elif self.chance(0.3):
            options['backing'] = self.pick(None, None, self.node(), self.node())
        if driver == 'qcow2':
            self.optional(options, 0.04, lazy_refcounts=True, l2_cache_size=1 << 20,
                          cache_clean_interval=10, overlap_check='all', pass_discard_request=True)
        return options

    def blockdev_add(self):
        return 'blockdev-add', self.definition(self.new_node())

    def blockdev_del(self):
        return 'blockdev-del', {'node-name': self.node()}

    def blockdev_reopen(self):
        options = [self.definition(self.node()) for _ in range(self.pick(1, 1, 2))]
        for option in options:
            if isinstance(option.get('file'), dict) and self.chance(0.6):
                option['file'] = self.node()
        return 'blockdev-reopen', {'options': options}

    def block_resize(self):
        size = self.pick(0, 512, 65536, IMAGE_BYTES, IMAGE_BYTES + 65536, 1536, -1)
        if self.chance(0.1):
            return 'block_resize', {'device': self.node(), 'size': size}
        return 'block_resize', {'node-name': self.node(), 'size': size}

    # Snapshots.

    def snapshot_sync(self):
        arguments = {'node-name': self.node(), 'snapshot-file': '${DIR}/' + self.pick(*OVERLAYS)}
        self.optional(arguments, 0.7, snapshot_node_name=self.new_node)
        self.optional(arguments, 0.15, mode=lambda: self.pick('existing', 'absolute-paths'),
                      format=lambda: self.pick('qcow2', 'raw', 'x'))
        return 'blockdev-snapshot-sync', arguments

    def snapshot(self):
        return 'blockdev-snapshot', {'node': self.node(), 'overlay': self.node()}

    def transaction(self):
        actions = []
        for _ in range(self.pick(1, 2, 2, 3)):
            command, arguments = self.pick(self.snapshot_sync, self.snapshot_sync,
                                           self.snapshot, lambda: ('abort', {}))()
            actions.append({'type': command, 'data': arguments})
        arguments = {'actions': actions}
        return 'transaction', self.optional(arguments, 0.1, properties=lambda: {
            'completion-mode': self.pick('individual', 'grouped')})

    def change_backing_file(self):
        return 'change-backing-file', {'device': self.node(), 'image-node-name': self.node(),
                                       'backing-file': self.open_file()}

    # Jobs.

    def block_commit(self):
        arguments = {'device': self.node()}
        self.optional(arguments, 0.75, job_id=lambda: self.pick(*JOBS))
        self.optional(arguments, 0.3, top_node=self.node, base_node=self.node)
        self.optional(arguments, 0.1, top=self.open_file, base=self.open_file)
        self.optional(arguments, 0.12, backing_file=self.open_file, filter_node_name=self.new_node,
                      on_error=lambda: self.pick('report', 'ignore', 'stop', 'enospc'),
                      speed=lambda: self.pick(0, -1, 1 << 30))
        self.optional(arguments, 0.25, auto_finalize=lambda: self.pick(True, False),
                      auto_dismiss=lambda: self.pick(True, False))
        return 'block-commit', arguments

    def block_stream(self):
        arguments = {'device': self.node()}
        self.optional(arguments, 0.85, job_id=lambda: self.pick(*JOBS))
        if self.chance(0.5):
            kind = self.pick('base', 'base-node', 'base-node', 'bottom')
            arguments[kind] = self.open_file() if kind == 'base' else self.node()
        self.optional(arguments, 0.05, base=self.open_file, base_node=self.node, bottom=self.node)
        self.optional(arguments, 0.12, backing_file=self.open_file, filter_node_name=self.new_node,
                      on_error=lambda: self.pick('report', 'ignore', 'stop', 'enospc'),
                      speed=lambda: self.pick(0, -1, 1 << 30))
        self.optional(arguments, 0.25, auto_finalize=lambda: self.pick(True, False))
        # The rival dies when it is asked of one that has ended and was not dismissed.
        return 'block-stream', self.optional(arguments, 0.03, auto_dismiss=True)

    def job_verb(self):
        verb = self.pick(*JOB_VERBS)
        if self.chance(0.5):
            return 'job-' + verb, {'id': self.job()}
        name = 'id' if verb in ('finalize', 'dismiss') else 'device'
        arguments = {name: self.job()}
        if verb == 'cancel':
            self.optional(arguments, 0.4, force=lambda: self.pick(True, False))
        return 'block-job-' + verb, arguments

    def set_speed(self):
        return 'block-job-set-speed', {'device': self.job(), 'speed': self.pick(0, -1, 1 << 30)}

    def copy_arguments(self, sync):
        """What mirrors and backups have in common."""
        arguments = {'device': self.node(), 'target': self.node(), 'sync': sync}
        self.optional(arguments, 0.85, job_id=lambda: self.pick(*JOBS))
        self.optional(arguments, 0.15, filter_node_name=self.new_node,
                      on_source_error=lambda: self.pick('report', 'ignore', 'stop', 'enospc'),
                      on_target_error=lambda: self.pick('report', 'ignore', 'stop', 'enospc'),
                      speed=lambda: self.pick(0, -1, 1 << 30))
        self.optional(arguments, 0.25, auto_finalize=lambda: self.pick(True, False),
                      auto_dismiss=lambda: self.pick(True, False))
        return arguments

    def mirror(self):
        arguments = self.copy_arguments(self.pick('full', 'full', 'full', 'top', 'none',
                                                  'incremental'))
        self.optional(arguments, 0.15, replaces=self.node,
                      granularity=lambda: self.pick(0, 512, 65536, 3),
                      buf_size=lambda: self.pick(0, 65536, -1),
                      copy_mode=lambda: self.pick('background', 'write-blocking'))
        return 'blockdev-mirror', arguments

    def backup(self):
        sync = self.pick('full', 'full', 'top', 'none', 'incremental', 'bitmap', 'bitmap')
        arguments = self.copy_arguments(sync)
        if self.chance(0.85 if sync in ('incremental', 'bitmap') else 0.2):
            node, arguments['bitmap'] = self.bitmap()
            arguments['device'] = node if self.chance(0.9) else self.node()
            self.optional(arguments, 0.8, bitmap_mode=lambda: self.pick('on-success', 'never',
                                                                        'always'))
        return 'blockdev-backup', self.optional(arguments, 0.05, compress=True)

    # Bitmaps.

    def bitmap(self):
        """A node and the name of one of its bitmaps, mostly."""
        if self.bitmaps and self.chance(0.9):
            return self.pick(*self.bitmaps)
        return self.node(), self.pick(*BITMAPS)

    def bitmap_add(self):
        arguments = {'node': self.node(), 'name': self.pick(*BITMAPS)}
        self.optional(arguments, 0.5, granularity=lambda: self.pick(512, 4096, 65536, 1 << 20, 3, 0))
        return 'block-dirty-bitmap-add', self.optional(arguments, 0.4, persistent=True,
                                                       disabled=lambda: self.pick(True, False))

    def bitmap_change(self):
        node, name = self.bitmap()
        return ('block-dirty-bitmap-' + self.pick('remove', 'clear', 'enable', 'disable'),
                {'node': node, 'name': name})

    def bitmap_merge(self):
        node, target = self.bitmap()
        sources = []
        for _ in range(self.pick(1, 1, 2, 3)):
            other, name = self.bitmap()
            is_local = other == node and self.chance(0.7) or self.chance(0.1)
            sources.append(name if is_local else {'node': other, 'name': name})
        return 'block-dirty-bitmap-merge', {'node': node, 'target': target, 'bitmaps': sources}

    def bitmap_sha256(self):
        node, name = self.bitmap()
        return 'x-debug-block-dirty-bitmap-sha256', {'node': node, 'name': name}

    def bitmap_transaction(self):
        actions = []
        for _ in range(self.pick(1, 2, 2, 3, 4)):
            command, arguments = self.pick(self.bitmap_add, self.bitmap_change, self.bitmap_change,
                                           self.bitmap_merge, self.backup, self.snapshot_sync,
                                           lambda: ('abort', {}))()
            actions.append({'type': command, 'data': arguments})
        # Without properties: the rival does not survive a grouped change of a bitmap.
        return 'transaction', {'actions': actions}

    # Exports.

    def nbd_server(self):
        if self.chance(0.25):
            return 'nbd-server-stop', None
        arguments = {'addr': {'type': 'unix', 'data': {'path': '${DIR}/nbd.sock'}}}
        return 'nbd-server-start', self.optional(arguments, 0.1, max_connections=10)

    def export_add(self):
        arguments = {'type': 'nbd', 'id': self.pick(*EXPORTS), 'node-name': self.node()}
        self.optional(arguments, 0.5, writable=lambda: self.pick(True, True, False))
        self.optional(arguments, 0.15, name=lambda: self.pick('x', 'y'), description='words',
                      writethrough=True)
        return 'block-export-add', arguments

    def export_del(self):
        ids = self.exports if self.exports and self.chance(0.9) else EXPORTS
        if self.chance(0.3):
            return 'nbd-server-remove', self.optional({'name': self.pick(*ids)}, 0.3,
                                                      mode=lambda: self.pick('safe', 'hard'))
        return 'block-export-del', self.optional({'id': self.pick(*ids)}, 0.3,
                                                 mode=lambda: self.pick('safe', 'hard'))

    def nbd_add(self):
        arguments = {'device': self.node()}
        return 'nbd-server-add', self.optional(arguments, 0.3, writable=True,
                                               name=lambda: self.pick('x', 'y'))

    def write(self):
        """No command: a client of the first writable export writes."""
        offset = self.random.randrange(0, IMAGE_BYTES, 4096)
        return 'write', {'offset': offset, 'length': self.pick(512, 4096, 65536, 200000),
                         'byte': self.random.randrange(256)}

    def query(self):
        return self.pick(('query-named-block-nodes', {'flat': True}), ('query-block', None),
                         ('query-version', {'x': 1}))
