"""Repairs of iSCSI: a pool's definition, who may log in to a target of tgt, and what is planned on made facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.facts.iscsi import Gateway
from remediate import iscsi as repairs
from remediate.hand import pools, tgt
from remediate.hand.steps import Hand
from remediate.model import Attributes, NeedsOperator, StoragePool, TgtAccess, Unit
from tests.unit import test_iscsi as made

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
