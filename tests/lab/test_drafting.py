"""A cloud file drafted from nothing but the hosts' names: it makes the lab green unedited, and holds no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from drafting.write import MARK
from fixtures.cloud import load_cloud
from lab.lab import Lab
from tests.lab.harness import LabUnderTest

INVENTORY = """
[control]
controller
[compute]
compute[1:2]
[storage]
storage
[nova-api:children]
control
[glance-api:children]
control
[cinder-volume:children]
control
[mons:children]
storage
[swift-object-server:children]
others
[iscsigws:children]
others
[others]
"""


def _hosts(lab: LabUnderTest) -> list[str]:
    return sorted(Lab.recorded(lab.state).plan.machines)


def _draft(lab: LabUnderTest, path: Path, *hosts: str) -> str:
    access = lab.state.access
    options = ("--ssh-config", str(access / "ssh_config"), "--clouds-yaml", str(access / "clouds.yaml"))
    done = lab.python("-m", "pytest", "--draft-cloud", str(path), *hosts, *options)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def drafted(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A drafted file, and what was said."""
    path = tmp_path_factory.mktemp("draft") / f"drafted-{lab.profile}.yaml"
    said = _draft(lab, path, *(word for host in _hosts(lab) for word in ("--host", host)))
    return path, said


def test_a_drafted_file_makes_the_static_part_green_unedited(lab: LabUnderTest, drafted: tuple[Path, str]) -> None:
    run = lab.suite("-m", "static and not asks_services", cloud_file=str(drafted[0]))
    assert run.exit_code == pytest.ExitCode.OK, run.story
    assert len(run.entries("passed")) > 300


def test_no_secret_is_in_a_draft(lab: LabUnderTest, drafted: tuple[Path, str]) -> None:
    text = drafted[0].read_text() + drafted[1]
    assert MARK in text
    secrets = {value for name, value in lab.secrets().items() if not name.endswith(("uuid", "fsid"))}
    assert not [secret for secret in secrets if secret in text]


def test_an_inventory_drafts_the_same(lab: LabUnderTest, drafted: tuple[Path, str]) -> None:
    inventory, path = drafted[0].parent / "inventory", drafted[0].parent / "by-inventory" / drafted[0].name
    inventory.write_text(INVENTORY + "\n".join(_hosts(lab)))
    path.parent.mkdir()
    _draft(lab, path, "--ansible-inventory", str(inventory))
    assert load_cloud(path) == load_cloud(drafted[0])


def test_a_drafted_file_is_tried(lab: LabUnderTest, drafted: tuple[Path, str]) -> None:
    done = lab.python("-m", "pytest", "--check-cloud", str(drafted[0]))
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "all of it is reached" in done.stdout
