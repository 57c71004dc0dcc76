"""A state.yaml as it is written: values, fields and rules, with their places; what it extends comes after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import BaseLoader, Environment
from jinja2.exceptions import TemplateNotFound

from pman import schema
from pman.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, refusal or check."""

    source: Mapping[str, Any]
    file: str
    """The path of the file it is written in."""

    line: int


@dataclass(frozen=True, slots=True)
class StateFile:
    """With what it extends: its own rules first, and its own values and fields in place of the others."""

    values: Mapping[str, str]
    fields: Mapping[str, str]
    applied: Mapping[str, str]
    rules: tuple[Rule, ...]
    refusals: tuple[Rule, ...]
    checks: tuple[Rule, ...]


NOTHING = StateFile({}, {}, {}, (), (), ())


def read(search: BaseLoader, name: str, below: tuple[str, ...] = ()) -> StateFile:
    """Raises ConfigError for a file that is not there, no YAML, or against schema/state.json."""
    if name in below:
        shipped = f"builtin/{name.removeprefix('builtin/')}"
        raise ConfigError(f"templates/{name} extends itself; the shipped one is {shipped}")
    try:
        text, path, _ = search.get_source(Environment(autoescape=True), name)
    except TemplateNotFound as error:
        extending = f", which templates/{below[-1]} extends," if below else ""
        raise ConfigError(f"templates/{name}{extending} does not exist") from error
    file = path or f"templates/{name}"
    try:
        own, lines = _parsed(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = mark.line + 1 if mark else 0
        raise ConfigError.of([Fault(name, f"no YAML: {problem or error}", file, line)]) from error
    if faults := schema.faults(schema.validator(schema.load("state.json")), own):
        raise ConfigError.of([Fault(name, f"{fault.path}: {fault.message}", file) for fault in faults])
    parent = read(search, own["extends"], (*below, name)) if "extends" in own else NOTHING

    def rules(key: str) -> tuple[Rule, ...]:
        pairs = zip(own.get(key, ()), lines.get(key, ()), strict=True)
        return tuple(Rule(source, file, line) for source, line in pairs)

    return StateFile(
        values={**parent.values, **own.get("values", {})},
        fields={**parent.fields, **own.get("fields", {})},
        applied={**parent.applied, **own.get("applied", {})},
        rules=rules("rules") + parent.rules,
        refusals=rules("refusals") + parent.refusals,
        checks=rules("checks") + parent.checks,
    )


def _parsed(text: str) -> tuple[Any, dict[str, list[int]]]:
    """The content of a file, and the line of each item of its lists."""
    loader = yaml.CSafeLoader(text)
    try:
        root = loader.get_single_node()
        content = None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
    lines = {}
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if isinstance(value, yaml.SequenceNode):
                lines[str(key.value)] = [item.start_mark.line + 1 for item in value.value]
    return content, lines


def extended(text: str) -> str | None:
    """What a state.yaml extends, if it says so; what is wrong with the file, `read` tells."""
    try:
        content, _ = _parsed(text)
    except yaml.YAMLError:
        return None
    found = content.get("extends") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None
