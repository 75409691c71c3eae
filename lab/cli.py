"""The words of `python -m lab`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType

from lab import faults, fleet, lifecycle, preflight, process
from lab.errors import CannotHost, LabError
from lab.lab import Lab
from lab.lifecycle import Wishes
from lab.plan import PROFILES
from lab.progress import Progress
from lab.state import DEFAULT_PARENT, State
from lab.status import show

Word = Callable[[argparse.Namespace, State], int]
INTERRUPTED = 130
CANNOT_HOST = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one word; the exit code."""
    options = _parser().parse_args(argv)
    # Also SIGINT: a shell starts background commands with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        return _carry_out(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return CANNOT_HOST if isinstance(error, CannotHost) else 1
    except KeyboardInterrupt:
        print("lab: interrupted. `python -m lab up` goes on from here, `down` takes all away", file=sys.stderr)
        return INTERRUPTED


def _carry_out(options: argparse.Namespace) -> int:
    if options.needs_root:
        preflight.require_root()
    word: Word = options.carry_out
    state = State(_folder(options))
    if options.needs_root:
        _refuse_other_profile(options, state)
    return word(options, state)


def _refuse_other_profile(options: argparse.Namespace, state: State) -> None:
    record, wanted = state.load(), getattr(options, "profile", None)
    if record and wanted and wanted != record.profile:
        raise LabError(
            f"the lab in {state.folder} is of profile {record.profile}, not {wanted}: "
            "name the folder of the other by --state, or unset OSC_LAB_STATE"
        )


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _folder(options: argparse.Namespace) -> Path:
    named = getattr(options, "state", None) or os.environ.get("OSC_LAB_STATE")
    return Path(named) if named else DEFAULT_PARENT / (getattr(options, "profile", None) or "default")


def _up(options: argparse.Namespace, state: State) -> int:
    wishes = Wishes(getattr(options, "profile", None), options.suite, options.subnet)
    with state.locked("up"):
        lifecycle.up(state, wishes, Progress())
    return 0


def _fleet(options: argparse.Namespace, state: State) -> int:
    wanted = fleet.Fleet.of(options.hosts, {kind: getattr(options, kind) for kind in fleet.TROUBLES})
    with state.locked("fleet"):
        lifecycle.up(state, Wishes(profile="fleet"), Progress())
        path = fleet.set_up(_existing(state), wanted)
    print(f"{options.hosts} hosts, {len(wanted.troubled)} of them in trouble: pytest --cloud {path} -m static")
    return 0


def _down(options: argparse.Namespace, state: State) -> int:
    if not state.folder.exists():
        lifecycle.stop_all(state, Progress())
        print(f"there is no lab in {state.folder}: nothing to do")
        return 0
    with state.locked("down"):
        lifecycle.down(state, Progress(), purge=options.purge)
    return 0


def _reset(_options: argparse.Namespace, state: State) -> int:
    _existing(state)
    with state.locked("reset"):
        lifecycle.reset(state, Progress())
    return 0


def _status(_options: argparse.Namespace, state: State) -> int:
    lines, well = show(_existing(state))
    print("\n".join(lines))
    return 0 if well else 1


def _exec(options: argparse.Namespace, state: State) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LabError("exec: a command is wanted after the host: python -m lab exec HOST -- uptime")
    return _become(_existing(state).host(options.host).machine.enter(), command)


def _logs(options: argparse.Namespace, state: State) -> int:
    host = _existing(state).host(options.host)
    words = ["journalctl", "--no-pager", f"--lines={options.lines}"]
    words += ["--unit", options.unit] if options.unit else []
    words += ["--follow"] if options.follow else []
    if host.group.init() is not None:
        return _become(host.machine.enter(), words)
    print(f"{host.name} is not running: its journal as it was left; its console is in {host.console}", file=sys.stderr)
    return _become([], [*words, f"--directory={host.run_layer}/var/log/journal"])


def _become(prefix: list[str], command: list[str]) -> int:
    environment = process.CLEAN_ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")}
    sys.stdout.flush()
    words = [*prefix, *command]
    os.execvpe(words[0], words, environment)


def _faults(_options: argparse.Namespace, state: State) -> int:
    in_force = faults.broken(state) if os.access(state.folder, os.X_OK) else []
    for fault in faults.load_faults(faults.fault_files()).values():
        mark = "  (broken now)" if fault.name in in_force else ""
        print(f"{fault.name}{mark}\n    {fault.about}\n    fails: {', '.join((*fault.fails, *fault.journeys))}")
        if fault.also:
            print(f"    may fail too: {', '.join(fault.also)}")
    return 0


def _break(options: argparse.Namespace, state: State) -> int:
    fault = _known_fault(options.name)
    lab = _existing(state)
    _refuse_where_it_is_none(fault, lab)
    with state.locked(f"break {fault.name}"):
        if fault.name in faults.broken(state):
            raise LabError(f"{fault.name} is broken already: `python -m lab mend {fault.name}`")
        faults.break_fault(state, lab.plan, fault)
    print(f"broken: {fault.about}\nchecks that must fail now: {', '.join((*fault.fails, *fault.journeys))}")
    return 0


def _refuse_where_it_is_none(fault: faults.Fault, lab: Lab) -> None:
    profile, suite = lab.plan.profile, lab.plan.release.suite
    if suite in fault.not_on:
        raise LabError(f"{fault.name} does no harm on Debian's {suite}, and no check tells it")
    if not faults.fitting(profile, {fault.name: fault}, suite):
        raise LabError(f"{fault.name} cannot be had by a lab of profile {profile.name}: it has no host for it")


_LOST = "no fault of this name is declared any more, so nothing says how"


def _mend(options: argparse.Namespace, state: State) -> int:
    lab = _existing(state)
    in_force = list(reversed(faults.broken(state)))
    names = [options.name] if options.name else in_force
    known = faults.load_faults(faults.fault_files())
    lost = [name for name in in_force if name in names and name not in known]
    to_mend = [_known_fault(name) for name in names if name not in lost]
    problems = [f"not mended: {name}: {_LOST}" for name in lost]
    with state.locked("mend"):
        try:
            faults.mend_faults(state, lab.plan, *to_mend)
        except LabError as error:
            problems.append(str(error))
        left = faults.broken(state)
    for fault in to_mend:
        if fault.name not in left:
            print(f"mended: {fault.name}")
    if problems:
        problems.append("`python -m lab reset` takes away whatever was done to the hosts")
        raise LabError("\n".join(problems))
    if not names:
        print("nothing is broken: nothing to do")
    return 0


def _known_fault(name: str) -> faults.Fault:
    known = faults.load_faults(faults.fault_files())
    if name not in known:
        raise LabError(f"no fault {name!r}: `python -m lab faults` lists them")
    return known[name]


def _existing(state: State) -> Lab:
    return Lab.recorded(state)


def _subnet(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; wanted something like 10.77.0.0/24") from None


def _add_fleet(add: Callable[..., argparse.ArgumentParser]) -> None:
    word = add(
        "fleet",
        _fleet,
        "have one booted host answer as a thousand, for observation at scale",
        "A lab of its own, of profile `fleet`. It is set up anew each time; `down --profile fleet` ends it.",
    )
    word.set_defaults(profile="fleet")
    word.add_argument("--hosts", type=int, default=1000, metavar="N", help="how many (default: 1000)")
    trouble = {
        "slow": f"take {fleet.SLOW_SECONDS} s longer",
        "hung": "take the login and never answer",
        "silent": "answer no packet",
        "refusing": "have no sshd",
        "impostor": "show another host key than is known",
    }
    for kind, does in trouble.items():
        word.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"how many of them {does} (default: 0)")


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--state", metavar="DIR", help=f"the lab's state folder; else $OSC_LAB_STATE, else {DEFAULT_PARENT}/PROFILE"
    )
    profiles = ", ".join(sorted(path.stem for path in PROFILES.glob("*.toml"))) or "none"
    common.add_argument(
        "--profile",
        metavar="NAME",
        help=f"names of pools, users and secrets, from lab/profiles (default: default; there are: {profiles})",
    )
    return common


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        parents=[_common()],
        description="A real Ceph and a real OpenStack on this machine, in systemd containers.",
        epilog="First: `python -m lab up`. A few minutes later: `python -m lab status`. Each word has its own --help.",
    )
    words = parser.add_subparsers(metavar="WORD", required=True)

    def add(
        name: str, carry_out: Word, about: str, more: str = "", *, needs_root: bool = True
    ) -> argparse.ArgumentParser:
        word = words.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}", parents=[_common()]
        )
        word.set_defaults(carry_out=carry_out, needs_root=needs_root)
        return word

    up = add(
        "up",
        _up,
        "build what is missing, start the lab, wait until every service is up",
        "The first time this builds a base (cached for later labs) and provisions all hosts; "
        "after that it only boots them. On a running lab it changes nothing. Profile, suite "
        "and subnet are remembered in the state folder.",
    )
    up.add_argument("--suite", help="the Debian release of the hosts (default: the profile's)")
    up.add_argument(
        "--subnet",
        type=_subnet,
        metavar="CIDR",
        help="a private range for the hosts (default: the profile's, or another where that is taken)",
    )
    _add_fleet(add)
    down = add(
        "down",
        _down,
        "power off all hosts; nothing stays running or mounted",
        "What was done to the hosts is kept for the next `up`.",
    )
    down.add_argument("--purge", action="store_true", help="also remove the state folder (the cached base stays)")
    add(
        "reset",
        _reset,
        "go back to the freshly provisioned state",
        "Whatever was done to hosts, databases and pools since then is gone.",
    )
    add(
        "status",
        _status,
        "show hosts, services, Ceph's health, and how to reach them",
        "The exit code is 0 only if all is well.",
    )
    execute = add(
        "exec",
        _exec,
        "run a command inside a host as root",
        "Standard input and output and the exit code are the command's. Example: python -m lab exec storage -- ceph -s",
    )
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    logs = add(
        "logs",
        _logs,
        "show the journal of a host, or of one unit on it",
        "Works on a stopped host too. Example: python -m lab logs compute1 nova-compute",
    )
    logs.add_argument("host")
    logs.add_argument("unit", nargs="?")
    logs.add_argument("-n", "--lines", default="200", help="how many lines (default: 200, or all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it is written")
    add(
        "faults",
        _faults,
        "list what can be broken on purpose",
        "Faults are declared in suites/*/faults.yaml.",
        needs_root=False,
    )
    one = add(
        "break",
        _break,
        "break one thing, to see which checks notice",
        "It waits until the fault shows, then names the checks that must fail.",
    )
    one.add_argument("name")
    mend = add("mend", _mend, "mend what was broken", "Without a name, everything, newest first.")
    mend.add_argument("name", nargs="?")
    return parser
