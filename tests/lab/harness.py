"""A lab under test, and the suite run against it as a person would run it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from fixtures.cloud import load_cloud
from fixtures.observe.openstack import open_openstack
from fixtures.reach import Hosts
from fixtures.scratch.names import KINDS, parse_name
from fixtures.scratch.site import open_site
from lab import faults, preflight
from lab.errors import CannotHost
from lab.faults import Fault
from lab.lab import Lab
from lab.machine import Machine
from lab.plan import Profile
from lab.roles import ROLES
from lab.state import State
from reports.model import Entry, Report
from tests.collecting import collected_checks
from tests.lab.snapshot import Snapshot, snapshot

PROJECT = Path(__file__).parents[2]
# For whoever writes faults: a lab that is up already, used as it is and left up.
GIVEN = os.environ.get("OSC_TEST_LAB", "")
_GIVEN_LAB = Lab.recorded(State(Path(GIVEN))) if GIVEN else None
# `full` has the names, caps and files of `split`, and all areas that the suite judges.
PROFILES = (_GIVEN_LAB.plan.profile.name,) if _GIVEN_LAB else ("default", "full")
CLOUDS = {
    "default": "clouds/lab.yaml",
    "split": "clouds/lab-split.yaml",
    "full": "clouds/lab-full.yaml",
    "bare": "clouds/lab.yaml",
    "swift": "clouds/lab-swift.yaml",
    "radosgw": "clouds/lab-radosgw.yaml",
    "iscsi": "clouds/lab-iscsi.yaml",
}
CLOUDS_OF_RELEASES = {
    ("trixie", "default"): "clouds/lab-trixie.yaml",
    ("trixie", "split"): "clouds/lab-trixie-split.yaml",
}
"""Where a release of Debian has what another has not."""
STATES = Path(os.environ.get("OSC_TEST_STATES", "/var/lib/ceph-osc-lab"))


def cloud_of(profile: str) -> str:
    """The cloud file of a lab of a profile, or of the lab that is given, of which release it be."""
    return CLOUDS_OF_RELEASES.get((_suite(profile), profile), CLOUDS[profile])


def _suite(profile: str) -> str:
    return _GIVEN_LAB.plan.release.suite if _GIVEN_LAB else Profile.load(profile).suite


def faults_on(profile: str) -> dict[str, Fault]:
    """Every fault that a lab of a profile can have and that is seen there, by name."""
    table = faults.fitting(Profile.load(profile), faults.load_faults(faults.fault_files()), _suite(profile))
    return seen_by(cloud_of(profile), table)


def seen_by(cloud_file: str, table: Mapping[str, Fault]) -> dict[str, Fault]:
    """The faults that fail where a cloud file decides: what it waives does not."""
    waived = {waiver.check for waiver in load_cloud(PROJECT / cloud_file).waivers}
    return {name: fault for name, fault in table.items() if not waived & {*fault.fails, *fault.journeys}}


@cache
def cannot_host() -> str:
    """Why this machine cannot host the lab; "" if it can."""
    if GIVEN:
        return ""
    try:
        preflight.check(STATES, STATES, build_base=False, provision=True, boot=True, network=list)
    except CannotHost as error:
        return " ".join(str(error).split())
    return ""


@cache
def _runs() -> str:
    """Where the runs of this session keep their reports; it goes with the session."""
    folder = tempfile.mkdtemp(prefix="runs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class SuiteRun:
    """A finished run of the suite."""

    exit_code: int
    output: str = field(repr=False)
    report: Report = field(repr=False)
    folder: Path

    @property
    def story(self) -> str:
        """What was not as it should be, and the end of what was told."""
        bad = self.entries("failed", "not measured", "needs operator")
        told = (f"{entry.outcome}: {entry.check} [{entry.target}] {entry.message}" for entry in bad)
        return "\n".join((*told, "...", *self.output.splitlines()[-60:]))

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
        self.state = State(Path(GIVEN) if GIVEN else STATES / f"tests-{profile}")
        self.cloud_file = cloud_of(profile)

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"OSC_LAB_STATE": str(self.state.folder), **self._dashboard()}

    def _dashboard(self) -> dict[str, str]:
        """What the cloud file asks for: where the dashboard is, once the lab is there."""
        machines = Lab.recorded(self.state).plan.machines.values() if self.state.load() else ()
        there = [machine.address for machine in machines if "dashboard" in machine.roles]
        return {"OSC_LAB_DASHBOARD": f"http://{there[0]}/horizon/"} if there else {}

    def word(self, *words: str) -> None:
        """Run `python -m lab WORD…`, its progress shown as it comes."""
        subprocess.run([sys.executable, "-m", "lab", *words], cwd=PROJECT, env=self._environment, check=True)

    def python(self, *arguments: str, state: str = "", proxy: str = "") -> subprocess.CompletedProcess[str]:
        """Run a Python module as a person would, output and errors together; `proxy`: URL of one for HTTP."""
        environment = self._environment | ({"OSC_LAB_STATE": state} if state else {})
        environment |= {"http_proxy": proxy, "no_proxy": ""} if proxy else {}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @contextmanager
    def started(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """The suite in a process group of its own, killed at the end whatever happens."""
        command = [sys.executable, "-m", "pytest", "--cloud", self.cloud_file, *options]
        with subprocess.Popen(
            command, cwd=PROJECT, env=self._environment, start_new_session=True, stdout=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def suite(
        self, *options: str, cloud_file: str = "", elsewhere: bool = False, facts: bool = False, proxy: str = ""
    ) -> SuiteRun:
        """Run the suite against this lab and read its report.

        Args:
            options: Of pytest.
            cloud_file: Another than the profile's.
            elsewhere: Without any of the lab's keys and addresses.
            facts: Keep the facts, in `facts/` of the report's folder.
            proxy: URL of a proxy between the suite and the APIs.
        """
        folder = Path(tempfile.mkdtemp(dir=_runs()))
        command = ("-m", "pytest", "--cloud", cloud_file or self.cloud_file, "--reports", str(folder), *options)
        command += ("--save-facts", str(folder / "facts")) if facts else ()
        done = self.python(*command, state="/nonexistent" if elsewhere else "", proxy=proxy)
        path = folder / "latest" / "report.json"
        if not path.exists():
            raise AssertionError(f"no report; the suite said:\n{done.stdout}")
        if facts:
            (folder / "facts").rename(path.parent / "facts")
        return SuiteRun(
            done.returncode, done.stdout, Report.model_validate_json(path.read_text()), path.parent.resolve()
        )

    def judging(self, *broken: Fault) -> tuple[str, str]:
        """Options by which static checks run: those that ask services take seconds, so only for a fault of theirs."""
        named = {check for fault in broken for check in (*fault.fails, *fault.also)}
        asked = collected_checks(self.cloud_file, "asks_services") & named
        return "-m", "static" if asked else "static and not asks_services"

    def break_(self, fault: Fault) -> None:
        """Break one thing."""
        faults.break_fault(self.state, Lab.recorded(self.state).plan, fault)

    def mend(self, *broken: Fault) -> None:
        """Mend them, in this order."""
        faults.mend_faults(self.state, Lab.recorded(self.state).plan, *broken)

    def start_again(self, host: str, units: Iterable[str], unready: Set[str] = frozenset()) -> None:
        """Restart units of a host, and wait until all that the host does is ready, but what cannot be so yet."""
        plan = Lab.recorded(self.state).plan
        machine = plan.machines[host]
        machine.run(f"systemctl restart {' '.join(sorted(units))}")
        for role in (it for it in machine.roles if it not in unready):
            ready = ROLES[role].ready
            if ready:
                ready(machine, plan)

    def snapshot(self, *, times: bool = False) -> Snapshot:
        """What all of its hosts and its cluster are."""
        return snapshot(Lab.recorded(self.state).plan.machines, times=times)

    def roll_back(self, run: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Undo a remediating run."""
        return self.python("-m", "pytest", "--cloud", self.cloud_file, "--rollback", run, *options)

    def mend_all(self) -> None:
        """Mend what an earlier, killed run left broken."""
        self.word("mend")

    def machine(self, name: str) -> Machine:
        """A host of the lab, entered as root."""
        return Lab.recorded(self.state).plan.machines[name]

    def scratch_names(self) -> list[str]:
        """Names of the suite's own resources that are on the cloud."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OSC_LAB_STATE", str(self.state.folder))
            cloud = load_cloud(PROJECT / self.cloud_file)
            with Hosts(cloud) as hosts:
                site = open_site(cloud, open_openstack(cloud), hosts, None)
                every = (found.name for kind in KINDS if kind != "disk" for found in site.all(kind))
                return [name for name in every if parse_name(name)]

    def wait_for_scratch(self, kind: str, timeout: float = 180.0) -> None:
        """Wait until a run has made a resource of a kind."""
        deadline = time.monotonic() + timeout
        while not any(f"-{kind}-" in name for name in self.scratch_names()):
            assert time.monotonic() < deadline, f"no {kind} of the suite after {timeout:.0f} s"
            time.sleep(1)

    def secrets(self) -> dict[str, str]:
        """The lab's own generated secrets, to search outputs for."""
        found: dict[str, str] = json.loads((self.state.folder / "secrets.json").read_text())
        return found


@contextmanager
def provisioned(profile: str) -> Iterator[LabUnderTest]:
    """A lab of a profile, with nothing broken in it; gone afterwards, unless OSC_TEST_KEEP is set."""
    lab = LabUnderTest(profile)
    if not GIVEN:
        lab.word("up", "--profile", lab.profile)
    lab.mend_all()
    yield lab
    if not GIVEN and not os.environ.get("OSC_TEST_KEEP"):
        lab.word("down", "--purge")
