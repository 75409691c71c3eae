"""Faults as data: what breaks the real thing, what must notice, and what mends it."""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from jinja2 import Environment, StrictUndefined, TemplateError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lab import edit
from lab.errors import LabError
from lab.machine import Machine
from lab.plan import Plan, Profile, write_private
from lab.roles import ROLES, ceph, identity
from lab.roles.role import poll
from lab.state import State

PROJECT = Path(__file__).parent.parent
STORE = "/var/lib/lab-faults"

# Where services look for their options, in reading order; a profile may spread them.
_FILES = {
    "glance-api": ("/etc/glance/glance-api.conf", "/etc/glance/glance-api.conf.d/*.conf"),
    "cinder": ("/etc/cinder/cinder.conf", "/etc/cinder/cinder.conf.d/*.conf"),
    "nova-compute": ("/etc/nova/nova.conf", "/etc/nova/nova-compute.conf"),
    "keystone": ("/etc/keystone/keystone.conf", "/etc/keystone/keystone.conf.d/*.conf"),
}

# Shell has ${#name}: jinja's own comment mark would swallow it.
_TEMPLATES = Environment(
    undefined=StrictUndefined,
    autoescape=False,
    keep_trailing_newline=True,
    comment_start_string="{##",
    comment_end_string="##}",
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Option(_Strict):
    """An option as a service of OpenStack reads it; the file that has the last word on it is found."""

    service: Literal["glance-api", "cinder", "nova-compute", "keystone"]
    section: str
    key: str
    value: str | None = Field(..., description="null takes the option away.")


class Script(_Strict):
    """A bash script for one or several hosts: a name, `role:NAME` (all) or `first:NAME`."""

    on: str
    run: str = ""
    as_admin: bool = Field(False, description="The script gets the OS_* variables of the cloud's administrator.")


class Step(Script):
    """Something done on hosts.

    What it says to keep, and the file of its option, are put back byte for byte by mend, with
    owner, mode and times.
    """

    keep: tuple[str, ...] = Field((), description="Paths, and cephx entities, that the script changes.")
    option: Option | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.run and not self.option:
            raise ValueError("a step wants `run` or `option`")
        return self

    @property
    def kept(self) -> bool:
        """Whether it can be taken back without being told how."""
        return bool(self.keep or self.option)


class Settled(Script):
    """A script that is repeated until it succeeds, or a role that is waited for as at the lab's start."""

    ready: str = ""
    timeout: float = 300

    @model_validator(mode="after")
    def _waits_for_one_thing(self) -> Self:
        if bool(self.run) == bool(self.ready):
            raise ValueError("wait for either `run` or `ready`")
        if self.ready and (self.ready not in ROLES or ROLES[self.ready].ready is None):
            raise ValueError(f"no role {self.ready!r} that can be waited for")
        return self


class Fault(_Strict):
    """One thing that can be wrong with a cloud."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    about: str
    fails: tuple[str, ...] = Field((), description="Static checks that must fail while it is in force.")
    also: tuple[str, ...] = Field((), description="Static checks that may fail too.")
    journeys: tuple[str, ...] = Field((), description="Journeys that must fail; they are judged without all others.")
    blinds: bool = Field(False, description="Any check may be not measured while it is in force.")
    bars: bool = Field(False, description="Nothing else can be repaired on its host while it is in force.")
    needs: tuple[str, ...] = Field((), description="Roles that the lab has, beside those that its steps name.")
    not_on: tuple[str, ...] = Field((), description="Releases of Debian where it does no harm, and nothing tells it.")
    slice: bool = Field(False, description="Among the few that CI breaks; an area has at least one.")
    left: str = Field("", description="Why --remediate leaves some of it to a person.")
    breaks: tuple[Step, ...] = Field(alias="break", min_length=1)
    mend: tuple[Step, ...] = Field((), description="After all that was kept is back.")
    settle: tuple[Settled, ...] = ()
    healed: tuple[Settled, ...] = ()

    @model_validator(mode="after")
    def _is_seen(self) -> Self:
        if not self.fails and not self.journeys:
            raise ValueError("say under `fails` or `journeys` which checks see it")
        return self

    @model_validator(mode="after")
    def _can_be_mended(self) -> Self:
        if not self.mend and not all(step.kept for step in self.breaks):
            raise ValueError("a step of `break` keeps nothing: say under `mend` how it is taken back")
        return self

    @property
    def steps(self) -> tuple[Step | Settled, ...]:
        """All that is done or waited for."""
        return (*self.breaks, *self.settle, *self.mend, *self.healed)


def fault_files() -> list[Path]:
    """Where faults are declared: beside the checks, a file for each area."""
    return sorted((PROJECT / "suites").glob("*/faults.yaml"))


def load_faults(paths: Iterable[Path]) -> dict[str, Fault]:
    """Every fault of some files, by name; a LabError names file, place and what is wrong."""
    found: dict[str, Fault] = {}
    for path in paths:
        for place, item in enumerate(_items(path)):
            fault = _fault(path, place, item)
            if fault.name in found:
                raise LabError(f"{path}: the fault {fault.name!r} is declared twice")
            found[fault.name] = fault
    return found


def break_fault(state: State, plan: Plan, fault: Fault) -> None:
    """Break it, wait until it shows, and remember that it is broken."""
    # Before anything is touched: a fault that cannot be mended must not be made.
    check(plan, fault)
    # Remembered first, so that a break cut short is mended as well.
    _remember(state, [*broken(state), fault.name])
    for step in fault.breaks:
        _carry_out(plan, fault, step)
    _wait(plan, fault.settle)


def mend_faults(state: State, plan: Plan, *which: Fault) -> None:
    """Mend them in this order, wait until all is well again, and forget them.

    Raises:
        LabError: some could not be mended, and why; all that could be is mended and forgotten.
    """
    failed: dict[str, str] = {}
    # A script that starts something must find what any of the faults had changed; what one waits for, another
    # may have broken.
    phases: tuple[Callable[[Plan, Fault], None], ...] = (_put_back, _undo, partial(_forget_when_well, state))
    for phase in phases:
        for fault in which:
            if fault.name not in failed:
                try:
                    phase(plan, fault)
                except LabError as error:
                    failed[fault.name] = str(error)
    if failed:
        raise LabError("\n".join(f"not mended: {name}: {why}" for name, why in failed.items()))


def check(plan: Plan, fault: Fault) -> None:
    """Find every machine and fill in every text of a fault, without touching anything."""
    for step in fault.steps:
        targets(plan, step.on)
        render(plan, step.run)
        if isinstance(step, Step):
            _request(plan, step)


def _put_back(plan: Plan, fault: Fault) -> None:
    for step in reversed(fault.breaks):
        for machine in targets(plan, step.on) if step.kept else ():
            _edit(machine, fault, {"put_back": True})


def _undo(plan: Plan, fault: Fault) -> None:
    for step in fault.mend:
        _carry_out(plan, fault, step)


def _forget_when_well(state: State, plan: Plan, fault: Fault) -> None:
    _wait(plan, fault.healed)
    _remember(state, [name for name in broken(state) if name != fault.name])


def _carry_out(plan: Plan, fault: Fault, step: Step) -> None:
    for machine in targets(plan, step.on):
        if step.kept:
            _edit(machine, fault, _request(plan, step))
        if step.run:
            _run(plan, machine, step)


def _run(plan: Plan, machine: Machine, script: Script) -> bool:
    # By stdin: a password belongs in no script, which an error would show.
    login, given = (". /dev/stdin\n", _login(plan)) if script.as_admin else ("", None)
    machine.run(login + render(plan, script.run), stdin=given)
    return True


def _wait(plan: Plan, steps: Sequence[Settled]) -> None:
    for step in steps:
        for machine in targets(plan, step.on):
            ready = ROLES[step.ready].ready if step.ready else None
            if ready:
                ready(machine, plan)
            else:
                poll(f"{machine.name}: settling", partial(_run, plan, machine, step), timeout=step.timeout)


def _edit(machine: Machine, fault: Fault, request: Mapping[str, object]) -> None:
    words = json.dumps({"store": f"{STORE}/{fault.name}", **request})
    machine.run(f"exec python3 -I - {shlex.quote(words)}", stdin=Path(edit.__file__).read_text())


def _request(plan: Plan, step: Step) -> dict[str, object]:
    """What the host's side of an edit is asked for; see lab/edit.py."""
    request: dict[str, object] = {"keep": [render(plan, thing) for thing in step.keep]}
    if step.option:
        fields = step.option.model_dump(exclude={"service"}).items()
        filled = {key: None if value is None else render(plan, value) for key, value in fields}
        request["option"] = {"patterns": _FILES[step.option.service], **filled}
    return request


def _login(plan: Plan) -> str:
    """The variables by which OpenStack's commands know the administrator."""
    names = {
        "AUTH_URL": identity.auth_url(plan),
        "USERNAME": "admin",
        "PASSWORD": plan.secrets.get("admin"),
        "PROJECT_NAME": "admin",
        "USER_DOMAIN_ID": "default",
        "PROJECT_DOMAIN_ID": "default",
        "IDENTITY_API_VERSION": "3",
        "VOLUME_API_VERSION": "3",
    }
    return "".join(f"export OS_{name}={shlex.quote(value)}\n" for name, value in names.items())


def broken(state: State) -> list[str]:
    """The faults that are in force, oldest first."""
    if not state.broken.exists():
        return []
    names: list[str] = json.loads(state.broken.read_text())
    return names


def targets(plan: Plan, on: str) -> list[Machine]:
    """The machines that a step is for."""
    found = [plan.machines[name] for name in _named(plan.profile, on)]
    if not found:
        raise LabError(f"no machine for `on: {on}`: take a machine's name, role:NAME or first:NAME")
    return found


def fitting(profile: Profile, table: Mapping[str, Fault], suite: str = "") -> dict[str, Fault]:
    """The faults that a lab of that profile can have: it has machines for all of their steps, and what they need.

    Args:
        profile: The lab's.
        table: Faults by name.
        suite: Its release, where that is another than the profile's.
    """
    there = {name: fault for name, fault in table.items() if (suite or profile.suite) not in fault.not_on}
    return {name: fault for name, fault in there.items() if all(_named(profile, on) for on in _wanted(fault))}


def _wanted(fault: Fault) -> list[str]:
    return [*(step.on for step in fault.steps), *(f"role:{role}" for role in fault.needs)]


def _named(profile: Profile, on: str) -> list[str]:
    """The machines, by name; none where the profile has none such."""
    kind, _, role = on.rpartition(":")
    if not kind:
        return [name for name in profile.machines if name == on]
    found = [name for name, roles in profile.machines.items() if role in roles]
    return {"first": found[:1], "role": found}.get(kind, [])


def render(plan: Plan, text: str) -> str:
    """The script of a step, with this lab's names filled in."""
    try:
        return _TEMPLATES.from_string(text).render(_variables(plan))
    except (TemplateError, KeyError) as error:
        raise LabError(f"a fault's script cannot be filled in: {error}\n{text}") from None


def _variables(plan: Plan) -> dict[str, Any]:
    users = ceph.cephx_users(plan)
    return {
        "pools": plan.profile.pools,
        "users": plan.profile.users,
        "options": plan.profile.options,
        "caps": {part: ceph.caps(plan, users[user]) for part, user in plan.profile.users.items() if user in users},
        "machines": {name: machine.address for name, machine in plan.machines.items()},
        "profile": plan.profile.name,
        "secret": plan.secrets.all().__getitem__,
    }


def _items(path: Path) -> list[object]:
    try:
        loaded = YAML(typ="safe").load(path.read_text()) or []
    except (YAMLError, OSError) as error:
        raise LabError(f"{path}: {error}") from None
    if not isinstance(loaded, list):
        raise LabError(f"{path}: wanted a list of faults, found {type(loaded).__name__}")
    return loaded


def _fault(path: Path, place: int, item: object) -> Fault:
    try:
        return Fault.model_validate(item)
    except ValidationError as error:
        name = item.get("name", place) if isinstance(item, dict) else place
        wrong = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise LabError("\n".join([f"{path}: fault {name}:", *wrong])) from None


def _remember(state: State, names: Sequence[str]) -> None:
    write_private(state.broken, json.dumps(list(dict.fromkeys(names))) + "\n")
