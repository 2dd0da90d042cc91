#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turn schema/*.idl into C structs, constant tables, handler prototypes and the reference.

Usage: generate.py OUTPUT-DIRECTORY FILE.idl...
"""
import os
import sys

from emit_c import Emitter
from emit_reference import reference
from idl import Schema, SchemaError


def write(directory, name, lines):
    with open(os.path.join(directory, name), 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines) + '\n')


def main(argv):
    directory, paths = argv[1], argv[2:]
    try:
        schema = Schema(paths)
    except SchemaError as e:
        sys.exit(str(e))
    emitter = Emitter(schema)
    write(directory, 'types.h', emitter.types_h())
    write(directory, 'tables.h', emitter.tables_h())
    write(directory, 'tables.c', emitter.tables_c())
    write(directory, 'commands.h', emitter.commands_h())
    write(directory, 'handlers.c', emitter.handlers_c())
    write(directory, 'reference.md', reference(schema))


if __name__ == '__main__':
    main(sys.argv)
