"""Whether what a site's templates override exists: a misspelt block or file would be lost without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jinja2 import BaseLoader, Environment, nodes
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError

from pman.errors import ConfigError, Fault
from pman.suggest import meant, nearest

RULES = "state.yaml"

_READ = (".j2", ".yaml", ".yml")


def check_files(engine: str, search: BaseLoader, documents: Sequence[str]) -> None:
    """Raises ConfigError for a file of an engine's folder that nothing would read."""
    for fault in unread(engine, search, documents):
        raise ConfigError.of([fault])


def unread(engine: str, search: BaseLoader, documents: Sequence[str]) -> Iterator[Fault]:
    """The files of an engine's folder that nothing would read.

    `documents`: those that the engine takes, e.g. `container.yaml`; none: any number of any name.
    """
    known = [*(f"{name}.j2" for name in documents), RULES]
    for name in search.list_templates():
        folder, _, file = name.partition("/")
        if folder != engine or file.startswith("_") or not file.endswith(_READ):
            continue
        if file != RULES and (file not in known if documents else not file.endswith(".j2")):
            told = f"nothing reads this file; {meant(file, known)}"
            yield Fault(name, told, _path(search, name))


def _path(search: BaseLoader, name: str) -> str:
    path = search.get_source(Environment(loader=search), name)[1]  # noqa: S701  (it renders nothing)
    return path or f"templates/{name}"


def check_folders(site: str, folders: Iterable[str], engines: Sequence[str]) -> None:
    """Raises ConfigError for a directory of PMAN_TEMPLATES with no engine's folder, or a misspelt one."""
    found = [folder for folder in folders if not folder.startswith(("_", "."))]
    if not set(found) & set(engines):
        raise ConfigError(f"PMAN_TEMPLATES={site!r}: no folder of an engine in it; use {', '.join(engines)}")
    for folder in found:
        if folder not in engines and nearest(folder, engines):
            raise ConfigError(f"PMAN_TEMPLATES={site!r}: {folder} is no engine; {meant(folder, engines)}")


@dataclass(frozen=True, slots=True)
class Lost:
    """What Jinja would leave out of a template that extends another one, without a word."""

    rule: str
    """unknown-block, lost-text or unknown-template."""

    told: str
    file: str
    line: int


def check_blocks(environment: Environment, name: str) -> None:
    """Raises TemplateSyntaxError for the first that is lost."""
    for found in lost(environment, name):
        raise TemplateSyntaxError(found.told, found.line, name, found.file)


def lost(environment: Environment, name: str) -> Iterator[Lost]:
    """What a template that extends another one writes elsewhere than into a block of the other.

    Also where the other one does not exist. Raises TemplateSyntaxError for one that cannot be read.
    """
    tree, file = parsed(environment, name)
    extended = _extended(tree)
    if extended is None:
        return
    try:
        inherited = _blocks(environment, extended.value, (name,))
    except _EndlessError as error:
        own = "extends itself" if error.name == name else f"extends {extended.value}, which extends itself"
        shipped = f"builtin/{error.name.removeprefix('builtin/')}"
        told = f"; the shipped one is {shipped}" if shipped in environment.list_templates() else ""
        yield Lost("unknown-template", f"{own}{told}", file, extended.lineno)
        return
    except TemplateNotFound as error:
        others = [other for other in environment.list_templates() if other != name]
        told = f"extends {error.name!r}, which does not exist; {meant(str(error.name), others)}"
        yield Lost("unknown-template", told, file, extended.lineno)
        return
    for node in tree.body:
        if isinstance(node, nodes.Block) and node.name not in inherited:
            near = meant(node.name, sorted(inherited))
            told = f"there is no block {node.name} in {extended.value}; {near}"
            yield Lost("unknown-block", told, file, node.lineno)
        if isinstance(node, nodes.Output) and not _is_blank(node):
            told = "what stands outside of a block is lost in a template that extends another one"
            yield Lost("lost-text", told, file, _line(node))


def parsed(environment: Environment, name: str) -> tuple[nodes.Template, str]:
    """Its tree and its path. Raises TemplateError."""
    source, filename, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]  # it has one
    return environment.parse(source, name, filename), filename or name


def _extended(tree: nodes.Template) -> nodes.Const | None:
    """What it extends, where that is said by name."""
    extended = [node.template for node in tree.find_all(nodes.Extends)]
    return extended[0] if extended and isinstance(extended[0], nodes.Const) else None


class _EndlessError(Exception):
    """A template extends itself, through others or not."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _blocks(environment: Environment, name: str, below: tuple[str, ...]) -> set[str]:
    """Of a template and of all that it extends. `below`: those that extend it. Raises _EndlessError."""
    if name in below:
        raise _EndlessError(name)
    tree, _ = parsed(environment, name)
    own = {block.name for block in tree.find_all(nodes.Block)}
    extended = _extended(tree)
    return own if extended is None else own | _blocks(environment, extended.value, (*below, name))


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
