"""Repairs of iSCSI: a pool's definition, who may log in to a target of tgt, and what is planned on made facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.facts.base import Unreadable
from fixtures.facts.iscsi import Gateway
from remediate import iscsi as repairs
from remediate.hand import pools, tgt
from remediate.hand.files import Refused
from remediate.hand.steps import Hand
from remediate.model import Attributes, NeedsOperator, Restart, StoragePool, TgtAccess, Unit
from tests.unit import test_iscsi as made
from tests.unit.test_remediate_plan import with_host

TOLD = {
    "host": "10.0.0.1",
    "port": "3260",
    "target": made.TARGET,
    "initiator": made.CLIENT,
    "user": "u&v",
    "secret": "s",
}


def test_a_definition_says_what_is_wanted() -> None:
    wanted = {"type": "iscsi-direct", **TOLD}
    assert pools.definition(pools.rendered("images", wanted, "")) == wanted
    kernel = pools.rendered("images", {**wanted, "type": "iscsi", "initiator": "", "user": "", "secret": ""}, "")
    assert "<path>/dev/disk/by-path</path>" in kernel and "<auth" not in kernel and "<initiator" not in kernel


def test_a_definition_keeps_what_is_not_of_its_source() -> None:
    wanted = {"type": "iscsi", **TOLD, "initiator": ""}
    old = pools.rendered("images", {**wanted, "target": "iqn.2003-01.com.redhat:other"}, "u-u-i-d")
    old = old.replace(
        "<path>/dev/disk/by-path</path>", "<path>/dev/disk/by-id</path><permissions><mode>0711</mode></permissions>"
    ).replace("</source>", "<vendor name='v'/></source>")
    new = pools.led(old, pools.rendered("images", wanted, "u-u-i-d"))
    assert pools.definition(new) == wanted
    assert "/dev/disk/by-id" in new and "0711" in new and "vendor" in new and new.count("<device") == 1
    direct = pools.rendered("images", {**wanted, "type": "iscsi-direct"}, "u-u-i-d")
    assert pools.led(old, direct) == direct, "another type has other parts"


def test_a_pool_is_not_taken_for_gone_where_libvirt_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(words: list[str]) -> str:
        raise Refused("no connection")

    monkeypatch.setattr(pools, "run", refuse)
    with pytest.raises(Refused, match="no connection"):
        pools.StoragePool(None, {"name": "images"}).look()


class Tgtd:
    """Answers as tgtadm does, and takes what is bound and unbound."""

    def __init__(self, *acl: str) -> None:
        self.acl = set(acl)

    def run(self, words: list[str]) -> str:
        if "bind" in words:
            self.acl.add(words[-1])
        elif "unbind" in words:
            self.acl.remove(words[-1])
        lines = "".join(f"        {name}\n" for name in sorted(self.acl))
        return f"Target 1: {made.TARGET}\n    Account information:\n        u\n    ACL information:\n{lines}"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ceph.conf"
    path.write_text(
        f"<target {made.TARGET}>\n    initiator-address ALL\n    incominguser u 0123456789ab\n</target>\n"
        "<target iqn.2003-01.com.redhat:other>\n    initiator-address ALL\n</target>\n"
    )
    (tmp_path / "targets.conf").write_text(f"include {tmp_path}/*eph.conf\n")
    monkeypatch.setattr(tgt, "CONF", str(tmp_path / "targets.conf"))
    return path


def test_a_target_lets_in_whom_it_is_told_to_and_goes_back(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tgtd = conf.read_text(), Tgtd("ALL")
    monkeypatch.setattr(tgt, "run", tgtd.run)
    step = {"target": made.TARGET, "addresses": ["10.0.0.2"], "names": [made.CLIENT]}
    act = tgt.TgtAccess(Hand(str(tmp_path / "kept"), "run", {}), step)
    state, told = act.look(), act.preview()
    act.do(1)
    assert act.look() == told["after"] and "0123456789ab" not in str(told)
    own, other = conf.read_text().split("</target>\n")[:2]
    assert f"initiator-name {made.CLIENT}" in own and "ALL" not in own and "incominguser u 0123456789ab" in own
    assert "initiator-address ALL" in other
    assert not act.preview()["diff"]
    act.undo(1, state)
    assert act.look() == state and conf.read_text() == before


MIXED = f"""# Targets of the gateway.
<target {made.TARGET}>
    driver iscsi
\tinitiator-name={made.CLIENT}
    incominguser u 0123456789ab
    initiator-address\tALL  # everybody
</target>
"""


def test_a_file_of_targets_comes_back_to_the_byte_and_keeps_what_others_wrote(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf.write_text(MIXED)
    tgtd = Tgtd("ALL", made.CLIENT)
    monkeypatch.setattr(tgt, "run", tgtd.run)
    step = {"target": made.TARGET, "addresses": ["10.0.0.2"], "names": [made.CLIENT]}
    act = tgt.TgtAccess(Hand(str(tmp_path / "kept"), "run", {}), step)
    before = act.look()
    assert before["kept"] == {"addresses": ["ALL"], "names": [made.CLIENT]}
    act.do(1)
    lines = conf.read_text().splitlines()
    assert lines[2:5] == ["    driver iscsi", "    initiator-address 10.0.0.2", f"    initiator-name {made.CLIENT}"]
    assert not (tmp_path / "kept" / "1").stat().st_mode & 0o077, "it holds a password"
    act.undo(1, before)
    assert conf.read_text() == MIXED
    act.do(2)
    conf.write_text(conf.read_text() + "# mine\n")
    act.undo(2, before)
    assert conf.read_text().endswith("# mine\n") and act.look() == before


def test_a_tools_file_of_targets_is_left_to_it(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf.write_text("# Managed by Puppet\n" + MIXED)
    monkeypatch.setattr(tgt, "run", Tgtd("ALL").run)
    step = {"target": made.TARGET, "addresses": ["10.0.0.2"], "names": [made.CLIENT]}
    assert "Puppet" in tgt.TgtAccess(None, step).preview()["managed"]


def _gateway_of_tgt(**other: Any) -> Gateway:
    live = made._gateway().live
    assert isinstance(live, tuple)
    target = live[0].model_copy(update={"acl": (made.CLIENT, "10.70.1.11"), "mapped": {}})
    kept = (target.model_copy(update=other),)
    return Gateway(units=(made._unit("tgt.service"),), live=(target,), kept=kept)


def test_whoever_is_let_in_too_much_is_taken_off_the_list(tmp_path: Path) -> None:
    cloud = made._cloud(tmp_path, served_by="tgt")
    (step,) = repairs.let_in_the_initiators_only(cloud, made._facts(_gateway_of_tgt(acl=("ALL",))), "storage")
    assert isinstance(step, TgtAccess) and step.names == (made.CLIENT,) and step.addresses
    with pytest.raises(NeedsOperator, match="what the target exports"):
        list(repairs.let_in_the_initiators_only(cloud, made._facts(_gateway_of_tgt(luns=())), "storage"))


def test_networks_that_are_let_in_stay_so(tmp_path: Path) -> None:
    cloud = made._cloud(tmp_path, served_by="tgt")
    facts = made._facts(_gateway_of_tgt(acl=("10.70.0.0/16", "iqn.2003-01.com.redhat:other")))
    (step,) = repairs.let_in_the_initiators_only(cloud, facts, "storage")
    assert isinstance(step, TgtAccess) and (step.names, step.addresses) == ((made.CLIENT,), ("10.70.0.0/16",))
    whole = _gateway_of_tgt(acl=("10.70.0.0/16", made.CLIENT))
    assert not list(repairs.let_in_the_initiators_only(cloud, made._facts(whole), "storage"))


def test_tgt_is_started_anew_for_what_is_kept_and_only_where_that_is_whole(tmp_path: Path) -> None:
    cloud, gateway = made._cloud(tmp_path, served_by="tgt"), _gateway_of_tgt()
    assert isinstance(gateway.live, tuple) and isinstance(gateway.kept, tuple)
    (lun,) = gateway.live[0].luns
    other = gateway.live[0].model_copy(update={"luns": (lun.model_copy(update={"image": "rbd/else"}),)})
    lacking = gateway.model_copy(update={"live": (other,)})
    (step,) = repairs.let_in_the_initiators_only(cloud, made._facts(lacking), "storage")
    assert isinstance(step, Restart) and step.disruption == "disruptive"
    skipped = gateway.kept[0].model_copy(update={"luns": (lun.model_copy(update={"online": False}),)})
    facts = made._facts(lacking.model_copy(update={"kept": (skipped,)}))
    with pytest.raises(NeedsOperator, match="what the target exports"):
        list(repairs.let_in_the_initiators_only(cloud, facts, "storage"))


def test_a_pool_is_led_by_the_user_that_it_has(tmp_path: Path) -> None:
    gateway = _gateway_of_tgt()
    assert isinstance(gateway.kept, tuple)
    users = {**gateway.kept[0].users, "another": None}
    two = gateway.model_copy(update={"kept": (gateway.kept[0].model_copy(update={"users": users}),)})
    pools_now = made._initiator().pools
    assert not isinstance(pools_now, Unreadable)
    (pool,) = pools_now
    lost = made._initiator(pools=(pool.model_copy(update={"target": "iqn.2003-01.com.redhat:other"}),))
    cloud = made._cloud(tmp_path)
    (step,) = repairs.lead_the_pool_to_the_target(cloud, made._facts(two, lost), "compute1")
    assert step.source["user"] == "myiscsiusername"
    unknown = made._initiator(pools=(pool.model_copy(update={"user": "nobody"}),))
    with pytest.raises(NeedsOperator, match="another, myiscsiusername"):
        list(repairs.lead_the_pool_to_the_target(cloud, made._facts(two, unknown), "compute1"))


def test_which_of_a_gateways_addresses_is_its_portal_is_not_guessed(tmp_path: Path) -> None:
    gateway = _gateway_of_tgt()
    assert isinstance(gateway.live, tuple)
    facts = made._facts(
        gateway.model_copy(update={"live": (gateway.live[0].model_copy(update={"portals": {}}),)}),
        made._initiator(pools=()),
    )
    (step,) = repairs.run_the_pool(made._cloud(tmp_path), facts, "compute1")
    assert step.source["host"] == "192.168.100.201"
    facts = with_host("storage", facts, addresses=("10.0.0.1", "192.168.100.201"))
    with pytest.raises(NeedsOperator, match="by which of the gateways' addresses"):
        list(repairs.run_the_pool(made._cloud(tmp_path), facts, "compute1"))


def test_a_pool_that_is_not_there_is_defined(tmp_path: Path) -> None:
    facts = made._facts(initiator=made._initiator(pools=()))
    (step,) = repairs.run_the_pool(made._cloud(tmp_path), facts, "compute1")
    assert isinstance(step, StoragePool) and step.type == "iscsi"
    assert step.source == {
        "host": "192.168.100.201",
        "port": "3260",
        "target": made.TARGET,
        "user": "myiscsiusername",
        "secret": "libvirtiscsi",
    }


def test_of_the_kernels_initiator_units_are_started_and_files_closed(tmp_path: Path) -> None:
    stopped = made._unit("iscsid.service", active="inactive", enabled="disabled")
    kernel = made._kernel(units=(stopped,), conf=made._file("/etc/iscsi/iscsid.conf", 0o644))
    unit, file = repairs.run_the_kernels_initiator(made._facts(initiator=made._initiator(kernel)), "compute1")
    assert isinstance(unit, Unit) and (unit.unit, unit.enable) == ("iscsid.service", True)
    assert isinstance(file, Attributes) and file.mode == 0o600
    with pytest.raises(NeedsOperator, match="sessions of running guests"):
        list(repairs.run_the_kernels_initiator(made._facts(), "compute1"))
