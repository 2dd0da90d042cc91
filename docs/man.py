#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turn a manual page of this folder from Markdown into roff: man.py PAGE.md > PAGE.

The pages use headings, paragraphs, indented code, bullets, and definitions whose
text is indented behind a colon; inside of lines **bold**, *italic* or _italic_,
`code` and [links](target).
"""
import re
import sys


def inline(text):
    code = []

    def keep(match):
        code.append(match.group(1))
        return f"\0{len(code) - 1}\0"

    text = re.sub(r"`([^`]*)`", keep, text)
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(?<![A-Za-z0-9])_([a-z0-9]+)_(?![A-Za-z0-9])", r"\\fI\1\\fR", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"\\fB\1\\fR", text)
    text = re.sub(r"\*([^*\s][^*]*)\*", r"\\fI\1\\fR", text)
    text = re.sub(r"\0(\d+)\0", lambda m: "\\fB" + code[int(m.group(1))].replace(
        "\\", "\\e").replace("-", "\\-") + "\\fR", text)
    return "\\&" + text if text.startswith((".", "'")) else text


def code_block(lines):
    escaped = [line.replace("\\", "\\e").replace("-", "\\-") for line in lines]
    return [".PP", ".nf", ".RS 4", *("\\&" + line for line in escaped), ".RE", ".fi"]


def definition(lines):
    """Terms, then ':' and the text; what is indented twice below stands on lines of its own."""
    at = next(i for i, line in enumerate(lines) if line.startswith(":"))
    out = []
    for i, term in enumerate(lines[:at]):
        out += [".TP" if i == 0 else ".TQ", inline(term)]
    for line in [lines[at][1:], *lines[at + 1:]]:
        out.append(".sp" if not line.strip() else inline(line.strip()))
    return out


def blocks(lines):
    """Lists of lines that belong together; definitions go on while lines are indented."""
    block = []
    for line in [*lines, ""]:
        defines = any(b.startswith(":") for b in block)
        if not line.strip() and not defines:
            if block:
                yield block
            block = []
        elif defines and line.strip() and not line.startswith("    "):
            yield block
            block = [line]
        else:
            block.append(line)
    while block and not block[-1].strip():
        block.pop()
    if block:
        yield block


def convert(text):
    for block in blocks(text.split("\n")):
        while block and not block[-1].strip():
            block.pop()
        first = block[0]
        if m := re.match(r"# (\S+)\((\d)\)", first):
            yield f".TH {m.group(1).upper()} {m.group(2)}"
        elif first.startswith("## "):
            yield ".SH " + first[3:]
        elif first.startswith("    "):
            yield from code_block([line[4:] for line in block])
        elif any(line.startswith(":") for line in block):
            yield from definition(block)
        elif first.startswith("* "):
            for line in block:
                yield from [".IP \\(bu 2", inline(line[2:])] if line.startswith("* ") else [
                    inline(line.strip())]
        else:
            yield from [".PP", *(inline(line) for line in block)]


def main():
    with open(sys.argv[1]) as page:
        print("\n".join(convert(page.read())))


if __name__ == "__main__":
    main()
