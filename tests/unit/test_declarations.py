"""Every check is declared whole: id, severity, source, what must hold and why, and a remedy for what it finds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fixtures.checks import SEVERITIES
from remediate.registry import known

PROJECT = Path(__file__).parents[2]
Function = ast.FunctionDef


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(path: Path) -> dict[str, Function]:
    """All functions of a module by name, methods and fixtures included."""
    return {node.name: node for node in ast.walk(_tree(path)) if isinstance(node, Function)}


def _imported(path: Path) -> dict[str, tuple[Path, str]]:
    """Names that a module imports from one of ours: where from, and what they are called there."""
    found: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            source = PROJECT / (node.module.replace(".", "/") + ".py")
            found |= {name.asname or name.name: (source, name.name) for name in node.names if source.exists()}
    return found


def _mark(function: Function) -> ast.Call | None:
    marks = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    return next((mark for mark in marks if ast.unparse(mark.func) == "pytest.mark.check"), None)


CHECKS = {
    f"{path.relative_to(PROJECT)}::{function.name}": (path, function)
    for path in sorted((PROJECT / "suites").rglob("test_*.py"))
    for function in _functions(path).values()
    if _mark(function)
}


def _calls(function: Function) -> Iterator[ast.Call]:
    return (node for node in ast.walk(function) if isinstance(node, ast.Call))


def _findings(function: Function) -> list[ast.Call]:
    return [call for call in _calls(function) if ast.unparse(call.func) == "finding"]


def _reached(path: Path, function: Function, seen: set[tuple[Path, str]]) -> Iterator[Function]:
    """A function and those of ours that it names or is given as fixtures, all the way down."""
    if (path, function.name) in seen:
        return
    seen.add((path, function.name))
    yield function
    own, imported = _functions(path), _imported(path)
    named = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    for name in sorted(named):
        if name in own:
            yield from _reached(path, own[name], seen)
        elif name in imported:
            source, there = imported[name]
            if there in _functions(source):
                yield from _reached(source, _functions(source)[there], seen)


@pytest.mark.parametrize("name", CHECKS)
def test_check_is_declared_whole(name: str) -> None:
    _, function = CHECKS[name]
    mark = _mark(function)
    assert mark is not None
    told = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
    assert told.keys() == {"severity", "source"}
    assert told["severity"] in SEVERITIES
    assert told["source"].strip()


@pytest.mark.parametrize("name", CHECKS)
def test_check_says_what_must_hold_and_why(name: str) -> None:
    _, function = CHECKS[name]
    what, _, why = (ast.get_docstring(function) or "").partition("\n\nWhy: ")
    assert what.strip().endswith("."), "the docstring begins with what must hold, as a sentence"
    assert why.strip().endswith("."), "and goes on with `Why: …`"
    assert re.match(r"test_[a-z0-9_]+$", function.name)


@pytest.mark.parametrize("name", CHECKS)
def test_check_has_a_remedy(name: str) -> None:
    path, function = CHECKS[name]
    findings = [call for reached in _reached(path, function, set()) for call in _findings(reached)]
    assert findings, "it fails without a finding(…, remedy=…)"


@pytest.mark.parametrize("name", CHECKS)
def test_assertions_of_a_check_carry_a_finding(name: str) -> None:
    _, function = CHECKS[name]
    bare = [node.lineno for node in ast.walk(function) if isinstance(node, ast.Assert) and node.msg is None]
    assert not bare, "an assertion without a message says neither where nor what to do"


def test_no_remedy_is_empty() -> None:
    paths = [*(PROJECT / "suites").rglob("*.py"), *(PROJECT / "fixtures").rglob("*.py")]
    empty = [
        f"{path.relative_to(PROJECT)}:{call.lineno}"
        for path in paths
        for function in _functions(path).values()
        for call in _findings(function)
        if ast.unparse(next((k.value for k in call.keywords if k.arg == "remedy"), ast.Constant(""))) in ("''", "None")
    ]
    assert empty == []


def test_an_id_is_declared_once() -> None:
    ids = [ast.literal_eval(mark.args[0]) for _, function in CHECKS.values() if (mark := _mark(function))]
    assert sorted(ids) == sorted(set(ids))


def test_every_check_has_a_repair_or_a_reason_why_not() -> None:
    """And no repair is of a check that is not there any more."""
    declared = {ast.literal_eval(mark.args[0]) for _, function in CHECKS.values() if (mark := _mark(function))}
    assert declared == set(known())
