# SPDX-License-Identifier: MIT
"""The part of TOML that a layout needs, for hosts whose Python has no ``tomllib`` (it came with 3.11).

Comments, tables, arrays of tables, and on one line each: strings, integers, booleans and lists of them. Whatever else
TOML has is refused, so what this reads any TOML reader reads alike. Tables remember the lines their keys stand on.
"""

import re

KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
INTEGER = re.compile(r"(0x[0-9a-fA-F]+|0|[1-9][0-9]*)\Z")
STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\])*"')


class TomlError(Exception):
    """Names the file, the line and what was expected there."""


class Table(dict):
    """A table; ``line`` is where it begins, ``lines`` where each key stands."""

    def __init__(self, line):
        super().__init__()
        self.line = line
        self.lines = {}

    def put(self, key, value, line):
        self[key] = value
        self.lines[key] = line


def parse(text, name):
    """Reads a text; ``name`` is the file's name in errors."""
    top = Table(1)
    table = top
    for number, line in enumerate(text.splitlines(), 1):
        line = strip_comment(line).strip()
        try:
            if not line:
                continue
            if line.startswith("["):
                table = open_table(top, line, number)
                continue
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not KEY.match(key):
                raise ValueError('expected [table] or key = value, found "%s"' % line)
            if key in table:
                raise ValueError('"%s" is there twice, first in line %d' % (key, table.lines[key]))
            table.put(key, read_value(value), number)
        except ValueError as error:
            raise TomlError("%s:%d: %s" % (name, number, error)) from None
    return top


def open_table(top, line, number):
    many = line.startswith("[[")
    left, right = ("[[", "]]") if many else ("[", "]")
    key = line[len(left):-len(right)].strip()
    if not line.endswith(right) or not KEY.match(key):
        raise ValueError("expected %sname%s, found %s" % (left, right, line))
    table = Table(number)
    if many:
        tables = top.setdefault(key, [])
        if not isinstance(tables, list) or not all(isinstance(each, Table) for each in tables):
            raise ValueError('"%s" is already something else' % key)
        tables.append(table)
        top.lines.setdefault(key, number)
    elif key in top:
        raise ValueError("[%s] is there twice, first in line %d" % (key, top.lines[key]))
    else:
        top.put(key, table, number)
    return table


def strip_comment(line):
    plain = STRING.sub(lambda found: "x" * len(found.group()), line)
    return line[: plain.index("#")] if "#" in plain else line


def read_value(text):
    if text in ("true", "false"):
        return text == "true"
    if INTEGER.match(text):
        return int(text, 0)
    if STRING.fullmatch(text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text.startswith("[") and text.endswith("]"):
        return read_list(text[1:-1])
    raise ValueError('expected a "string", an integer, true, false or a [list] on one line, found %s' % (text or "nothing"))


def read_list(text):
    values = []
    text = text.strip()
    while text:
        found = STRING.match(text) or re.match(r"[^,\s]+", text)
        if not found:
            raise ValueError("expected a value before the comma")
        values.append(read_value(found.group()))
        text = text[found.end():].lstrip()
        if text and not text.startswith(","):
            raise ValueError("expected a comma, found %s" % text)
        text = text[1:].lstrip()
    return values
