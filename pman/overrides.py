"""Whether what a site's templates override exists: a misspelt block or file would be lost without a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from jinja2 import BaseLoader, Environment, nodes
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError

from pman.errors import ConfigError, Fault

RULES = "state.yaml"

_READ = (".j2", ".yaml", ".yml")


def check_files(engine: str, search: BaseLoader, documents: Sequence[str]) -> None:
    """Raises ConfigError for a file of an engine's folder that nothing would read.

    `documents`: those that the engine takes, e.g. `container.yaml`; none: any number of any name.
    """
    known = [*(f"{name}.j2" for name in documents), RULES]
    for name in search.list_templates():
        folder, _, file = name.partition("/")
        if folder != engine or file.startswith("_") or not file.endswith(_READ):
            continue
        if file != RULES and (file not in known if documents else not file.endswith(".j2")):
            told = f"nothing reads this file; {_meant(file, known)}"
            _, path, _ = search.get_source(Environment(loader=search), name)  # noqa: S701  (it renders nothing)
            raise ConfigError.of([Fault(name, told, path or f"templates/{name}")])


def check_folders(site: str, folders: Iterable[str], engines: Sequence[str]) -> None:
    """Raises ConfigError for a directory of PMAN_TEMPLATES with no engine's folder, or a misspelt one."""
    found = [folder for folder in folders if not folder.startswith(("_", "."))]
    if not set(found) & set(engines):
        raise ConfigError(f"PMAN_TEMPLATES={site!r}: no folder of an engine in it; use {', '.join(engines)}")
    for folder in found:
        if folder not in engines and difflib.get_close_matches(folder, engines, 1):
            raise ConfigError(f"PMAN_TEMPLATES={site!r}: {folder} is no engine; {_meant(folder, engines)}")


def check_blocks(environment: Environment, name: str) -> set[str]:
    """The blocks of a template and of all that it extends.

    Raises TemplateSyntaxError for what a template that extends another one writes elsewhere than
    into a block of the other: Jinja would leave it out; and where the other one does not exist.
    """
    source, filename, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]  # it has one
    tree = environment.parse(source, name, filename)
    own = {block.name for block in tree.find_all(nodes.Block)}
    extended = [node.template for node in tree.find_all(nodes.Extends)]
    if not extended or not isinstance(extended[0], nodes.Const):
        return own
    try:
        inherited = check_blocks(environment, extended[0].value)
    except TemplateNotFound as error:
        others = [other for other in environment.list_templates() if other != name]
        told = f"extends {error.name!r}, which does not exist; {_meant(str(error.name), others)}"
        raise TemplateSyntaxError(told, extended[0].lineno, name, filename) from error
    for node in tree.body:
        if isinstance(node, nodes.Block) and node.name not in inherited:
            meant = _meant(node.name, sorted(inherited))
            told = f"there is no block {node.name} in {extended[0].value}; {meant}"
            raise TemplateSyntaxError(told, node.lineno, name, filename)
        if isinstance(node, nodes.Output) and not _is_blank(node):
            told = "what stands outside of a block is lost in a template that extends another one"
            raise TemplateSyntaxError(told, _line(node), name, filename)
    return own | inherited


def _is_blank(output: nodes.Output) -> bool:
    return all(isinstance(node, nodes.TemplateData) and not node.data.strip() for node in output.nodes)


def _line(output: nodes.Output) -> int:
    first = output.nodes[0]
    blank = (
        first.data[: len(first.data) - len(first.data.lstrip())]
        if isinstance(first, nodes.TemplateData)
        else ""
    )
    return output.lineno + blank.count("\n")


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"use {', '.join(known)}" if known else "there is none"
