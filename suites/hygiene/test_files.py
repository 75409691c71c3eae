"""Area hyg: temporary files of services."""

from __future__ import annotations

import pytest

from fixtures.checks import finding, some
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts


@pytest.mark.check("hyg.tmp_files", severity="minor", source="OB CREL-tmp")
def test_services_clean_up_after_themselves(client_host: HostFacts, cloud: Cloud) -> None:
    """No temporary file of os-brick, of a conversion, an upload or a snapshot lies here unused for long.

    Why: a conversion that was killed leaves a whole image, and os-brick a keyring that everybody forgets.
    """
    files = need(client_host.system.leftovers, f"{client_host.name}: temporary files")
    ages = [(file, client_host.collected_at - file.mtime) for file in files if not file.open]
    old = [
        f"{file.path} ({file.size >> 20} MiB, {age / 3600:.0f} h)"
        for file, age in ages
        if age > cloud.hygiene.files_after
    ]
    assert not old, finding(
        client_host.name,
        found=some(old),
        expected=f"none that is older than {cloud.hygiene.files_after} s and that nobody has open",
        remedy="remove them",
    )
