"""What the lab does otherwise on each release of Debian: what roles need, and what hosts are told."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from fixtures.cloud import load_cloud
from lab import host
from lab.cgroup import Group
from lab.errors import LabError
from lab.lab import Lab
from lab.machine import Machine
from lab.plan import PROFILES, Plan, Profile, Secrets, addresses
from lab.releases import RELEASES, release_of
from lab.roles import ROLES
from lab.roles.ini import render
from lab.state import State

SUBNET = IPv4Network("10.9.8.0/24")
Written = dict[str, str]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """What is written to hosts that are not there; what is run there is kept under its own text."""
    kept: Written = {}

    def run(_machine: Machine, script: str, **_more: Any) -> None:
        kept[script] = ""

    monkeypatch.setattr(Machine, "write", lambda _machine, path, text, **_more: kept.update({path: text}))
    monkeypatch.setattr(Machine, "run", run)
    return kept


def _plan(suite: str, folder: Path) -> Plan:
    profile = Profile.load("default")
    places = addresses(SUBNET, profile.machines)
    machines = {
        name: Machine(name, places[name], roles, Group("none", name)) for name, roles in profile.machines.items()
    }
    return Plan(profile, machines, Secrets(folder / "secrets.json"), SUBNET, folder, release_of(suite))


def _agent(suite: str, folder: Path) -> None:
    plan = _plan(suite, folder)
    ROLES["neutron-agent"].provision(plan.machines["compute1"], plan)


def test_profiles_are_of_releases_that_are_known() -> None:
    assert {Profile.load(path.stem).suite for path in PROFILES.glob("*.toml")} <= set(RELEASES)


@pytest.mark.parametrize("suite", RELEASES)
def test_rows_name_roles(suite: str) -> None:
    release = release_of(suite)
    assert {*release.packages, *release.units} <= set(ROLES)


def test_an_unknown_release_is_told_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no release 'buster'.*bookworm, trixie"):
        Lab.of(State(tmp_path / "lab"), Profile.load("default"), "buster", SUBNET)


def test_each_release_has_a_base_of_its_own_packages(tmp_path: Path) -> None:
    state, profile = State(tmp_path / "lab"), Profile.load("default")
    old, new = (set(Lab.of(state, profile, suite, SUBNET).base.packages) for suite in ("bookworm", "trixie"))
    assert "neutron-linuxbridge-agent" in old - new
    assert {"neutron-openvswitch-agent", "openvswitch-switch", "libvirt-daemon-lock"} <= new - old


def test_guests_are_on_linux_bridges_where_neutron_has_them(written: Written, tmp_path: Path) -> None:
    _agent("bookworm", tmp_path)
    assert "linuxbridge = true" in written["/etc/neutron/neutron.conf"]
    assert "local_ip = 10.9.8.11" in written["/etc/neutron/plugins/ml2/linuxbridge_agent.ini"]
    assert not [path for path in written if "overlay" in path or "openvswitch" in path]


def test_guests_are_on_a_switch_in_user_space_where_neutron_has_no_linux_bridges(
    written: Written, tmp_path: Path
) -> None:
    _agent("trixie", tmp_path)
    assert "linuxbridge" not in "".join((*written, *written.values()))
    assert "datapath_type = netdev" in written["/etc/neutron/plugins/ml2/openvswitch_agent.ini"]
    assert "mechanism_drivers = openvswitch\n" in written["/etc/neutron/plugins/ml2/ml2_conf.ini"]
    tunnels = written["/usr/local/sbin/lab-overlay"]
    assert "local 10.9.8.11\n" in tunnels
    assert "for peer in 10.9.8.12;" in tunnels


def test_the_switch_learns_of_offloads_before_it_starts(written: Written, tmp_path: Path) -> None:
    _agent("trixie", tmp_path)
    order = list(written)
    told = next(place for place, text in enumerate(order) if "userspace-tso-enable=true" in text)
    started = next(place for place, text in enumerate(order) if text == "systemctl restart openvswitch-switch")
    assert told < started


@pytest.mark.parametrize("suite", RELEASES)
def test_managers_modules_import_bcrypt_late_where_it_loads_only_once(
    suite: str, written: Written, tmp_path: Path
) -> None:
    plan = _plan(suite, tmp_path)
    ROLES["ceph-mgr"].provision(plan.machines["storage"], plan)
    assert any("import bcrypt" in text for text in written) == plan.release.bcrypt_in_rust


@pytest.mark.parametrize(("suite", "told"), [("bookworm", False), ("trixie", True)])
def test_sshd_is_told_of_penalties_where_it_knows_them(suite: str, told: bool, tmp_path: Path) -> None:
    plan = _plan(suite, tmp_path)
    files = host._identity_files(plan.machines["storage"], SUBNET, {}, plan.release)
    assert ("PerSourcePenalties no" in files["etc/ssh/sshd_config.d/lab.conf"][1]) == told


def test_what_services_of_others_would_start_is_masked_where_no_role_runs_it(tmp_path: Path) -> None:
    plan = _plan("trixie", tmp_path)
    masked = {
        name: {path for path, (_, text) in host._identity_files(machine, SUBNET, {}, plan.release).items() if not text}
        for name, machine in plan.machines.items()
    }
    assert masked["controller"] == set()
    assert "etc/systemd/system/rabbitmq-server.service" in masked["compute1"]


def test_options_of_ceph_are_a_configuration() -> None:
    assert render(release_of("trixie").ceph).startswith("[osd]\n")


@pytest.mark.parametrize(("one", "another"), [("lab", "lab-trixie"), ("lab-split", "lab-trixie-split")])
def test_a_lab_of_another_release_is_judged_alike_but_for_what_that_has_not_mended(
    one: str, another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")
    usual, other = (load_cloud(Path(f"clouds/{name}.yaml")) for name in (one, another))
    assert other.waivers
    # Guests of the newer one are on switches that hold groups.
    assert (usual.policy.security_groups, other.policy.security_groups) == (False, True)
    policy = other.policy.model_copy(update={"security_groups": False})
    assert other.model_copy(update={"name": usual.name, "waivers": usual.waivers, "policy": policy}) == usual
