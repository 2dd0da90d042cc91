# SPDX-License-Identifier: MIT
"""Writes the reference manual of a Schema in Markdown."""


def paragraph(doc):
    """Doc lines as they stand: they are Markdown. Errors and version begin paragraphs."""
    lines = []
    for line in doc:
        if line.startswith(('Errors:', 'Since:')) and lines and lines[-1]:
            lines.append('')
        lines.append(line)
    return '\n'.join(lines)


def features(names):
    return ' *(%s)*' % ', '.join(names) if names else ''


def type_link(schema, type_):
    text = str(type_)
    if type_.name not in schema.types:
        return '`%s`' % text
    return '[`%s`](#%s)' % (text, type_.name.lower())


def member_line(schema, m):
    about = type_link(schema, m.type)
    if m.optional:
        about += ', optional'
    if m.default is not None:
        about += ', default `%s`' % m.default
    return '- `%s`: %s%s. %s' % (m.name, about, features(m.features), ' '.join(m.doc))


def members(schema, d):
    base = schema.types[d.base] if d.base else None
    if base:
        yield 'All members of [`%s`](#%s), and:\n' % (base.name, base.name.lower())
    for m in d.members:
        yield member_line(schema, m)
    if d.members:
        yield ''


def enum(schema, d):
    for v in d.values:
        yield '- `%s`%s: %s' % (v.name, features(v.features), ' '.join(v.doc))
    yield ''


def union(schema, d):
    yield from members(schema, d)
    yield 'Further members by the value of `%s`:\n' % d.tag
    for value, type_ in d.branches:
        yield '- `%s`: those of %s' % (value, type_link(schema, type_))
    rest = [v.name for v in schema.tag_enum(d).values if v.name not in dict(d.branches)]
    if rest:
        yield '- none for %s' % ', '.join('`%s`' % v for v in rest)
    yield ''


def alternate(schema, d):
    yield 'One of:\n'
    for m in d.members:
        yield '- %s. %s' % (type_link(schema, m.type), ' '.join(m.doc))
    yield ''


def command(schema, d):
    if d.argument:
        yield 'Arguments: the members of %s.\n' % type_link(schema, d.argument)
    elif d.members:
        yield 'Arguments:\n'
        yield from members(schema, d)
    else:
        yield 'Takes no arguments.\n'
    if d.result:
        yield 'Returns: %s\n' % type_link(schema, d.result)
    if d.oob:
        yield 'May be executed out of band.\n'
    if d.instant:
        yield 'Does not wait for commands of other clients.\n'
    if d.concurrent:
        yield 'Commands of other clients are executed while it waits.\n'


def event(schema, d):
    if d.members:
        yield 'Data:\n'
        yield from members(schema, d)


EMIT = {'enum': enum, 'struct': members, 'union': union, 'alternate': alternate,
        'command': command, 'event': event}


def contents(schema):
    """Links to all commands and events, in alphabetical order."""
    for title, definitions in (('Commands', schema.commands), ('Events', schema.events)):
        yield '%s: %s\n' % (title, ', '.join(
            '[`%s`](#%s)' % (d.name, d.name.lower())
            for d in sorted(definitions, key=lambda d: d.name)))


def reference(schema):
    """Yield the lines of the manual, in the order of the IDL."""
    yield '# Commands, events and types of cairnd\n'
    yield 'Generated from `schema/*.idl`: this is what the daemon accepts and advertises.\n'
    yield from contents(schema)
    section = None
    for d in schema.order:
        if d.section != section:
            section = d.section
            yield '## %s\n' % section[0]
            yield paragraph(section[1]) + '\n'
        yield '### %s\n' % d.name
        yield '*%s*%s\n' % (d.kind, features(d.features))
        yield paragraph(d.doc) + '\n'
        yield from EMIT[d.kind](schema, d)
