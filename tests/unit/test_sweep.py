from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1.exceptions import ConnectFailure
from openstack.exceptions import HttpException

from fixtures import waiting
from fixtures.facts.base import NotMeasured
from fixtures.scratch import removal, sweep
from fixtures.scratch.ledger import Ledger, Record, ledgers
from fixtures.scratch.names import KINDS, Kind, Name
from fixtures.scratch.order import needed_by, waves
from fixtures.scratch.removal import expect_none, remove_all
from fixtures.scratch.site import Found, NotOursError, RefusedError, is_removable, needs_force
from fixtures.scratch.sweep import look_around, sweep_site

RUN = "6920aabb00112233"
OTHER_RUN = "6920aabc44556677"
PROJECT = "project-id"


@dataclass
class FakeSite:
    """A cloud that refuses to remove what is in use, and takes a few looks to remove anything."""

    id: str = "cloud-1"
    there: dict[str, Found] = field(default_factory=dict)
    uses: dict[str, set[str]] = field(default_factory=dict)
    rbd: dict[str, list[str]] = field(default_factory=dict)
    dying: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    down: set[Kind] = field(default_factory=set)
    looks_to_die: int = 2
    answer: Callable[[Record], None] = lambda record: None

    def add(self, kind: Kind, name: str, project: str = PROJECT, status: str = "available", id_: str = "") -> Found:
        found = Found(kind, id_ or f"{kind}-{len(self.there) + 1}", name, project, status)
        self.there[found.id] = found
        return found

    def look(self, record: Record) -> Found | None:
        self.answer(record)
        self._tick()
        if not record.id:
            wanted = (record.kind, record.name, record.project)
            return next((it for it in self.there.values() if (it.kind, it.name, it.project) == wanted), None)
        found = self.there.get(record.id)
        if found and (found.name, found.project) != (record.name, record.project):
            raise NotOursError(f"{found} is not {record}")
        return found

    def remove(self, found: Found) -> None:
        users = [user for user, used in self.uses.items() if found.id in used and user in self.there]
        if users or (found.kind == "project" and any(it.project == found.id for it in self.there.values())):
            raise RefusedError(f"{found} is in use by {users}")
        if found.id not in self.dying:
            self.log.append(found.id)
        self.dying.setdefault(found.id, self.looks_to_die)

    def all(self, kind: Kind) -> Iterable[Found]:
        if kind in self.down:
            raise ConnectFailure("connection refused")
        return [found for found in self.there.values() if found.kind == kind]

    def inhabitants(self, project: str) -> Iterable[Found]:
        return [found for found in self.there.values() if found.project == project]

    def remains(self, record: Record) -> list[str]:
        return self.rbd.get(record.id, [])

    def purge(self, record: Record) -> None:
        del self.rbd[record.id]

    def _tick(self) -> None:
        for gone in [it for it, looks in self.dying.items() if looks <= 0]:
            del self.there[gone], self.dying[gone]
        self.dying = {it: looks - (it not in self.stuck) for it, looks in self.dying.items()}


class Clock:
    """Time that passes only by waiting."""

    now = 2e9

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (waiting, removal, sweep):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path, RUN, "main", "cloud-1")


def make(site: FakeSite, ledger: Ledger, kind: Kind, *needs: Record, project: str = PROJECT) -> Record:
    inside = "" if kind in ("project", "user", "flavor") else project
    record = ledger.intend(kind, inside, needs)
    found = site.add(kind, record.name, inside)
    site.uses[found.id] = {it.id for it in needs}
    return ledger.created(record, found.id)


def everything(site: FakeSite, ledger: Ledger) -> list[Record]:
    project = make(site, ledger, "project")
    user, flavor = make(site, ledger, "user", project), make(site, ledger, "flavor")
    image = make(site, ledger, "image", project=project.id)
    root = make(site, ledger, "volume", image, project=project.id)
    server = make(site, ledger, "server", root, flavor, project=project.id)
    data = make(site, ledger, "volume", project=project.id)
    server = ledger.needs(server, data)
    site.uses[server.id].add(data.id)
    snapshot = make(site, ledger, "snapshot", data, project=project.id)
    clone = make(site, ledger, "volume", snapshot, project=project.id)
    full = make(site, ledger, "backup", project=project.id)
    increment = make(site, ledger, "backup", full, project=project.id)
    return [project, user, flavor, image, root, server, data, snapshot, clone, full, increment]


def die(ledger: Ledger) -> None:
    os.close(ledger._fd)


# -- order


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    kinds = draw(st.lists(st.sampled_from(KINDS), max_size=12))
    records = []
    for number, kind in enumerate(kinds, start=1):
        needs = draw(st.frozensets(st.integers(1, number - 1), max_size=3)) if number > 1 else frozenset()
        records.append(Record(number, kind, f"name-{number}", PROJECT, needs, 0.0, f"id-{number}"))
    return records


@given(histories())
def test_nothing_is_removed_before_what_needs_it(records: list[Record]) -> None:
    gone: set[int] = set()
    for wave in waves(records):
        for record in wave:
            assert all(user.number in gone for user in needed_by(record, records))
        gone |= {record.number for record in wave}


@given(histories(), st.randoms())
def test_everything_is_removed_once_in_whatever_order_it_is_told(records: list[Record], chance: object) -> None:
    waves_seen = [record.number for wave in waves(records) for record in wave]
    assert sorted(waves_seen) == [record.number for record in records]
    shuffled = sorted(records, key=lambda record: hash((record.number, str(chance))))
    assert [it.number for wave in waves(shuffled) for it in wave] == waves_seen


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
def test_without_needs_kinds_go_in_their_own_order(kinds: list[Kind]) -> None:
    records = [Record(n, kind, str(n), "", frozenset(), 0.0) for n, kind in enumerate(kinds)]
    order = [KINDS.index(record.kind) for wave in waves(records) for record in wave]
    assert order == sorted(order)


def test_a_circle_in_a_damaged_ledger_still_ends() -> None:
    first = Record(1, "volume", "1", "", frozenset({2}), 0.0)
    second = Record(2, "volume", "2", "", frozenset({1}), 0.0)
    assert [[record.number for record in wave] for wave in waves([first, second])] == [[2], [1]]


# -- removal


def test_all_of_a_run_is_removed_users_before_what_they_use(site: FakeSite, ledger: Ledger) -> None:
    made = everything(site, ledger)
    assert remove_all(site, ledger, ledger.book.left, 60) == []
    assert site.there == {}
    assert ledger.book.left == []
    assert sorted(site.log) == sorted(record.id for record in made)


def test_what_does_not_go_is_told_with_its_last_state_and_keeps_what_it_needs(site: FakeSite, ledger: Ledger) -> None:
    project, user, flavor, image, root, server, data, *_ = everything(site, ledger)
    site.stuck = {server.id}
    left = remove_all(site, ledger, ledger.book.left, 60)
    told = {it.record.id: it.why for it in left}
    assert told.keys() == {server.id, root.id, data.id, image.id, flavor.id, project.id}
    assert told[server.id] == "after 60 s still available"
    assert told[root.id].startswith("not tried, server ")
    assert user.id not in site.there
    assert {record.id for record in ledger.book.left} == told.keys()


def test_a_refusal_is_asked_again_until_it_is_accepted(site: FakeSite, ledger: Ledger) -> None:
    volume = make(site, ledger, "volume")
    foreign = site.add("server", "somebody's")
    site.uses[foreign.id] = {volume.id}
    site.dying[foreign.id] = 3
    assert remove_all(site, ledger, [volume], 60) == []


def test_a_refusal_that_stays_is_told_with_its_reason(site: FakeSite, ledger: Ledger) -> None:
    volume = make(site, ledger, "volume")
    site.uses[site.add("server", "somebody's").id] = {volume.id}
    (left,) = remove_all(site, ledger, [volume], 60)
    assert "still refused" in left.why
    assert "in use by" in left.why


@pytest.mark.parametrize("error", [ConnectFailure("connection refused"), HttpException("oops")])
def test_a_service_that_is_down_for_a_while_is_waited_for(site: FakeSite, ledger: Ledger, error: Exception) -> None:
    volume = make(site, ledger, "volume")
    answers = [error] * 3

    def answer(record: Record) -> None:
        if answers:
            raise answers.pop()

    site.answer = answer
    assert remove_all(site, ledger, [volume], 60) == []
    answers += [error] * 10_000
    (left,) = remove_all(site, ledger, [make(site, ledger, "volume")], 60)
    assert "did not answer" in left.why


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ConnectFailure("connection refused"), NotMeasured), (HttpException("oops", http_status=500), AssertionError)],
)
def test_what_could_not_be_asked_to_go_is_not_the_clouds_failure(
    site: FakeSite, ledger: Ledger, error: Exception, outcome: type[Exception]
) -> None:
    image = make(site, ledger, "image")
    made = [image, make(site, ledger, "volume", image)]

    def answer(record: Record) -> None:
        raise error

    site.answer = answer
    left = remove_all(site, ledger, made, 60)
    assert len(left) == 2
    with pytest.raises(outcome, match=r"scratch resources: .*not tried, volume"):
        expect_none(left, "scratch resources")


def test_nothing_left_is_nothing_told() -> None:
    expect_none([], "scratch resources")


def test_what_ceph_still_holds_is_not_gone(site: FakeSite, ledger: Ledger) -> None:
    volume = make(site, ledger, "volume")
    site.rbd[volume.id] = [f"volumes/volume-{volume.id}"]
    (left,) = remove_all(site, ledger, [volume], 60)
    assert left.why == f"after 60 s still in Ceph as volumes/volume-{volume.id}, though gone from the API"
    assert ledger.book.left == [volume]


def test_what_a_service_left_in_ceph_goes_at_the_end_only(site: FakeSite, ledger: Ledger, clock: Clock) -> None:
    volume, before = make(site, ledger, "volume"), clock.now
    site.rbd[volume.id] = [f"volumes/volume-{volume.id}.deleted"]
    assert remove_all(site, ledger, [volume], 60, thorough=True) == []
    assert removal.SETTLING <= clock.now - before < removal.SETTLING + 10


def test_what_is_under_way_is_not_asked_to_go_before_it_is_done(site: FakeSite, ledger: Ledger) -> None:
    volume = make(site, ledger, "volume")
    site.there[volume.id] = replace(site.there[volume.id], status="creating")
    (left,) = remove_all(site, ledger, [volume], 60)
    assert (left.why, site.log) == ("after 60 s still creating", [])


def test_an_unanswered_creation_is_found_by_name_even_if_it_shows_up_late(
    site: FakeSite, ledger: Ledger, clock: Clock
) -> None:
    record = replace(ledger.intend("volume", PROJECT), at=clock.now)
    looks = []

    def answer(_: Record) -> None:
        looks.append(1)
        if len(looks) == 5:
            site.add("volume", record.name)

    site.answer = answer
    assert remove_all(site, ledger, [record], 60) == []
    assert (site.there, site.log) == ({}, [ledger.book.records[record.number].id])


def test_what_ceph_holds_of_an_unanswered_creation_is_seen(site: FakeSite, ledger: Ledger) -> None:
    record = ledger.intend("volume", PROJECT)
    found = site.add("volume", record.name)
    site.rbd[found.id] = [f"volumes/volume-{found.id}"]
    (left,) = remove_all(site, ledger, [record], 60)
    assert left.why.startswith(f"after 60 s still in Ceph as volumes/volume-{found.id}")


def test_a_creation_that_never_was_is_settled_after_a_while(site: FakeSite, ledger: Ledger, clock: Clock) -> None:
    before = clock.now
    record = replace(ledger.intend("volume", PROJECT), at=before)
    assert remove_all(site, ledger, [record], 60) == []
    assert removal.SETTLING <= clock.now - before < removal.SETTLING + 3


@pytest.mark.parametrize(
    ("kind", "status", "busy", "removable", "force"),
    [
        ("volume", "available", "", True, False),
        ("volume", "error", "", True, False),
        ("volume", "error_deleting", "", True, True),
        ("volume", "error_backing-up", "", True, True),
        ("volume", "reserved", "", True, True),
        ("volume", "in-use", "", False, False),
        ("volume", "creating", "", False, False),
        ("volume", "backing-up", "", False, False),
        ("snapshot", "error_deleting", "", True, True),
        ("backup", "restoring", "", False, False),
        ("backup", "error", "", True, False),
        ("server", "BUILD", "spawning", True, False),
        ("server", "ACTIVE", "migrating", False, False),
        ("server", "ACTIVE", "deleting", False, False),
        ("server", "SOFT_DELETED", "", True, True),
        ("server", "ERROR", "", True, False),
        ("image", "saving", "", True, False),
        ("project", "", "", True, False),
    ],
)
def test_when_a_removal_can_be_asked_for(kind: Kind, status: str, busy: str, removable: bool, force: bool) -> None:
    found = Found(kind, "id", "name", "", status, busy)
    assert (is_removable(found), needs_force(found)) == (removable, force)


# -- sweep


def test_a_dead_runs_leftovers_go_and_its_ledger_too(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    made = everything(site, ledger)
    die(ledger)
    result = sweep_site(site, tmp_path, 60)
    assert (result.clean, len(result.removed), site.there) == (True, len(made), {})
    assert ledgers(tmp_path) == []
    assert result.lines()[-1] == f"{len(made)} removed, 0 not removed, 0 of unknown origin"


def test_a_living_runs_resources_are_not_touched(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    made = everything(site, ledger)
    result = sweep_site(site, tmp_path, 60)
    assert (len(site.there), site.log) == (len(made), [])
    assert result.around.living == (f"{RUN}.main",)
    assert result.around.unknown == ()
    assert result.clean


def test_workers_of_one_run_live_and_die_each_for_itself(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger.create(tmp_path, RUN, "gw1", "cloud-1")
    mine, others = make(site, ledger, "volume"), make(site, other, "volume")
    die(other)
    result = sweep_site(site, tmp_path, 60)
    assert [record.id for record in result.removed] == [others.id]
    assert list(site.there) == [mine.id]


def test_a_second_sweep_finds_nothing_to_do(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    everything(site, ledger)
    die(ledger)
    sweep_site(site, tmp_path, 60)
    again = sweep_site(site, tmp_path, 60)
    assert (again.removed, again.clean) == ((), True)


def test_what_could_not_be_removed_is_told_and_tried_again(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    volume = make(site, ledger, "volume")
    die(ledger)
    site.stuck = {volume.id}
    result = sweep_site(site, tmp_path, 60)
    assert not result.clean
    assert result.lines()[0].startswith(f"NOT REMOVED: volume {volume.name} ({volume.id}): after 60 s still")
    assert [record.id for record in result.around.left] == [volume.id]
    site.stuck = set()
    assert sweep_site(site, tmp_path, 60).clean
    assert site.there == {}


def test_a_sweep_that_is_killed_goes_on_where_it_was(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    everything(site, ledger)
    die(ledger)

    def kill(record: Record) -> None:
        if record.kind == "image":
            raise KeyboardInterrupt

    site.answer = kill
    with pytest.raises(KeyboardInterrupt):
        sweep_site(site, tmp_path, 60)
    site.answer = lambda record: None
    assert sweep_site(site, tmp_path, 60).clean
    assert site.there == {}


DECOYS = [
    ("volume", "ceph-osc-backup-of-finance", PROJECT),
    ("volume", "ceph-osc", PROJECT),
    ("volume", f"ceph-osc-{RUN}", PROJECT),
    ("volume", f"ceph-osc-{RUN}-main-volume-1-copy", PROJECT),
    ("volume", f"my-ceph-osc-{RUN}-main-volume-1", PROJECT),
    ("volume", f"ceph-osc-{RUN}-main-volume-1", "somebody-elses-project"),
    ("server", f"ceph-osc-{RUN}-main-volume-1", PROJECT),
    ("project", "ceph-osc-project", ""),
    ("volume", f"CEPH-OSC-{RUN}-MAIN-VOLUME-1", PROJECT),
]


@pytest.mark.parametrize(("kind", "name", "project"), DECOYS)
@pytest.mark.parametrize("knows_id", [True, False])
def test_a_decoy_is_never_touched(
    site: FakeSite, ledger: Ledger, tmp_path: Path, kind: Kind, name: str, project: str, knows_id: bool
) -> None:
    decoy = site.add(kind, name, project, id_="decoy")
    record = ledger.intend("volume", PROJECT)
    found = site.add("volume", record.name)
    if knows_id:
        ledger.created(record, found.id)
    die(ledger)
    assert [record.id for record in sweep_site(site, tmp_path, 60).removed] == [found.id]
    assert (list(site.there.values()), site.log) == ([decoy], [found.id])


def test_what_has_a_recorded_id_but_another_name_is_left_alone(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    record = ledger.intend("volume", PROJECT)
    ledger.created(record, "decoy")
    decoy = site.add("volume", "somebody's", id_="decoy")
    die(ledger)
    result = sweep_site(site, tmp_path, 60)
    assert (result.clean, list(site.there.values())) == (False, [decoy])
    assert "is not" in result.left[0].why


def test_what_no_ledger_names_is_told_and_not_touched(site: FakeSite, tmp_path: Path, clock: Clock) -> None:
    began = int(clock.now)
    old = site.add("volume", str(Name(f"{began - 9000:08x}00000000", "main", "volume", 1)))
    young = site.add("volume", str(Name(f"{began - 60:08x}00000000", "gw3", "volume", 1)))
    result = sweep_site(site, tmp_path, 60)
    assert result.around.unknown == (old, young)
    assert result.around.strays == (old,)
    assert not result.clean
    assert len(site.there) == 2
    assert sum("no ledger here names it" in line for line in result.lines()) == 2


def test_a_ledger_of_another_cloud_of_that_name_is_not_used(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    make(site, ledger, "volume")
    die(ledger)
    site.id = "cloud-2"
    result = sweep_site(site, tmp_path, 60)
    assert (result.removed, len(site.there), len(ledgers(tmp_path))) == ((), 1, 1)
    assert "is of another cloud" in result.unusable[0]
    assert result.around.left == ()


def test_an_unreadable_ledger_is_told_and_hides_no_other(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    make(site, ledger, "volume")
    die(ledger)
    (tmp_path / "0.jsonl").write_text("junk\n")
    result = sweep_site(site, tmp_path, 60)
    assert (len(result.removed), site.there) == (1, {})
    assert result.unusable == (f"{tmp_path}/0.jsonl: is not a ledger of version 1",)


def test_nothing_to_sweep_is_nothing_to_fail(site: FakeSite, tmp_path: Path) -> None:
    result = sweep_site(site, tmp_path / "no such folder", 60)
    assert (result.clean, result.lines()) == (True, ["0 removed, 0 not removed, 0 of unknown origin"])


def test_what_comes_and_goes_meanwhile_is_not_unknown(ledger: Ledger, tmp_path: Path) -> None:
    class Busy(FakeSite):
        def all(self, kind: Kind) -> Iterable[Found]:
            new = make(self, ledger, kind)
            seen = list(super().all(kind))
            del self.there[new.id]
            ledger.removed(new)
            return seen

    assert look_around(Busy(), tmp_path).unknown == ()


def test_a_service_that_is_down_hides_only_its_own(site: FakeSite, ledger: Ledger, tmp_path: Path) -> None:
    make(site, ledger, "volume")
    die(ledger)
    stray = site.add("server", str(Name(OTHER_RUN, "main", "server", 1)))
    site.down = {"image"}
    result = sweep_site(site, tmp_path, 60)
    assert (len(result.removed), result.around.unknown) == (1, (stray,))
    assert result.around.unseen == ("images: connection refused",)
    assert not result.clean
