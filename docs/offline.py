"""Fails where a page of the built site would fetch something from the network: `python -m docs.offline SITE`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "form": "action"}
NAMED_ONLY = {"canonical", "next", "prev", "alternate"}
"""Kinds of <link> that are not fetched."""
_AWAY = re.compile(r"^(?:https?:)?//")
_IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


class _Fetches(HTMLParser):
    """Gathers the addresses that a page fetches as it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        address = told.get(FETCHED.get(tag, "")) or ""
        if _AWAY.match(address) and told.get("rel") not in NAMED_ONLY:
            self.found.append(address)


def fetches(site: Path) -> Iterator[tuple[Path, str]]:
    """Yield each page or style sheet with an address elsewhere that it fetches."""
    for path in sorted(site.rglob("*.html")):
        page = _Fetches()
        page.feed(path.read_text())
        yield from ((path, address) for address in page.found)
    for path in sorted(site.rglob("*.css")):
        yield from ((path, address) for address in _IN_STYLE.findall(path.read_text()))


def main() -> int:
    """Say what is fetched; the exit code."""
    found = list(fetches(Path(sys.argv[1])))
    for path, address in found:
        print(f"{path}: fetches {address}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
