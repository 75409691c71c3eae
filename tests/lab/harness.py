"""A lab under test, and the suite run against it as a person would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab import faults, preflight
from lab.errors import LabError
from lab.faults import Fault
from lab.lab import Lab
from lab.state import State
from reports.model import Entry, Report

PROJECT = Path(__file__).parents[2]
PROFILES = ("default", "split")
SUBNETS = {"default": "10.70.11.0/24", "split": "10.70.12.0/24"}
CLOUDS = {"default": "clouds/lab.yaml", "split": "clouds/lab-split.yaml"}
STATES = Path(os.environ.get("OSC_TEST_STATES", "/var/lib/ceph-osc-lab"))


@cache
def cannot_host() -> str:
    """Why this machine cannot host the lab; "" if it can."""
    try:
        preflight.check(STATES, STATES, build_base=False, provision=True, boot=True, network=list)
    except LabError as error:
        return " ".join(str(error).split())
    return ""


@dataclass(frozen=True)
class SuiteRun:
    """A finished run of the suite."""

    exit_code: int
    output: str
    report: Report
    folder: Path

    def ids(self, *outcomes: str) -> set[str]:
        """Check ids with one of the outcomes on any target."""
        return {entry.check for entry in self.report.entries if entry.outcome in outcomes}

    def entries(self, *outcomes: str) -> list[Entry]:
        """Entries with one of the outcomes."""
        return [entry for entry in self.report.entries if entry.outcome in outcomes]


class LabUnderTest:
    """A lab of one profile."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.subnet = SUBNETS[profile]
        self.state = State(STATES / f"tests-{profile}")
        self.cloud_file = CLOUDS[profile]
        self._environment = os.environ | {"OSC_LAB_STATE": str(self.state.folder)}

    def word(self, *words: str) -> None:
        """Run `python -m lab WORD…`, its progress shown as it comes."""
        subprocess.run([sys.executable, "-m", "lab", *words], cwd=PROJECT, env=self._environment, check=True)

    def suite(self, *options: str) -> SuiteRun:
        """Run the suite against this lab and read its report."""
        folder = Path(tempfile.mkdtemp(prefix="runs-"))
        command = [sys.executable, "-m", "pytest", "--cloud", self.cloud_file, "--reports", str(folder), *options]
        done = subprocess.run(command, cwd=PROJECT, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        path = folder / "latest" / "report.json"
        if not path.exists():
            raise AssertionError(f"no report; the suite said:\n{done.stdout}")
        return SuiteRun(done.returncode, done.stdout, Report.model_validate_json(path.read_text()), path.parent.resolve())

    def break_(self, fault: Fault) -> None:
        """Break one thing."""
        faults.break_fault(self.state, Lab.recorded(self.state).plan, fault)

    def mend(self, fault: Fault) -> None:
        """Mend it."""
        faults.mend_fault(self.state, Lab.recorded(self.state).plan, fault)

    def mend_all(self) -> None:
        """Mend what an earlier, killed run left broken."""
        self.word("mend")

    def secrets(self) -> dict[str, str]:
        """The lab's own generated secrets, to search outputs for."""
        found: dict[str, str] = json.loads((self.state.folder / "secrets.json").read_text())
        return found
