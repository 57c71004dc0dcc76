"""The inventory as JSON, the same in API v2 and on the command line (schema/api.json, Templates)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pman.translation.inventory.blocks import Block
from pman.translation.inventory.inventory import EngineTemplates, TemplateFile
from pman.translation.statefile import Rule


def answer(engines: Iterable[EngineTemplates]) -> Mapping[str, Any]:
    """Templates, blocks and rules of these engines, under `engines`."""
    return {"engines": list(map(_engine, engines))}


def _engine(engine: EngineTemplates) -> Mapping[str, Any]:
    return {
        "engine": engine.engine,
        "faults": [fault.answer() for fault in engine.faults],
        "files": list(map(_file, engine.files)),
        "rules": list(map(_rule, engine.rules)),
    }


def _file(file: TemplateFile) -> Mapping[str, Any]:
    names = ("name", "shipped", "overrides", "overridden_by", "extends", "doc", "text")
    return {
        **{name: getattr(file, name) for name in names},
        "path": str(file.path),
        "blocks": list(map(_block, file.blocks)),
        "inherited": list(map(_block, file.inherited)),
    }


def _block(block: Block) -> Mapping[str, Any]:
    """In short: what it overrides is among the blocks of the template that it names."""
    names = ("name", "line", "doc", "source", "digest", "written_in", "overridden_by")
    overrides = block.overrides.written_in if block.overrides else None
    return {**{name: getattr(block, name) for name in names}, "overrides": overrides}


def _rule(rule: Rule) -> Mapping[str, Any]:
    words = {name: rule.source.get(name, "") for name in ("when", "status", "message", "hint")}
    return {"file": rule.file, "line": rule.line, **words}
