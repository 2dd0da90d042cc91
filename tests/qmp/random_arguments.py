# SPDX-License-Identifier: MIT
"""Random arguments for any command, after the schemas of both daemons.

Only what both have is drawn. The caller tells what names and numbers are likely to mean
something: meant() gives a value for the member called so, or None where any will do.
break_one() makes a value wrong in one place.
"""

INT_MAX = (1 << 63) - 1
# What leads out of the directory, waits for somebody, or is built into one of the two only.
DRIVERS = {'blkdebug', 'compress', 'copy-before-write', 'copy-on-read', 'file', 'null-aio',
           'null-co', 'preallocate', 'qcow2', 'quorum', 'raw', 'snapshot-access', 'throttle', 'vmdk'}
CREATED = {'file', 'qcow2', 'vmdk'}
OBJECTS = {'secret', 'throttle-group'}
ENUMS = {'blockdev-add.driver': DRIVERS, 'blockdev-create.options.driver': CREATED,
         'x-blockdev-amend.options.driver': {'qcow2'}, 'object-add.qom-type': OBJECTS,
         'nbd-server-start.addr.type': {'unix'}, 'block-export-add.type': {'nbd'}}
WRONG = [None, 1, -1, 1 << 32, INT_MAX, -INT_MAX - 1, 1 << 64, True, '', 'x', 'x' * 1200, [], {},
         1.5, '1n', '1', [None], [[]], {'x': 1}]
DEPTH_MAX = 4


class Schemas:
    """What two daemons have in common; each schema is an answer to query-qmp-schema."""

    def __init__(self, *schemas):
        self.tables = [{entry['name']: entry for entry in schema} for schema in schemas]

    def commands(self):
        return sorted(name for name, entry in self.tables[0].items()
                      if entry['meta-type'] == 'command' and name in self.tables[1])

    def arguments(self, command):
        return self.types(table[command]['arg-type'] for table in self.tables)

    def types(self, names):
        """The type as each side describes it."""
        return [table[name] for table, name in zip(self.tables, names)]

    def members(self, types):
        """Pairs of name and (types, is_optional) of the members that both objects have."""
        sides = [{m['name']: m for m in side.get('members', [])} for side in types]
        for name, member in sides[0].items():
            if name in sides[1]:
                yield name, (self.types(side[name]['type'] for side in sides), 'default' in member)

    def variant(self, types, value):
        """The members that go with @value of the tag."""
        sides = [{v['case']: v['type'] for v in side.get('variants', [])} for side in types]
        return self.types(side[value] for side in sides) if all(
            value in side for side in sides) else None

    @staticmethod
    def values(types):
        sides = [side.get('values') or [m['name'] for m in side['members']] for side in types]
        return [value for value in sides[0] if value in sides[1]]


class Arguments:
    """Draws with @random after @schemas; @meant(path, name) is told above."""

    def __init__(self, schemas, random, meant, optional=0.2):
        self.schemas, self.random, self.meant, self.optional = schemas, random, meant, optional

    def draw(self, command):
        return self.value(self.schemas.arguments(command), command, command, 0)

    def value(self, types, path, name, depth):
        kind = types[0]['meta-type']
        meant = self.meant(path, name) if kind in ('builtin', 'alternate') else None
        if meant is not None:
            return meant
        return getattr(self, kind)(types, path, name, depth)

    def object(self, types, path, name, depth):
        result = {}
        self.add_members(result, types, path, depth)
        tag = types[0].get('tag')
        variant = self.schemas.variant(types, result[tag]) if tag in result else None
        if variant:
            self.add_members(result, variant, path, depth)
        return result

    def add_members(self, result, types, path, depth):
        for name, (member, is_optional) in self.schemas.members(types):
            if not is_optional or self.random.random() < self.optional / (1 + depth):
                result[name] = self.value(member, path + '.' + name, name, depth + 1)

    def enum(self, types, path, name, depth):
        values = self.schemas.values(types)
        if name == 'driver' and path.endswith('.driver'):
            values = [v for v in values if v in ENUMS.get(path, DRIVERS)]
            if depth > DEPTH_MAX:
                values = [v for v in values if v in ('file', 'null-co')]
        elif path in ENUMS:
            values = [v for v in values if v in ENUMS[path]]
        return self.random.choice(values)

    def array(self, types, path, name, depth):
        element = self.schemas.types(side['element-type'] for side in types)
        return [self.value(element, path, name, depth + 1)
                for _ in range(self.random.choice([1, 1, 1, 2, 3]))]

    def alternate(self, types, path, name, depth):
        pairs = list(zip(*(side['members'] for side in types)))
        if depth > DEPTH_MAX:
            pairs = pairs[-1:]
        choice = self.schemas.types(member['type'] for member in self.random.choice(pairs))
        return self.value(choice, path, name, depth)

    def builtin(self, types, _path, _name, _depth):
        kind = types[0]['json-type']
        if kind == 'boolean':
            return self.random.random() < 0.5
        if kind == 'null':
            return None
        if kind == 'string':
            return self.random.choice(['x', 'y', '', 'a b'])
        return self.random.choice([0, 1, 2, 3, 512, 4096, 65536, 1 << 20, 3 << 20, -1, 1 << 40])

    def break_one(self, value):
        """A copy that is wrong in one place, deep or not, or just other than meant."""
        places = list(self.places(value))
        holder = self.random.choice(places)
        return self.broken(value, holder)

    def places(self, value, path=()):
        if isinstance(value, dict):
            yield path
        children = value.items() if isinstance(value, dict) else \
            enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield path + (key,)
            yield from self.places(child, path + (key,))

    def broken(self, value, place):
        if not place:
            return dict(value, **{self.random.choice(['x', '', 'node_name', 'Driver']): 1})
        copy = dict(value) if isinstance(value, dict) else list(value)
        key = place[0]
        if len(place) > 1:
            copy[key] = self.broken(copy[key], place[1:]) if isinstance(copy[key], (dict, list)) else copy[key]
        elif isinstance(copy, dict) and self.random.random() < 0.25:
            del copy[key]
        else:
            copy[key] = self.random.choice(WRONG)
        return copy
