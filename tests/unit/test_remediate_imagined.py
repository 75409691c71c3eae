"""A plan goes on from what it makes itself: a cloud of which nothing is joined is joined by one plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from fixtures.facts.host import IniFile, Keyring
from fixtures.facts.run import Facts
from fixtures.targets import cephx_users, clients, pools
from remediate.imagined import imagined
from remediate.model import Attributes, File, Step
from remediate.plan import Failure, Plan, make_plan
from remediate.registry import known
from remediate.site import Preview, Site
from tests.unit.test_remediate_plan import CONTROLLER, Imagined, plan_of, the_cloud, the_facts, with_host
from tests.unit.test_remediate_services import HYPERVISORS, unjoined, with_apis

HOSTS = (CONTROLLER, *HYPERVISORS)
CLUSTER = [
    *(("ceph.pool.exists", name) for name in pools(the_cloud())),
    *(("ceph.auth.user_exists", user.entity) for user in cephx_users(the_cloud())),
]
FILES = [
    *(("host.ceph_conf.present", name) for name in HOSTS),
    *(("host.keyring.present", str(client)) for client in clients(the_cloud())),
]
SERVICES = [
    ("glance.config.stores", CONTROLLER),
    ("cinder.config.enabled_backends", CONTROLLER),
    ("backup.config.driver", CONTROLLER),
    *(("nova.config.images_type", name) for name in HYPERVISORS),
    *(("nova.config.rbd_user_secret", name) for name in HYPERVISORS),
]


@pytest.fixture(autouse=True)
def _lab_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")


def bare() -> Facts:
    """Nothing of Ceph is on OpenStack's hosts, and nothing of OpenStack in Ceph."""
    images = cast(Any, unjoined().openstack.images)
    facts = with_apis(unjoined(), images=tuple(it.model_copy(update={"direct_url": "file:///x"}) for it in images))
    ceph = cast(Any, facts.ceph_cluster).model_copy(update={"pools": (), "auth": ()})
    facts = facts.model_copy(update={"ceph_cluster": ceph})
    for name in HOSTS:
        host = facts.host(name)
        conf, keyrings = cast(IniFile, host.ceph_conf), cast(dict[str, Keyring], host.keyrings)
        gone = {path: Keyring(stat=absent(it)) for path, it in keyrings.items()}
        facts = with_host(name, facts, ceph_conf=IniFile(stat=absent(conf)), keyrings=gone)
    return facts


def absent(file: IniFile | Keyring) -> Any:
    return file.stat.model_copy(update={"kind": "absent"})


def test_one_plan_joins_what_is_not_joined() -> None:
    plan = plan_of([*SERVICES, *FILES, *CLUSTER], bare())
    assert not plan.left
    assert not plan.withheld
    of_cluster = [one.step.kind for one in plan.steps if not getattr(one.step, "host", "")]
    assert of_cluster == ["new-pool"] * 4 + ["caps"] * 3
    assert kinds(plan, CONTROLLER) == ["file", "option", "restart"]
    assert kinds(plan, "compute1") == ["file", "secret", "option", "restart"]
    assert {one.step.key_of for one in plan.steps if isinstance(one.step, File)} == {
        "",
        *(user.entity for user in cephx_users(the_cloud())),
    }


def kinds(plan: Plan, host: str) -> list[str]:
    """Kinds of the steps on a host, each once, in order."""
    return list(dict.fromkeys(one.step.kind for one in plan.steps if getattr(one.step, "host", "") == host))


def test_what_the_plan_does_not_make_is_waited_for() -> None:
    plan = plan_of([*SERVICES, *FILES], bare())
    reasons = {left.failure.check: left.reason for left in plan.left}
    assert reasons["host.keyring.present"].endswith("client.glance does not exist (see ceph.auth.user_exists)")
    assert "there is no pool vms" in reasons["nova.config.images_type"]
    assert {one.step.kind for one in plan.steps} == {"file", "restart"}, "but ceph.conf"


class Refusing(Imagined):
    """A site on which no keyring can be written."""

    def previews(self, steps: Sequence[Step]) -> list[Preview]:
        return [
            Preview(refused="a link") if isinstance(step, File) and step.key_of else preview
            for step, preview in zip(steps, super().previews(steps), strict=True)
        ]


def test_what_cannot_be_made_is_not_built_upon() -> None:
    failures = [Failure(check=check, target=target) for check, target in [*SERVICES, *FILES, *CLUSTER]]
    plan = make_plan(failures, known(), the_cloud(), bare(), cast(Site, Refusing()))
    assert not any(one.step.kind == "option" for one in plan.steps)
    assert "no keyring of client.glance" in next(
        left.reason for left in plan.left if left.failure.check == "glance.config.stores"
    )


def test_what_is_there_stays_as_it_is_seen() -> None:
    facts = bare()
    closed = Attributes(host=CONTROLLER, path="/etc/ceph", mode=0o755)
    assert imagined(facts, [closed]) == facts


def test_a_service_is_told_of_ceph_once_its_keyring_is_opened_to_it() -> None:
    host = the_facts().host(CONTROLLER)
    path = "/etc/ceph/ceph.client.cinder-backup.keyring"
    keyring = cast(Keyring, host.keyrings[path])
    closed = keyring.model_copy(update={"readable_by": {"cinder": False}})
    facts = with_host(CONTROLLER, keyrings={**host.keyrings, path: closed})
    step = Attributes(host=CONTROLLER, path=path, owner="cinder", group="cinder", mode=0o640)
    seen = cast(Keyring, imagined(facts, [step]).host(CONTROLLER).keyrings[path])
    assert seen.readable_by == {"cinder": True}
    assert seen.keys == keyring.keys
