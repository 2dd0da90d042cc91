# SPDX-License-Identifier: MIT
"""Writes the C of a Schema: types.h, tables.h, tables.c, commands.h, handlers.c."""
import re
import textwrap

from idl import BUILTINS, Definition, SchemaError, Type, c_member, c_name

HEAD = '/* SPDX-License-Identifier: MIT */\n/* Generated from the IDL by schema/generate.py. */\n'


def comment(doc, indent=''):
    """The lines of a C comment that says what the doc lines say."""
    text = ' '.join(doc)
    one = '%s/* %s */' % (indent, text)
    if len(one.expandtabs(8)) <= 100:
        return one
    start = indent + ' * '
    width = 100 - len(start.expandtabs(8))
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return '\n'.join([indent + '/*'] + [start + line for line in lines] + [indent + ' */'])


def constant(enum, value):
    return '%s_%s' % (c_name(enum).upper(), c_name(value).upper())


def bucket(name):
    """Where the rival keeps a member: its objects are hash tables of 512 rows.

    They print row by row, so clients that compare text know members in the order
    of this hash, the one of the Trivial Database.
    """
    text = name.encode()
    value = 0x238f13af * len(text)
    for i, byte in enumerate(text):
        value += byte << (i * 5 % 24)
    return (1103515243 * value + 12345) % 512


class Emitter:
    def __init__(self, schema):
        self.schema = schema
        self.objects = []       # struct, union and alternate definitions, arguments included
        self.lists = []         # names of element types
        self.arguments = {}     # command or event -> Definition of its arguments
        for d in schema.order:
            if d.kind in ('command', 'event'):
                self.add_arguments(d)
            elif d.kind != 'enum':
                self.objects.append(d)
        for d in self.objects:
            for m in d.all_members(schema):
                self.add_list(m.type)
        for d in schema.commands:
            for type_ in filter(None, [d.argument, d.result]):
                self.add_list(type_)
        self.ids = {}

    def add_arguments(self, d):
        if d.argument:
            self.arguments[d.kind, d.name] = self.schema.types[d.argument.name]
        if d.argument or not d.members:
            return
        suffix = 'args' if d.kind == 'command' else 'event'
        args = Definition('struct', c_name(d.name) + '_' + suffix, d.doc, d.where)
        args.members = d.members
        args.internal = True
        self.arguments[d.kind, d.name] = args
        self.objects.append(args)

    def add_list(self, type_):
        if type_.is_list and type_.name not in self.lists:
            self.lists.append(type_.name)

    # Types as C writes them.

    def c_type(self, type_):
        """The C type of a member or item, ready for a name to follow; a list by value."""
        kind = self.schema.kind(type_)
        if kind == 'list':
            return 'struct %s_list ' % c_name(type_.name)
        if kind == 'enum':
            return 'enum %s ' % c_name(type_.name)
        if kind in BUILTINS:
            c = BUILTINS[kind]
            return c if c.endswith('*') else c + ' '
        return 'struct %s *' % c_name(type_.name)

    def table(self, type_):
        return '%s_type' % (c_name(type_.name) + ('_list' if type_.is_list else ''))

    def has(self, m):
        """Whether the member's presence is told by a has_ flag, not by its pointer."""
        return m.optional and not self.c_type(m.type).endswith('*')

    @staticmethod
    def flag(m):
        return 'has_' + re.sub('[-.]', '_', m.name)

    # types.h

    def enums_h(self):
        for d in self.schema.types.values():
            if d.kind != 'enum':
                continue
            n = c_name(d.name)
            yield 'enum %s {' % n
            for v in d.values:
                yield comment(v.doc, '\t')
                yield '\t%s,' % constant(d.name, v.name)
            yield '\t%s__COUNT\n};' % n.upper()
            yield 'extern const struct schema_type %s_type;' % n
            yield 'static inline const char *%s_name(enum %s value)\n{' % (n, n)
            yield '\treturn schema_enum_name(&%s_type, value);\n}' % n
            yield 'static inline int %s_from_name(const char *name, enum %s *ret)\n{' % (n, n)
            yield '\tint value, r = schema_enum_from_name(&%s_type, name, &value);' % n
            yield '\tif (r == 0)\n\t\t*ret = (enum %s)value;\n\treturn r;\n}\n' % n

    def lists_h(self):
        for name in self.lists:
            n = c_name(name)
            item = self.c_type(self.item_type(name))
            yield 'struct %s_list {\n\tsize_t count;\n\t%s*items;\n};' % (n, item)
            yield 'extern const struct schema_type %s_list_type;' % n
            yield 'static inline void %s_list_append(struct %s_list *list, %sitem)\n{' % (n, n, item)
            yield '\t*(%s*)schema_list_grow(list, sizeof(item)) = item;\n}\n' % item

    def item_type(self, name):
        return Type(name, False, None)

    def in_value_order(self):
        """Objects such that one embedded by value comes before its user."""
        done, order = set(), []

        def visit(d):
            if d.name in done:
                return
            done.add(d.name)
            for _, type_ in d.branches:
                visit(self.schema.types[type_.name])
            order.append(d)
        for d in self.objects:
            visit(d)
        return order

    def member_h(self, m, indent='\t'):
        if self.schema.kind(m.type) == 'null':
            return
        yield comment(m.doc, indent)
        if self.has(m):
            yield '%sbool %s;' % (indent, self.flag(m))
        yield '%s%s%s;' % (indent, self.c_type(m.type), c_member(m.name))

    def object_h(self, d):
        n = c_name(d.name)
        if d.kind == 'alternate':
            yield 'enum %s_kind {' % n
            for m in d.members:
                yield '\t%s,' % constant(d.name, m.name)
            yield '};'
        yield comment(d.doc)
        yield 'struct %s {' % n
        if d.kind == 'alternate':
            yield '\tenum %s_kind kind;\n\tunion {' % n
            for m in d.members:
                yield from self.member_h(m, '\t\t')
            yield '\t} u;'
        else:
            for m in d.all_members(self.schema):
                yield from self.member_h(m)
            if not d.all_members(self.schema):
                yield '\tchar nothing; /* C has no empty struct */'
        if d.branches:
            yield '\tunion {'
            for value, type_ in d.branches:
                yield '\t\tstruct %s %s;' % (c_name(type_.name), c_member(value))
            yield '\t} u;'
        yield '};'
        yield 'extern const struct schema_type %s_type;' % n
        yield 'static inline void %s_free(struct %s *object)\n{' % (n, n)
        yield '\tschema_free(&%s_type, object);\n}' % n
        yield 'static inline struct %s *%s_clone(const struct %s *object)\n{' % (n, n, n)
        yield '\treturn (struct %s *)schema_clone(&%s_type, object);\n}\n' % (n, n)

    def types_h(self):
        yield HEAD + '#ifndef SCHEMA_TYPES_H\n#define SCHEMA_TYPES_H\n'
        yield '#include "schema/schema.h"\n'
        yield from self.enums_h()
        for d in self.objects:
            yield 'struct %s;' % c_name(d.name)
        yield ''
        yield from self.lists_h()
        for d in self.in_value_order():
            yield from self.object_h(d)
        yield '#endif'

    # tables.h

    def tables_h(self):
        yield HEAD + '#ifndef SCHEMA_TABLES_H\n#define SCHEMA_TABLES_H\n'
        yield '#include "schema/types.h"\n'
        yield '/* One number per event, and for each a row of schema_events[]. */\nenum schema_event {'
        for d in self.schema.events:
            yield '\tSCHEMA_EVENT_%s,' % d.name
        yield '\tSCHEMA_EVENT__COUNT\n};'
        yield 'extern const struct schema_event_info schema_events[SCHEMA_EVENT__COUNT];\n'
        yield '/* All commands, in the order of the IDL. */'
        yield '#define SCHEMA_COMMAND_COUNT %d' % len(self.schema.commands)
        yield 'extern const struct schema_command schema_commands[SCHEMA_COMMAND_COUNT];'
        yield '/* Their indices in the order of the names, for schema_command_find(). */'
        yield 'extern const uint16_t schema_command_order[SCHEMA_COMMAND_COUNT];'
        yield '/* One more than the largest id of a type. */'
        yield '#define SCHEMA_TYPE_COUNT %d\n\n#endif' % (
            1 + len(self.objects) + len(self.lists) +
            sum(d.kind == 'enum' for d in self.schema.types.values()))

    # tables.c

    def strings(self, names):
        if not names:
            return 'NULL'
        return '(const char *const[]){%s, NULL}' % ', '.join('"%s"' % n for n in names)

    def member_row(self, d, m):
        struct = 'struct %s' % c_name(d.name)
        where = 'u.' if d.kind == 'alternate' else ''
        fields = ['.name = "%s"' % m.name, '.type = &%s' % self.table(m.type),
                  '.has_offset = ' + ('offsetof(%s, %s)' % (struct, self.flag(m))
                                      if self.has(m) else '-1')]
        if self.schema.kind(m.type) != 'null':
            fields.append('.offset = offsetof(%s, %s%s)' % (struct, where, c_member(m.name)))
        if m.optional:
            fields.append('.optional = true')
        if m.default is not None:
            fields.append('.has_initial = true, .initial = %d' % self.schema.default_number(m))
        if m.features:
            fields.append('.features = %s' % self.strings(m.features))
        return '\t{%s},' % ', '.join(fields)

    def type_row(self, c, kind, **fields):
        self.ids[c] = len(self.ids) + 1
        yield 'const struct schema_type %s_type = {' % c
        yield '\t.kind = SCHEMA_%s, .id = %d,' % (kind.upper(), self.ids[c])
        for field, value in fields.items():
            if value not in (None, 'NULL'):
                yield '\t.%s = %s,' % (field, value)
        yield '};\n'

    def enum_c(self, d):
        n = c_name(d.name)
        yield 'static const char *const %s_values[] = {' % n
        for v in d.values:
            yield '\t"%s",' % v.name
        yield '};'
        features = None
        if any(v.features for v in d.values):
            features = '(const char *const *const[]){%s}' % ', '.join(
                self.strings(v.features) for v in d.values)
        yield from self.type_row(n, 'enum', name='"%s"' % d.name, size='sizeof(enum %s)' % n,
                                 count=len(d.values), values='%s_values' % n,
                                 value_features=features, features=self.strings(d.features))

    def orders_c(self, d, members):
        """In which order the members are written: for a union, for each value of its tag."""
        n = c_name(d.name)
        variants = [(n + '_order', members)]
        if d.kind == 'union':
            enum = self.schema.tag_enum(d)
            branches = dict(d.branches)
            variants = []
            for v in enum.values:
                branch = self.schema.types[branches[v.name].name] if v.name in branches else None
                if branch and branch.kind != 'struct':
                    raise SchemaError('%s: a branch must be a struct' % d.where)
                variants.append(('%s_order_%s' % (n, c_name(v.name)),
                                 members + (branch.all_members(self.schema) if branch else [])))
        for name, all_members in variants:
            order = sorted(range(len(all_members)), key=lambda i: (bucket(all_members[i].name), -i))
            yield 'static const uint8_t %s[] = {%s};' % (name, ', '.join(map(str, order)) or '0')
        yield 'static const uint8_t *const %s_orders[] = {%s};' % (
            n, ', '.join(name for name, _ in variants))

    def object_c(self, d):
        n = c_name(d.name)
        members = d.all_members(self.schema)
        fields = {'name': '"%s"' % d.name, 'size': 'sizeof(struct %s)' % n, 'count': len(members),
                  'features': self.strings(d.features)}
        if getattr(d, 'internal', False):
            fields['is_internal'] = 'true'
        if d.kind != 'alternate':
            yield from self.orders_c(d, members)
            fields['orders'] = '%s_orders' % n
        if members:
            yield 'static const struct schema_member %s_members[] = {' % n
            for m in members:
                yield self.member_row(d, m)
            yield '};'
            fields['members'] = '%s_members' % n
        if d.kind == 'union':
            yield 'static const struct schema_type *const %s_branches[] = {' % n
            enum = self.schema.tag_enum(d)
            for value, type_ in d.branches:
                yield '\t[%s] = &%s,' % (constant(enum.name, value), self.table(type_))
            yield '\t[%s__COUNT] = NULL,\n};' % c_name(enum.name).upper()
            fields['tag'] = [m.name for m in members].index(d.tag)
            fields['branches'] = '%s_branches' % n
            if d.branches:
                fields['branch_offset'] = 'offsetof(struct %s, u)' % n
        yield from self.type_row(n, d.kind, **fields)

    def list_c(self, name):
        n = c_name(name)
        yield from self.type_row(n + '_list', 'list', name='"[%s]"' % name,
                                 size='sizeof(struct %s_list)' % n,
                                 element='&%s_type' % n)

    def command_row(self, d):
        args = self.arguments.get(('command', d.name))
        fields = ['.name = "%s"' % d.name]
        if args:
            fields.append('.args = &%s_type' % c_name(args.name))
        if d.result:
            fields.append('.ret = &%s' % self.table(d.result))
        if d.oob:
            fields.append('.oob = true')
        if d.instant:
            fields.append('.instant = true')
        if d.concurrent:
            fields.append('.concurrent = true')
        if d.features:
            fields.append('.features = %s' % self.strings(d.features))
        return '\t{%s},' % ', '.join(fields)

    def event_row(self, d):
        args = self.arguments.get(('event', d.name))
        return '\t[SCHEMA_EVENT_%s] = {.name = "%s", .type = %s, .features = %s},' % (
            d.name, d.name, '&%s_type' % c_name(args.name) if args else 'NULL',
            self.strings(d.features))

    def tables_c(self):
        yield HEAD + '#include "schema/tables.h"\n\n#include <stddef.h>\n'
        for d in self.schema.types.values():
            if d.kind == 'enum':
                yield from self.enum_c(d)
        for name in self.lists:
            yield from self.list_c(name)
        for d in self.objects:
            yield from self.object_c(d)
        yield 'const struct schema_command schema_commands[SCHEMA_COMMAND_COUNT] = {'
        for d in self.schema.commands:
            yield self.command_row(d)
        yield '};\n\nconst uint16_t schema_command_order[SCHEMA_COMMAND_COUNT] = {'
        names = [d.name for d in self.schema.commands]
        for name in sorted(names):
            yield '\t%d, /* %s */' % (names.index(name), name)
        yield '};\n\nconst struct schema_event_info schema_events[SCHEMA_EVENT__COUNT] = {'
        for d in self.schema.events:
            yield self.event_row(d)
        yield '};'

    # commands.h and handlers.c

    def parameters(self, d):
        args = self.arguments.get(('command', d.name))
        parameters = []
        if args:
            parameters.append('const struct %s *args' % c_name(args.name))
        if d.result:
            c = self.c_type(d.result)
            parameters.append(c + '*ret')
        return parameters + ['struct error **errp']

    def commands_h(self):
        yield HEAD + '#ifndef SCHEMA_COMMANDS_H\n#define SCHEMA_COMMANDS_H\n'
        yield '#include "base/coroutine.h"\n#include "schema/tables.h"\n\nstruct error;\n'
        for d in self.schema.commands:
            yield comment(d.doc)
            yield 'int co_fn qmp_%s(%s);\n' % (c_name(d.name), ', '.join(self.parameters(d)))
        yield '#endif'

    def handlers_c(self):
        yield HEAD + '#include "schema/dispatch.h"\n\n#include "schema/commands.h"\n'
        for d in self.schema.commands:
            names = [p.split()[-1].lstrip('*') for p in self.parameters(d)]
            yield 'static int co_fn call_%s(const void *args, void *ret, struct error **errp)' % (
                c_name(d.name))
            yield '{\n\treturn qmp_%s(%s);\n}\n' % (c_name(d.name), ', '.join(names))
        yield 'schema_handler *const schema_handlers[SCHEMA_COMMAND_COUNT] = {'
        for d in self.schema.commands:
            yield '\tcall_%s,' % c_name(d.name)
        yield '};'
