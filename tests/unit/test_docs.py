from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from fixtures.cloud import Cloud

PROJECT = Path(__file__).parents[2]


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_cloud_file_of_the_page_is_a_good_one() -> None:
    """With the waiver that the page shows."""
    page = (PROJECT / "docs/your-cloud.md").read_text()
    parts = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(parts) == 2
    cloud = Cloud.model_validate(YAML(typ="safe").load("\n".join(parts)))
    assert cloud.waivers[0].check in (PROJECT / "docs/checks.md").read_text()


def test_every_page_is_in_the_site() -> None:
    text = (PROJECT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(PROJECT / "docs")) for path in (PROJECT / "docs").rglob("*.md")}
    assert {page for page in pages if f"- {page}\n" not in text} == set()
