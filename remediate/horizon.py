"""Area horizon: the dashboard. Its settings are a program, which people change."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.dashboards import dashboard_of
from fixtures.facts.run import Facts
from remediate.model import Attributes, NeedsOperator, Unit
from remediate.registry import manual, repairs
from remediate.services import run_unit

manual(
    "the dashboard's settings are Python, and which cache it shares with others is yours to say: "
    "systemctl start memcached, or correct CACHES and SESSION_ENGINE",
    "horizon.cache",
)
manual(
    "it shows what horizon.http, horizon.settings, horizon.cache and ks.catalog.* explain; else the dashboard's log "
    "says which service refused it, and its settings and policies are yours",
    "horizon.login",
)
manual(
    "it shows what nv.console explains; where that passes, see CONSOLE_TYPE of the dashboard's settings, and whether a "
    "browser may show the proxy's page inside the dashboard's",
    "horizon.console",
)


@repairs(
    "horizon.http",
    disruption="safe",
    otherwise="the web server runs; its site, its static files (manage.py collectstatic --noinput; manage.py compress "
    "--force) and what its log tells are yours",
)
def run_web_server(cloud: Cloud, facts: Facts, dashboard_host: str) -> Iterator[Unit]:
    """Enable and start it; what it serves wrongly is a person's."""
    yield from run_unit(cloud, facts, dashboard_host, "horizon")


@repairs("horizon.settings", disruption="safe")
def close_the_secret_key(cloud: Cloud, facts: Facts, dashboard_host: str) -> Iterator[Attributes]:
    """Close the file that keeps the key to others; the settings themselves are Python, and a person's."""
    key = dashboard_of(facts.host(dashboard_host).of("horizon")).secret_key
    if key is None or key.file is None or not key.file.mode & 0o007:
        raise NeedsOperator(f"{dashboard_host}: the dashboard's settings are Python, and yours to correct")
    yield Attributes(host=dashboard_host, path=key.file.path, mode=key.file.mode & 0o640)
