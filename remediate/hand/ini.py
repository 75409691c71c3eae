"""Editing one option of an INI file as oslo.config reads it; every other byte stays.

Section "" stands for a file that has none, as libvirt's; there only one assignment is left.
"""

import io
from typing import Iterator, List, Optional, Tuple

Span = Tuple[int, int]  # first line, and the one behind the last


def edited(text: str, section: str, key: str, value: Optional[str]) -> str:
    """Return the text with an option set, or with None taken out; comments, order and line ends stay.

    The assignment that wins is changed where it stands; a new one goes behind its own commented default,
    else to the end of its section.
    """
    lines = _lines(text)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    places = list(_assignments(lines, section, key))
    if value is None:
        return "".join(_without(lines, places))
    if not section and len(places) > 1:
        return edited("".join(_without(lines, places[1:])), section, key, value)
    if places and values(text, section, key)[-1] == value:
        return text
    if places:
        first, behind = places[-1]
        end = lines[behind - 1][len(lines[behind - 1].rstrip("\r\n")) :]
        return "".join([*lines[:first], _assigned(lines[first], value, end), *lines[behind:]])
    return "".join(_with_new(lines, section, key + " = " + value, key, end))


def values(text: str, section: str, key: str) -> List[str]:
    """Return what is assigned to an option, in order; continuation lines belong to it."""
    lines = _lines(text)
    found = []
    for first, behind in _assignments(lines, section, key):
        head = _split(lines[first])[1]
        found.append("\n".join([head.strip()] + [line.strip() for line in lines[first + 1 : behind]]))
    return found


def _lines(text: str) -> List[str]:
    """Lines with their ends, cut where a file's reader cuts them: not at form feeds and the like."""
    return list(io.StringIO(text, newline="\n"))


def _assignments(lines: List[str], section: str, key: str) -> Iterator[Span]:
    for first, behind in _spans(lines, section):
        number = first
        while number < behind:
            start, number = number, number + 1
            if _is_assignment(lines[start]):
                while number < behind and lines[number][:1] in (" ", "\t") and lines[number].strip():
                    number += 1
                if _split(lines[start])[0].strip() == key:
                    yield start, number


def _spans(lines: List[str], section: str) -> Iterator[Span]:
    """Where a section's lines are, once for each of its headings."""
    if not section:
        yield 0, len(lines)
        return
    begun = None
    for number, line in enumerate(lines):
        if line.startswith("["):
            if begun is not None:
                yield begun, number
            begun = number + 1 if _section(line.rstrip()[1:-1]) == _section(section) else None
    if begun is not None:
        yield begun, len(lines)


def _section(name: str) -> str:
    return name if name == "DEFAULT" else name.lower()  # as oslo.config compares them


def _is_assignment(line: str) -> bool:
    return line[:1] not in (" ", "\t", "#", ";", "[", "\r", "\n", "") and ("=" in line or ":" in line)


def _split(line: str) -> Tuple[str, str]:
    at = min(place for place in (line.find("="), line.find(":")) if place >= 0)
    return line[:at], line[at + 1 :]


def _assigned(line: str, value: str, end: str) -> str:
    """Keep how the line was spelt up to its value."""
    name, old = _split(line)
    sign = line[len(name)]
    gap = old[: len(old) - len(old.lstrip(" \t"))] if old.strip() else " " * name.endswith(" ")
    return name + sign + gap + value + end


def _without(lines: List[str], places: List[Span]) -> List[str]:
    gone = {number for first, behind in places for number in range(first, behind)}
    return [line for number, line in enumerate(lines) if number not in gone]


def _with_new(lines: List[str], section: str, assignment: str, key: str, end: str) -> List[str]:
    spans = list(_spans(lines, section))
    lines = [*lines[:-1], _ended(lines[-1], end)] if lines else []
    if not spans:
        return lines + ([end] if lines else []) + ["[" + section + "]" + end, assignment + end]
    first, behind = spans[-1]
    at = _commented(lines, first, behind, key) or _end_of_content(lines, first, behind)
    return [*lines[:at], assignment + end, *lines[at:]]


def _ended(line: str, end: str) -> str:
    return line if line.endswith("\n") else line + end


def _commented(lines: List[str], first: int, behind: int, key: str) -> int:
    """Behind "#key = …", which samples have for each option; 0 where there is none."""
    for number in range(first, behind):
        line = lines[number]
        bare = line[1:]
        if line[:1] == "#" and _is_assignment(bare) and _split(bare)[0].strip() == key:
            return number + 1
    return 0


def _end_of_content(lines: List[str], first: int, behind: int) -> int:
    """Behind the last assignment, for the comments after it may speak of the section that follows."""
    last = first
    for number in range(first, behind):
        if _is_assignment(lines[number]) or (lines[number][:1] in (" ", "\t") and lines[number].strip()):
            last = number + 1
    return last
