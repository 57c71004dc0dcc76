"""Checks that what a site's templates override exists: a misspelt one would be lost without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from jinja2 import BaseLoader, nodes

from pman.errors import Fault
from pman.settings import engine_schema, properties
from pman.suggest import meant, nearest
from pman.translation.sources import BUILTIN, SYNTAX, Mistake, Source, first_line, lineage

RULES = "state.yaml"

_READ = (".j2", ".yaml", ".yml")


def unread(engine: str, search: BaseLoader) -> Iterator[Fault]:
    """The files of an engine's folder that nothing would read.

    Its schema names the documents that it takes, e.g. `container.yaml`; without any, they may be of any name.
    """
    documents = properties(engine_schema(engine, "documents"))
    names = [*(f"{name}.j2" for name in documents), RULES]
    for name in search.list_templates():
        folder, _, file = name.partition("/")
        if folder != engine or file.startswith("_") or not file.endswith(_READ):
            continue
        if file != RULES and (file not in names if documents else not file.endswith(".j2")):
            path = f"templates/{name}"
            with suppress(UnicodeDecodeError):
                path = search.get_source(SYNTAX, name)[1] or path
            yield Fault(name, f"nothing reads this file; {meant(file, names)}", path)


def lost_folders(directory: Path, engines: Sequence[str]) -> Iterator[Mistake]:
    """Finds a directory of PMAN_TEMPLATES with no engine's folder, and the folders with a misspelt name."""
    folders = sorted(folder.name for folder in directory.iterdir() if folder.is_dir())
    if not set(folders) & set(engines):
        message, hint = "no folder of an engine in it, so nothing reads it", f"use {', '.join(engines)}"
        yield Mistake("unknown-engine", directory.name, message, str(directory), hint=hint)
    for name in folders:
        if not name.startswith(("_", ".")) and name not in engines and (near := nearest(name, engines)):
            message, hint = f"{name} is no engine, so nothing reads this folder", f"did you mean {near}?"
            yield Mistake("unknown-engine", name, message, str(directory / name), hint=hint)


def lost(search: BaseLoader, name: str) -> Iterator[Mistake]:
    """Finds what Jinja would leave out of a template that extends another one, without a word.

    Also where the other one does not exist. Raises ConfigError for one that cannot be read.
    """
    own, *above = lineage(search, name)
    if own.extends is None:
        return
    if (nowhere := [own, *above][-1].extends) is not None:
        message = _leads_nowhere(own, nowhere, search.list_templates())
        yield Mistake("unknown-template", name, message, str(own.path), own.extends_line)
        return
    inherited = {block.name for source in above for block in source.blocks}
    for node in own.tree.body:
        if isinstance(node, nodes.Block) and node.name not in inherited:
            message = f"there is no block {node.name} in {own.extends}; {meant(node.name, sorted(inherited))}"
            yield Mistake("unknown-block", name, message, str(own.path), node.lineno)
        if isinstance(node, nodes.Output) and not _is_blank(node):
            message = "what stands outside of a block is lost in a template that extends another one"
            yield Mistake("lost-text", name, message, str(own.path), first_line(node))


def _leads_nowhere(own: Source, nowhere: str, there: Sequence[str]) -> str:
    if nowhere not in there:
        others = [other for other in there if other != own.name]
        return f"extends {nowhere!r}, which does not exist; {meant(nowhere, others)}"
    endless = "extends itself" if nowhere == own.name else f"extends {own.extends}, which extends itself"
    shipped = f"{BUILTIN}{nowhere.removeprefix(BUILTIN)}"
    return f"{endless}; the shipped one is {shipped}" if shipped in there else endless


def _is_blank(output: nodes.Output) -> bool:
    return all(isinstance(node, nodes.TemplateData) and not node.data.strip() for node in output.nodes)
