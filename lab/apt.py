"""Where this machine gets Debian packages from, said again for another root."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ETC = Path("/etc/apt")
_POCKETS = ("", "-updates", "-security")


@dataclass(frozen=True)
class _Source:
    uri: str
    suite: str
    components: str
    signed_by: str

    def line(self, suite: str) -> str:
        key = f"[signed-by={self.signed_by}] " if self.signed_by.startswith("/") else ""
        return f"deb {key}{self.uri} {suite} {self.components}"


def sources(suite: str, etc: Path = _ETC) -> list[str]:
    """sources.list lines for a suite, from this machine's own Debian sources.

    Empty where the machine has none, which leaves the choice to mmdebstrap.
    """
    mine = list(_all(etc))
    own = _release_names(mine)
    wanted = suite if suite in own else next(iter(own), None)
    return list(
        dict.fromkeys(
            source.line(suite + source.suite.removeprefix(wanted))
            for source in mine
            if wanted and source.suite in {wanted + pocket for pocket in _POCKETS}
        )
    )


def _release_names(found: list[_Source]) -> list[str]:
    # Only Debian has a NAME and a NAME-security or NAME-updates beside it.
    suites = {source.suite for source in found}
    return [source.suite for source in found if {f"{source.suite}-updates", f"{source.suite}-security"} & suites]


def _all(etc: Path) -> Iterator[_Source]:
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.is_file() and path.suffix == ".list":
            yield from _one_line(path.read_text())
        elif path.is_file() and path.suffix == ".sources":
            yield from _deb822(path.read_text())


def _one_line(text: str) -> Iterator[_Source]:
    pattern = r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<parts>.+)$"
    for found in re.finditer(pattern, text, re.MULTILINE):
        key = re.search(r"signed-by=(\S+)", found["options"] or "")
        yield _Source(found["uri"], found["suite"], found["parts"].split("#")[0].strip(), key[1] if key else "")


def _deb822(text: str) -> Iterator[_Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield _Source(uri, suite, fields.get("components", ""), fields.get("signed-by", ""))


def _fields(stanza: str) -> dict[str, str]:
    lines = [line for line in stanza.splitlines() if not line.startswith("#")]
    pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", "\n".join(lines), re.MULTILINE)
    return {name.lower(): value.strip() for name, value in pairs}
