# SPDX-License-Identifier: MIT
"""Random QMP commands that are often right, sometimes wrong, and always meant.

A Generator chooses with its own random.Random. What it knows of the daemon is
told by the caller: the names of the nodes, jobs and exports that are there.
"""
import copy
import random

from random_arguments import Arguments

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
COPIES = ['d0', 'd1', 'd2']
NODES = ['n%d' % i for i in range(6)]
JOBS = ['j0', 'j1', 'j2']
EXPORTS = ['e0', 'e1']
BITMAPS = ['b0', 'b1', 'b2']
OBJECTS = ['o0', 'o1']
FILTERS = ['throttle', 'copy-on-read', 'copy-before-write', 'quorum', 'blkdebug', 'compress',
           'preallocate', 'snapshot-access']
MANGLED = [None, 1, -1, True, '', 'x', [], {}, 1.5, '1n']
# What is not drawn from the schema: it ends the round, or has no arguments and much to say.
NOT_DRAWN = {'quit', 'qmp_capabilities', 'query-qmp-schema', 'query-commands', 'qom-list-types',
             'query-block', 'query-blockstats', 'query-version', 'x-debug-query-block-graph'}
JOB_VERBS = ['pause', 'resume', 'cancel', 'complete', 'dismiss', 'finalize']


class Generator:
    """An endless source of (command, arguments)."""

    def __init__(self, seed, schemas):
        self.random = random.Random(seed)
        self.arguments = Arguments(schemas, self.random, self.meant)
        self.commands = [name for name in schemas.commands() if name not in NOT_DRAWN]
        self.nodes, self.jobs, self.exports, self.files = [], [], [], []
        self.bitmaps = []  # pairs of node and name
        self.given = {}  # the options of nodes that were added
        self.drivers = {}  # of nodes
        self.kinds = [
            (14, self.blockdev_add), (4, self.blockdev_del), (4, self.blockdev_reopen),
            (4, self.block_resize), (8, self.snapshot_sync), (6, self.snapshot),
            (5, self.transaction), (18, self.block_commit), (12, self.job_verb),
            (10, self.block_stream), (4, self.set_speed), (4, self.nbd_server), (5, self.export_add), (3, self.export_del),
            (3, self.nbd_add), (3, self.change_backing_file), (3, self.query), (6, self.write),
            (5, self.bitmap_add), (6, self.bitmap_change), (3, self.bitmap_merge),
            (3, self.bitmap_sha256), (4, self.bitmap_transaction), (8, self.backup),
            (8, self.mirror), (12, self.from_schema), (6, self.filter_add), (8, self.reopen_given),
            (4, self.object), (5, self.drive_mirror), (5, self.drive_backup), (5, self.create),
            (3, self.internal_snapshot), (2, self.write_threshold),
            (5, self.any_transaction),
        ]

    def next(self):
        weights = [weight for weight, _ in self.kinds]
        command, arguments = self.random.choices([make for _, make in self.kinds], weights)[0]()
        actions = (arguments or {}).get('actions')
        for action in actions if isinstance(actions, list) else []:
            self.spare_rival(action)
        if arguments and command not in ('write', 'query-version') and self.chance(0.06):
            self.mangle(arguments)
        return command, arguments

    def spare_rival(self, action):
        """It dies when a bitmap that is to be enabled in a transaction is not there."""
        if isinstance(action, dict) and action.get('type') == 'block-dirty-bitmap-enable':
            data = action.get('data')
            if not isinstance(data, dict) or \
                    (data.get('node'), data.get('name')) not in self.bitmaps:
                action['type'] = 'block-dirty-bitmap-clear'

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

    def from_schema(self):
        """Any command, with what the schema allows; often wrong in one place."""
        command = self.pick(*self.commands)
        arguments = self.arguments.draw(command)
        if self.chance(0.4):
            arguments = self.arguments.break_one(arguments)
        return command, arguments

    def meant(self, path, name):
        """A value for the member @name of a command's arguments, or None for any."""
        command = path.split('.', 1)[0]
        if name == 'target':
            return self.pick(*BITMAPS) if 'bitmap' in command else \
                self.copy_file() if command.startswith('drive') else self.node()
        if name == 'device' and 'job' in command or name == 'id' and 'job' in command:
            return self.job()
        if name == 'node-name':
            return self.node() if command != 'blockdev-add' else self.new_node()
        if name in ('node', 'base-node', 'top-node', 'bottom', 'overlay', 'image-node-name',
                    'parent', 'replaces', 'device', 'image', 'backing', 'children'):
            return self.node()
        if name in ('filter-node-name', 'snapshot-node-name'):
            return self.new_node()
        if name in ('filename', 'base', 'top', 'backing-file'):
            return self.open_file()
        if name == 'snapshot-file':
            return '${DIR}/' + self.pick(*OVERLAYS)
        if name == 'file':
            return self.node() if self.chance(0.6) else None
        if name == 'job-id':
            return self.pick(*JOBS)
        if name == 'id':
            return self.pick(*EXPORTS) if 'export' in command else self.pick(*OBJECTS)
        if name in ('bitmap', 'bitmaps'):
            return self.pick(*BITMAPS)
        if name == 'path':
            return '${DIR}/nbd.sock' if command.startswith('nbd') else \
                self.pick('/objects', '/objects/o0', '/objects/o1', '/', '/x', 'o0')
        if name == 'property':
            return self.pick('limits', 'x-iops-total', 'type', 'x', 'x-bps-read', 'data')
        if name == 'typename':
            return self.pick('throttle-group', 'secret', 'object', 'x')
        if name == 'throttle-group':
            return self.pick(*OBJECTS)
        return None

    # Names.

    def copy_file(self):
        return '${DIR}/' + self.pick(*COPIES)

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

    def filter_options(self, driver):
        below = self.node()
        if driver == 'quorum':
            children = [self.node() for _ in range(self.pick(1, 2, 2, 3))]
            options = {'driver': driver, 'children': children,
                       'vote-threshold': self.pick(1, 1, 2, 0)}
            return self.optional(options, 0.2, read_pattern=lambda: self.pick('fifo', 'quorum'),
                                 blkverify=True, rewrite_corrupted=True)
        if driver == 'blkdebug':
            options = {'driver': driver, 'image': below}
            return self.optional(options, 0.2, align=lambda: self.pick(512, 4096, 3),
                                 max_transfer=lambda: self.pick(4096, 65536, 1),
                                 opt_write_zero=lambda: self.pick(4096, 65536))
        options = {'driver': driver, 'file': below}
        if driver == 'throttle':
            options['throttle-group'] = self.pick(*OBJECTS)
        elif driver == 'copy-on-read':
            self.optional(options, 0.3, bottom=self.node)
        elif driver == 'copy-before-write':
            options['target'] = self.node()
            self.optional(options, 0.2, on_cbw_error=lambda: self.pick(
                'break-guest-write', 'break-snapshot'), cbw_timeout=lambda: self.pick(0, 10))
            if self.bitmaps and self.chance(0.2):
                node, name = self.bitmap()
                options['bitmap'] = {'node': node, 'name': name}
        elif driver == 'preallocate':
            self.optional(options, 0.3, prealloc_align=lambda: self.pick(512, 65536, 1 << 20, 3),
                          prealloc_size=lambda: self.pick(0, 65536, 1 << 20))
        return options

    def filter_add(self):
        options = self.filter_options(self.pick(*FILTERS))
        return 'blockdev-add', self.common(options, self.new_node())

    def blockdev_del(self):
        return 'blockdev-del', {'node-name': self.node()}

    def blockdev_reopen(self):
        options = [self.definition(self.node()) for _ in range(self.pick(1, 1, 2))]
        for option in options:
            if isinstance(option.get('file'), dict) and self.chance(0.6):
                option['file'] = self.node()
        return 'blockdev-reopen', {'options': options}

    def reopen_given(self):
        """Reopen nodes as they were added, with a change or two."""
        known = [name for name in sorted(self.given) if name in self.nodes]
        if not known:
            return self.blockdev_add()
        return 'blockdev-reopen', {'options': [self.changed(copy.deepcopy(
            self.given[self.pick(*known)])) for _ in range(self.pick(1, 1, 1, 2, 3))]}

    def changed(self, options):
        for key in ('file', 'backing', 'image', 'target'):
            if isinstance(options.get(key), dict) and self.chance(0.8):
                # Otherwise it would be a new child.
                if 'node-name' in options[key]:
                    options[key] = options[key]['node-name']
                else:
                    del options[key]
        kind = self.pick('common', 'common', 'backing', 'file', 'same', 'drop')
        if kind == 'common':
            self.optional(options, 0.4, read_only=lambda: self.pick(True, False),
                          auto_read_only=lambda: self.pick(True, False),
                          discard=lambda: self.pick('unmap', 'ignore'),
                          cache=lambda: self.pick({'direct': True}, {'no-flush': True}))
        elif kind == 'backing':
            options['backing'] = self.pick(None, self.node(), self.node(), self.node())
        elif kind == 'file':
            options['file'] = self.node()
        elif kind == 'drop':
            del options[self.pick(*options)]
        return options

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

    def drive_arguments(self, command, arguments):
        arguments['target'] = self.copy_file()
        self.optional(arguments, 0.4, mode=lambda: self.pick('existing', 'absolute-paths'))
        self.optional(arguments, 0.4, format=lambda: self.pick('qcow2', 'qcow2', 'raw', 'x'))
        # What is like a node that shows no format is raw with us, and called file there.
        if self.drivers.get(arguments.get('device')) not in ('qcow2', 'raw'):
            arguments.setdefault('format', self.pick('qcow2', 'raw'))
        return command, arguments

    def drive_mirror(self):
        command, arguments = self.mirror()
        self.optional(arguments, 0.4, node_name=self.new_node)
        arguments.pop('filter-node-name', None)
        return self.drive_arguments('drive-mirror', arguments)

    def drive_backup(self):
        return self.drive_arguments('drive-backup', self.backup()[1])

    def create(self):
        """An image, or its file."""
        size = self.pick(0, 1, 512, 65536, IMAGE_BYTES, IMAGE_BYTES, IMAGE_BYTES + 65536, 1 << 40)
        node = self.node()
        # What is written to a null node is nowhere, as the rival finds out.
        if self.chance(0.3) or self.drivers.get(node) == 'null-co':
            options = {'driver': 'file', 'filename': self.copy_file(), 'size': size}
            # What is set aside is as much as there is room for.
            self.optional(options, 0.3, nocow=True, preallocation=lambda: self.pick(
                'off', 'metadata', *(['falloc', 'full'] if size < 1 << 30 else [])))
        else:
            options = {'driver': 'qcow2', 'size': size, 'file': node}
            self.optional(options, 0.15, version=lambda: self.pick('v2', 'v3'),
                          backing_file=self.open_file,
                          backing_fmt=lambda: self.pick('raw', 'qcow2', 'x'),
                          cluster_size=lambda: self.pick(512, 4096, 65536, 2 << 20, 3, 256),
                          lazy_refcounts=lambda: self.pick(True, False), extended_l2=True,
                          refcount_bits=lambda: self.pick(1, 8, 16, 64, 3, 128),
                          compression_type=lambda: self.pick('zlib', 'zstd'),
                          preallocation=lambda: self.pick(
                              'off', *(['metadata', 'falloc', 'full'] if size < 1 << 30 else [])))
        return 'blockdev-create', {'job-id': self.pick(*JOBS), 'options': options}

    def internal_snapshot(self):
        if self.chance(0.6):
            return 'blockdev-snapshot-internal-sync', {'device': self.node(),
                                                       'name': self.pick('s0', 's1', '')}
        arguments = {'device': self.node()}
        self.optional(arguments, 0.8, name=lambda: self.pick('s0', 's1', ''))
        return 'blockdev-snapshot-delete-internal-sync', self.optional(
            arguments, 0.2, id=lambda: self.pick('1', '2', 's0', ''))

    def write_threshold(self):
        return 'block-set-write-threshold', {'node-name': self.node(), 'write-threshold': self.pick(
            0, 65536, IMAGE_BYTES, 1 << 40)}

    def object(self):
        """Throttle groups mostly: limits that are never reached here."""
        name, limits = self.pick(*OBJECTS), {}
        self.optional(limits, 0.3, iops_total=1 << 30, iops_read=1 << 30, bps_total=1 << 40,
                      bps_total_max=1 << 41, bps_write_max_length=lambda: self.pick(1, 0, 60),
                      iops_size=lambda: self.pick(0, 4096, -1))
        kind = self.pick('add', 'add', 'add', 'del', 'set', 'set', 'get', 'get', 'list')
        if kind == 'add':
            arguments = {'qom-type': 'throttle-group', 'id': name}
            return 'object-add', self.optional(arguments, 0.7, limits=limits)
        if kind == 'del':
            return 'object-del', {'id': name}
        path = self.pick('/objects/', '') + name
        if kind == 'list':
            return 'qom-list', {'path': self.pick(path, '/objects', '/')}
        arguments = {'path': path, 'property': self.pick('limits', 'limits', 'x-iops-total')}
        if kind == 'set':
            arguments['value'] = limits if arguments['property'] == 'limits' else self.pick(0, 1 << 30)
        return 'qom-' + kind, arguments

    def any_transaction(self):
        """Actions of all kinds, one of which often fails."""
        makers = [self.snapshot_sync, self.snapshot, self.bitmap_add, self.bitmap_change,
                  self.bitmap_merge, self.backup, self.drive_backup, self.internal_snapshot,
                  lambda: ('abort', {})]
        actions = [self.pick(*makers)() for _ in range(self.pick(1, 2, 3, 4))]
        arguments = {'actions': [{'type': a[0], 'data': a[1]} for a in actions
                                 if 'delete' not in a[0]]}
        # The rival does not survive a grouped change of a bitmap.
        is_grouped = all('backup' in a[0] or a[0] == 'abort' for a in actions)
        return 'transaction', self.optional(arguments, 0.5 if is_grouped else 0, properties=lambda: {
            'completion-mode': self.pick('individual', 'grouped')})

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
