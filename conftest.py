"""The plugin list; nothing else."""

pytest_plugins = (
    "fixtures.targets",
    "fixtures.live",
    "fixtures.scratch.plugin",
    "fixtures.plugin",
    "fixtures.granularity",
    "fixtures.effort",
    "fixtures.profiles",
    "fixtures.sources",
    "fixtures.runners.plugin",
    "fixtures.runners.serving",
    "fixtures.descriptions",
    "fixtures.outcomes",
    "reports.plugin",
    "remediate.plugin",
    "drafting.plugin",
)
