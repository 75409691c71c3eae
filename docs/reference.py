"""The pages that are tables of declarations: options, fields of the cloud file, profiles."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import pytest

import conftest
from fixtures.cloud import Cloud
from fixtures.profiles import Profile, profiles

Schema: TypeAlias = Mapping[str, Any]
"""JSON schema, or a part of it."""

OPTIONS_HEAD: Final = """\
# Options

What the suite adds to pytest's own options. Written by `tox -e docs` from the declarations; `pytest --help` says the
same. All of pytest's own (`-k`, `-m`, `-x`, `--lf`, `--junitxml`, …) and pytest-xdist's (`-n`) work beside them.

| option | value | what it does |
|---|---|---|
"""

CLOUD_HEAD: Final = """\
# The cloud file, field by field

Written by `tox -e docs` from the model that reads the file. A key that is not here is refused, with file, line and
what is allowed. `${NAME}` and `${NAME:-default}` are taken from the environment; relative paths from the file's folder.
[Your own cloud](your-cloud.md) shows how to begin.
"""

PROFILES_HEAD: Final = """\
# Profiles

Named selections of checks: `pytest --cloud FILE --profile NAME`; `-m` and `-k` narrow one further. Written by
`tox -e docs` from `fixtures/profiles.yaml`. `pytest --profiles --cloud FILE` also counts how many targets yours has.

What a check costs is of one of three classes: it *reads* what one observation of all hosts brought back; it *asks
services* by their own status commands, which take seconds of CPU on their hosts; or it is a *journey*, which makes and
removes resources of the suite's own and takes from seconds to minutes.
"""


# -- options


def options_page() -> str:
    """Return the page of options, as our plugins declare them."""
    return OPTIONS_HEAD + "".join(_option(option) for option in _options())


def _options() -> Iterator[Any]:
    """Every option of ours, in the plugins' order."""
    for name in conftest.pytest_plugins:
        parser = pytest.Parser(_ispytest=True)
        declare = getattr(importlib.import_module(name), "pytest_addoption", None)
        if declare:
            declare(parser)
            yield from (option for group in (*parser._groups, parser._anonymous) for option in group.options)


def _option(option: Any) -> str:
    told = option.attrs()
    value = " or ".join((told.get("metavar") or "").split("|")) or ", ".join(told.get("choices") or ())
    shown = f"{value}; may be left out" if told.get("nargs") == "?" else value
    names = ", ".join(f"`{name}`" for name in option.names())
    return f"| {names} | {_cell(shown)} | {_cell(_sentence(told.get('help') or ''))} |\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _cell(text: str) -> str:
    return text.replace("|", " or ").replace("*", "\\*")


# -- the cloud file


def cloud_file_page() -> str:
    """Return the page of the cloud file's fields."""
    schema = Cloud.model_json_schema()
    parts = [CLOUD_HEAD, *_section("", schema, schema["$defs"], {})]
    return "\n".join(parts)


def _section(path: str, model: Schema, models: Schema, seen: dict[str, str]) -> Iterator[str]:
    """Yield a model's fields, then those of the models that it holds, each once."""
    yield f"## {path or 'At the top'}\n\n{model['description']}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    required = model.get("required", ())
    for key, field in model["properties"].items():
        default = "required" if key in required else _default(field)
        yield f"| `{key}` | {_kind(field, models)} | {default} | {_cell(_meaning(field, models))} |"
    yield ""
    for key, field in model["properties"].items():
        for name, below in _models_of(field, f"{path}.{key}".lstrip(".")):
            if seen.setdefault(name, below) == below:
                yield from _section(below, models[name], models, seen)
            else:
                yield f"## {below}\n\nAs [{seen[name]}](#{_anchor(seen[name])}).\n"


def _anchor(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_")


def _models_of(field: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the models that a field holds, and where."""
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], path
    for part in (*field.get("anyOf", ()), *field.get("allOf", ())):
        yield from _models_of(part, path)
    if field.get("type") == "object":
        yield from _models_of(_values_of(field), f"{path}.NAME")
    if isinstance(field.get("items"), Mapping):
        yield from _models_of(field["items"], f"{path}[]")


def _meaning(field: Schema, models: Schema) -> str:
    """Return what a field is; a section that says nothing as a field says it as a section."""
    named = field.get("$ref") or field.get("items", {}).get("$ref", "")
    return str(field.get("description") or models.get(named.rpartition("/")[2], {}).get("description", ""))


def _values_of(field: Schema) -> Schema:
    """Return what a mapping's values are; names with a rule of their own stand under patternProperties."""
    values: Schema = field.get("additionalProperties") or next(iter(field["patternProperties"].values()))
    return values


def _kind(field: Schema, models: Schema) -> str:
    """Return what may be written, in words."""
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_kind(part, models) for part in field["anyOf"] if part.get("type") != "null")
    if "$ref" in field:
        return "see below"
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], models)}"
    if field.get("type") == "object":
        return f"name: {_kind(_values_of(field), models)}"
    return _WORDS.get(field.get("format", field.get("type", "")), "text") + _bounds(field)


_WORDS: Final = {
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "path": "path",
    "date": "date",
    "ipvanynetwork": "network",
}


def _bounds(field: Schema) -> str:
    told = [
        f"{word} {field[name]}"
        for name, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if name in field
    ]
    return f" {' '.join(told)}" if told else ""


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, "", [], {}) or isinstance(default, dict) else f"`{json.dumps(default)}`"


# -- profiles


def profiles_page() -> str:
    """Return the page of profiles."""
    return PROFILES_HEAD + "".join(_profile(name, profile) for name, profile in profiles().items())


def _profile(name: str, profile: Profile) -> str:
    about = f"{_sentence(profile.about)} On the lab: {profile.lab}. Classes: {', '.join(profile.costs)}."
    lines = [f"\n## {name}\n\n{about}", "", "| why | checks |\n|---|---|"]
    lines += [f"| {why} | {_codes(patterns)} |" for why, patterns in profile.holds.items()]
    lines += [f"\nLeft out: {_codes(profile.but)}."] if profile.but else []
    return "\n".join(lines) + "\n"


def _codes(patterns: tuple[str, ...]) -> str:
    return ", ".join(f"`{pattern}`" for pattern in patterns)
