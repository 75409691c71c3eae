from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from fixtures.cloud import Cloud, CloudFileError, load_cloud

CLOUDS = Path(__file__).parents[2] / "clouds"
MINIMAL = """\
name: small
hosts:
  one: {roles: [glance-api, cinder-volume, nova-compute, ceph-mon]}
ceph:
  pools: {images: i, volumes: v}
  users: {glance: g, cinder: c}
cinder: {backend: rbd, volume_type: rbd}
openstack: {cloud: small}
"""


def _load(folder: Path, text: str) -> Cloud:
    path = folder / "cloud.yaml"
    path.write_text(text)
    return load_cloud(path)


def _errors(folder: Path, text: str) -> str:
    with pytest.raises(CloudFileError) as caught:
        _load(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", ["lab.yaml", "lab-split.yaml", "example.yaml"])
def test_shipped_cloud_files_are_valid(name: str) -> None:
    assert load_cloud(CLOUDS / name).hosts_with("nova-compute")


def test_the_lab_files_differ_in_names_only() -> None:
    default, split = load_cloud(CLOUDS / "lab.yaml"), load_cloud(CLOUDS / "lab-split.yaml")
    assert default.hosts == split.hosts
    assert set(default.ceph.pools.model_dump().values()).isdisjoint(split.ceph.pools.model_dump().values())


def _fields(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for part in _models(field.annotation):
            found |= _fields(part)
    return found


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def test_the_example_shows_every_field() -> None:
    text = (CLOUDS / "example.yaml").read_text()
    missing = {name for name in _fields(Cloud) if not re.search(rf"\b{name}:", text)}
    assert not missing


def test_the_commented_defaults_of_the_example_are_valid(tmp_path: Path) -> None:
    lines = (CLOUDS / "example.yaml").read_text().splitlines()
    shown = [re.sub(r"^( *)# (?= *(- )?[a-z_-]+:( |$))", r"\1", line) for line in lines]
    assert _load(tmp_path, "\n".join(shown)).waivers[0].code == "OSD_NEARFULL"


def test_a_minimal_file_is_enough(tmp_path: Path) -> None:
    cloud = _load(tmp_path, MINIMAL)
    assert cloud.ceph.keyring("c") == "/etc/ceph/ceph.client.c.keyring"


def test_a_typo_names_line_and_nearest_key(tmp_path: Path) -> None:
    assert _errors(tmp_path, MINIMAL.replace("images: i", "imagse: i")).splitlines() == [
        "cloud.yaml:5: ceph.pools.images: is missing and has no default",
        "cloud.yaml:5: ceph.pools.imagse: unknown key; did you mean 'images'? "
        "allowed here: backups, images, vms, volumes",
    ]


def test_a_wrong_value_names_what_was_found_and_what_is_allowed(tmp_path: Path) -> None:
    text = _errors(tmp_path, MINIMAL.replace("ceph-mon", "ceph-man"))
    assert text.startswith("cloud.yaml:3: hosts.one.roles.3: found 'ceph-man': input should be 'glance-api'")


def test_a_client_prefix_is_explained(tmp_path: Path) -> None:
    text = _errors(tmp_path, MINIMAL.replace("glance: g", "glance: client.g"))
    assert text == "cloud.yaml:6: ceph.users.glance: is written without 'client.': g"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cloud.yaml:1: a cloud file is a mapping of keys"),
        ("name: [", "cloud.yaml:1: is not YAML"),
        ("name: x\nname: y\n", "cloud.yaml:2: is not YAML: found duplicate key"),
        (MINIMAL.replace("volumes: v", "volumes: v, vms: m"), "ceph.users.nova is needed too"),
        (MINIMAL + "journeys: {hypervisors: [two]}\n", "no host 'two' under hosts: (there are: one)"),
        (MINIMAL + "journeys: {disruptive_on: [two]}\n", "journeys.disruptive_on: no host 'two' under hosts:"),
        (MINIMAL + "reach: {via: ansible}\n", "cloud.yaml:9: reach: via: ansible needs reach.inventory"),
        (MINIMAL + "waivers: [{check: a.b, owner: me, reason: r, until: soon}]\n", "cloud.yaml:9: waivers.0.until"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in _errors(tmp_path, text)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CloudFileError, match="cannot be read: No such file"):
        load_cloud(tmp_path / "none.yaml")


def test_environment_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "keys")
    cloud = _load(tmp_path, MINIMAL + "reach: {identity: '${WHERE}/id', ssh_config: '${NOPE:-/etc}/ssh_config'}\n")
    assert cloud.reach.identity == tmp_path / "keys" / "id"
    assert cloud.reach.ssh_config == Path("/etc/ssh_config")
