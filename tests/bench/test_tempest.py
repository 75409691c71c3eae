"""Tempest's tests against the suite's journeys for the same features, one after the other on the same lab.

Tempest lives in an environment of its own (OSC_TEMPEST names its command; tox -e bench makes one), because it brings a
package that is called `fixtures` too. Both start from nothing and clean up. Needs a running lab (python -m lab up).
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from openstack.connection import Connection

from fixtures.cloud import Cloud, load_cloud
from fixtures.observe.openstack import open_openstack
from fixtures.scratch.apis import keystone
from reports.model import Report

PROJECT = Path(__file__).parents[2]
TEMPEST = os.environ.get("OSC_TEMPEST", "")
VOLUME, COMPUTE = "tempest.api.volume.test_volumes", "tempest.api.compute"
FEATURES = {
    "image": (("tempest.api.image.v2.test_images.BasicOperationsImagesTest",), "fn.image.upload"),
    "snapshots": ((f"{VOLUME}_snapshots.VolumesSnapshotTestJSON",), "fn.volume.snap_clone"),
    "extend": ((f"{VOLUME}_extend",), "fn.volume.extend"),
    "backup": ((f"{VOLUME}_backup.VolumesBackupsTest",), "fn.backup.full_incr_restore"),
    "boot from volume": ((f"{COMPUTE}.servers.test_create_server.ServersTestBootFromVolume",), "fn.server.bfv"),
    "live migration": ((f"{COMPUTE}.admin.test_live_migration.LiveMigrationTest.test_live_",), "lm.ephemeral"),
}
"""Per feature what Tempest runs, and the journey."""
_TOLD = re.compile(
    r"^\{\d+\} (setUpClass \()?(?P<test>[\w.]+)\)?(\[.*?\])? (\[(?P<seconds>[\d.]+)s\] )?"
    r"\.\.\. (?P<outcome>\w+)(: (?P<why>.*))?"
)


@dataclass(frozen=True)
class Told:
    """What Tempest says of a test, or of a class that it skips."""

    test: str
    seconds: float
    outcome: str
    why: str


@pytest.fixture
def cloud() -> Cloud:
    """The lab's cloud file."""
    return load_cloud(PROJECT / os.environ.get("OSC_BENCH_CLOUD", "clouds/lab.yaml"))


@pytest.mark.skipif(not Path(TEMPEST).is_file(), reason="OSC_TEMPEST names no tempest (tox -e bench makes one)")
def test_journeys_beside_tempest(cloud: Cloud, tmp_path: Path) -> None:
    theirs, their_seconds = _tempest(cloud, tmp_path)
    ours, our_seconds = _journeys(tmp_path)
    entries = {entry.check: entry for entry in ours.entries}
    print(f"\n{'feature':18}{'Tempest':>36}{'journey':>12}  and its figures")
    for feature, (names, journey) in FEATURES.items():
        told = [one for one in theirs if one.test.startswith(names)]
        outcomes = Counter(one.outcome for one in told)
        entry = entries[journey]
        figures = sorted({figure.name for figure in entry.measurements})
        print(
            f"{feature:18}{sum(one.seconds for one in told):8.1f} s "
            f"{', '.join(f'{number} {word}' for word, number in outcomes.items()):>26}"
            f"{entry.seconds:10.1f} s  {entry.outcome}, {len(figures)}: {', '.join(figures)}"
        )
        for one in told:
            if one.outcome != "ok":
                print(f"{'':18}Tempest: {one.test.rpartition('.')[2]}: {one.outcome} {one.why}")
    print(f"all, from start to end: Tempest {their_seconds:.0f} s, journeys {our_seconds:.0f} s", end="")
    print(f", a ratio of {their_seconds / our_seconds:.2f}")
    assert {entry.outcome for entry in ours.entries} == {"passed"}
    assert any(one.outcome == "ok" for one in theirs)


def _journeys(folder: Path) -> tuple[Report, float]:
    named = " or ".join(journey for _, journey in FEATURES.values())
    command = [sys.executable, "-m", "pytest", "--cloud", os.environ.get("OSC_BENCH_CLOUD", "clouds/lab.yaml")]
    begun = time.monotonic()
    subprocess.run([*command, "-m", "dynamic", "-k", named, "--reports", str(folder)], cwd=PROJECT, check=False)
    seconds = time.monotonic() - begun
    return Report.model_validate_json((folder / "latest" / "report.json").read_text()), seconds


def _tempest(cloud: Cloud, folder: Path) -> tuple[list[Told], float]:
    """Run Tempest, one test after the other; return what it told, and the seconds of all."""
    workspace = folder / "tempest"
    # Its list of workspaces would be kept in the home of whoever runs this.
    known = ["--workspace-path", str(folder / "workspaces.yaml")]
    subprocess.run([TEMPEST, "init", *known, str(workspace)], check=True, stdout=subprocess.DEVNULL)
    wanted = "|".join(re.escape(name) for names, _ in FEATURES.values() for name in names)
    with open_openstack(cloud) as admin, _prepared(admin, cloud) as settings:
        config = configparser.ConfigParser(interpolation=None)
        config.read_dict(settings | {"oslo_concurrency": {"lock_path": str(workspace)}})
        with (workspace / "etc/tempest.conf").open("w") as file:
            config.write(file)
        begun = time.monotonic()
        done = subprocess.run(
            [TEMPEST, "run", "--serial", "--regex", wanted], cwd=workspace, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - begun
    (folder / "tempest.txt").write_text(done.stdout)
    found = [told for line in done.stdout.splitlines() if (told := _told(line))]
    assert found, f"{done.stdout}\n{done.stderr}"
    return found, seconds


def _told(line: str) -> Told | None:
    found = _TOLD.match(line)
    if not found:
        return None
    return Told(found["test"], float(found["seconds"] or 0), found["outcome"], found["why"] or "")


@contextmanager
def _prepared(admin: Connection, cloud: Cloud) -> Iterator[dict[str, dict[str, str]]]:
    """What Tempest wants to be there already: a public image, two flavors, a role; and its settings."""
    with ExitStack() as stack:
        image = admin.image.create_image(
            "bench-of-tempest", filename=str(cloud.journeys.image), disk_format="raw", visibility="public", wait=True
        )
        stack.callback(admin.image.delete_image, image.id)
        flavors = []
        for number in (1, 2):
            name = f"bench-of-tempest-{number}"
            flavors.append(admin.compute.create_flavor(name=name, ram=192, vcpus=1, disk=number))
            stack.callback(admin.compute.delete_flavor, flavors[-1].id)
        for name in ("reader", "manager"):
            if not admin.identity.find_role(name):
                stack.callback(admin.identity.delete_role, admin.identity.create_role(name=name).id)
        yield _settings(admin, cloud, image.id, *(flavor.id for flavor in flavors))


def _volume_service(admin: Connection) -> str:
    types = {str(service.type) for service in keystone(admin).services()}
    return next(name for name in ("block-storage", "volumev3") if name in types)


def _settings(admin: Connection, cloud: Cloud, image: str, flavor: str, other: str) -> dict[str, dict[str, str]]:
    login = admin.config.get_auth_args()
    network = cloud.journeys.network or ""
    return {
        "auth": {
            "admin_username": login["username"],
            "admin_password": login["password"],
            "admin_project_name": login["project_name"],
            "admin_domain_name": login["user_domain_name"],
            "create_isolated_networks": "false",
        },
        "identity": {"uri_v3": login["auth_url"], "region": admin.config.get_region_name()},
        "service_available": {"swift": "false", "horizon": "false"},
        "compute": {
            "image_ref": image,
            "image_ref_alt": image,
            "flavor_ref": flavor,
            "flavor_ref_alt": other,
            "min_compute_nodes": "2",
            "fixed_network_name": network,
        },
        "compute-feature-enabled": {"live_migration": "true", "block_migration_for_live_migration": "false"},
        "validation": {"run_validation": "false"},
        "volume": {"storage_protocol": "ceph", "catalog_type": _volume_service(admin)},
        "volume-feature-enabled": {"backup": "true", "extend_attached_volume": "true"},
    }
