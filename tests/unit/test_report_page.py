"""The page and its map without a browser: what is in them, and that nothing in a report can run or hide."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from reports import page
from reports.model import Joint, Report
from reports.topology import HYPERVISORS, OTHERS, make_map
from tests.reporting import JOINTS, NASTY, broken, entry, report, whole


class _Reader(HTMLParser):
    """Keeps ids, inner links, tags and outer addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.outer: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [told["id"]] if "id" in told else []
        href = told.get("href", told.get("src", "#"))
        (self.links if href.startswith("#") else self.outer).append(href)
        assert not [name for name in told if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("made", [broken(), report(), whole(())], ids=["broken", "healthy", "empty"])
def test_a_page_needs_nothing_else_and_its_links_lead_somewhere(made: Report) -> None:
    read = _Reader(page.render(made))
    assert read.outer == ["data:,"]
    assert len(read.ids) == len(set(read.ids))
    assert {link[1:] for link in read.links} - {""} <= set(read.ids)
    assert read.tags.count("script") == 2
    assert "img" not in read.tags


def test_the_data_cannot_end_its_own_element() -> None:
    made = report(entry("ceph.pool.size", NASTY, "failed"))
    (text,) = re.findall(r'id="data">(.*?)</script>', page.render(made))
    assert NASTY in json.loads(text)["targets"]


def test_one_dead_host_is_told_once() -> None:
    blind = [entry("nova.config.discard", host, "not measured", message="hv9 is down") for host in ("hv1", "hv2")]
    text = page.render(report(*blind, entry("nova.secret.value", "hv1/vms", "not measured", message="hv9 is down")))
    assert text.count("hv9 is down") == 1


def _states(made: Report) -> dict[str, str]:
    drawn = make_map(made)
    assert drawn
    return {it.title + (f" ({it.note})" if it.kind == "service" else ""): it.state for it in drawn.elements}


def test_each_part_of_the_map_has_the_worst_of_what_judges_it() -> None:
    states = _states(broken())
    assert states["volumes"] == states["volumes → Ceph"] == "1 failed"
    assert states["vms"] == "1 needs operator"
    assert states["Nova on hv1 → client.cinder"] == "1 failed"
    assert states["Nova (hv2)"] == "1 not measured"
    assert states["client.cinder"] == states["client.cinder → volumes"] == "1 holds"
    assert states["Glance (ctl)"] == "1 waived"
    assert states["The cloud"] == "not judged"


def test_checks_of_a_use_judge_its_user_and_what_fits_nowhere_judges_the_cloud() -> None:
    made = report(entry("ceph.auth.nova.osd", "cloud", "failed"), entry("dr.keys", "cloud", "failed"))
    kinds = {
        check: made.checks[check].model_copy(update={"asked_of": ()}) for check in ("ceph.auth.nova.osd", "dr.keys")
    }
    states = _states(made.model_copy(update={"checks": made.checks | kinds}))
    assert states["client.cinder → vms"] == "1 failed"
    assert states["Ceph"] == "1 failed"
    assert states["The cloud"] == "1 failed"


def test_what_stands_beside_the_integration_has_a_box_where_it_is_judged() -> None:
    made = report(entry("swift.recon", "hv1", "failed"), entry("horizon.http", "cloud", "not applicable"))
    states = _states(made)
    assert (states["Object store"], states["Nova (hv1)"]) == ("1 failed", "1 holds")
    assert "Dashboard" not in states


def test_every_entry_is_on_the_map() -> None:
    made = report(*broken().entries, entry("horizon.http", "cloud", "not applicable"), entry("ks.roles", "cloud"))
    drawn = make_map(made)
    assert drawn
    assert {it.check for it in made.entries} == {it.check for element in drawn.elements for it in element.entries}


def _hypervisors(number: int) -> Report:
    hosts = tuple(f"hv{n:04}" for n in range(number))
    joints = (*JOINTS[:3], Joint(role="nova-compute", hosts=hosts, user="cinder", pool="vms", secret="vms"))
    entries = tuple(entry("nova.config.discard", host, "failed" if host == hosts[-1] else "passed") for host in hosts)
    return whole(entries, joints=joints)


def test_many_hypervisors_are_drawn_as_one_but_those_that_failed() -> None:
    drawn = make_map(_hypervisors(1000))
    assert drawn
    nodes = [it.element for it in drawn.nodes if it.element.title == "Nova"]
    assert len(nodes) == HYPERVISORS
    assert {it.note for it in nodes if it.outcome == "failed"} == {"hv0999"}
    (others,) = (it for it in nodes if it.key == (OTHERS,))
    assert (others.note, len(others.entries)) == ("989 more", 989)


def test_a_report_of_old_has_no_map_and_still_a_page() -> None:
    old = broken().model_dump(mode="json", exclude={"checks": True, "remediation": True, "run": {"joints"}})
    assert 'id="map"' not in page.render(Report.model_validate(old))


def test_figures_of_several_targets_are_told_apart() -> None:
    (seconds, mebibytes) = page.charts(broken().entries)
    assert [(bar.name, bar.value) for bar in seconds.bars] == [("boot to ACTIVE", 4.2), ("boot to first beat", 9.5)]
    assert (mebibytes.unit, mebibytes.bars[0].share) == ("MiB", 1)
