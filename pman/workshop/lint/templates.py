"""Read one template without rendering it: its syntax, variables, filters, blocks and parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from jinja2 import BaseLoader, Environment, meta, nodes
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError

from pman.errors import ConfigError
from pman.settings import DECLARED
from pman.suggest import did_you_mean, meant
from pman.translation.inventory.docs import VARIABLES
from pman.translation.overrides import lost
from pman.translation.render import compile_template, environment_for
from pman.translation.sources import accesses, lineage
from pman.workshop.lint.findings import Finding, has_errors, of_fault, of_mistake


def variables(engine: str) -> Mapping[str, frozenset[str]]:
    """The fields of `job` and `site`, as the templates of an engine are given them."""
    facts = VARIABLES["site"]["properties"].items()
    site = {name for name, declared in facts if engine in declared.get("x-engines", [engine])}
    return {
        "job": frozenset(VARIABLES["job"]["properties"]),
        "site": frozenset(map(str.lower, DECLARED)) | site,
    }


def of_template(search: BaseLoader, engine: str, name: str) -> Iterator[Finding]:
    """Lists the mistakes of one file, each at its line."""
    try:
        environment = _environment(search, name)
        source, path, _ = search.get_source(environment, name)
    except ConfigError as error:
        yield Finding("unknown-file", str(error), str(_path(search, name)))
        return
    except UnicodeDecodeError as error:
        yield Finding("unreadable-file", f"no UTF-8: {error.reason} at byte {error.start}", name)
        return
    file = path or name
    try:
        tree = environment.parse(source, name, file)
    except TemplateSyntaxError as error:
        yield _syntax(source, file, error)
        return
    findings = [
        *_variables(tree, file, engine, environment),
        *_filters(tree, file, environment),
        *_blocks(search, name),
        *_parts(tree, file, search.list_templates()),
        *_unused_macros(tree, file),
    ]
    yield from findings
    if not has_errors(findings):
        try:
            compile_template(environment, name)
        except ConfigError as error:
            yield of_fault("template-syntax", error.faults[0])


def _environment(search: BaseLoader, name: str) -> Environment:
    """Parts that begin with `_` need no ending: they are in the language of what includes them."""
    try:
        return environment_for(search, name)
    except ConfigError:
        if not any(part.startswith("_") for part in name.split("/")):
            raise
        return environment_for(search, "_.wdl.j2")  # which knows every filter


def _path(search: BaseLoader, name: str) -> str:
    try:
        return search.get_source(Environment(autoescape=True), name)[1] or name
    except (TemplateNotFound, ValueError):
        return name


_TAG = re.compile(r"\{%[-+]?\s*(\w+)([^%]*)")
_PAIRED = ("if", "for", "block", "macro", "call", "filter", "with", "autoescape", "raw", "set")


def _syntax(source: str, file: str, error: TemplateSyntaxError) -> Finding:
    message = str(error.message)
    if "needs to be closed" in message and (opened := _left_open(source)):
        word, line = opened
        return Finding("template-syntax", f"{{% {word} %}} has no {{% end{word} %}}", file, line)
    return Finding("template-syntax", message, file, error.lineno)


def _left_open(source: str) -> tuple[str, int] | None:
    """Finds the innermost tag that is not closed, and its line."""
    opened: list[tuple[str, int]] = []
    bare = re.sub(r"\{#.*?#\}", lambda match: "\n" * match[0].count("\n"), source, flags=re.DOTALL)
    for tag in _TAG.finditer(bare):
        word, rest = tag[1], tag[2]
        if word.startswith("end") and opened:
            if opened[-1][0] != word[3:]:
                break
            opened.pop()
        elif word in _PAIRED and not (word == "set" and "=" in rest):
            opened.append((word, bare[: tag.start()].count("\n") + 1))
    return opened[-1] if opened else None


def _variables(tree: nodes.Template, file: str, engine: str, environment: Environment) -> Iterator[Finding]:
    given = variables(engine)
    try:
        undeclared = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError:  # an unknown filter, which has a finding of its own
        undeclared = set(given)
    for owner, field, line in accesses(tree):
        if owner in given.keys() & undeclared and field not in {*given[owner], "get", "items", "keys"}:
            yield _unknown(f"{owner}.{field}", [f"{owner}.{one}" for one in given[owner]], file, line)
    search = cast(BaseLoader, environment.loader)
    undeclared -= _assigned(search, tree) | environment.globals.keys() | given.keys()
    for one in tree.find_all(nodes.Name):
        if one.ctx == "load" and one.name in undeclared:
            yield _unknown(one.name, [*given, *environment.globals], file, one.lineno)


def _assigned(search: BaseLoader, tree: nodes.Template) -> set[str]:
    """The names that a template sets, or what it extends: those set outside of blocks are seen in them."""
    names = set()
    for one in (tree, *_extended(search, tree)):
        names |= {node.name for node in one.find_all(nodes.Name) if node.ctx != "load"}
        names |= {node.name for node in one.find_all(nodes.Macro)}
        names |= {node.target for node in one.find_all(nodes.Import)}
        for node in one.find_all(nodes.FromImport):
            names |= {name if isinstance(name, str) else name[1] for name in node.names}
    return names


def _extended(search: BaseLoader, tree: nodes.Template) -> list[nodes.Template]:
    tag = tree.find(nodes.Extends)
    if tag is None or not isinstance(tag.template, nodes.Const):
        return []
    try:
        return [source.tree for source in lineage(search, tag.template.value)]
    except (ConfigError, UnicodeDecodeError):  # has a finding where it stands
        return []


def _unknown(name: str, names: Sequence[str], file: str, line: int) -> Finding:
    return Finding("unknown-variable", f"{name} is not known", file, line, meant(name, sorted(names)))


_UNSAFE = (
    "it would leave a value unescaped, or escape it for HTML; {{ }} writes a literal of the file's language"
)


def _filters(tree: nodes.Template, file: str, environment: Environment) -> Iterator[Finding]:
    jinja = Environment(autoescape=True)
    for kind, node_type, names in (
        ("filter", nodes.Filter, environment.filters),
        ("test", nodes.Test, environment.tests),
    ):
        for node in tree.find_all(node_type):
            name = node.name
            if name not in names:
                hint = _UNSAFE if name in jinja.filters and kind == "filter" else did_you_mean(name, names)
                yield Finding("unknown-filter", f"there is no {kind} {name!r}", file, node.lineno, hint)


def _blocks(search: BaseLoader, name: str) -> Iterator[Finding]:
    try:
        yield from map(of_mistake, lost(search, name))
    except (ConfigError, UnicodeDecodeError):  # in what it extends, which has a finding where it stands
        return


def _parts(tree: nodes.Template, file: str, names: Sequence[str]) -> Iterator[Finding]:
    """Finds what is included or imported by name and does not exist."""
    for kind, word in ((nodes.Include, "includes"), (nodes.Import, "imports"), (nodes.FromImport, "imports")):
        for node in tree.find_all(kind):
            wanted = getattr(node, "template", None)
            if not isinstance(wanted, nodes.Const) or getattr(node, "ignore_missing", False):
                continue
            if isinstance(wanted.value, str) and wanted.value not in names:
                message = f"it {word} {wanted.value!r}, which does not exist"
                hint = did_you_mean(wanted.value, names)
                yield Finding("unknown-template", message, file, node.lineno, hint)


def _unused_macros(tree: nodes.Template, file: str) -> Iterator[Finding]:
    """Finds macros of a document's own; those of a file that begins with `_` are for others."""
    if Path(file).name.startswith("_"):
        return
    used = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    for macro in tree.find_all(nodes.Macro):
        if macro.name not in used:
            yield Finding("unused-block", f"nothing calls the macro {macro.name}", file, macro.lineno)
