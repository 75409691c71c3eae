"""The page of 300 checks on 1,000 hosts: how long it takes to write, how large it is, how soon it can be used."""

from __future__ import annotations

import time
from pathlib import Path

from reports import page
from reports.model import Entry, Joint, Outcome, Report
from tests.browser import browser
from tests.reporting import JOINTS, entry, whole

CHECKS, HOSTS = 300, 1000


def _outcome(number: int) -> Outcome:
    if number % 97 == 0:
        return "failed"
    return "not measured" if number % 211 == 0 else "passed"


def _report() -> Report:
    hosts = tuple(f"hypervisor-{number:04}" for number in range(HOSTS))
    entries: list[Entry] = [
        entry(f"nova.check{check:03}", host, _outcome(check * 7 + number * 13))
        for check in range(CHECKS)
        for number, host in enumerate(hosts)
    ]
    joints = (*JOINTS[:3], Joint(role="nova-compute", hosts=hosts, user="cinder", pool="vms", secret="vms"))
    return whole(tuple(entries), joints=joints)


def test_a_page_of_300_000_cells(tmp_path: Path) -> None:
    made, path = _report(), tmp_path / "report.html"
    before = time.monotonic()
    path.write_text(page.render(made))
    print(f"\nwritten in {time.monotonic() - before:.1f} s, {path.stat().st_size / 2**20:.1f} MiB")
    with browser() as driver:
        driver.get("about:blank")  # the browser's own start is not the page's
        before = time.monotonic()
        driver.get(path.as_uri())
        ready = driver.execute_script("return document.documentElement.dataset.ready")
        print(f"first use after {time.monotonic() - before:.2f} s")
        assert ready == "yes"
        before = time.monotonic()
        driver.execute_script(
            "const grid = document.getElementById('grid'); document.getElementById('grid-bad').click();"
            "grid.scrollTo(9000, 3000); return new Promise(requestAnimationFrame)"
        )
        print(f"all cells asked for, and scrolled, after {time.monotonic() - before:.2f} s")
