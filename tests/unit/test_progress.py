"""How far a run is: what is shown on a terminal, what elsewhere; pytest's own ways of speaking stay as they are."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reporting import entry

PROJECT = Path(__file__).parents[2]
RECORDED = ("--cloud", "clouds/lab-full.yaml", "--facts", "recorded/full")
FEW = (*RECORDED, "-p", "no:cacheprovider", "-k", "ceph.pool.size")
LINE = re.compile(r"ceph +4 of 4; 4 passed; 0:\d\d")


def _run(reports: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *FEW, "--reports", str(reports), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "shown", "lines"),
    [
        pytest.param((), "4 passed", 1, id="plain"),
        pytest.param(("-n", "2"), "4 passed", 1, id="workers"),
        pytest.param(("-q",), r"^\.\.\.\. +\[100%\]", 0, id="quiet"),
        pytest.param(("-v",), r"PASSED", 0, id="verbose"),
        pytest.param(("-s",), "4 passed", 0, id="uncaptured"),
        pytest.param(("--co",), "4/.* tests collected", 0, id="collect only"),
        pytest.param(("-p", "no:terminal"), "^$", 0, id="no terminal"),
    ],
)
def test_each_way_of_speaking_is_kept(tmp_path: Path, arguments: tuple[str, ...], shown: str, lines: int) -> None:
    done = _run(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(shown, done.stdout, re.MULTILINE)
    assert len(LINE.findall(done.stdout)) == lines


def test_a_terminal_gets_a_line_that_is_written_over(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "pytest", *FEW, "--reports", str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    told = "".join(_read(ours))
    assert process.wait() == 0
    assert re.search(r"\r" + LINE.pattern + r" *\r\n", told)


def _read(descriptor: int) -> Iterator[str]:
    while True:
        try:
            some = os.read(descriptor, 4096)
        except OSError:  # the other end is closed
            some = b""
        if not some:
            os.close(descriptor)
            return
        yield some.decode()


class _Reporter:
    """As much of pytest's reporter as is spoken to."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def isatty(self) -> bool:
        return False

    def write_line(self, line: str) -> None:
        self.lines.append(line)

    def ensure_newline(self) -> None: ...


def test_the_end_is_estimated_by_the_last_run(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from reports import progress

    reporter = _Reporter()
    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugin", lambda name: reporter)
    past = [entry("ceph.pool.size", target, seconds=40.0) for target in ("images", "volumes")]
    shown = progress.Progress(pytestconfig, lambda: past)
    shown.pytest_xdist_node_collection_finished([past[0].nodeid, past[1].nodeid + "@group", "suites/x.py::new"])
    assert shown._rest() == 120.0
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    shown.pytest_runtest_logstart("suites/ceph/test_pools.py::test_x[ceph.pool.size:images]")
    assert re.fullmatch(r"ceph     0 of 3; 0:00; ends about \d\d:\d\d:\d\d", reporter.lines[-1])


def test_an_item_of_several_tests_is_done_by_and_by(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reports import progress

    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugin", lambda name: _Reporter())
    past = [entry("ceph.pool.size", target, seconds=40.0) for target in ("images", "volumes", "vms", "backups")]
    shown = progress.Progress(pytestconfig, lambda: past)
    shown._expect({past[0].nodeid.replace(":images]", ":*]"): 4})
    assert shown._rest() == 160.0
    shown._done(progress._shared(past[1].nodeid))
    assert shown._rest() == 120.0


def test_without_an_earlier_run_no_end_is_told(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from reports import progress

    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugin", lambda name: _Reporter())
    shown = progress.Progress(pytestconfig, tuple)
    shown.pytest_xdist_node_collection_finished(["suites/x.py::new"])
    assert shown._rest() is None
