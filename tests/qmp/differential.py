# SPDX-License-Identifier: MIT
"""How answers of cairnd and of qemu-storage-daemon 7.2 are compared."""
import json

# Members that QMP has got since 7.2.
NEWER = {'children', 'active', 'limits', 'zone_append_bytes', 'zone_append_operations',
         'zone_append_total_time_ns', 'zone_append_merged', 'failed_zone_append_operations',
         'invalid_zone_append_operations', 'actively-synced'}
# Members that measure.
MEASURED = {'idle_time_ns', 'timestamp', 'actual-size', 'account_invalid', 'account_failed', 'busy',
            'current-progress', 'offset'}
# null nodes have no options worth a json: name here.
NULL_NAMES = r'file(name)?: "json:\{\\"driver\\": \\"null-\w+\\".*, cairn: "null-\w+://"'


def sort_key(value):
    """Nodes by their names first: then one that differs stands beside its twin."""
    name = value.get('node-name', '') if isinstance(value, dict) else ''
    return str(name) + json.dumps(value, sort_keys=True)


def comparable(value):
    """A copy without what is newer or measured, lists in one order, json: names as their object."""
    if isinstance(value, dict):
        # The kind of file is told only by later versions.
        return {k: comparable(v) for k, v in value.items()
                if k not in NEWER and k not in MEASURED and
                not (k == 'format-specific' and v['type'] == 'file')}
    if isinstance(value, list):
        return sorted((comparable(v) for v in value), key=sort_key)
    if isinstance(value, str) and value.startswith('json:'):
        return 'json:' + sort_key(json.loads(value[5:]))
    return value


def differences(rival, ours, path):
    """Lines that say where two comparable values differ."""
    if isinstance(rival, dict) and isinstance(ours, dict):
        for key in sorted(set(rival) | set(ours)):
            if key not in ours:
                yield '%s.%s is missing (%s)' % (path, key, json.dumps(rival[key])[:200])
            elif key not in rival:
                yield '%s.%s is too much (%s)' % (path, key, json.dumps(ours[key])[:200])
            else:
                yield from differences(rival[key], ours[key], path + '.' + key)
    elif isinstance(rival, list) and isinstance(ours, list) and len(rival) == len(ours):
        for i, (a, b) in enumerate(zip(rival, ours)):
            yield from differences(a, b, '%s[%d]' % (path, i))
    elif type(rival) is not type(ours) or rival != ours:
        yield '%s: %s, cairn: %s' % (path, json.dumps(rival)[:300], json.dumps(ours)[:300])


def graph_by_names(graph):
    """The edges, with names in place of numbers."""
    names = {n['id']: (n['type'], n['name'] if n['type'] == 'block-driver' else '')
             for n in graph['nodes']}
    return sorted(sort_key([names[e['parent']], names[e['child']], e['name'], sorted(e['perm']),
                            sorted(e['shared-perm'])]) for e in graph['edges'])
