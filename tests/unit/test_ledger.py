from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.records import is_alive, state_folder
from fixtures.scratch.ledger import (
    Ledger,
    LedgerError,
    Record,
    ledgers,
    read_book,
    remove_drafts,
)
from fixtures.scratch.names import KINDS, PREFIX, Name, new_run_id, parse_name, run_began

RUN = "6920aabb00112233"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(tmp_path / "state", RUN, "main", "cloud-1")
    yield ledger
    ledger.close()


def claimed(path: Path) -> Ledger:
    ledger = Ledger.claim(path)
    assert ledger is not None
    return ledger


def abandon(ledger: Ledger) -> Path:
    """Let the lock go and keep the file, as a kill does."""
    os.close(ledger._fd)
    return ledger.path


# -- names

names = st.builds(
    Name,
    run=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    worker=st.one_of(st.just("main"), st.integers(0, 9999).map(lambda n: f"gw{n}")),
    kind=st.sampled_from(KINDS),
    number=st.integers(1, 999_999),
)


@given(names)
def test_a_name_is_read_back_as_it_was_built(name: Name) -> None:
    assert parse_name(str(name)) == name


@given(names, st.text(min_size=1, max_size=5))
def test_a_name_with_anything_before_or_after_it_is_none(name: Name, extra: str) -> None:
    assert parse_name(extra + str(name)) is None
    longer = parse_name(f"{name}{extra}")
    assert longer is None or str(longer) == f"{name}{extra}"


@given(names, st.data())
def test_a_name_changed_anywhere_is_another_name_or_none(name: Name, data: st.DataObject) -> None:
    text = str(name)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    assert changed == text or parse_name(changed) != name


@given(st.text())
def test_only_what_is_built_back_alike_is_a_name(text: str) -> None:
    name = parse_name(text)
    assert name is None or str(name) == text


@pytest.mark.parametrize(
    "decoy",
    [
        "",
        PREFIX,
        f"{PREFIX}-",
        f"{PREFIX}-volume-1",
        f"{PREFIX}-mine",
        f"{PREFIX}-{RUN}",
        f"{PREFIX}-{RUN}-main-volume",
        f"{PREFIX}-{RUN}-main-volume-0",
        f"{PREFIX}-{RUN}-main-volume-01",
        f"{PREFIX}-{RUN}-main-volume-1\n",
        f" {PREFIX}-{RUN}-main-volume-1",
        f"{PREFIX}-{RUN}-main-volumes-1",
        f"{PREFIX}-{RUN}-main-volume-1-backup",
        f"{PREFIX}-{RUN}-worker-volume-1",
        f"{PREFIX}-{RUN[:-1]}-main-volume-1",
        f"{PREFIX}-{RUN}0-main-volume-1",
        f"{PREFIX}-{RUN.upper()}-main-volume-1",
        f"{PREFIX.upper()}-{RUN}-main-volume-1",
        f"copy-of-{PREFIX}-{RUN}-main-volume-1",
        f"{PREFIX}-{RUN}-main-volume-\u0661",
    ],
)
def test_similar_names_are_not_ours(decoy: str) -> None:
    assert parse_name(decoy) is None


def test_a_run_id_tells_when_it_began_and_is_never_the_same_twice() -> None:
    runs = {new_run_id() for _ in range(1000)}
    assert len(runs) == 1000
    assert all(abs(run_began(run) - time.time()) < 5 for run in runs)
    assert parse_name(str(Name(runs.pop(), "gw0", "server", 1)))
    with pytest.raises(ValueError, match="not a run id"):
        run_began("main")


# -- what is on disk


def test_folder_and_file_are_closed_to_others(ledger: Ledger) -> None:
    assert S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_an_intent_is_on_disk_when_it_returns(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(ledger.path.stat().st_size))
    record = ledger.intend("volume", "project-1")
    assert synced == [ledger.path.stat().st_size]
    assert read_book(ledger.path).left == [record]
    assert parse_name(record.name) == Name(RUN, "main", "volume", 1)


def test_what_is_read_is_what_was_written(ledger: Ledger) -> None:
    volume = ledger.intend("volume", "project-1")
    server = ledger.intend("server", "project-1", [volume])
    other = ledger.intend("volume", "project-1")
    ledger.created(server, "id-2")
    ledger.needs(server, other)
    ledger.removed(volume)
    book = read_book(ledger.path)
    assert book == ledger.book
    assert [record.name for record in book.left] == [server.name, other.name]
    assert book.records[server.number].id == "id-2"
    assert book.records[server.number].needs == {volume.number, other.number}


def test_a_ledger_of_which_all_is_gone_goes_too(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, RUN, "gw0", "cloud-1")
    record = ledger.intend("image")
    ledger.removed(record)
    ledger.close()
    assert ledgers(tmp_path) == []


def test_a_ledger_that_names_something_stays(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, RUN, "gw0", "cloud-1")
    ledger.intend("image")
    ledger.close()
    assert ledgers(tmp_path) == [tmp_path / f"{RUN}.gw0.jsonl"]


def test_workers_of_a_run_have_a_file_each(tmp_path: Path) -> None:
    made = [Ledger.create(tmp_path, RUN, worker, "cloud-1") for worker in ("gw0", "gw1", "main")]
    names = {ledger.intend("volume").name for ledger in made}
    assert names == {f"{PREFIX}-{RUN}-{worker}-volume-1" for worker in ("gw0", "gw1", "main")}
    with pytest.raises(LedgerError, match="File exists"):
        Ledger.create(tmp_path, RUN, "gw0", "cloud-1")
    for ledger in made:
        abandon(ledger)


@pytest.mark.parametrize(("run", "worker"), [("../../etc/passwd", "main"), (RUN, "../main"), ("", "main"), (RUN, "")])
def test_a_ledger_needs_a_proper_run_and_worker(tmp_path: Path, run: str, worker: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        Ledger.create(tmp_path, run, worker, "cloud-1")


def test_state_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("prod") == tmp_path / "ceph-openstack-conformance" / "prod"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder("prod") == tmp_path / ".local/state/ceph-openstack-conformance/prod"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(LedgerError, match=str(tmp_path / "state")):
        Ledger.create(tmp_path / "state", RUN, "main", "cloud-1")


# -- cut and foreign lines


def filled(folder: Path) -> Path:
    ledger = Ledger.create(folder, RUN, "main", "cloud-1")
    for kind in ("project", "volume", "server"):
        ledger.created(ledger.intend(kind, "p"), f"id-of-{kind}")
    ledger.removed(ledger.book.records[3])
    return abandon(ledger)


def test_a_ledger_cut_anywhere_tells_a_past_of_it(tmp_path: Path) -> None:
    whole = filled(tmp_path).read_bytes()
    header = whole.index(b"\n") + 1
    ends = [end + 1 for end in range(header - 1, len(whole)) if whole[end] == ord("\n")]
    pasts = [read_cut(tmp_path, whole[:end]) for end in ends]
    for cut in range(header, len(whole)):
        assert read_cut(tmp_path, whole[:cut]) in pasts


def read_cut(folder: Path, data: bytes) -> list[Record]:
    path = folder / "cut"
    path.write_bytes(data)
    return list(read_book(path).records.values())


def test_a_claimed_ledger_with_a_torn_last_line_goes_on(tmp_path: Path) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    ledger = claimed(path)
    assert [record.kind for record in ledger.book.left] == ["project", "volume", "server"]
    ledger.removed(ledger.book.records[3])
    assert [record.kind for record in read_book(path).left] == ["project", "volume"]
    assert read_book(path).broken_lines == 1
    abandon(ledger)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200), at=st.integers(0, 8))
def test_junk_between_lines_hides_no_other_line(tmp_path: Path, junk: bytes, at: int) -> None:
    ledger = Ledger.create(tmp_path, new_run_id(), "main", "cloud-1")
    path = ledger.path
    for kind in KINDS:
        ledger.intend(kind)
    abandon(ledger)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: at + 1], junk.replace(b"\n", b" ") + b"\n", *lines[at + 1 :]]))
    assert [record.kind for record in read_book(path).left] == list(KINDS)
    path.unlink()


@pytest.mark.parametrize("text", ["", "\n", "not json\n", '{"op":"run","version":2,"run":"x"}\n', '{"op":"intent"}\n'])
def test_what_is_no_ledger_of_this_version_is_an_error_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(LedgerError, match=str(path)):
        Ledger.claim(path)
    assert not is_alive(path)


def test_a_full_disk_is_an_error_before_anything_is_created(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_room)
        with pytest.raises(OSError, match="No space left"):
            ledger.intend("volume")
    assert ledger.book.left == []
    assert ledger.intend("volume").number == 1


def test_a_line_written_in_pieces_is_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        record = ledger.intend("volume", "p")
    assert read_book(ledger.path).left == [record]


# -- who lives


def test_a_living_owners_ledger_cannot_be_claimed(ledger: Ledger) -> None:
    assert is_alive(ledger.path)
    assert Ledger.claim(ledger.path) is None


def test_a_dead_owners_ledger_is_claimed_once(tmp_path: Path) -> None:
    path = filled(tmp_path)
    assert not is_alive(path)
    first = claimed(path)
    assert is_alive(path)
    assert Ledger.claim(path) is None
    abandon(first)


def test_a_ledger_that_went_meanwhile_is_not_claimed(tmp_path: Path) -> None:
    assert Ledger.claim(tmp_path / "gone.jsonl") is None
    assert not is_alive(tmp_path / "gone.jsonl")


def test_a_child_process_does_not_keep_its_parents_ledger_alive(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, RUN, "main", "cloud-1")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert not is_alive(abandon(ledger))
    finally:
        child.kill()
        child.wait()


def test_asking_who_lives_disturbs_nobody(ledger: Ledger) -> None:
    path = ledger.path
    for _ in range(50):
        assert is_alive(path)
    assert ledger.intend("volume").number == 1


OWNER = """
import sys
from pathlib import Path
from fixtures.scratch.ledger import Ledger
ledger = Ledger.create(Path(sys.argv[1]), sys.argv[2], "main", "cloud-1")
print("ready", flush=True)
while True:
    record = ledger.intend("volume", "project-1")
    print("intent", record.number, flush=True)
    record = ledger.created(record, f"id-{record.number}")
    print("created", record.number, flush=True)
    if record.number % 2:
        ledger.removed(record)
        print("removed", record.number, flush=True)
"""


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_owner_leaves_a_ledger_that_names_all_it_did(tmp_path: Path, seed: int) -> None:
    run = new_run_id()
    command = [sys.executable, "-c", OWNER, str(tmp_path), run]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        (path,) = ledgers(tmp_path)
        assert is_alive(path)
        time.sleep(random.Random(seed).uniform(0, 0.3))
        owner.send_signal(signal.SIGKILL)
        # a line that was cut off says nothing
        said = [line.split() for line in owner.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    ledger = claimed(path)
    for word, number in said:
        record = ledger.book.records[int(number)]
        assert word == "intent" or record.id == f"id-{number}"
        assert word != "removed" or record.removed
    # at most the step that was under way is known to the disk alone
    assert len(ledger.book.records) - sum(word == "intent" for word, _ in said) in (0, 1)
    ledger.created(ledger.intend("volume"), "id-later")
    assert read_book(path).broken_lines <= 1
    abandon(ledger)


def test_a_draft_is_removed_unless_its_owner_lives(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path, RUN, "main", "cloud-1")
    living, dead = tmp_path / "a.draft", tmp_path / "b.draft"
    living.hardlink_to(ledger.path)
    dead.touch()
    remove_drafts(tmp_path)
    assert (living.exists(), dead.exists()) == (True, False)
    assert ledgers(tmp_path) == [ledger.path]
    abandon(ledger)
