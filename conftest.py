"""The plugin list; nothing else."""

pytest_plugins = ("fixtures.plugin", "fixtures.targets", "fixtures.live", "reports.plugin")
