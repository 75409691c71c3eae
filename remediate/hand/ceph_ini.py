"""Editing ceph.conf as Ceph reads it: names with blanks, comments behind values, lines that a backslash continues."""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional

from fixtures.observe.collector.ini import ceph_lines, comment_start, parse_ceph, unescaped


class Row(NamedTuple):
    """A line with those that it continues in, and what it is: an option, a section's heading, or neither."""

    text: str
    joined: str
    section: str
    key: str = ""
    heading: bool = False

    @property
    def content(self) -> str:
        """What stands before the comment."""
        return self.joined[: comment_start(self.joined)].rstrip(" \t\r")


def edited(text: str, section: str, key: str, value: Optional[str]) -> str:
    """Return the text with an option set, or with None taken out; comments, order and all other lines stay.

    The assignment that wins is changed where it stands; a new one goes to the end of its section.
    """
    rows = _rows(text)
    places = [number for number, row in enumerate(rows) if row.key and (row.section, row.key) == (section, key)]
    if value is None:
        return _text(row for number, row in enumerate(rows) if number not in places)
    if values(text, section, key)[-1:] == [value]:
        return text
    if places:
        rows[places[-1]] = _assigned(rows[places[-1]], value)
        return _text(rows)
    return _text(_with_new(rows, section, "%s = %s" % (key, _escaped(value))))


def values(text: str, section: str, key: str) -> List[str]:
    """Return what is assigned to an option, in order."""
    return [value for _, found, name, value in parse_ceph(text)[0] if (found, name) == (section, key)]


def tidied(text: str) -> str:
    """Return the text as every parser takes it, saying the same: no tabs in front, a section once, a last line end."""
    untabbed = [_without_tab(row) for row in _rows(text if text.endswith("\n") or not text else text + "\n")]
    blocks: Dict[str, List[Row]] = {"": []}
    loose: List[Row] = []  # blanks and remarks go with what follows them
    for row in _rows(_text(untabbed)):
        if row.heading and row.section in blocks:
            loose = [one for one in loose if one.text.strip()]
        elif row.heading or row.key:
            blocks.setdefault(row.section, []).extend([*loose, row])
            loose = []
        else:
            loose.append(row)
    return _text([row for block in blocks.values() for row in block] + loose)


def _without_tab(row: Row) -> Row:
    return row._replace(text=row.text.lstrip(" \t")) if row.content.startswith("\t") else row


def _rows(text: str) -> List[Row]:
    lines = text.split("\n")
    numbered = list(ceph_lines(text))
    firsts = [number - 1 for number, _ in numbered] + [len(lines)]
    section, rows = "", []
    for place, (_, joined) in enumerate(numbered):
        row = Row("\n".join(lines[firsts[place] : firsts[place + 1]]), joined, section)
        content = row.content
        if re.match(r"\[[^\]]+\]$", content):
            section = unescaped(content[1:-1])
            row = row._replace(section=section, heading=True)
        elif "=" in content:
            row = row._replace(key=re.sub(r"\s+", "_", content.partition("=")[0].strip()))
        rows.append(row)
    return rows


def _text(rows: Iterable[Row]) -> str:
    return "\n".join(row.text for row in rows)


def _assigned(row: Row, value: str) -> Row:
    """Keep how the line was spelt up to its value, and the comment behind it."""
    name, _, old = row.content.partition("=")
    gap = old[: len(old) - len(old.lstrip(" \t"))] if old.strip() else " " * name.endswith(" ")
    return row._replace(text=name + "=" + gap + _escaped(value) + row.joined[len(row.content) :])


def _escaped(value: str) -> str:
    return re.sub(r"([#;\\\"'])", r"\\\1", value)


def _with_new(rows: List[Row], section: str, assignment: str) -> List[Row]:
    mine = [number for number, row in enumerate(rows) if row.section == section and (row.key or row.heading)]
    new = Row(assignment, assignment, section)
    if mine:
        return [*rows[: mine[-1] + 1], new, *rows[mine[-1] + 1 :]]
    while rows and not rows[-1].text:
        rows = rows[:-1]
    blank = Row("", "", "")
    heading = Row("[%s]" % section, "", section)
    return [*rows, *([blank] if rows else []), heading, new, blank]
