"""summary.md: the answer and what to do, for a merge request or a chat."""

from __future__ import annotations

from reports.findings import BAD, by_severity, groups, is_sound
from reports.model import Report
from reports.summary import changes, figures, listed, unreached, verdict
from reports.templating import environment

_NAMED = 5
_SHOWN = 50


def render(report: Report) -> str:
    """Return the text of summary.md."""
    template = environment(markdown=True).get_template("summary.md")
    return template.render(
        report=report,
        run=report.run,
        sound=is_sound(report),
        verdict=verdict(report),
        changes=changes(report),
        failed=by_severity(report, *BAD),
        blind=by_severity(report, "not measured"),
        findings=groups(report, *BAD),
        unmeasured=groups(report, "not measured"),
        waived=groups(report, "waived"),
        healed=groups(report, "healed"),
        figures=figures(report.entries),
        listed=lambda group: listed(group.targets, _NAMED),
        shown=_SHOWN,
        unreached=unreached(report.run),
    )
