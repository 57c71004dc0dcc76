"""The option × engine table: what the templates read, not what somebody wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pman.errors import ConfigError, Fault
from pman.settings import DECLARED, engine_schema, properties, written
from pman.translation import assumed
from pman.translation.inventory import inventory
from pman.translation.request import PROPERTIES
from pman.translation.translation import Translation
from pman.translation.variables import honours


@dataclass(frozen=True, slots=True)
class Row:
    option: str
    part: str
    """`request` or `settings`."""

    honoured: Mapping[str, bool]
    """True for each engine that honours it."""

    limits: Mapping[str, str]
    """The narrower values of the engines that narrow it."""

    meaning: str


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: Sequence[Row]
    faults: Mapping[str, tuple[Fault, ...]]
    """The engines whose templates do not work, and why."""


def rows(templates: Sequence[str], engines: Sequence[str]) -> list[Row]:
    """Every field of a request and every setting, for each of `engines`.

    `templates`: PMAN_TEMPLATES, since a site's templates may honour more, or less. Raises
    ConfigError for a template that does not work.
    """
    return _table({engine: _read(engine, templates, engines) for engine in engines})


def working(templates: Sequence[str], engines: Sequence[str]) -> Matrix:
    """Makes the table for the engines whose templates work, and says why the others' do not."""
    read, faults = {}, {}
    for engine in engines:
        try:
            read[engine] = _read(engine, templates, engines)
        except (ConfigError, ValueError, OSError, RecursionError) as error:  # ValueError: not UTF-8
            folders = inventory.engines(list(map(Path, templates)), [engine])
            of_files = tuple(fault for folder in folders for fault in folder.faults)
            reasons = error.faults if isinstance(error, ConfigError) else ()
            faults[engine] = of_files or reasons or (Fault(engine, str(error)),)
    return Matrix(_table(read), faults)


def _table(read: Mapping[str, frozenset[str]]) -> list[Row]:
    return [
        Row(
            option=name,
            part=part,
            honoured={engine: honours(engine, declared, read[engine]) for engine in read},
            limits={engine: text for engine in read if (text := _limit(engine, part, name))},
            meaning=_meaning(name, declared),
        )
        for part, options in (("request", PROPERTIES), ("settings", DECLARED))
        for name, declared in options.items()
    ]


def _read(engine: str, templates: Sequence[str], engines: Sequence[str]) -> frozenset[str]:
    environ = {"CONTAINER_ENV": engine, "PMAN_TEMPLATES": ":".join(templates)}
    settings, _ = assumed.settings(environ, engines)
    return Translation(settings).read_by_templates


def _limit(engine: str, part: str, name: str) -> str:
    """Says what an engine takes in place of all values; '' where it takes them all."""
    narrowed = properties(engine_schema(engine, part)).get(name, {})
    inner = narrowed.get("items", {})
    description = narrowed.get("description") or inner.get("description") or ""
    return str(description or ", ".join(map(str, narrowed.get("enum", ()))))


def _meaning(name: str, declared: Mapping[str, Any]) -> str:
    if "$ref" in declared:
        return "a directory inside the storebase, a relative path"
    default = declared.get("default")
    suffix = f"; default {written(name, default)}" if default not in (None, {}, []) else ""
    return f"{declared['description']}{suffix}"
