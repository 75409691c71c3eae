"""A real browser without a screen, for the tests of the page; skipped with the reason where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from fixtures.browser import flags, program


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """A headless Chromium with a window of that size in CSS pixels."""
    found = {"chromium": program(), "chromedriver": shutil.which("chromedriver")}
    missing = [name for name, path in found.items() if not path]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here (packages.txt names the packages)")
    options = ChromeOptions()
    options.binary_location = found["chromium"] or ""
    for argument in flags():
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(found["chromedriver"]))
    try:
        # A window is not made narrower than 500: a phone is emulated.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()
