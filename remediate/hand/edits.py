"""Edits of files that have a form of their own: sudo's rules, /etc/hosts, policies."""

import json
import re
import tempfile
from typing import List

from fixtures.observe.collector.privileges import joined
from remediate.hand.commands import run
from remediate.hand.files import Json, Refused


def without_sudo_rule(text: str, step: Json) -> str:
    """Return sudo's file with a rule made a remark, after visudo has found it sound."""
    firsts = [number for number, _ in joined(text)]
    rule = dict(joined(text)).get(step["line"], "")
    if rule.split()[:1] != [step["who"]]:
        raise Refused("%s line %d is no rule for %s by now" % (step["path"], step["line"], step["who"]))
    lines = text.splitlines(True)
    behind = min([number - 1 for number in firsts if number > step["line"]], default=len(lines))
    first = step["line"] - 1
    new = "".join([*lines[:first], *("# " + line for line in lines[first:behind]), *lines[behind:]])
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="osc-", errors="surrogateescape") as file:
        file.write(new)
        file.flush()
        run(["visudo", "-c", "-q", "-f", file.name])
    return new


def with_host_address(text: str, step: Json) -> str:
    """Return /etc/hosts with another address for a name that stands in it, or may be added to it."""
    lines = text.splitlines(True)
    mine = [number for number, line in enumerate(lines) if step["name"] in _names(line)]
    if not mine and step["adds"]:
        return text.rstrip("\n") + "\n%s\t%s\n" % (step["address"], step["name"])
    if not mine:
        raise Refused("%s is not in %s: the address comes from elsewhere, as DNS" % (step["name"], step["path"]))
    for number in mine:
        lines[number] = _readdressed(lines[number], step)
    return "".join(lines)


def _readdressed(line: str, step: Json) -> str:
    address = line.split()[0]
    if address == step["address"]:
        return line
    others = [name for name in _names(line) if name.split(".")[0] != step["name"].split(".")[0]]
    if others or (":" in address) != (":" in step["address"]):
        raise Refused("%s: the line of %s is also of %s" % (step["path"], step["name"], ", ".join(others) or address))
    return re.sub(r"\S+", lambda found: step["address"], line, count=1)


def _names(line: str) -> List[str]:
    return line.partition("#")[0].split()[1:]


def in_yaml(text: str, path: str) -> str:
    """Return rules that stand in JSON in YAML, one a line; JSON's texts and lists are YAML's, too."""
    try:
        rules = json.loads(text)
    except ValueError as error:
        raise Refused("%s: is no JSON: %s" % (path, error))
    if not isinstance(rules, dict):
        raise Refused("%s: has no rules" % path)
    lines = ["%s: %s\n" % tuple(json.dumps(part, ensure_ascii=False) for part in rule) for rule in rules.items()]
    return "".join(["# The rules of %s.\n" % path, *lines])
