"""`pytest --cloud FILE` wherever FILE lies and wherever it is called from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("settings", ["", "pyproject.toml"], ids=["no settings", "settings of another project"])
@pytest.mark.parametrize("option", ["--profile=smoke", "--profile smoke"])
def test_the_suite_is_found_from_elsewhere(tmp_path: Path, settings: str, option: str) -> None:
    if settings:
        (tmp_path / settings).write_text("[tool.pytest.ini_options]\n")
    shutil.copy(PROJECT / "clouds/lab-full.yaml", tmp_path / "own.yaml")
    command = [sys.executable, "-m", "pytest", *option.split(), "--cloud", "own.yaml"]
    command += ["--facts", str(PROJECT / "recorded/full"), "--co", "-q", "-k", "ceph.pool.size"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr  # smoke does not hold it
    assert "deselected" in done.stdout


def test_a_cloud_file_from_elsewhere_brings_no_other_project(tmp_path: Path) -> None:
    """pytest takes the file for a test, and looks for settings where it lies."""
    shutil.copy(PROJECT / "clouds/lab-full.yaml", tmp_path / "own.yaml")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--cloud",
        str(tmp_path / "own.yaml"),
        "--co",
        "-q",
        "-k",
        "ceph.pool.size",
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "suites/ceph/test_pools.py" in done.stdout
    assert "tests/unit" not in done.stdout
