"""The page in a real browser: filters, search, deep links, keyboard, width of a phone, and a silent console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.common.print_page_options import PrintOptions

from reports import page
from tests.browser import browser
from tests.reporting import broken, report


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.render(broken()))
    return path.as_uri()


def _open(driver: Chrome, url: str) -> None:
    driver.get("about:blank")
    driver.get(url)
    assert driver.find_element(By.TAG_NAME, "html").get_attribute("data-ready") == "yes"


def _shown(driver: Chrome) -> list[str]:
    found = driver.find_elements(By.CSS_SELECTOR, ".finding")
    return [str(it.get_attribute("id")) for it in found if it.is_displayed()]


def _type(driver: Chrome, field: str, text: str) -> None:
    driver.find_element(By.ID, field).send_keys(text)


def test_nothing_of_a_report_runs_and_the_console_is_silent(driver: Chrome, url: str) -> None:
    _open(driver, url)
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert "<script>alert(1)</script>" in driver.find_element(By.ID, "failed.ceph.pool.size").text


def test_search_and_filters_narrow_the_findings_and_stay_in_the_address(driver: Chrome, url: str) -> None:
    _open(driver, url)
    every = _shown(driver)
    _type(driver, "q", "secret hv2/volumes")
    assert _shown(driver) == ["failed.nova.secret.value"]
    assert "1 of" in driver.find_element(By.ID, "matches").text
    address = driver.current_url
    assert address.endswith("#find?q=secret%20hv2%2Fvolumes")
    _open(driver, address)
    assert _shown(driver) == ["failed.nova.secret.value"]
    _open(driver, url)
    assert _shown(driver) == every
    _type(driver, "severity", "critical")
    assert _shown(driver) == ["failed.ceph.pool.size"]


def test_a_deep_link_shows_its_finding_even_where_it_was_filtered_away(driver: Chrome, url: str) -> None:
    _open(driver, f"{url}#failed.nova.secret.value")
    top = driver.execute_script(
        "return document.getElementById('failed.nova.secret.value').getBoundingClientRect().top"
    )
    assert 0 <= top < 900
    _type(driver, "q", "pool")
    assert "failed.nova.secret.value" not in _shown(driver)
    driver.execute_script("location.hash = 'failed.nova.secret.value'")
    assert "failed.nova.secret.value" in _shown(driver)


def test_an_edge_of_the_map_shows_the_checks_that_judge_it(driver: Chrome, url: str) -> None:
    _open(driver, url)
    edge = driver.find_element(By.CSS_SELECTOR, 'a.edge[aria-label^="Nova on hv1 → client.cinder"]')
    assert edge.get_attribute("aria-label") == "Nova on hv1 → client.cinder (libvirt secret): 1 failed"
    assert "failed" in str(edge.get_attribute("class"))
    driver.execute_script("arguments[0].focus()", edge)
    edge.send_keys(Keys.ENTER)
    (panel,) = (it for it in driver.find_elements(By.CSS_SELECTOR, ".panel") if it.is_displayed())
    assert [it.text for it in panel.find_elements(By.CSS_SELECTOR, "tbody code")] == [
        "nova.secret.value",
        "host.keyring.present",
    ]


def test_the_matrix_is_walked_by_keyboard_and_leads_to_the_finding(driver: Chrome, url: str) -> None:
    _open(driver, url)
    grid = driver.find_element(By.ID, "grid")
    _type(driver, "grid-check", "secret")
    assert driver.find_element(By.ID, "grid-said").text.startswith("1 of 8 checks, 2 of")
    grid.send_keys(Keys.ARROW_RIGHT)
    assert driver.find_element(By.ID, "grid-said").text == "nova.secret.value on hv2/volumes: failed"
    grid.send_keys(Keys.ENTER)
    assert driver.current_url.endswith("#failed.nova.secret.value")
    _type(driver, "grid-bad", Keys.SPACE)
    assert driver.find_element(By.ID, "grid-said").text.startswith("1 of 8 checks, 4 of")


def test_a_phone_scrolls_only_down(url: str) -> None:
    with browser(width=390, height=800) as phone:
        _open(phone, url)
        assert phone.execute_script("return document.documentElement.scrollWidth") == 390


def test_what_can_be_pressed_has_a_name(driver: Chrome, url: str) -> None:
    _open(driver, url)
    nameless = driver.execute_script(
        """return [...document.querySelectorAll('a, button, input, select, [role]')].filter((it) =>
        !(it.textContent.trim() || it.getAttribute('aria-label') || (it.labels && it.labels.length)
          || ['presentation', 'row'].includes(it.getAttribute('role')))).map((it) => it.outerHTML)"""
    )
    assert nameless == []


def test_it_prints(driver: Chrome, url: str) -> None:
    _open(driver, url)
    assert len(driver.print_page(PrintOptions())) > 10_000


def test_a_sound_cloud_says_so_first(driver: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.render(report()))
    _open(driver, path.as_uri())
    assert driver.find_element(By.TAG_NAME, "h1").text == "✓ The integration is sound."
    assert "Nothing failed" in driver.find_element(By.ID, "findings").text
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
