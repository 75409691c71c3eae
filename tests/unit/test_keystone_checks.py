"""Checks of the identity service on recorded facts, changed where the lab cannot be in that state."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.outcomes import Skipped

from fixtures.checks import take_finding
from fixtures.facts.base import need
from fixtures.facts.files import File
from fixtures.facts.host import HostFacts, KeyFolder, TokenTry
from fixtures.facts.identity import CatalogService, Endpoint, Identity
from fixtures.facts.run import Facts
from fixtures.facts.system import RcFile
from fixtures.keystone import CREDENTIAL_KEYS, TOKEN_KEYS
from remediate.model import Attributes, NeedsOperator, Option, TokenKeys
from remediate.registry import Repair, known
from suites.keystone import test_catalog as catalog
from suites.keystone import test_service as service
from tests.unit.test_remediate_plan import the_cloud, the_facts
from tests.unit.test_remediate_services import with_entry

CONTROLLER = "controller"


def _identity(facts: Facts) -> Identity:
    return need(facts.openstack.identity)


def _with(facts: Facts, **changed: Any) -> Facts:
    apis = facts.openstack.model_copy(update={"identity": _identity(facts).model_copy(update=changed)})
    return facts.model_copy(update={"apis": apis})


def _found(check: Any, *given: Any) -> str:
    """What a failing check found."""
    with pytest.raises(AssertionError):
        check(*given)
    finding = take_finding()
    assert finding is not None
    return finding.found


def _endpoints(facts: Facts, kind: str, interface: str, **changed: Any) -> Facts:
    told = _identity(facts)
    ids = {one.id for one in told.of_type(kind)}
    changed_ones = tuple(
        one.model_copy(update=changed) if one.service in ids and one.interface == interface else one
        for one in told.endpoints
    )
    return _with(facts, endpoints=changed_ones)


@pytest.mark.parametrize(
    ("kind", "interface", "changed", "said"),
    [
        ("compute", "internal", {"url": "http://c:8774/v1.1/%(tenant_id)s"}, "of the API that is spoken today"),
        ("image", "public", {"url": "http://c:9292/v2"}, "of the API that is spoken today"),
        ("volumev3", "public", {"url": "http://c:8776/v3/%(project)s"}, "no address and no template"),
        ("volumev3", "admin", {"url": "http://c:8776/v3/%(project_id)d"}, "no address and no template"),
        ("placement", "public", {"status": 404}, "answers 404"),
        ("placement", "public", {"status": None, "error": "refused"}, "refused"),
        ("network", "internal", {"enabled": False}, "network: no internal endpoint"),
        ("network", "internal", {"region": "regionone"}, "region regionone, where others have RegionOne"),
    ],
)
def test_an_endpoint_that_leads_nowhere_is_found(kind: str, interface: str, changed: dict[str, Any], said: str) -> None:
    facts = _endpoints(the_facts(), kind, interface, **changed)
    assert said in _found(catalog.test_endpoints_lead_to_their_services, the_cloud(), facts)


@pytest.mark.parametrize(
    ("kind", "interface", "changed"),
    [
        ("image", "public", {"url": "https://cloud.example/image"}),
        ("compute", "public", {"url": "https://cloud.example/compute/v2.1"}),
        ("volumev3", "public", {"url": "https://cloud.example/volume/v3/$(tenant_id)s"}),
        ("volumev3", "public", {"url": "https://cloud.example/volume/v3"}),
        ("placement", "internal", {"status": None, "error": "no way there from the runner"}),
        ("network", "admin", {"enabled": False}),
    ],
)
def test_endpoints_of_other_layouts_are_sound(kind: str, interface: str, changed: dict[str, Any]) -> None:
    catalog.test_endpoints_lead_to_their_services(the_cloud(), _endpoints(the_facts(), kind, interface, **changed))


def _corrected(facts: Facts) -> list[Any]:
    return _steps("ks.catalog.endpoints", "cloud", facts)


def test_slips_in_endpoints_are_corrected_and_no_more() -> None:
    url = "http://c:8776/v3/\\$(tenant_id)s"
    (step,) = _corrected(_endpoints(the_facts(), "volumev3", "internal", url=url))
    assert (step.name, step.url) == ("volumev3 internal", "http://c:8776/v3/$(tenant_id)s")
    facts = _endpoints(the_facts(), "volumev3", "internal", url=url)
    nowhere = facts.openstack.model_copy(update={"region": ""})
    assert _corrected(facts.model_copy(update={"apis": nowhere})) == [step], "the runner's login names no region"
    for other in ("http:\\\\c:8776/v3", "http://c:8776\\v3", "http://c:8776/v3/\\$(user)s"):
        assert not _corrected(_endpoints(the_facts(), "volumev3", "internal", url=other))
    assert not _corrected(_endpoints(the_facts(), "network", "internal", region="regionone"))
    assert not _corrected(_endpoints(the_facts(), "image", "public", url="http://c:9292/v2"))


def test_an_endpoint_of_another_region_is_nobody_s_here() -> None:
    facts = the_facts()
    other = Endpoint(id="x", service="image", interface="public", region="elsewhere", url="http://e:9292", enabled=True)
    image = _identity(facts).of_type("image")[0]
    facts = _with(facts, endpoints=(*_identity(facts).endpoints, other.model_copy(update={"service": image.id})))
    catalog.test_endpoints_lead_to_their_services(the_cloud(), facts)


def test_cinder_may_have_both_of_its_names() -> None:
    facts = the_facts()
    volume = _identity(facts).of_type("volumev3")[0]
    both = CatalogService(id="b", type="block-storage", name="cinder", enabled=True)
    catalog.test_each_service_is_in_the_catalog_once(
        the_cloud(), _with(facts, services=(*_identity(facts).services, both))
    )
    twice = volume.model_copy(update={"id": "c"})
    assert "c)" in _found(
        catalog.test_each_service_is_in_the_catalog_once,
        the_cloud(),
        _with(facts, services=(*_identity(facts).services, twice)),
    )


def test_names_are_compared_as_the_identity_service_does() -> None:
    facts = the_facts()
    users = tuple(one.model_copy(update={"name": one.name.upper()}) for one in _identity(facts).users)
    catalog.test_users_of_services_are_there(the_cloud(), _with(facts, users=users))
    assigned = tuple(
        one.model_copy(update={"user": one.user.upper()}) for one in need(facts.openstack.role_assignments)
    )
    apis = facts.openstack.model_copy(update={"role_assignments": assigned})
    catalog.test_roles_are_given_as_they_must_be(the_cloud(), facts.model_copy(update={"apis": apis}))


def test_a_disabled_user_or_project_is_found() -> None:
    facts = the_facts()
    users = tuple(one.model_copy(update={"enabled": one.name != "nova"}) for one in _identity(facts).users)
    projects = tuple(one.model_copy(update={"enabled": False}) for one in _identity(facts).projects)
    found = _found(catalog.test_users_of_services_are_there, the_cloud(), _with(facts, users=users))
    assert "user nova is disabled" in found and "user glance" not in found
    found = _found(catalog.test_users_of_services_are_there, the_cloud(), _with(facts, projects=projects))
    assert "project service is disabled" in found


@pytest.mark.parametrize("role", ["reader", "member", "service"])
def test_a_role_that_is_lacking_is_found(role: str) -> None:
    facts = the_facts()
    roles = tuple(name for name in _identity(facts).roles if name != role)
    assert f"no role {role}" in _found(
        catalog.test_roles_are_given_as_they_must_be, the_cloud(), _with(facts, roles=roles)
    )
    capital = tuple(name.capitalize() for name in _identity(facts).roles)
    catalog.test_roles_are_given_as_they_must_be(the_cloud(), _with(facts, roles=capital))


@pytest.mark.parametrize(
    ("user", "named", "sound"),
    [("jane", (), False), ("heat", (), True), ("orchestration", (), True), ("ceph_rgw", ("ceph_rgw",), True)],
)
def test_an_administrator_among_services_is_one_of_theirs(user: str, named: tuple[str, ...], sound: bool) -> None:
    facts, cloud = the_facts(), the_cloud()
    heat = CatalogService(id="h", type="orchestration", name="Heat", enabled=True)
    facts = _with(facts, services=(*_identity(facts).services, heat))
    one = next(it for it in need(facts.openstack.role_assignments) if it.user == "nova" and it.role == "admin")
    given = (*need(facts.openstack.role_assignments), one.model_copy(update={"user": user}))
    apis = facts.openstack.model_copy(update={"role_assignments": given})
    facts = facts.model_copy(update={"apis": apis})
    cloud = cloud.model_copy(update={"policy": cloud.policy.model_copy(update={"service_users": named})})
    if sound:
        catalog.test_roles_are_given_as_they_must_be(cloud, facts)
    else:
        assert (
            _found(catalog.test_roles_are_given_as_they_must_be, cloud, facts)
            == "jane is admin in service, and no service"
        )


def test_a_service_without_its_role_is_found() -> None:
    facts = the_facts()
    assigned = need(facts.openstack.role_assignments)
    apis = facts.openstack.model_copy(
        update={"role_assignments": tuple(one for one in assigned if one.user != "glance")}
    )
    facts = facts.model_copy(update={"apis": apis})
    assert "glance has none of" in _found(catalog.test_roles_are_given_as_they_must_be, the_cloud(), facts)


@pytest.mark.parametrize(
    ("versions", "sound"),
    [
        ({"v3.14": "stable"}, True),
        ({"v3.14": "current"}, True),
        ({"v3.8": "stable", "v2.0": "deprecated"}, False),
        ({"v2.0": "stable"}, False),
        ({"v3.0": "experimental"}, False),
    ],
)
def test_versions_of_the_identity_api(versions: dict[str, str], sound: bool) -> None:
    facts = _with(the_facts(), versions=versions)
    if sound:
        service.test_only_the_third_version_is_spoken(the_cloud(), facts)
    else:
        assert "v" in _found(service.test_only_the_third_version_is_spoken, the_cloud(), facts)


def _host(facts: Facts, name: str = CONTROLLER) -> HostFacts:
    return facts.host(name)


def _keys(facts: Facts, *keys: File, mode: int = 0o700) -> HostFacts:
    host = _host(facts)
    keystone = need(host.services["keystone"])
    folder = KeyFolder(stat=File(path="/k", kind="dir", owner="keystone", group="keystone", mode=mode), keys=keys)
    folders = {**keystone.key_folders, TOKEN_KEYS: folder}
    changed = keystone.model_copy(update={"key_folders": folders})
    return host.model_copy(update={"services": {**host.services, "keystone": changed}})


def _key(name: str, *, mode: int = 0o600, age: float = 1.0) -> File:
    mtime = _host(the_facts()).collected_at - age * 86400
    return File(path=f"/k/{name}", kind="file", owner="keystone", group="keystone", mode=mode, mtime=mtime)


@pytest.mark.parametrize(
    ("keys", "mode", "said"),
    [
        ((_key("0"),), 0o700, "1 keys"),
        ((_key("0"), _key("1", mode=0o604)), 0o700, "/k/1 keystone:keystone 0604"),
        ((_key("0"), _key("1")), 0o755, "/k keystone:keystone 0755"),
        ((_key("0", age=400), _key("1", age=800)), 0o700, "the newest is 400 days old"),
    ],
)
def test_keys_of_tokens_that_others_have_or_that_are_old(keys: tuple[File, ...], mode: int, said: str) -> None:
    assert said in _found(service.test_bootstrap_has_left_no_way_in, _keys(the_facts(), *keys, mode=mode))


def test_keys_of_credentials_that_others_read() -> None:
    facts = the_facts()
    host = _host(facts)
    keystone = need(host.services["keystone"])
    closed = need(keystone.key_folders[CREDENTIAL_KEYS])
    opened = closed.model_copy(update={"keys": (_key("0", mode=0o604), *closed.keys)})
    changed = keystone.model_copy(update={"key_folders": {**keystone.key_folders, CREDENTIAL_KEYS: opened}})
    host = host.model_copy(update={"services": {**host.services, "keystone": changed}})
    assert _found(service.test_bootstrap_has_left_no_way_in, host) == "/k/0 keystone:keystone 0604"
    (step,) = _steps(
        "ks.bootstrap.token_off", CONTROLLER, facts.model_copy(update={"hosts": {**facts.hosts, CONTROLLER: host}})
    )
    assert isinstance(step, Attributes) and (step.path, step.mode) == ("/k/0", 0o600)


def test_keys_that_are_read_by_a_group_of_their_own_are_sound() -> None:
    service.test_bootstrap_has_left_no_way_in(
        _keys(the_facts(), _key("0", mode=0o640), _key("1", mode=0o640), mode=0o750)
    )


def test_a_host_without_logins_of_its_own_is_not_judged() -> None:
    host = _host(the_facts()).model_copy(update={"tokens": ()})
    with pytest.raises(Skipped, match="no service here logs in"):
        service.test_services_can_log_in(host)


@pytest.mark.parametrize(
    ("status", "error", "remedy"),
    [(401, "requires authentication", "--password"), (None, "Connection refused", "the way there")],
)
def test_a_login_that_is_refused_is_told_with_its_places(status: int | None, error: str, remedy: str) -> None:
    told = TokenTry(user="u", project="p", url="http://k/v3", places=("glance-api: [x]",), status=status, error=error)
    host = _host(the_facts()).model_copy(update={"tokens": (told,)})
    with pytest.raises(AssertionError):
        service.test_services_can_log_in(host)
    finding = take_finding()
    assert finding is not None and remedy in finding.remedy
    assert "u in p (glance-api: [x])" in finding.found and error in finding.found


def _rc(**changed: Any) -> RcFile:
    stat = File(path="/root/admin-openrc", kind="file", owner="root", group="root", mode=changed.pop("mode", 0o600))
    return RcFile(stat=stat, secret=True, **changed)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (_rc(mode=0o644), "0644"),
        (_rc(variables=("OS_TENANT_NAME",)), "sets OS_TENANT_NAME"),
        (_rc(values={"OS_AUTH_URL": "http://k:35357/v3"}), ":35357"),
        (_rc(variables=("OS_SERVICE_TOKEN",)), "sets OS_SERVICE_TOKEN"),
    ],
)
def test_files_to_log_in_with(told: RcFile, said: str) -> None:
    host = _host(the_facts())
    system = host.system.model_copy(update={"rc_files": (_rc(values={"OS_AUTH_URL": "http://k:5000/v3"}), told)})
    found = _found(
        service.test_files_to_log_in_with_are_private_and_current, host.model_copy(update={"system": system})
    )
    assert said in found


# ---------------------------------------------------------------------------- repairs


def _steps(check: str, target: str, facts: Facts) -> list[Any]:
    repair = known()[check]
    assert isinstance(repair, Repair)
    return repair.of(target, the_cloud(), facts)


def test_keys_that_others_read_are_closed() -> None:
    facts = the_facts()
    host = _keys(facts, _key("0", mode=0o644), _key("1"), mode=0o755)
    steps = _steps(
        "ks.bootstrap.token_off", CONTROLLER, facts.model_copy(update={"hosts": {**facts.hosts, CONTROLLER: host}})
    )
    assert [(type(step), step.path, step.mode) for step in steps] == [
        (Attributes, "/k", 0o750),
        (Attributes, "/k/0", 0o640),
    ]


def test_old_keys_are_rotated_where_no_other_host_has_the_same() -> None:
    facts = the_facts()
    host = _keys(facts, _key("0", age=800), _key("1", age=800))
    facts = facts.model_copy(update={"hosts": {**facts.hosts, CONTROLLER: host}})
    step = TokenKeys(host=CONTROLLER, account="keystone", path="/k")
    assert _steps("ks.bootstrap.token_off", CONTROLLER, facts) == [step]
    others = with_entry(facts, CONTROLLER, "keystone", "token", "provider", "uuid")
    with pytest.raises(NeedsOperator, match="tokens are of uuid"):
        _steps("ks.bootstrap.token_off", CONTROLLER, others)
    hosts = dict(the_cloud().hosts)
    hosts["storage"] = hosts["storage"].model_copy(update={"roles": (*hosts["storage"].roles, "keystone")})
    repair = known()["ks.bootstrap.token_off"]
    assert isinstance(repair, Repair)
    with pytest.raises(NeedsOperator, match="rotated by whoever"):
        repair.of(CONTROLLER, the_cloud().model_copy(update={"hosts": hosts}), facts)


def test_a_file_that_others_read_is_closed() -> None:
    facts = the_facts()
    host = _host(facts)
    system = host.system.model_copy(update={"rc_files": (_rc(mode=0o644),)})
    facts = facts.model_copy(update={"hosts": {**facts.hosts, CONTROLLER: host.model_copy(update={"system": system})}})
    (step,) = _steps("ks.rc_files", CONTROLLER, facts)
    assert isinstance(step, Attributes) and step.mode == 0o600


def test_a_service_that_asks_for_the_old_version_is_pointed_to_the_new() -> None:
    facts = the_facts()
    host = _host(facts)
    glance = need(host.services["glance-api"])
    entries = tuple(
        entry.model_copy(update={"value": "http://k:5000/v2.0"}) if entry.key == "auth_url" else entry
        for entry in need(glance.entries)
    )
    services = {**host.services, "glance-api": glance.model_copy(update={"entries": entries})}
    facts = facts.model_copy(
        update={"hosts": {**facts.hosts, CONTROLLER: host.model_copy(update={"services": services})}}
    )
    assert "glance-api" in _found(service.test_only_the_third_version_is_spoken, the_cloud(), facts)
    steps = _steps("ks.api.version", "cloud", facts)
    assert steps and all(isinstance(step, Option) and step.value == "http://k:5000/v3" for step in steps)
