"""Read one template without rendering it: its syntax, variables, filters, blocks and parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import BaseLoader, Environment, meta, nodes
from jinja2.exceptions import TemplateSyntaxError

from pman.errors import ConfigError
from pman.settings import DECLARED
from pman.suggest import did_you_mean, meant
from pman.translation.inventory.docs import VARIABLES, facts
from pman.translation.overrides import lost
from pman.translation.render import compile_template, environment_for
from pman.translation.sources import SYNTAX, accesses, lineage
from pman.workshop.lint.findings import Finding, has_errors, of_fault, of_mistake


def of_template(search: BaseLoader, engine: str, name: str) -> Iterator[Finding]:
    """Lists the mistakes of one file, each at its line."""
    try:
        source, path, _ = search.get_source(SYNTAX, name)
    except UnicodeDecodeError as error:
        yield Finding("unreadable-file", f"no UTF-8: {error.reason} at byte {error.start}", name)
        return
    file = path or name
    try:
        environment = _environment(search, name)
        tree = environment.parse(source, name, file)
    except ConfigError as error:
        yield Finding("unknown-file", str(error), file)
        return
    except TemplateSyntaxError as error:
        yield _syntax(source, file, error)
        return
    try:
        trees = [tree, *(source.tree for source in lineage(search, name))]
        mistakes = list(lost(search, name))
    except (ConfigError, UnicodeDecodeError):  # in what it extends, which has a finding where it stands
        trees, mistakes = [tree], []
    findings = [
        *_variables(trees, file, engine, environment),
        *_filters(tree, file, environment),
        *map(of_mistake, mistakes),
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


_LEFT_OPEN = re.compile(r"The innermost block that needs to be closed is '(\w+)'")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def _syntax(source: str, file: str, error: TemplateSyntaxError) -> Finding:
    message, line = str(error.message), error.lineno
    if left_open := _LEFT_OPEN.search(message):
        tag = left_open[1]
        message, line = f"{{% {tag} %}} has no {{% end{tag} %}}", _begin(source, tag, line)
    return Finding("template-syntax", message, file, line)


def _begin(source: str, tag: str, end: int) -> int:
    """Finds the line of the last of some tags that is not closed, of those up to the line `end`."""
    bare = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), source)
    text, closed = "\n".join(bare.split("\n")[:end]), 0
    for match in reversed(list(re.finditer(rf"\{{%[-+]?\s*(end)?{tag}\b([^%]*)", text))):
        if tag == "set" and "=" in match[2]:
            continue
        if not (match[1] or closed):
            return text[: match.start()].count("\n") + 1
        closed += 1 if match[1] else -1
    return end


def _variables(
    trees: Sequence[nodes.Template], file: str, engine: str, environment: Environment
) -> Iterator[Finding]:
    """`trees`: the template, then what it extends: names that are set outside of blocks are seen in them."""
    tree = trees[0]
    site = {*map(str.lower, DECLARED), *facts(engine)}
    given = {"job": set(VARIABLES["job"]["properties"]), "site": site}
    try:
        undeclared = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError:  # an unknown filter, which has a finding of its own
        undeclared = set(given)
    for owner, field, line in accesses(tree):
        if owner in given.keys() & undeclared and field not in {*given[owner], "get", "items", "keys"}:
            yield _unknown(f"{owner}.{field}", [f"{owner}.{one}" for one in given[owner]], file, line)
    undeclared -= _assigned(trees) | environment.globals.keys() | given.keys()
    for one in tree.find_all(nodes.Name):
        if one.ctx == "load" and one.name in undeclared:
            yield _unknown(one.name, [*given, *environment.globals], file, one.lineno)


def _assigned(trees: Sequence[nodes.Template]) -> set[str]:
    """The names that templates set, import or define as macros."""
    names = set()
    for one in trees:
        names |= {node.name for node in one.find_all(nodes.Name) if node.ctx != "load"}
        names |= {node.name for node in one.find_all(nodes.Macro)}
        names |= {node.target for node in one.find_all(nodes.Import)}
        for node in one.find_all(nodes.FromImport):
            names |= {name if isinstance(name, str) else name[1] for name in node.names}
    return names


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
