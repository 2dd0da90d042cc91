# SPDX-License-Identifier: MIT
"""The parser and the model of schema/*.idl.

A definition is preceded, without a blank line between, by `#` lines: its
documentation. Members and enum values carry theirs in the same way. A comment
that a blank line follows belongs to nobody. The grammar:

    file       = { section | definition }
    section    = "section" STRING
    enum       = "enum" NAME features "{" { VALUE features } "}"
    struct     = "struct" NAME [ ":" NAME ] features members
    union      = "union" NAME "on" NAME features members "{" { VALUE ":" NAME } "}"
    alternate  = "alternate" NAME features "{" { NAME ":" type } "}"
    command    = "command" NAME flags features [ ":" NAME | members ] [ "->" type ]
    event      = "event" NAME features [ members ]
    members    = "{" { [ "?" ] NAME ":" type [ "=" VALUE ] features } "}"
    type       = NAME | "[" NAME "]"
    flags      = [ "oob" ] [ "instant" | "concurrent" ]
    features   = { "@" NAME }
"""
import re

BUILTINS = {
    'str': 'char *', 'bool': 'bool', 'number': 'double', 'any': 'struct json_t *', 'null': None,
    'int': 'int64_t', 'size': 'uint64_t',
    'int8': 'int8_t', 'int16': 'int16_t', 'int32': 'int32_t', 'int64': 'int64_t',
    'uint8': 'uint8_t', 'uint16': 'uint16_t', 'uint32': 'uint32_t', 'uint64': 'uint64_t',
}
C_KEYWORDS = set('''auto break case char const continue default do double else enum extern float for
goto if inline int long register restrict return short signed sizeof static struct switch typedef
union unsigned void volatile while bool true false unix linux errno'''.split())
TOKEN = re.compile(r'"[^"\n]*"|->|[][{}:=?@,]|[A-Za-z0-9_][A-Za-z0-9_.+-]*|-[0-9]+')


class SchemaError(Exception):
    """Something wrong in an IDL file; the text names file and line."""


class Token:
    def __init__(self, text, where, doc):
        self.text, self.where, self.doc = text, where, doc


class Type:
    """A use of a type: a name, perhaps in brackets."""

    def __init__(self, name, is_list, where):
        self.name, self.is_list, self.where = name, is_list, where

    def __str__(self):
        return '[%s]' % self.name if self.is_list else self.name


class Member:
    def __init__(self, name, type_, optional, default, features, doc, where):
        self.name, self.type, self.optional, self.default = name, type_, optional, default
        self.features, self.doc, self.where = features, doc, where


class Definition:
    """An enum, struct, union, alternate, command or event; unused attributes stay empty."""

    def __init__(self, kind, name, doc, where):
        self.kind, self.name, self.doc, self.where = kind, name, doc, where
        self.features, self.values, self.members, self.branches = [], [], [], []
        self.base = self.tag = self.argument = self.result = None
        self.oob = False
        self.instant = False
        self.concurrent = False
        self.section = None

    def all_members(self, schema):
        """Its members with those of its base before them."""
        inherited = schema.types[self.base].all_members(schema) if self.base else []
        return inherited + self.members


def tokens_of(path):
    with open(path, encoding='utf-8') as f:
        lines = f.read().split('\n')
    doc = []
    for number, line in enumerate(lines, 1):
        where = '%s:%d' % (path, number)
        text = line.strip()
        if text.startswith('#'):
            doc.append(text[1:].strip())
            continue
        if not text:
            doc = []
        position = 0
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            match = TOKEN.match(text, position)
            if not match:
                raise SchemaError('%s: what is %r?' % (where, text[position:]))
            yield Token(match.group(), where, doc)
            doc = []
            position = match.end()


class Parser:
    def __init__(self, path):
        self.path = path
        self.tokens = list(tokens_of(path))
        self.position = 0

    def peek(self):
        return self.tokens[self.position].text if self.position < len(self.tokens) else None

    def next(self, expected=None):
        if self.position == len(self.tokens):
            raise SchemaError('%s: ends too early' % self.path)
        token = self.tokens[self.position]
        if expected and token.text != expected:
            raise SchemaError('%s: %r where %r belongs' % (token.where, token.text, expected))
        self.position += 1
        return token

    def accept(self, text):
        if self.peek() != text:
            return False
        self.position += 1
        return True

    def features(self):
        names = []
        while self.accept('@'):
            names.append(self.next().text)
        return names

    def type(self):
        where = self.next_where()
        if self.accept('['):
            name = self.next().text
            self.next(']')
            return Type(name, True, where)
        return Type(self.next().text, False, where)

    def next_where(self):
        return self.tokens[min(self.position, len(self.tokens) - 1)].where

    def members(self):
        members = []
        self.next('{')
        while not self.accept('}'):
            first = self.next()
            optional = first.text == '?'
            name = self.next() if optional else first
            self.next(':')
            type_ = self.type()
            default = self.next().text if self.accept('=') else None
            if not first.doc:
                raise SchemaError('%s: %s lacks documentation' % (first.where, name.text))
            members.append(Member(name.text, type_, optional, default, self.features(), first.doc,
                                  first.where))
        return members

    def enum(self, d):
        d.features = self.features()
        self.next('{')
        while not self.accept('}'):
            token = self.next()
            if not token.doc:
                raise SchemaError('%s: %s lacks documentation' % (token.where, token.text))
            d.values.append(Member(token.text, None, False, None, self.features(), token.doc,
                                   token.where))

    def struct(self, d):
        d.base = self.next().text if self.accept(':') else None
        d.features = self.features()
        d.members = self.members()

    def union(self, d):
        self.next('on')
        d.tag = self.next().text
        d.features = self.features()
        d.members = self.members()
        self.next('{')
        while not self.accept('}'):
            value = self.next().text
            self.next(':')
            d.branches.append((value, self.type()))

    def alternate(self, d):
        d.features = self.features()
        d.members = self.members()

    def command(self, d):
        d.oob = self.accept('oob')
        d.instant = self.accept('instant')
        d.concurrent = not d.instant and self.accept('concurrent')
        d.features = self.features()
        if self.accept(':'):
            d.argument = self.type()
        elif self.peek() == '{':
            d.members = self.members()
        if self.accept('->'):
            d.result = self.type()

    def event(self, d):
        d.features = self.features()
        if self.peek() == '{':
            d.members = self.members()

    def definitions(self):
        section = None
        while self.peek() is not None:
            token = self.next()
            if token.text == 'section':
                section = (self.next().text.strip('"'), token.doc)
                continue
            parse = {'enum': self.enum, 'struct': self.struct, 'union': self.union,
                     'alternate': self.alternate, 'command': self.command,
                     'event': self.event}.get(token.text)
            if not parse:
                raise SchemaError('%s: %r begins no definition' % (token.where, token.text))
            d = Definition(token.text, self.next().text, token.doc, token.where)
            d.section = section
            if not d.doc:
                raise SchemaError('%s: %s lacks documentation' % (d.where, d.name))
            parse(d)
            yield d


class Schema:
    """All definitions, checked against each other."""

    def __init__(self, paths):
        self.order = []
        self.types, self.commands, self.events = {}, [], []
        for path in paths:
            for d in Parser(path).definitions():
                self.add(d)
        for d in self.order:
            self.check(d)

    def add(self, d):
        self.order.append(d)
        if d.kind == 'command':
            self.commands.append(d)
        elif d.kind == 'event':
            self.events.append(d)
        elif d.name in self.types or d.name in BUILTINS:
            raise SchemaError('%s: %s is defined twice' % (d.where, d.name))
        else:
            self.types[d.name] = d

    def kind(self, type_):
        """The kind of what a Type names: 'list', a definition's kind, or a builtin's name."""
        if type_.is_list:
            return 'list'
        return type_.name if type_.name in BUILTINS else self.types[type_.name].kind

    def check_type(self, type_):
        if type_.name not in BUILTINS and type_.name not in self.types:
            raise SchemaError('%s: nobody defines %s' % (type_.where, type_.name))

    def check(self, d):
        if d.base and (d.base not in self.types or self.types[d.base].kind != 'struct'):
            raise SchemaError('%s: base %s is no struct' % (d.where, d.base))
        if d.kind in ('command', 'event') and not any(x.startswith('Since:') for x in d.doc):
            raise SchemaError('%s: %s does not say since when' % (d.where, d.name))
        if d.kind == 'command' and not any(x.startswith('Errors:') for x in d.doc):
            raise SchemaError('%s: %s does not say which errors' % (d.where, d.name))
        for type_ in filter(None, [d.argument, d.result]):
            self.check_type(type_)
        members = d.all_members(self)
        names = [m.name for m in members] + [v.name for v in d.values]
        if len(set(names)) != len(names):
            raise SchemaError('%s: %s has two members of one name' % (d.where, d.name))
        if len(members) > 128:
            raise SchemaError('%s: %s has more than 128 members' % (d.where, d.name))
        for m in members:
            self.check_type(m.type)
            if m.default is not None and not m.optional:
                raise SchemaError('%s: %s has a default and is not optional' % (m.where, m.name))
            self.default_number(m)
        if d.kind == 'union':
            self.check_union(d)

    def check_union(self, d):
        tag = [m for m in d.members if m.name == d.tag]
        if not tag or self.kind(tag[0].type) != 'enum' or tag[0].optional:
            raise SchemaError('%s: tag %s of %s is no enum member' % (d.where, d.tag, d.name))
        values = [v.name for v in self.types[tag[0].type.name].values]
        for value, type_ in d.branches:
            self.check_type(type_)
            if value not in values or self.kind(type_) not in ('struct', 'union'):
                raise SchemaError('%s: branch %s of %s' % (d.where, value, d.name))

    def default_number(self, m):
        """The number that C stores for a default, or 0."""
        if m.default is None:
            return 0
        kind = self.kind(m.type)
        if kind == 'bool' and m.default in ('true', 'false'):
            return int(m.default == 'true')
        if kind == 'enum':
            names = [v.name for v in self.types[m.type.name].values]
            if m.default in names:
                return names.index(m.default)
        elif kind in BUILTINS and BUILTINS[kind] and BUILTINS[kind].endswith('int64_t') or \
                re.match('u?int', kind):
            return int(m.default, 0)
        raise SchemaError('%s: bad default %s of %s' % (m.where, m.default, m.name))

    def tag_enum(self, d):
        tag = [m for m in d.members if m.name == d.tag][0]
        return self.types[tag.type.name]


def c_name(name):
    """CamelCase and dashes become snake_case."""
    name = name.replace('QCow2', 'Qcow2').replace('QCOW2', 'Qcow2')
    if re.search('[a-z]', name):
        name = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', '_', name)
    name = re.sub('[-.]', '_', name.lower())
    return re.sub('_+', '_', name)


def c_member(name):
    """A member's name in C: a keyword gets a trailing underscore."""
    name = re.sub('[-.]', '_', name)
    return name + '_' if name in C_KEYWORDS or not re.match('[A-Za-z_]', name) else name
