# SPDX-License-Identifier: MIT
"""Cases of test-differential about filters, quorums and their objects: each option, its errors and
defaults, and what nodes of them are called.
"""
CLASS = 'class'  # the rival's sentence says less, or is about its own workings

RAW = {'driver': 'file', 'filename': '${DIR}/a.raw'}
IMAGE = {'driver': 'file', 'filename': '${DIR}/t.qcow2'}
QCOW2 = {'driver': 'qcow2', 'file': IMAGE}
FILES = ['truncate -s 4M a.raw b.raw', 'qemu-img create -q -f qcow2 t.qcow2 4M']
NODES = ('query-named-block-nodes', None)
GRAPH = ('x-debug-query-block-graph', None)
STATS = ('query-blockstats', {'query-nodes': True})


def add(driver, name='x', how=None, **options):
    return ('blockdev-add', dict({'driver': driver, 'node-name': name},
                                 **{k.replace('_', '-'): v for k, v in options.items()}),
            *([how] if how else []))


def null(name, **options):
    return add('null-co', name, size=1048576, read_zeroes=True, **options)


def delete(name='x'):
    return ('blockdev-del', {'node-name': name})


def change(how=None, **arguments):
    return ('x-blockdev-change', arguments, *([how] if how else []))


def reopen(driver, name='x', how=None, **options):
    command = add(driver, name, how, **options)
    return ('blockdev-reopen', {'options': [command[1]]}, *command[2:])


def quorum(name='x', **options):
    return add('quorum', name, **options)


def group(how=None, **limits):
    """Make a group with these limits, and remove it again if it was made."""
    limits = {k.replace('_', '-'): v for k, v in limits.items()}
    return [('object-add', {'qom-type': 'throttle-group', 'id': 'g', 'limits': limits},
             *([how] if how else [])), ('object-del', {'id': 'g'})]


def set_limits(value):
    return ('qom-set', {'path': '/objects/tg', 'property': 'limits', 'value': value})


def get(name, owner='tg'):
    return ('qom-get', {'path': '/objects/' + owner, 'property': name})


EVENTS = '''l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update
l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed
write_aio write_compressed vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow
reftable_update refblock_load refblock_update refblock_update_part refblock_alloc
refblock_alloc_hookup refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table
refblock_alloc_switch_table cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk
pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero
pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters cor_write
cluster_alloc_space none'''.split()
IO_TYPES = 'read write write-zeroes discard flush block-status'.split()

# What is wrong with a rule, and with a limit.
BAD_ERRORS = [[{}], [{'event': 'x'}], [{'event': 'read_aio', 'iotype': 'x'}],
              [{'event': 'read_aio', 'once': 1}], [1], {}]
BAD_STATES = [[{}], [{'event': 'read_aio'}], [{'event': 'x', 'new_state': 1}],
              [{'event': 'read_aio', 'state': '1', 'new_state': 1}]]
BAD_LIMITS = [{'align': 3}, {'align': 1 << 32}, {'align': 'x'}, {'align': 512, 'max-transfer': 1000},
              {'align': 512, 'max-transfer': 1024, 'opt-write-zero': 100},
              {'align': 512, 'opt-write-zero': 1024, 'max-write-zero': 1536},
              {'align': 512, 'opt-discard': 1024, 'max-discard': 1536}]
BAD_THROTTLES = [
    {'bps_total': -1}, {'bps_total': 1 << 60}, {'bps_total': 1, 'bps_read': 1},
    {'bps_total': 1, 'bps_write': 1}, {'iops_total': 1, 'iops_read': 1}, {'bps_total_max': 5},
    {'bps_total': 10, 'bps_total_max': 5}, {'bps_total': 10, 'bps_total_max_length': 0},
    {'bps_total': 10, 'bps_total_max_length': 2}, {'iops_size': 5},
    {'bps_total': 1 << 40, 'bps_total_max': 1 << 49, 'bps_total_max_length': 1000000},
    {'iops_size': -1, 'iops_total': 5}, {'x': 1}, {'iops_total': '1'},
    {'bps_read': 1000000000000001}, {'bps_read': 1000000000000000},
    {'iops_read_max': 3, 'iops_total': 3}]

# Each is given, and asked how it is called: all of a name that a backing file may be given.
NAMED = [
    ('copy-on-read', {'file': RAW}), ('preallocate', {'file': RAW, 'prealloc-size': 4096}),
    ('throttle', {'file': RAW, 'throttle-group': 'tg'}), ('blkdebug', {'image': RAW}),
    ('blkdebug', {'image': RAW, 'align': 512}), ('raw', {'file': RAW}),
    ('blkdebug', {'image': {'driver': 'raw', 'file': RAW}}), ('blkdebug', {'image': QCOW2}),
    ('blkdebug', {'image': {'driver': 'blkdebug', 'image': RAW}, 'config': '${DIR}/rules'}),
    ('raw', {'file': {'driver': 'blkdebug', 'image': {'driver': 'raw', 'file': RAW}}}),
    ('raw', {'file': {'driver': 'copy-on-read', 'file': RAW}}),
    ('qcow2', {'file': {'driver': 'throttle', 'throttle-group': 'tg', 'file': IMAGE}}),
    ('qcow2', {'file': {'driver': 'preallocate', 'file': IMAGE}}),
    ('qcow2', {'file': {'driver': 'blkdebug', 'image': IMAGE}}),
    ('qcow2', {'file': {'driver': 'blkdebug', 'image': IMAGE, 'align': 4096}}),
    ('copy-on-read', {'file': QCOW2}), ('compress', {'file': QCOW2}),
    ('throttle', {'throttle-group': 'tg', 'file': QCOW2}),
    ('quorum', {'children': [RAW, {'driver': 'file', 'filename': '${DIR}/b.raw'}],
                'vote-threshold': 1}),
    ('copy-before-write', {'file': RAW, 'target': QCOW2}),
]

CASES = [
    ('quorum options', FILES, [
        null('n1'), null('n2'), null('n3'), null('long'),
        null('ro', read_only=True), quorum(), quorum(children=['n1']), quorum(vote_threshold=1),
        *(quorum(children=['n1'], vote_threshold=v) for v in (0, -1, 2, '1')),
        quorum(children=[], vote_threshold=1), quorum(children=['n1', 'n2'], vote_threshold=3),
        quorum(children=['n1'], vote_threshold=1, read_pattern='x'),
        quorum(children=['n1', 'n2', 'n3'], vote_threshold=2, blkverify=True),
        quorum(children=['n1', 'n2'], vote_threshold=1, blkverify=True),
        quorum(children=['n1', 'n2'], vote_threshold=2, blkverify=True, rewrite_corrupted=True),
        quorum(children=['n1', 'n2'], vote_threshold=2, read_pattern='fifo',
               rewrite_corrupted=True), delete(),
        quorum(children=['n1', 'nope'], vote_threshold=2),
        quorum(children=['n1', 'n1'], vote_threshold=2), delete(),
        quorum(children=['n1', 'ro'], vote_threshold=2), delete(),
        quorum(children=['n1', 'ro'], vote_threshold=2, read_only=True), GRAPH, delete(),
    ]),
    ('quorum children', FILES, [
        null('n1'), null('n2'), null('n3'), null('ro', read_only=True),
        quorum(children=['n1', 'n2'], vote_threshold=2, blkverify=True), GRAPH,
        change(parent='x', node='n3'), change(parent='x', child='children.0'), delete(),
        quorum(children=['n1', 'n2'], vote_threshold=1), STATS,
        change(parent='x'), change(parent='nope', node='n3'), change(parent='x', node='nope'),
        change(parent='x', node='n3', child='children.0'), change(parent='x', child='nope'),
        change(parent='n1', node='n3'), change(parent='n1', child='file'),
        change(parent='x', node='x'), change(parent='x', node='n3'), GRAPH,
        change(parent='x', child='children.0'), GRAPH,
        *(change(parent='x', child='children.%d' % i) for i in range(3)),
        change(parent='x', node='n1'), GRAPH, change(parent='x', node='ro'),
        ('block_resize', {'node-name': 'x', 'size': 2097152}), delete('n1'), delete('n2'),
        reopen('quorum', children=['n1', 'n2'], vote_threshold=1, read_only=True),
    ]),
    ('blkdebug options', FILES, [
        null('n'), add('blkdebug', image='nope'), add('blkdebug'),
        add('blkdebug', image='n', config='nope'), add('blkdebug', image='n', config='${DIR}', how=CLASS),
        *(add('blkdebug', image='n', **limits) for limits in BAD_LIMITS),
        *(add('blkdebug', image='n', inject_error=rules) for rules in BAD_ERRORS),
        *(add('blkdebug', image='n', set_state=rules) for rules in BAD_STATES),
        add('blkdebug', image='n', take_child_perms=['x'], how=CLASS),
        add('blkdebug', image='n', take_child_perms=['write']), GRAPH, delete(),
        add('blkdebug', image='n', unshare_child_perms=['write', 'resize']), GRAPH, delete(),
        add('blkdebug', image=RAW, align=4096, set_state=[{'event': 'write_aio', 'state': 1,
                                                           'new_state': 2}],
            inject_error=[{'event': 'read_aio', 'errno': 5, 'sector': 3, 'once': True,
                           'immediately': True, 'iotype': 'read', 'state': 2}]),
        GRAPH, STATS, ('block_resize', {'node-name': 'x', 'size': 8388608}),
    ]),
    ('blkdebug, a file of rules', [
        "printf '[set-state]\\nevent = \"read_aio\"\\n' > default",
        "printf '[inject-error]\\nevent = \"read_aio\"\\n' > rules",
        "printf '[inject-error]\\nevent = \"nope\"\\n' > event",
        "printf '[nope]\\nevent = \"read_aio\"\\n' > section", "printf 'x\\n' > early",
        "printf '[inject-error]\\nstate = \"1\"\\n' > missing",
        "printf '[inject-error]\\nevent = \"read_aio\"\\nfoo = \"1\"\\n' > unknown",
        "printf '[inject-error]\\nevent = \"read_aio\"\\nerrno = \"x\"\\n' > number"], [
            null('n'),
            *(add('blkdebug', image='n', config='${DIR}/' + name, how=CLASS)
              for name in ('event', 'section', 'early', 'missing', 'unknown', 'number')),
            *(step for name in ('default', 'rules')
              for step in (add('blkdebug', image='n', config='${DIR}/' + name), delete()))]),
    ('blkdebug events', [], [
        null('n'),
        add('blkdebug', 'e', image='n', inject_error=[{'event': event} for event in EVENTS]),
        add('blkdebug', 't', image='n',
            inject_error=[{'event': 'none', 'iotype': kind} for kind in IO_TYPES])]),
    ('throttle', [], [
        null('n'), *(step for limits in BAD_THROTTLES for step in group(**limits)),
        ('object-add', {'qom-type': 'throttle-group', 'id': 'tg'}),
        ('object-add', {'qom-type': 'throttle-group', 'id': 'tg'}), get('limits'),
        ('qom-list', {'path': '/objects/tg'}),
        set_limits({'bps-total': 1000, 'bps-total-max': 2000, 'bps-total-max-length': 5,
                    'iops-total': 7, 'iops-size': 4096}), get('limits'),
        set_limits({'bps-read': 1}), set_limits({'bps-total': 0}),
        set_limits({'bps-total': 0, 'bps-total-max': 0, 'bps-total-max-length': 1}),
        set_limits({'bps-read': 1}), get('limits'), set_limits(5), set_limits({'x': 5}),
        ('qom-set', {'path': '/objects/tg', 'property': 'x-iops-total', 'value': 5}),
        get('x-iops-total'), get('nope'), get('limits', 'nope'),
        ('object-add', {'qom-type': 'throttle-group', 'id': 't2', 'x-iops-total': 10}),
        get('limits', 't2'),
        ('object-add', {'qom-type': 'throttle-group', 'id': 't3', 'x-iops-total': 10,
                        'limits': {'iops-total': 20}}), get('limits', 't3'),
        ('object-add', {'qom-type': 'throttle-group', 'id': 't4', 'x-nope': 10}),
        add('throttle', throttle_group='nope', file='n'), add('throttle', file='n'),
        add('throttle', throttle_group='tg'), add('throttle', throttle_group='tg', file='nope'),
        add('throttle', throttle_group='tg', file='n'), NODES, GRAPH, STATS,
        ('object-del', {'id': 'tg'}), ('object-del', {'id': 'nope'}),
        reopen('throttle', throttle_group='t2', file='n'), NODES, ('object-del', {'id': 'tg'}),
        reopen('throttle', throttle_group='nope', file='n'), reopen('throttle', file='n')]),
    ('preallocate', FILES, [
        *(add('preallocate', file=RAW, **{'prealloc-align': v}) for v in (100, -1, 513, '4k')),
        add('preallocate', file=RAW, **{'prealloc-size': -1}), add('preallocate', file=RAW, x=1),
        add('preallocate', file=dict(RAW, **{'node-name': 'f'})), NODES, GRAPH,
        ('block_resize', {'node-name': 'x', 'size': 8388608}), NODES,
        reopen('preallocate', file='f', prealloc_size=4096, prealloc_align=4096), NODES,
        reopen('preallocate', file='f', prealloc_size=4096), reopen('preallocate', file='f'),
        reopen('preallocate', file='f', prealloc_align=4096), NODES]),
    ('copy-before-write', FILES, [
        add('qcow2', 't', file=IMAGE), null('n'),
        add('raw', 'r', file=RAW), ('block-dirty-bitmap-add', {'node': 'r', 'name': 'b'}),
        *(add('copy-before-write', **o) for o in (
            {}, {'file': 'r'}, {'target': 't'}, {'file': 'nope', 'target': 't'},
            {'file': 'r', 'target': 'nope'},
            {'file': 'r', 'target': 't', 'bitmap': {'node': 'r', 'name': 'x'}},
            {'file': 'r', 'target': 't', 'bitmap': {'node': 'z', 'name': 'b'}},
            {'file': 'r', 'target': 't', 'bitmap': 'x'},
            {'file': 'r', 'target': 't', 'on-cbw-error': 'x'},
            {'file': 'r', 'target': 't', 'cbw-timeout': -1})),
        add('copy-before-write', file='r', target='t', bitmap={'node': 'r', 'name': 'b'},
            on_cbw_error='break-snapshot', cbw_timeout=5), NODES, GRAPH,
        add('snapshot-access', 's', file='r'), delete('s'),
        add('snapshot-access', 's', file='nope'), add('snapshot-access', 's'),
        add('snapshot-access', 's', file='x'), NODES, delete(),
        ('block_resize', {'node-name': 's', 'size': 1048576}),
        reopen('copy-before-write', file='r', target='t', bitmap={'node': 'r', 'name': 'b'},
               on_cbw_error='break-snapshot', cbw_timeout=5),
        reopen('snapshot-access', 's', file='x')]),
    ('what filters are called', FILES + ['touch rules'], [
        ('object-add', {'qom-type': 'throttle-group', 'id': 'tg'}),
        *(step for driver, options in NAMED
          for step in (add(driver, **options), NODES, delete()))]),
    ('filters stay as they are', FILES, [
        add('qcow2', 't', file=IMAGE), null('n'),
        add('compress', file='t'), reopen('compress', file='t'), delete(),
        add('copy-on-read', file='t'), reopen('copy-on-read', file='n'), delete(),
        add('blkdebug', image='n'), reopen('blkdebug', image='n', read_only=True), NODES]),
]
