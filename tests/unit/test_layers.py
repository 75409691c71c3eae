"""Imports point one way, and the rules that a reader relies on are kept."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MAY_IMPORT = {
    "suites": {"suites", "fixtures"},
    "fixtures": {"fixtures"},
    "remediate": {"remediate", "fixtures"},
    "drafting": {"drafting", "fixtures"},
    "reports": {"reports"},
    "lab": {"lab"},
    "recorded": {"recorded", "reports", "lab"},
}
OURS = {*MAY_IMPORT, "tests", "docs"}


def _modules(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
            assert node.level == 0, f"{path}: relative import"
    return found & OURS


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_point_one_way(folder: str) -> None:
    for path in _modules(folder):
        assert _imports(path) <= MAY_IMPORT[folder], path


def test_conftest_only_lists_plugins() -> None:
    body = ast.parse((PROJECT / "conftest.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign]


def test_nothing_swallows_every_exception() -> None:
    for folder in OURS:
        for path in _modules(folder):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ExceptHandler) and not _passes_on(node):
                    caught = ast.unparse(node.type) if node.type else ""
                    assert caught not in ("", "Exception", "BaseException"), f"{path}:{node.lineno}"


def _passes_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_checks_never_skip_by_hand() -> None:
    for path in _modules("suites"):
        assert "pytest.skip" not in path.read_text(), path


def test_checks_judge_for_the_moment_of_the_observation() -> None:
    """Recorded facts give the outcomes of their day: `facts.now`, not the clock (journeys have their own day)."""
    clock = re.compile(r"\b(time\.time|monotonic|perf_counter|utcnow|today|now)\(")
    for path in _modules("suites"):
        if "pytest.mark.dynamic" not in path.read_text():
            assert not clock.search(path.read_text()), path


def test_our_fixtures_folder_shadows_no_library() -> None:
    code = "import fixtures, openstack, keystoneauth1.session, testinfra; print(fixtures.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(PROJECT / "fixtures" / "__init__.py")
