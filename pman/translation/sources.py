"""Reads templates: their blocks to the letter, comments, what they extend; and finds places in YAML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml
from jinja2 import BaseLoader, Environment, nodes
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError

from pman.errors import ConfigError, Fault

BUILTIN = "builtin/"
"""Begins the name of a shipped template or rules, also where a site's stands in their place."""

SYNTAX = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
"""The syntax of templates, as environment.py has it. What is only parsed needs none of its filters."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in one of a site's files. Lint lists it; code that has to use the file raises it."""

    rule: str
    """The name that lint has for such mistakes."""

    name: str
    """The name by which the file is extended, e.g. `docker/state.yaml`."""

    message: str
    file: str = ""
    """Its path; '' where there is no such file, or it is no text."""

    line: int = 0
    """From 1; 0: the file as a whole."""

    hint: str = ""
    at: str = ""
    """JSON path of a value that is at fault."""

    @property
    def fault(self) -> Fault:
        message = f"{self.at}: {self.message}" if self.at else self.message
        return Fault(self.name, message, self.file or f"templates/{self.name}", self.line)


@dataclass(frozen=True, slots=True)
class Span:
    """One block: from its `{% block %}` to its `{% endblock %}`."""

    name: str
    line: int
    text: str

    @property
    def body(self) -> str:
        return body(self.text)


@dataclass(frozen=True, slots=True)
class Source:
    """One template, or state.yaml, as a loader finds it."""

    name: str
    """The name by which it is extended: `docker/container.yaml.j2`, or `builtin/docker/container.yaml.j2`."""

    path: Path
    text: str
    extends: str | None
    blocks: tuple[Span, ...]
    comments: tuple[str, ...]
    """Their texts, without the delimiters."""

    tree: nodes.Template = field(default_factory=lambda: nodes.Template([]))

    @property
    def extends_line(self) -> int:
        tag = self.tree.find(nodes.Extends)
        return tag.lineno if tag else 0

    def block(self, name: str) -> Span | None:
        return next((block for block in self.blocks if block.name == name), None)


def digest(text: str) -> str:
    """Tells a shipped text from that of another version: 16 digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def parsed(name: str, path: Path, text: str) -> Source:
    """Raises ConfigError, naming file and line."""
    try:
        tree = SYNTAX.parse(text, name, str(path))
        tokens = list(_tokens(text))
    except TemplateSyntaxError as error:
        fault = Fault(name, str(error.message), str(path), error.lineno)
        raise ConfigError.of([fault]) from error
    named = [node.template for node in tree.find_all(nodes.Extends)]
    extends = named[0].value if named and isinstance(named[0], nodes.Const) else None
    comments = tuple(comment for _, _, kind, comment in tokens if kind == "comment")
    return Source(name, path, text, extends, tuple(_blocks(text, tokens)), comments, tree)


def lineage(search: BaseLoader, name: str) -> tuple[Source, ...]:
    """Reads a template and those that it extends, the nearest first.

    Where the last one extends something, this is not there, or extends itself. Raises ConfigError for one
    that cannot be parsed.
    """
    sources: list[Source] = []
    next_name: str | None = name
    while next_name and next_name not in {nearer.name for nearer in sources}:
        try:
            text, path, _ = search.get_source(SYNTAX, next_name)
        except TemplateNotFound:
            break
        sources.append(parsed(next_name, Path(path or next_name), text))
        next_name = sources[-1].extends
    return tuple(sources)


_Token = tuple[int, int, str, str]
"""Where it begins, its line, its kind and its text."""


def _tokens(text: str) -> Iterator[_Token]:
    """Jinja's own, with their places: it leaves out white space that `-` and lstrip_blocks take away."""
    position = 0
    for line, kind, value in SYNTAX.lex(text):
        position = text.index(value, position)
        yield position, line, kind, value
        position += len(value)


def _blocks(text: str, tokens: Sequence[_Token]) -> list[Span]:
    """In the order of their beginnings."""
    opened: list[tuple[str, int, int]] = []
    spans: dict[int, Span] = {}
    for index, (start, line, tag, _) in enumerate(tokens):
        if tag != "block_begin":
            continue
        words = [word for _, _, kind, word in tokens[index : index + 8] if kind == "name"]
        if words[:1] == ["block"]:
            opened.append((words[1], start, line))
        elif words[:1] == ["endblock"]:
            ends = (at + len(end.rstrip()) for at, _, kind, end in tokens[index:] if kind == "block_end")
            name, begin, first = opened.pop()
            spans[begin] = Span(name, first, text[begin : next(ends)])
    return [spans[start] for start in sorted(spans)]


def first_line(node: nodes.Node) -> int:
    """Finds the line where a piece of a template begins, without the blank lines that it begins with."""
    text = node.nodes[0] if isinstance(node, nodes.Output) else None
    if not isinstance(text, nodes.TemplateData):
        return node.lineno
    return node.lineno + text.data[: len(text.data) - len(text.data.lstrip())].count("\n")


def body(block: str) -> str:
    """Takes what is between the two tags as it is rendered, without the blanks before `{% endblock %}`."""
    inside = block[block.index("%}") + 2 : block.rindex("{%")]
    return inside.removeprefix("\n").rstrip(" \t") if "\n" in inside else inside


def writes(text: str) -> bool:
    """Holds where there is more than white space and comments."""
    return bool(re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL).strip())


def uses_super(block: str) -> bool:
    """Holds where a block keeps what the one that it overrides writes."""
    return any(
        isinstance(call.node, nodes.Name) and call.node.name == "super"
        for call in SYNTAX.parse(block).find_all(nodes.Call)
    )


def accesses(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    """Lists the fields of variables that a template names (`job.image`, `job["image"]`), with their lines."""
    named: list[nodes.Getattr | nodes.Getitem] = [
        *tree.find_all(nodes.Getattr),
        *tree.find_all(nodes.Getitem),
    ]
    for node in named:
        field = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if isinstance(node.node, nodes.Name) and isinstance(field, str):
            yield node.node.name, field, node.lineno


def place(root: yaml.Node | None, path: Sequence[str | int]) -> yaml.Mark | None:
    """Finds where the value at a path begins, or its key; where there is none, what is around it."""
    node, mark = root, root.start_mark if root else None
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if pair is None:
                break
            mark, node = pair[0].start_mark, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            mark = node.start_mark
        else:
            break
    return mark
