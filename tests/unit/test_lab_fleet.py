"""The simulated fleet: which hosts are in trouble, and what the runner is told of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fixtures.cloud import load_cloud
from lab import fleet
from lab.errors import LabError
from lab.fleet import Fleet

TROUBLES: dict[fleet.Trouble, int] = {"slow": 3, "hung": 2, "impostor": 1}


def test_the_same_hosts_are_in_trouble_at_each_start() -> None:
    one = Fleet.of(100, TROUBLES)
    assert one == Fleet.of(100, TROUBLES)
    assert Counter(one.troubled.values()) == TROUBLES
    assert one.those("silent") == []


def test_names_sort_as_their_numbers() -> None:
    assert list(Fleet.of(1000, {}).addresses) == sorted(f"compute{number:04}" for number in range(1, 1001))


@pytest.mark.parametrize(("size", "troubles"), [(0, {}), (fleet.NETWORK.num_addresses, {}), (3, {"hung": 4})])
def test_an_impossible_fleet_is_refused(size: int, troubles: dict[fleet.Trouble, int]) -> None:
    with pytest.raises(LabError):
        Fleet.of(size, troubles)


def test_its_cloud_file_is_one(tmp_path: Path) -> None:
    wanted = Fleet.of(1000, TROUBLES)
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet.cloud_file(wanted, tmp_path))
    cloud = load_cloud(path)
    assert {name: host.address for name, host in cloud.hosts.items()} == {
        name: str(address) for name, address in wanted.addresses.items()
    }


def test_an_impostor_is_known_by_another_key_only() -> None:
    wanted = Fleet.of(100, TROUBLES)
    [impostor] = wanted.those("impostor")
    true, other = fleet._known_hosts(wanted, "ssh-ed25519 TRUE").splitlines()
    assert true == f"!{impostor},10.71.* ssh-ed25519 TRUE"
    assert other.startswith(f"{impostor} ssh-ed25519 ") and not other.endswith("TRUE")
