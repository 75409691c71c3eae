"""The report's schema. docs/report.schema.json is generated from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1
"""Raised when a reader of older reports would be misled; fields are added without raising it."""

Outcome = Literal["passed", "failed", "healed", "waived", "not applicable", "not measured", "needs operator"]

OUTCOMES: tuple[Outcome, ...] = (
    "failed",
    "not measured",
    "needs operator",
    "healed",
    "waived",
    "passed",
    "not applicable",
)
"""In the order in which a person wants to read them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Part):
    """A figure that a journey measured."""

    name: str
    value: float
    unit: str = Field(description='"s", "bytes", or "1" for a ratio or a count')


class Effort(_Part):
    """What a journey's time went into; what is neither of these, the cloud took."""

    worker: str
    began: float = Field(description="Epoch second")
    ended: float = Field(description="Epoch second, everything cleaned up")
    own: float = Field(description="Seconds of CPU of the suite's own process")
    polling: float = Field(description="Seconds by which it saw late, at most, what it waited for")


class Entry(_Part):
    """What became of one check on one target."""

    check: str = Field(description="Id of the catalogue's row")
    target: str = Field(description='Host, pool, user… that was asked; "cloud" where there is but one')
    outcome: Outcome
    severity: Literal["critical", "major", "minor", "info"]
    message: str = Field("", description="Everything the check says, or why it does not apply or could not look")
    where: str = ""
    found: str = ""
    expected: str = ""
    remedy: str = ""
    seconds: float = Field(description="Setup, call and teardown together")
    measurements: tuple[Measurement, ...] = ()
    effort: Effort | None = Field(None, description="Of journeys")
    waiver: dict[str, Any] | None = None
    nodeid: str = Field(description="To run just this again: pytest --cloud FILE NODEID")


class Description(_Part):
    """What a check asks, of what, and why: for a reader who does not have the suite at hand."""

    title: str = Field(description="Its sentence, true or false")
    holds: str = Field(description="What must hold")
    why: str = Field("", description="Why it matters")
    source: str = Field("", description="The documents that the expectation comes from")
    dynamic: bool = Field(description="Whether it makes scratch resources; else it only reads")
    asked_of: tuple[str, ...] = Field((), description="Kinds of its targets, in the order of the target's parts")


class Joint(_Part):
    """A service that reaches a pool as a cephx user, as the cloud file says it should."""

    role: str
    hosts: tuple[str, ...]
    user: str = Field(description="Cephx id")
    pool: str
    secret: str = Field("", description="Use of the libvirt secret that it takes, where one is needed")


class Repair(_Part):
    """A step of a repair."""

    what: str
    disruption: str
    checks: tuple[str, ...] = Field(description="CHECK [TARGET] that it is for")
    diff: tuple[str, ...]
    withheld: bool = Field(False, description="Not done, for its class was not allowed")


class Left(_Part):
    """What the repair leaves to a person."""

    check: str
    target: str
    reason: str
    lines: tuple[str, ...] = Field((), description="What a person would run or write")


class Round(_Part):
    """What was planned at once."""

    repairs: tuple[Repair, ...]
    left: tuple[Left, ...]


class Remediation(_Part):
    """What `--remediate` planned and did."""

    run: str = Field(description="Takes back all of it: --rollback RUN")
    applied: bool = Field(description="False where the plan was only shown")
    rounds: tuple[Round, ...]
    told: tuple[str, ...] = Field((), description="What it said as it went")


class Place(_Part):
    """A check and its target."""

    check: str
    target: str


class Comparison(_Part):
    """What changed since an earlier run."""

    baseline: str = Field(description="The earlier report.json")
    started: str = Field(description="When that run began, ISO 8601, UTC")
    new: tuple[Place, ...] = Field(description="Fails, and did not")
    fixed: tuple[Place, ...] = Field(description="Failed, and holds or was healed")
    still: tuple[Place, ...] = Field(description="Failed, and fails")
    newly_not_measured: tuple[Place, ...]
    not_judged: tuple[Place, ...] = Field((), description="Failed, and was waived, not asked or does not apply now")


class Past(_Part):
    """An earlier run of the same cloud."""

    folder: str = Field(description="Beside this run's")
    started: str
    duration: float
    exit_code: int
    counts: dict[Outcome, int]


class Run(_Part):
    """The run that the entries belong to."""

    cloud: str
    cloud_file: str
    started: str = Field(description="ISO 8601, UTC")
    duration: float = Field(description="Seconds")
    command_line: tuple[str, ...]
    exit_code: int
    interrupted: bool
    suite_version: str
    python_version: str
    ceph_versions: dict[str, int] = Field({}, description="Version string of running daemons to their number")
    packages: dict[str, str] = Field({}, description="Installed packages of interest to the versions found")
    unreached: dict[str, str] = Field({}, description="Hosts that could not be observed, and why")
    facts_recorded: str = Field(
        "", description="When the facts were recorded that this run judged, ISO 8601, UTC; empty for a live cloud"
    )
    not_collected: tuple[str, ...] = Field((), description="Files of checks that could not be read at all")
    fail_on: str = Field("minor", description="Least severity of a failed check that makes the exit code non-zero")
    fail_on_new: bool = Field(False, description="Whether only what is new since the baseline counts for the exit code")
    expired_waivers: tuple[dict[str, Any], ...] = ()
    unused_waivers: tuple[dict[str, Any], ...] = Field(
        (), description='Waivers that waived nothing, each with its "why"'
    )
    joints: tuple[Joint, ...] = Field((), description="The integration as the cloud file has it")
    counts: dict[Outcome, int]
    collected: int = Field(description="Checks and targets that were selected; more than entries if interrupted")


class Report(_Part):
    """report.json, whole."""

    version: int = VERSION
    run: Run
    entries: tuple[Entry, ...]
    checks: dict[str, Description] = Field({}, description="By id; empty in reports of old")
    remediation: Remediation | None = None
    comparison: Comparison | None = Field(None, description="With --baseline")
    history: tuple[Past, ...] = Field((), description="Earlier runs of this cloud, newest first")
