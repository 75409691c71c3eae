"""Steps on constructed trees and a constructed cluster: taken, recorded, killed anywhere, taken back."""

from __future__ import annotations

import fcntl
import getpass
import grp
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fixtures.ceph import CephAccess, CephError
from fixtures.cloud import Role
from fixtures.facts.base import Unreadable
from fixtures.reach import Reach
from fixtures.waiting import DeadlineError
from remediate import lock
from remediate.converge import apply, take_back
from remediate.hand import files, steps
from remediate.journal import Journal, Taken, journal_path
from remediate.model import (
    Attributes,
    Caps,
    ClusterOption,
    File,
    Folder,
    Option,
    PoolApplication,
    PoolOption,
    Restart,
    State,
    Step,
    Unit,
)
from remediate.plan import Failure, Plan, Planned
from remediate.site import Preview, Site, StepFailed
from remediate.watch import Rows

RUN = "6920aabb00112233"
FSID = "2c1bd0d0-0000-4000-8000-000000000001"
KEY = "AQAcLxFoAAAAABAAkX2Z5zXGm1u5m8XbWJvN3A=="
OLD_KEY = "AQAcLxFoAAAAABAAyyyyyyyyyyyyyyyyyyyyyA=="
ME, MINE = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
CONF = """\
# glance's own file
[DEFAULT]
# how it logs
debug = false
transport_url = rabbit://openstack:s3cretpass@bus:5672/
[rbd]
rbd_store_pool = other
"""


class HereReach:
    """This machine, as a host is reached."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []

    def run(self, command: str, *args: str, stdin: bytes | None = None, timeout: float = 60.0) -> Any:
        self.sent.append((command, *args))
        assert command == "sh -c %s"
        done = subprocess.run(["sh", "-c", *args], input=stdin, capture_output=True, timeout=timeout, check=False)

        @dataclass
        class Result:
            rc: int = done.returncode
            stdout: str = done.stdout.decode()
            stderr: str = done.stderr.decode()

        return Result()


@dataclass
class Cluster:
    """As much of a cluster as steps ask for."""

    source: str = "made up"
    caps: dict[str, dict[str, str]] = field(default_factory=dict)
    options: dict[tuple[str, str], str] = field(default_factory=dict)
    pools: dict[str, dict[str, str]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def mon(self, prefix: str, **args: Any) -> Any:
        if prefix in ("auth caps", "auth add", "auth rm", "config set", "config rm", "osd pool set"):
            self.sent.append(f"{prefix} {args}")
        return getattr(self, "_" + prefix.replace(" ", "_").replace("-", "_"))(**args)

    def _auth_get(self, entity: str) -> list[Any]:
        return [{"entity": entity, "key": KEY, "caps": self._known(entity)}]

    def _auth_get_key(self, entity: str) -> Any:
        self._known(entity)
        return {"key": KEY}

    def _known(self, entity: str) -> dict[str, str]:
        if entity not in self.caps:
            raise CephError(self.source, "auth get", 2, "no such entity")
        return self.caps[entity]

    def _auth_caps(self, entity: str, caps: list[str]) -> None:
        self._known(entity)
        self.caps[entity] = dict(zip(caps[::2], caps[1::2], strict=True))

    def _auth_add(self, entity: str, caps: list[str]) -> None:
        self.caps[entity] = dict(zip(caps[::2], caps[1::2], strict=True))

    def _auth_rm(self, entity: str) -> None:
        del self.caps[entity]

    def _config_dump(self) -> list[Any]:
        return [{"section": who, "name": name, "value": v, "mask": ""} for (who, name), v in self.options.items()]

    def _config_set(self, who: str, name: str, value: str) -> None:
        self.options[who, name] = value

    def _config_rm(self, who: str, name: str) -> None:
        self.options.pop((who, name), None)

    def _osd_pool_get(self, pool: str, var: str) -> Any:
        return {var: int(self.pools[pool][var])}

    def _osd_pool_set(self, pool: str, var: str, val: str) -> None:
        self.pools[pool][var] = val


class Quiet:
    """A watch that sees every service up, but for those that are said to fail."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing

    def before(self, role: Role) -> Rows:
        return {}

    def until_up(self, host: str, role: Role, before: Rows) -> None:
        if host in self.failing:
            raise DeadlineError(f"{role} on {host} is up", 1, 1, "down")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "glance-api.conf").write_text(CONF)
    (folder / "glance-api.conf").chmod(0o640)
    (folder / "old.keyring").write_text(f"[client.glance]\n\tkey = {OLD_KEY}\n")
    (folder / "old.keyring").chmod(0o644)
    return folder


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(
        caps={"client.glance": {"mon": "allow r", "osd": "allow rw pool=images"}}, pools={"vms": {"size": "2"}}
    )


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Site:
    places = {"kept": str(tmp_path / "kept"), "lock": str(tmp_path / "lock")}
    return Site({"here": cast(Reach, HereReach())}, cast(CephAccess, cluster), RUN, places)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.create(tmp_path / "state", RUN, FSID)
    yield made
    made.close()


def everything(etc: Path) -> list[Step]:
    return [
        Caps(entity="client.glance", caps={"mon": "allow r, profile rbd", "osd": "allow rw pool=images"}),
        Caps(entity="client.new", caps={"mon": "profile rbd"}),
        ClusterOption(who="client", option="rbd_default_features", value="61"),
        PoolOption(pool="vms", option="size", value="3"),
        Folder(host="here", path=str(etc / "ceph"), owner=ME, group=MINE, mode=0o750),
        File(
            host="here",
            path=str(etc / "ceph/new.keyring"),
            text="[client.glance]\n\tkey = {key}\n",
            key_of="client.glance",
            owner=ME,
            group=MINE,
            mode=0o640,
        ),
        File(
            host="here", path=str(etc / "old.keyring"), text="[client.glance]\n\tkey = {key}\n", key_of="client.glance"
        ),
        Attributes(host="here", path=str(etc / "old.keyring"), mode=0o600),
        Option(host="here", path=str(etc / "glance-api.conf"), section="rbd", key="rbd_store_pool", value="images"),
        Option(host="here", path=str(etc / "glance-api.conf"), section="rbd", key="rbd_store_user", value="glance"),
    ]


def planned(site: Site, steps: Sequence[Step]) -> Plan:
    failure = Failure(check="some.check", target="here")
    return Plan(
        steps=tuple(
            Planned(step=step, failures=(failure,), disruption="safe", before=it.before, after=it.after, diff=it.diff)
            for step, it in zip(steps, site.previews(steps), strict=True)
        )
    )


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def test_a_plan_changes_nothing_and_shows_all(site: Site, etc: Path, cluster: Cluster) -> None:
    before = tree(etc)

    text = "\n".join(planned(site, everything(etc)).lines())

    assert tree(etc) == before
    assert not cluster.sent
    assert "-rbd_store_pool = other\n     +rbd_store_pool = images" in text
    assert "+rbd_store_user = glance" in text
    assert "mode 0644 -> 0600" in text
    assert "  - mon 'allow r' osd 'allow rw pool=images'" in text
    assert "  + mon 'allow r, profile rbd' osd 'allow rw pool=images'" in text
    assert "rbd_default_features 61  (was: unset)" in text


def test_no_secret_is_in_plan_or_journal_or_on_a_command_line(
    site: Site, etc: Path, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = planned(site, everything(etc))
    apply(plan, site, Quiet(), journal, print)

    reach = cast(HereReach, site._hosts["here"])
    told = ["\n".join(plan.lines()), plan.model_dump_json(), journal.path.read_text(), *capfd.readouterr()]
    told += [" ".join(words) for words in reach.sent]
    for secret in (KEY, OLD_KEY, "s3cretpass"):
        assert not any(secret in text for text in told)
    assert "key sha256:" in told[0]
    assert KEY in (etc / "ceph/new.keyring").read_text()


def test_steps_are_taken_once_and_taken_back_whole(site: Site, etc: Path, journal: Journal, cluster: Cluster) -> None:
    before, caps = tree(etc), dict(cluster.caps)
    applied = apply(planned(site, everything(etc)), site, Quiet(), journal, print)

    assert len(applied.taken) == len(everything(etc))
    assert not applied.stopped
    assert (etc / "glance-api.conf").read_text() == CONF.replace("= other\n", "= images\nrbd_store_user = glance\n")
    assert stat.S_IMODE((etc / "glance-api.conf").stat().st_mode) == 0o640
    again = planned(site, everything(etc))
    assert not any(one.diff for one in again.steps), "a second plan has nothing to change"
    times = {path: path.stat().st_mtime_ns for path in etc.rglob("*")}
    assert not apply(again, site, Quiet(), journal, print).taken
    assert times == {path: path.stat().st_mtime_ns for path in etc.rglob("*")}

    assert not take_back(journal.taken(), site, Quiet(), journal, print)
    assert tree(etc) == before
    assert cluster.caps == caps
    assert cluster.pools == {"vms": {"size": "2"}}
    assert not cluster.options
    assert not journal.taken()


def test_copies_for_the_way_back_are_for_root_alone(site: Site, etc: Path, journal: Journal, tmp_path: Path) -> None:
    apply(planned(site, everything(etc)), site, Quiet(), journal, print)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "kept" / RUN).stat().st_mode) == 0o700


def test_what_somebody_changed_since_is_not_taken_back(site: Site, etc: Path, journal: Journal) -> None:
    apply(planned(site, everything(etc)[-2:]), site, Quiet(), journal, print)
    conf = etc / "glance-api.conf"
    conf.write_text(conf.read_text().replace("debug = false", "debug = true"))
    changed = conf.read_text()

    problems = take_back(journal.taken(), site, Quiet(), journal, print)

    assert len(problems) == 2
    assert "is not as the run left it: sha256 is" in problems[0]
    assert conf.read_text() == changed
    assert not take_back(journal.taken(), site, Quiet(), journal, print, force=True)
    assert conf.read_text() == CONF


def test_a_step_on_what_changed_since_the_plan_is_not_taken(site: Site, etc: Path, journal: Journal) -> None:
    plan = planned(site, everything(etc)[-2:])
    (etc / "glance-api.conf").write_text(CONF + "# a remark\n")
    applied = apply(plan, site, Quiet(), journal, print)
    assert not applied.taken
    assert "has changed since the plan was made" in applied.stopped
    assert (etc / "glance-api.conf").read_text() == CONF + "# a remark\n"


def test_a_service_that_does_not_come_back_stops_all_and_undoes_its_host(
    site: Site, etc: Path, journal: Journal
) -> None:
    class NoUnits:
        """The site, but that units are restarted in name only."""

        def __getattr__(self, name: str) -> Any:
            return getattr(site, name)

        def previews(self, steps: Sequence[Step]) -> list[Preview]:
            return [Preview(diff=("restart",))] if isinstance(steps[0], Restart) else site.previews(steps)

        def do(self, number: int, step: Step) -> State:
            return {} if isinstance(step, Restart) else site.do(number, step)

        def undo(self, number: int, step: Step, before: State) -> State:
            return {} if isinstance(step, Restart) else site.undo(number, step, before)

    option = everything(etc)[-1]
    restart = Planned(
        step=Restart(host="here", role="glance-api", unit="glance-api.service"),
        failures=(),
        disruption="safe",
        before={},
        after={},
        diff=(),
    )
    plan = planned(site, [*everything(etc)[:1], option])
    later = planned(site, everything(etc)[3:4])
    whole = Plan(steps=(*plan.steps, restart, *later.steps))

    applied = apply(whole, cast(Site, NoUnits()), Quiet("here"), journal, print)

    assert "glance-api on here is up" in applied.stopped
    assert (etc / "glance-api.conf").read_text() == CONF, "what was done on the host is undone"
    assert next(type(taken.step) for taken in journal.taken()) is Caps, "what was done before it stays"
    assert not any(isinstance(taken.step, PoolOption) for taken in journal.taken()), "nothing more was done"


def test_a_file_of_a_tool_is_told(site: Site, etc: Path) -> None:
    (etc / "glance-api.conf").write_text("# Ansible managed: do not edit\n" + CONF)
    assert site.previews(everything(etc)[-1:])[0].managed == "# Ansible managed: do not edit"
    assert not site.previews(everything(etc)[-3:-2])[0].managed


def test_what_cannot_be_done_is_told_in_its_place(site: Site, etc: Path) -> None:
    gone = Option(host="here", path=str(etc / "gone.conf"), section="a", key="b", value="c")
    nobody = Attributes(host="here", path=str(etc / "old.keyring"), owner="no-such-account")
    told = site.previews([gone, everything(etc)[-1], nobody])
    assert "no such file" in told[0].refused
    assert told[1].changes
    with pytest.raises(StepFailed, match="no account or group no-such-account"):
        site.do(1, nobody)


# Kills

STAGES = ("before the step", "after the intent", "after the step", "after the record")

CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit import test_remediate_steps as t
from remediate.journal import Journal
from remediate.converge import apply
t.killed(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
"""


class Deadly:
    """A site and journal that die at a stage of the n-th step, as `kill -9` would have it."""

    def __init__(self, site: Site, journal: Journal, number: int, stage: str) -> None:
        self.site, self.journal, self.number, self.stage, self.path = site, journal, number, stage, journal.path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site if hasattr(self.site, name) else self.journal, name)

    def _die(self, number: int, stage: str) -> None:
        if (number, stage) == (self.number, self.stage):
            os.kill(os.getpid(), signal.SIGKILL)

    def intend(self, step: Step, before: State, after: State) -> int:
        self._die(self.journal.next_number(), "before the step")
        return self.journal.intend(step, before, after)

    def do(self, number: int, step: Step) -> State:
        self._die(number, "after the intent")
        left = self.site.do(number, step)
        self._die(number, "after the step")
        return left

    def done(self, number: int, after: State) -> None:
        self.journal.done(number, after)
        self._die(number, "after the record")


def on_host(etc: Path) -> list[Step]:
    """A folder, a file and an option: the made-up cluster dies with its process."""
    steps = everything(etc)
    return [steps[4], steps[6], steps[8]]


def killed(tmp_path: Path, number: int, stage: str) -> None:
    """What the child runs."""
    places = {"kept": str(tmp_path / "kept"), "lock": str(tmp_path / "lock")}
    site = Site({"here": cast(Reach, HereReach())}, cast(CephAccess, Cluster(caps={"client.glance": {}})), RUN, places)
    journal = Journal.create(tmp_path / "state", RUN, FSID)
    deadly = cast(Any, Deadly(site, journal, number, stage))
    apply(planned(site, on_host(tmp_path / "etc")), deadly, Quiet(), deadly, print)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [1, 3])
def test_a_run_that_is_killed_is_undone_or_gone_on_with(
    tmp_path: Path, etc: Path, site: Site, number: int, stage: str
) -> None:
    before = tree(etc)
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(root=str(root)), str(tmp_path), str(number), stage],
        cwd=root,
        capture_output=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()

    journal = Journal.claim(journal_path(tmp_path / "state", RUN))
    assert journal is not None
    assert len(journal.taken()) in (number - 1, number)
    assert not take_back(journal.taken(), site, Quiet(), journal, print)
    assert tree(etc) == before
    journal.close()
    again = Journal.create(tmp_path / "state", "6920aabb00112234", FSID)
    assert not apply(planned(site, on_host(etc)), site, Quiet(), again, print).stopped
    again.close()


@pytest.mark.parametrize("call", ["open", "chown", "chmod", "fsync", "rename"])
def test_a_file_is_never_half_written(etc: Path, call: str, tmp_path: Path) -> None:
    """Killed at any call on the way, the file is the old or the new one, and the next try is not hindered."""
    path = etc / "old.keyring"
    old, new = files.read(str(path)), files.Content("file", ME, MINE, 0o600, b"[client.glance]\n\tkey = new\n")
    child = os.fork()
    if child == 0:
        setattr(os, call, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
        files.put(str(path), new, RUN)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert files.read(str(path)) == old
    files.put(str(path), new, RUN)
    assert files.read(str(path)) == new
    assert sorted(entry.name for entry in etc.iterdir()) == ["glance-api.conf", "old.keyring"]


def test_a_journal_is_read_up_to_where_a_kill_cut_it(tmp_path: Path, journal: Journal, etc: Path) -> None:
    step = everything(etc)[-1]
    journal.intend(step, {"a": 1}, {"a": 2})
    path = tmp_path / "cut.jsonl"
    path.write_bytes(journal.path.read_bytes() + b'{"op": "done", "num')
    claimed = Journal.claim(path)
    assert claimed is not None
    (taken,) = claimed.taken()
    assert (taken.step, taken.done) == (step, False)
    claimed.done(1, {"a": 2})
    claimed.close()
    assert json.loads(path.read_text().splitlines()[-1])["op"] == "done"


def test_a_journal_of_a_living_run_is_not_taken_over(journal: Journal, etc: Path) -> None:
    journal.intend(everything(etc)[-1], {}, {})
    assert Journal.claim(journal.path) is None


# One run a cloud


def test_a_second_run_is_told_who_holds_the_cloud(tmp_path: Path, site: Site) -> None:
    other = Site(site._hosts, site._ceph, "6920aabb99999999", site._places)
    state = tmp_path / "state"
    told = rf"here is held by run {RUN} of {ME}@.*--break-lock {RUN}"
    with (
        lock.held(site, RUN, ["here"], state),
        pytest.raises(lock.Locked, match=told),
        lock.held(other, "6920aabb99999999", ["here"], state),
    ):
        pass
    with lock.held(other, "6920aabb99999999", ["here"], state):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_the_lock_of_a_dead_run_is_broken_by_name_or_where_its_death_is_known(tmp_path: Path, site: Site) -> None:
    holder = {"run": "6920aabb99999999", "machine": "elsewhere", "user": "ann", "pid": 1, "at": 1.7e9}
    (tmp_path / "lock").write_text(json.dumps(holder))
    with pytest.raises(lock.Locked, match="ann@elsewhere"), lock.held(site, RUN, ["here"], tmp_path):
        pass
    with lock.held(site, RUN, ["here"], tmp_path, breaking="6920aabb99999999"):
        assert json.loads((tmp_path / "lock").read_text())["run"] == RUN
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "lock").write_text(json.dumps(holder | {"machine": socket.gethostname(), "pid": dead.pid}))
    with lock.held(site, RUN, ["here"], tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["run"] == RUN


class Told:
    """A site and a journal that only take down what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left: set[int] = set()

    def look(self, step: Step) -> dict[str, Any]:
        return {"is": 2}

    def undo(self, number: int, step: Step, before: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(str(step))
        return before

    def undone(self, number: int) -> None:
        self.left.discard(number)


def test_a_service_is_started_anew_once_before_what_it_used_goes_and_not_if_it_did_not_run() -> None:
    def restart(name: str, *, again: bool = True) -> Restart:
        return Restart(host="here", role="cinder-volume", unit=name, again=again)

    def option(key: str) -> Option:
        return Option(host="here", path="/etc/x", section="x", key=key, value="1")

    pool, unit = PoolApplication(pool="vms", application="rbd"), Unit(host="here", unit="volume", role="cinder-volume")
    fresh = restart("backup", again=False)
    steps: list[Step] = [pool, option("a"), unit, restart("api"), fresh, option("b"), restart("api"), restart("volume")]
    steps += [restart("backup")]
    before: dict[str, Any] = {"active": False, "is": 1}
    taken = [
        Taken(number, step, {} if isinstance(step, Restart) else before, {"is": 2}, True, 0.0)
        for number, step in enumerate(steps, 1)
    ]
    told = Told()
    told.left = {it.number for it in taken}
    assert not take_back(taken, cast(Any, told), Quiet(), cast(Any, told), print)
    assert told.asked == [str(it) for it in (option("b"), unit, option("a"), restart("api"), pool)]
    assert not told.left


def test_a_service_that_was_stopped_when_the_run_found_it_is_not_waited_for_on_the_way_back() -> None:
    """Libvirt is started anew for nova-compute, which the run had started and has stopped again."""
    unit = Unit(host="here", unit="nova-compute", role="nova-compute")
    steps: list[Step] = [unit, Restart(host="here", role="nova-compute", unit="libvirtd", again=True)]
    taken = [Taken(number, step, {"active": False}, {"is": 2}, True, 0.0) for number, step in enumerate(steps, 1)]
    told = Told()
    assert not take_back(taken, cast(Any, told), Quiet("here"), cast(Any, told), print)
    assert told.asked == [str(it) for it in steps]


def test_what_a_killed_run_had_sent_is_not_done_once_its_host_is_taken_over(
    tmp_path: Path, site: Site, etc: Path
) -> None:
    killed = Site(site._hosts, site._ceph, RUN, site._places)
    killed.lock("here", {"run": RUN, "pid": 1})
    step = everything(etc)[-1]
    with lock.held(site, RUN, ["here"], tmp_path) as dead:
        assert dead == {RUN}
        with pytest.raises(StepFailed, match="held by another run by now"):
            killed.do(1, step)
        assert (etc / "glance-api.conf").read_text() == CONF
        site.do(1, step)
    assert (etc / "glance-api.conf").read_text() != CONF
    with pytest.raises(StepFailed, match="not held by this run any more"):
        killed.do(1, step)


def test_a_host_is_taken_over_only_when_the_step_under_way_is_through(tmp_path: Path, site: Site) -> None:
    site.lock("here", {"run": RUN, "pid": 1})
    with (tmp_path / "lock").open() as under_way, ThreadPoolExecutor() as pool:
        fcntl.flock(under_way, fcntl.LOCK_EX)
        taken_over = pool.submit(site.unlock, "here")
        with pytest.raises(TimeoutError):
            taken_over.result(1)
        assert (tmp_path / "lock").exists()
        fcntl.flock(under_way, fcntl.LOCK_UN)
        assert taken_over.result(60) == {"run": RUN, "pid": 1}
    assert not (tmp_path / "lock").exists()


def test_a_cluster_that_did_not_answer_is_asked_again(site: Site, cluster: Cluster) -> None:
    silent: list[Any] = [Unreadable(unreadable="no monitor answered"), cluster]
    blind = Site(site._hosts, silent.pop(0), RUN, site._places, open_ceph=lambda: silent.pop(0))
    (preview,) = blind.previews([PoolOption(pool="vms", option="size", value="3")])
    assert preview.changes
    still = Site(site._hosts, Unreadable(unreadable="no monitor answered"), RUN, site._places)
    assert "no monitor answered" in still.previews([PoolOption(pool="vms", option="size", value="3")])[0].refused


@pytest.mark.parametrize("kind", ["unit", "restart"])
def test_what_is_started_is_started_with_what_was_changed_of_its_unit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drop-in that an earlier step has written is read first."""
    asked: list[str] = []

    def systemctl(words: list[str]) -> str:
        asked.append(words[1])
        return "NeedDaemonReload=yes" if "--property=NeedDaemonReload" in words else "ActiveState=inactive"

    monkeypatch.setattr(steps, "run", systemctl)
    monkeypatch.setattr(steps, "result", lambda words: (0, "", ""))
    steps.KINDS[kind](None, {"unit": "volume.service", "enable": False}).do(1)
    assert asked.index("daemon-reload") == len(asked) - 2, "right before it is started"
