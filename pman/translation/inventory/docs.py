"""Documents what an author of a template can use: its blocks, and its variables as schema/ has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from pman import schema
from pman.settings import DECLARED
from pman.translation import statefile
from pman.translation.functions import FUNCTIONS, TESTS
from pman.translation.inventory.inventory import find
from pman.translation.overrides import RULES
from pman.translation.render import loader
from pman.translation.sources import SYNTAX, accesses, lineage

VARIABLES: Mapping[str, Any] = schema.load("variables.json")["properties"]


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    """`job.cpu_limit`."""

    type: str
    unit: str
    """The unit of a number; '' for what has none."""

    example: Any
    description: str
    read_in: tuple[str, ...]
    """The blocks of the template that read it; '': outside of all."""


@dataclass(frozen=True, slots=True)
class BlockDocs:
    name: str
    doc: str
    written_in: str
    line: int
    overridden_by: str | None
    reads: tuple[str, ...]
    """The variables that it reads."""


@dataclass(frozen=True, slots=True)
class TemplateDocs:
    name: str
    path: Path
    doc: str
    blocks: tuple[BlockDocs, ...]
    variables: tuple[Variable, ...]
    """List what rules may use: `native`, the named values with their expressions, and functions."""


def docs(name: str, site_dirs: Sequence[Path]) -> TemplateDocs:
    """Raises ConfigError for a name that is not there."""
    file = find(name, site_dirs)
    if file.path.name == RULES:
        return TemplateDocs(file.name, file.path, file.doc, (), tuple(_of_rules(name, site_dirs)))
    blocks = sorted((*file.blocks, *file.inherited), key=lambda block: (block.written_in, block.line))
    reads = {**{block.name: _read(block.source) for block in blocks}, "": _read(_outside(name, site_dirs))}
    return TemplateDocs(
        name=file.name,
        path=file.path,
        doc=file.doc,
        blocks=tuple(
            BlockDocs(
                one.name, one.doc, one.written_in, one.line, one.overridden_by, tuple(sorted(reads[one.name]))
            )
            for one in blocks
        ),
        variables=tuple(
            Variable(
                name,
                _type(declared),
                declared.get("x-unit", ""),
                declared["examples"][0],
                declared["description"],
                tuple(block for block, read in reads.items() if name in read),
            )
            for name, declared in variables(file.name.partition("/")[0])
        ),
    )


def _of_rules(name: str, site_dirs: Sequence[Path]) -> Iterator[Variable]:
    """Lists what the expressions of a state.yaml may name."""
    yield Variable("native", "object", "", None, "what the engine says of the job, as plain data", ())
    for value, text in statefile.read(loader(*site_dirs), name).named("values").items():
        yield Variable(value, "named value", "", None, " ".join(text.split()), ())
    yield from functions()


def functions() -> Iterator[Variable]:
    """Lists what the expressions of every state.yaml may call, and the tests that they may make."""
    for name, function in FUNCTIONS.items():
        call = f"{name}({', '.join(signature(function).parameters)})"
        yield Variable(call, "function", "", None, function.__doc__ or "", ())
    for name, test in TESTS.items():
        _, argument = signature(test).parameters
        yield Variable(f"is {name}({argument})", "test", "", None, test.__doc__ or "", ())


def functions_table() -> str:
    """Writes them in Markdown, for docs/templates.md."""
    rows = [f"| `{one.name}` | {one.description} |" for one in functions()]
    return "\n".join(["| function or test | what it gives |", "| --- | --- |", *rows]) + "\n"


def facts(engine: str) -> Mapping[str, Mapping[str, Any]]:
    """Declares the engine's statements on itself, which its templates get as `site` besides the settings."""
    declared = VARIABLES["site"]["properties"]
    return {name: fact for name, fact in declared.items() if engine in fact.get("x-engines", [engine])}


def variables(engine: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Lists what the templates of an engine are given, as it is declared; `job` first."""
    for name, declared in VARIABLES["job"]["properties"].items():
        yield f"job.{name}", schema.resolved(declared)
    for name, declared in facts(engine).items():
        yield f"site.{name}", declared
    for name, declared in DECLARED.items():
        is_fact = name.lower() in VARIABLES["site"]["properties"]
        if not is_fact and {engine, "*"} & {*declared.get("x-engines", ["*"])}:
            yield f"site.{name.lower()}", declared


def _type(declared: Mapping[str, Any]) -> str:
    if "enum" in declared:
        return " | ".join(map(str, declared["enum"]))
    kinds: list[str] = declared["type"] if isinstance(declared["type"], list) else [declared["type"]]
    words = {"array": "list of strings", "object": "map of strings", "null": "none"}
    return " or ".join(words.get(kind, kind) for kind in kinds)


def _read(text: str) -> list[str]:
    """Lists the variables of `job` and `site` that a piece of a template names."""
    names = [(owner, f"{owner}.{field}") for owner, field, _ in accesses(SYNTAX.parse(text))]
    return [name for owner, name in dict.fromkeys(names) if owner in VARIABLES]


def _outside(name: str, site_dirs: Sequence[Path]) -> str:
    """A template, and those that it extends, without their blocks."""
    outside = ""
    for source in lineage(loader(*site_dirs), name):
        text = source.text
        for block in source.blocks:
            text = text.replace(block.text, "")
        outside += text
    return outside
