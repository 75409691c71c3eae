"""Configuration files from data."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

Value = str | int | float | bool
Section = dict[str, Value]
Config = dict[str, Section]


def render(config: Mapping[str, Mapping[str, Value]]) -> str:
    """The text of an ini file."""
    return "\n".join(_section(name, options) for name, options in config.items() if options)


def merge(*configs: Mapping[str, Mapping[str, Value]]) -> Config:
    """One configuration of several; the later one wins."""
    merged: Config = {}
    for config in configs:
        for name, options in config.items():
            merged.setdefault(name, {}).update(options)
    return merged


def place(config: Config, main: str, layout: Mapping[str, Sequence[str]]) -> dict[str, Config]:
    """Spread a configuration over files: what no pattern of the layout names stays in main."""
    files: dict[str, Config] = {main: {}, **{path: {} for path in layout}}
    for section, options in config.items():
        for key, value in options.items():
            path = _file_of(f"{section}.{key}", main, layout)
            files[path].setdefault(section, {})[key] = value
    return files


def _file_of(name: str, main: str, layout: Mapping[str, Sequence[str]]) -> str:
    for path, patterns in layout.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return path
    return main


def _section(name: str, options: Mapping[str, Value]) -> str:
    lines = [f"{key} = {_text(value)}".rstrip() for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
