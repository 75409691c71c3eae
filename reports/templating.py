"""Jinja over reports/templates. Every value is escaped for its format; nothing in a report is trusted."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment(*, markdown: bool = False) -> Environment:
    """Return the environment of the HTML templates, or of Markdown's, with autoescape on."""
    made = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Called on every printed value before autoescape, which leaves Markup alone.
        finalize=in_markdown if markdown else None,
    )
    made.filters |= {"moment": moment, "span": span, "code": code}
    return made


_SPECIAL = re.compile(r"([\\`*_\[\]#|<>~$&])")


def in_markdown(value: Any) -> Any:
    """Return a value as a part of a line of Markdown, not its start, that shows it as it is."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    # As entities: some renderers read tags and entities even behind a backslash.
    return Markup(_SPECIAL.sub(lambda found: _ENTITIES.get(found[1], "\\" + found[1]), text))


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def code(text: str) -> Markup:
    """Return a text as code in Markdown."""
    return Markup("`{}`".format(text.replace("`", "'")))


def moment(iso: str) -> str:
    """Return a moment as a person reads it."""
    return f"{dt.datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC"


def span(seconds: float) -> str:
    """Return a span of time as a person reads it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
