"""up, down and reset: from any state that was left behind to the one that is wanted."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab import cgroup, network, preflight, process, reach
from lab.errors import LabError
from lab.lab import Lab, on_each
from lab.machine import Machine
from lab.network import free_subnet
from lab.plan import Profile
from lab.progress import Progress
from lab.roles import ROLES
from lab.roles.role import Role
from lab.schedule import in_parallel, run_all
from lab.state import Record, State, boot_id


@dataclass(frozen=True)
class Wishes:
    """What the command line asked for; None where it asked for nothing."""

    profile: str | None = None
    suite: str | None = None
    subnet: IPv4Network | None = None


def up(state: State, wishes: Wishes, progress: Progress) -> None:
    """Bring the lab up, doing no more than is needed."""
    record = state.load()
    lab = _wanted(state, record, wishes)
    reason = _why_provision(lab, record)
    if reason is None and record is not None and _is_up(lab, record):
        progress.say(f"the lab in {state.folder} is up already: nothing was changed")
        return
    _refuse_running_of_other_code(state, record, reason)
    _preflight(lab, provision=reason is not None)
    if record is None or reason is not None:
        progress.say(f"provisioning: {reason}")
        record = _provision(lab, progress)
    elif record.phase == "resetting" or _machine_restarted(record):
        progress.say("starting from the provisioned state: the last run was cut short")
        _empty(lab, record)
    _start(lab, record, progress)


def down(state: State, progress: Progress, *, purge: bool) -> None:
    """Power everything off and leave nothing running or mounted."""
    stop_all(state, progress)
    record = state.load()
    if record is not None and record.phase in ("up", "starting"):
        process.check(["sync", "--file-system", str(state.folder)], timeout=300)
        state.enter(record, "stopped")
    if purge:
        state.purge()
    progress.say(f"the lab in {state.folder} is down" + (" and its state is removed" * purge))


def reset(state: State, progress: Progress) -> None:
    """Bring every host back to what it was right after provisioning."""
    record = state.load()
    if record is None or record.phase == "provisioning":
        raise LabError(f"there is no provisioned lab in {state.folder}: run `python -m lab up`")
    lab = Lab.of_record(state, record)
    if _why_provision(lab, record):
        progress.say(
            "note: lab/roles, the profile or the base changed since this lab was "
            "provisioned; `down` and `up` would provision it anew"
        )
    state.enter(record, "resetting")
    kill_all(state)
    _empty(lab, record)
    _preflight(lab, provision=False)
    _start(lab, record, progress)


def stop_all(state: State, progress: Progress) -> None:
    """Power off whatever of this lab runs, and take its bridge away."""
    groups = cgroup.groups_of(state.lab)

    def stop(group: cgroup.Group) -> Callable[[], None]:
        def task() -> None:
            clean = group.power_off()
            progress.say(f"{group.host} {'off' if clean else 'killed: it did not power off'}")

        return task

    in_parallel({group.host: stop(group) for group in groups})
    network.remove_bridge(state.lab)


def kill_all(state: State) -> None:
    """Cut the power of whatever of this lab runs."""
    for group in cgroup.groups_of(state.lab):
        group.kill()
    network.remove_ports(state.lab)


def _wanted(state: State, record: Record | None, wishes: Wishes) -> Lab:
    _refuse_other_wishes(state, record, wishes)
    name = wishes.profile or (record.profile if record else "default")
    profile = Profile.load(name)
    suite = wishes.suite or (record.suite if record else profile.suite)
    subnet = IPv4Network(record.subnet) if record else wishes.subnet or free_subnet(state.lab, profile.subnet)
    return Lab.of(state, profile, suite, subnet)


def _refuse_other_wishes(state: State, record: Record | None, wishes: Wishes) -> None:
    if record is None:
        return
    asked = {"profile": wishes.profile, "suite": wishes.suite, "subnet": wishes.subnet}
    differ = [
        f"{name} {getattr(record, name)}, not {value}"
        for name, value in asked.items()
        if value is not None and str(value) != getattr(record, name)
    ]
    if differ:
        raise LabError(
            f"the lab in {state.folder} was made with {'; '.join(differ)}. Take another "
            "folder with --state, or remove this one with `python -m lab down --purge`"
        )


def _why_provision(lab: Lab, record: Record | None) -> str | None:
    if record is None:
        return "there is no lab yet"
    if record.phase == "provisioning":
        return "the last provisioning did not finish"
    if record.provision_key != lab.provision_key:
        return "lab/roles, the profile or the base changed since the last time"
    if not lab.base.exists():
        return f"the base {lab.base.path} is gone"
    return None


def _is_up(lab: Lab, record: Record) -> bool:
    return record.phase == "up" and all(host.alive() for host in lab.hosts)


def _machine_restarted(record: Record) -> bool:
    return record.phase in ("up", "starting") and record.boot_id != boot_id()


def _refuse_running_of_other_code(state: State, record: Record | None, reason: str | None) -> None:
    running = any(group.alive() for group in cgroup.groups_of(state.lab))
    if reason and running and record is not None and record.phase != "provisioning":
        raise LabError(
            f"the lab runs, but {reason}. `python -m lab down` and `up` again to have "
            "it provisioned anew, or `reset` to go on with the old one"
        )


def _preflight(lab: Lab, *, provision: bool) -> None:
    running = any(host.alive() for host in lab.hosts)
    preflight.check(
        lab.state.folder,
        lab.base.cache,
        build_base=provision and not lab.base.exists(),
        provision=provision,
        boot=not running,
        network=lab.bridge.problems,
        memory=lab.plan.profile.memory * preflight.GIB,
    )


def _provision(lab: Lab, progress: Progress) -> Record:
    with lab.base.taken(lab.state, progress):
        record = _begin_anew(lab)
    try:
        _boot(lab, progress)
        run_all(*_provisioning(lab, progress))
    except KeyboardInterrupt:
        kill_all(lab.state)
        network.remove_bridge(lab.state.lab)
        raise
    progress.say("provisioned: powering off, to freeze this state")
    on_each(lab.hosts, lambda host: host.group.power_off())
    for host in lab.hosts:
        host.freeze()
    process.check(["sync", "--file-system", str(lab.state.folder)], timeout=300)
    return lab.state.enter(record, "starting")


def _begin_anew(lab: Lab) -> Record:
    kill_all(lab.state)
    network.remove_bridge(lab.state.lab)
    record = lab.state.enter(_record_of(lab), "provisioning")
    shutil.rmtree(lab.state.hosts)
    lab.state.broken.unlink(missing_ok=True)
    lab.state.create()
    reach.hand_out(lab)
    return record


def _record_of(lab: Lab) -> Record:
    return Record(
        profile=lab.plan.profile.name,
        suite=lab.base.suite,
        subnet=str(lab.plan.subnet),
        base=str(lab.base.path),
        provision_key=lab.provision_key,
        phase="provisioning",
        hosts=tuple(host.name for host in lab.hosts),
    )


def _empty(lab: Lab, record: Record) -> None:
    lab.state.enter(record, "resetting")
    kill_all(lab.state)
    for host in lab.hosts:
        host.empty()
    lab.state.broken.unlink(missing_ok=True)


def _start(lab: Lab, record: Record, progress: Progress) -> None:
    lab.state.enter(record, "starting")
    _boot(lab, progress)
    in_parallel(_readiness(lab, progress))
    for host in lab.hosts:
        host.sweep()
    lab.state.enter(record, "up")
    progress.say(f"the lab is up: {_how_to_reach(lab.state.access)}")


def _how_to_reach(access: Path) -> str:
    return f"`python -m lab status`, `ssh -F {access}/ssh_config HOST`"


def _boot(lab: Lab, progress: Progress) -> None:
    lab.bridge.create()
    on_each([host for host in lab.hosts if not host.alive()], lambda host: host.boot(lab.plan.release))
    on_each(lab.hosts, lambda host: host.wait_booted())
    progress.say(f"booted: {', '.join(host.name for host in lab.hosts)}")


Task = Callable[[], None]
Key = tuple[str, str]


def _provisioning(lab: Lab, progress: Progress) -> tuple[dict[Key, Task], dict[Key, set[Key]]]:
    machines = lab.plan.machines.values()
    keys = [(machine.name, role) for machine in machines for role in machine.roles]
    after = {key: {other for other in keys if other[1] in ROLES[key[1]].after} for key in keys}
    tasks = {
        (machine.name, name): _provision_task(lab, machine, ROLES[name], progress)
        for machine in machines
        for name in machine.roles
    }
    return tasks, after


def _provision_task(lab: Lab, machine: Machine, role: Role, progress: Progress) -> Task:
    def task() -> None:
        begun = progress.elapsed
        role.provision(machine, lab.plan)
        progress.say(f"{machine.name} {role.name} provisioned (in {progress.elapsed - begun:.1f} s)")

    return task


def _readiness(lab: Lab, progress: Progress) -> dict[str, Task]:
    return {
        f"{machine.name} {name}": _ready_task(lab, machine, ROLES[name], progress)
        for machine in lab.plan.machines.values()
        for name in machine.roles
        if ROLES[name].ready is not None
    }


def _ready_task(lab: Lab, machine: Machine, role: Role, progress: Progress) -> Task:
    def task() -> None:
        if role.ready is not None:
            role.ready(machine, lab.plan)
        progress.say(f"{machine.name} {role.name} ready")

    return task
