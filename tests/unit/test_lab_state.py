"""What the lab keeps between commands: bases that labs refer to, faults in force."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from filelock import FileLock

from lab import cli, faults, network, preflight
from lab.base import Base
from lab.errors import LabError
from lab.progress import Progress
from lab.state import Record, State

KNOWN = ("hosts.conf-closed", "hosts.conf-absent")


def _record(profile: str = "default", base: Path = Path("/none")) -> Record:
    return Record(profile, "bookworm", "10.9.8.0/24", str(base), "key", "up", ("storage",))


# ---------------------------------------------------------------------------- subnets


@pytest.mark.parametrize(
    ("bridge", "found"),
    [("osc-other", "10.77.0.0/24"), (network.bridge_name("mine"), "10.70.1.0/24"), ("", "10.70.1.0/24")],
)
def test_a_subnet_that_is_taken_gives_way_to_a_free_one(
    monkeypatch: pytest.MonkeyPatch, bridge: str, found: str
) -> None:
    address = {"ifname": bridge, "addr_info": [{"family": "inet", "local": "10.70.1.1", "prefixlen": 24}]}
    told = {
        "address": [address] if bridge else [],
        "route": [{"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}],
    }
    monkeypatch.setattr(network, "_ip", lambda *words: told[words[1]])
    assert network.free_subnet("mine", IPv4Network("10.70.1.0/24")) == IPv4Network(found)


# ---------------------------------------------------------------------------- bases


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build takes no time and leaves a folder."""
    monkeypatch.setattr(Base, "_mmdebstrap", lambda self, target: (target / "etc").mkdir(parents=True))


def _take(base: Base, folder: Path) -> State:
    """What provisioning a lab does with its base."""
    state = State(folder)
    with base.taken(state, Progress()):
        state.create()
        state.save(_record(base=base.path))
    return state


def _bases(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("base-*") if path.is_dir()}


def _base(tmp_path: Path, package: str) -> Base:
    return Base("bookworm", (package,), tmp_path / "cache")


def test_a_base_goes_when_no_lab_refers_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = _base(tmp_path, "old"), _base(tmp_path, "new")
    _take(old, tmp_path / "lab")
    assert old.exists()
    _take(new, tmp_path / "lab")
    assert _bases(tmp_path / "cache") == {new.path.name}
    assert f"removing {old.path}, which no lab uses any more" in capsys.readouterr().out
    assert not list((tmp_path / "cache").glob(f"{old.path.name}*"))


def test_a_base_stays_while_any_lab_refers_to_it(tmp_path: Path) -> None:
    old, new, newer = (_base(tmp_path, name) for name in ("old", "new", "newer"))
    _take(old, tmp_path / "one")
    other = _take(old, tmp_path / "other")
    _take(new, tmp_path / "one")
    assert _bases(tmp_path / "cache") == {old.path.name, new.path.name}
    other.purge()
    _take(newer, tmp_path / "one")
    assert _bases(tmp_path / "cache") == {newer.path.name}


def test_who_finds_his_base_built_does_not_wait_for_the_build_of_another(tmp_path: Path) -> None:
    base = _base(tmp_path, "built")
    _take(base, tmp_path / "one")
    with FileLock(tmp_path / "cache" / "build.lock"):
        _take(base, tmp_path / "other")
    assert len(json.loads((tmp_path / "cache" / f"{base.path.name}.users").read_text())) == 2


@pytest.mark.parametrize("text", ["{", '{"version": 99}', '{"version": 1, "strange": 1, "hosts": []}'])
def test_a_base_stays_where_a_lab_is_not_understood(text: str, tmp_path: Path) -> None:
    old, new = _base(tmp_path, "old"), _base(tmp_path, "new")
    (_take(old, tmp_path / "other").folder / "lab.json").write_text(text)
    _take(new, tmp_path / "lab")
    assert old.exists()


def test_a_base_whose_users_were_never_noted_stays(tmp_path: Path) -> None:
    old, new = _base(tmp_path, "old"), _base(tmp_path, "new")
    old.path.mkdir(parents=True)
    _take(old, tmp_path / "lab")
    _take(new, tmp_path / "lab")
    assert old.exists()


def test_nothing_goes_where_the_lab_was_not_begun_anew(tmp_path: Path) -> None:
    old, new = _base(tmp_path, "old"), _base(tmp_path, "new")
    state = _take(old, tmp_path / "lab")
    with pytest.raises(KeyboardInterrupt), new.taken(state, Progress()):
        raise KeyboardInterrupt
    assert old.exists()


# ---------------------------------------------------------------------------- faults in force


@pytest.fixture
def broken_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A lab with faults in force; mending does nothing to its hosts."""
    monkeypatch.setattr(preflight, "require_root", lambda: None)
    monkeypatch.setattr(faults, "_put_back", lambda plan, fault: None)
    monkeypatch.setattr(faults, "_carry_out", lambda plan, fault, step: None)
    monkeypatch.setattr(faults, "_wait", lambda plan, steps: None)
    state = State(tmp_path / "lab")
    state.create()
    state.save(_record())
    return state


def _mend(state: State, *words: str) -> int:
    return cli.main(["mend", "--state", str(state.folder), *words])


def test_what_is_known_is_mended_though_a_fault_is_not(broken_lab: State, capsys: pytest.CaptureFixture[str]) -> None:
    broken_lab.broken.write_text(json.dumps([KNOWN[0], "hosts.once-upon-a-time", KNOWN[1]]))
    assert _mend(broken_lab) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"mended: {KNOWN[1]}", f"mended: {KNOWN[0]}"]
    assert "not mended: hosts.once-upon-a-time: no fault of this name is declared" in told.err
    assert "`python -m lab reset`" in told.err
    assert faults.broken(broken_lab) == ["hosts.once-upon-a-time"]


def test_what_can_be_is_mended_though_a_fault_resists(
    broken_lab: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def resists(_plan: object, fault: faults.Fault) -> None:
        if fault.name == KNOWN[1]:
            raise LabError("storage: a command ended with 1")

    monkeypatch.setattr(faults, "_undo", resists)
    broken_lab.broken.write_text(json.dumps(KNOWN))
    assert _mend(broken_lab) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"mended: {KNOWN[0]}"]
    assert f"not mended: {KNOWN[1]}: storage: a command ended with 1" in told.err
    assert faults.broken(broken_lab) == [KNOWN[1]]


def test_a_lost_fault_that_is_named_says_how_to_get_out(broken_lab: State, capsys: pytest.CaptureFixture[str]) -> None:
    broken_lab.broken.write_text(json.dumps([KNOWN[0], "hosts.once-upon-a-time"]))
    assert _mend(broken_lab, "hosts.once-upon-a-time") == 1
    assert "lab reset" in capsys.readouterr().err
    assert faults.broken(broken_lab) == [KNOWN[0], "hosts.once-upon-a-time"]


def test_a_mistyped_fault_is_told_as_such(broken_lab: State, capsys: pytest.CaptureFixture[str]) -> None:
    broken_lab.broken.write_text(json.dumps([KNOWN[0]]))
    assert _mend(broken_lab, "hosts.conf-absnt") == 1
    assert "no fault 'hosts.conf-absnt'" in capsys.readouterr().err
    assert faults.broken(broken_lab) == [KNOWN[0]]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("access.groups-that-nobody-holds", "does no harm on Debian's bookworm"),
        ("swift.no-rsync", "cannot be had by a lab of profile default"),
    ],
)
def test_what_is_none_here_is_not_broken(
    broken_lab: State, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert cli.main(["break", "--state", str(broken_lab.folder), name]) == 1
    assert why in capsys.readouterr().err
    assert faults.broken(broken_lab) == []


def test_no_word_but_fleet_has_a_profile_of_its_own() -> None:
    assert cli._parser().parse_args(["fleet"]).profile == "fleet"
    assert "profile" not in cli._parser().parse_args(["mend"])
