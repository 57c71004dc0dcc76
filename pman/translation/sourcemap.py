"""Where each piece of a document comes from: the file and line of the template that wrote it.

A template is compiled a second time, with a note before each line of its text and before each `{{ }}`.
Notes are rendered with the rest, go through blocks, macros and `indent`, and are taken out at the end.
The same pass tells which branches of the template were taken.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from pman.resources import shipped_name
from pman.translation.languages.marks import MARK, NOTE, SHOWN, WORDS
from pman.translation.sources import first_line

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
"""A line as Jinja counts them, with its end."""


@dataclass(frozen=True, slots=True)
class Origin:
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A way through a template: of an `if`, a `for` or an `a if b else c`."""

    file: str
    line: int
    description: str
    """E.g. `the else of this if`."""

    block: str
    """The innermost block that it stands in; '' outside of all."""

    within: int | None
    """The branch around it, by number."""


@dataclass(slots=True)
class Notes:
    """Holds what the notes of some compiled templates stand for."""

    origins: list[Origin] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    blocks: dict[int, tuple[str, str]] = field(default_factory=dict)
    """File and name, by the number of the branch that notes its being rendered."""

    taken: set[int] = field(default_factory=set)

    def take(self, branch: int, value: object = "") -> object:
        """Called by a compiled template, with the value of an expression's branch."""
        self.taken.add(branch)
        return value


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Tells what wrote the character at a place of a text."""

    starts: Sequence[int]
    """Where in the text each of the origins begins, ascending."""

    origins: Sequence[Origin]

    def at(self, index: int) -> Origin:
        return self.origins[self._number(index)] if self.origins else Origin("", 0)

    def _number(self, index: int) -> int:
        return max(bisect_right(self.starts, index) - 1, 0)

    def suspect(self, index: int) -> Origin:
        """Guesses what to look at where a text cannot be read on from a place.

        It is the last line that a site wrote before it, where the place itself is shipped: the shipped text
        can be read by itself, and where a line is indented too little, its language complains further down.
        """
        before = reversed(self.origins[: self._number(index) + 1])
        own = (one for one in before if not shipped_name(one.file))
        return next(own, self.at(index))

    def after(self, begin: int) -> SourceMap:
        """Makes the map of the text that begins at a place of this one."""
        return SourceMap([start - begin for start in self.starts], self.origins)


def without_notes(text: str, notes: Notes) -> tuple[str, SourceMap]:
    """The text with the marks of its literals only, and where each origin begins once those are gone, too."""
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[Origin] = []
    length = 0
    for index, part in enumerate(text.split(MARK)):
        if index % 2 and part.startswith(NOTE):
            starts.append(length)
            origins.append(notes.origins[int(part[1:])])
        elif index % 2:
            pieces.append(f"{MARK}{part}{MARK}")
            length += 0 if part.startswith(SHOWN) else len(part.removeprefix(WORDS))
        else:
            pieces.append(part)
            length += len(part)
    return "".join(pieces), SourceMap(starts, origins)


class Noting(NodeTransformer):
    """Adds notes to the tree of a template, in place, by `visit`."""

    def __init__(self, file: str, notes: Notes) -> None:
        self._file = file
        self._notes = notes
        self._block = ""
        self._within: int | None = None
        self._captured = False
        """True within text that a variable takes: it may be compared with another, so it gets no notes."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802  (Jinja's name)
        self.generic_visit(node)
        node.nodes = node.nodes if self._captured else list(self._pieces(node.nodes))
        return node

    def visit_If(self, node: nodes.If, word: str = "if") -> nodes.Node:  # noqa: N802  (Jinja's name)
        node.test = self.visit(node.test)
        self._branch(node.body, node.lineno, f"the body of this {word}")
        for other in node.elif_:
            self.visit_If(other, "elif")
        if node.else_:
            self._branch(node.else_, first_line(node.else_[0]), "the else of this if")
        elif word == "if":
            self._branch(node.else_, node.lineno, "the way past this if")
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (Jinja's name)
        node.iter = self.visit(node.iter)
        node.test = self.visit(node.test) if node.test else None
        self._branch(node.body, node.lineno, "the body of this for")
        if node.else_:
            self._branch(node.else_, first_line(node.else_[0]), "the else of this for")
        return node

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802  (Jinja's name)
        outer, self._block = self._block, node.name
        number = self._branch(node.body, node.lineno, "the block")
        self._notes.blocks[number] = (self._file, node.name)
        self._block = outer
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802  (Jinja's name)
        outer, self._captured = self._captured, True
        self.generic_visit(node)
        self._captured = outer
        return node

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802  (Jinja's name)
        node.expr1 = self._chosen(node.expr1, node.lineno, "if")
        if node.expr2 is not None:
            node.expr2 = self._chosen(node.expr2, node.lineno, "else")
        return self.generic_visit(node)

    def _branch(self, body: list[nodes.Node], line: int, description: str) -> int:
        number = self._numbered(line, description)
        outer, self._within = self._within, number
        body[:] = map(self.visit, body)
        self._within = outer
        body.insert(0, nodes.ExprStmt(_take([nodes.Const(number)], line), lineno=line))
        return number

    def _numbered(self, line: int, description: str) -> int:
        self._notes.branches.append(Branch(self._file, line, description, self._block, self._within))
        return len(self._notes.branches) - 1

    def _pieces(self, children: Sequence[nodes.Expr]) -> Iterator[nodes.Expr]:
        for child in children:
            if not isinstance(child, nodes.TemplateData):
                yield self._note(child.lineno)
                yield child
                continue
            for offset, line in enumerate(_LINE.findall(child.data)):
                yield self._note(child.lineno + offset)
                yield nodes.TemplateData(line, lineno=child.lineno + offset)

    def _note(self, line: int) -> nodes.TemplateData:
        self._notes.origins.append(Origin(self._file, line))
        return nodes.TemplateData(f"{MARK}{NOTE}{len(self._notes.origins) - 1}{MARK}", lineno=line)

    def _chosen(self, value: nodes.Expr, line: int, way: str) -> nodes.Expr:
        number = self._numbered(line, f"the value of the {way} in this expression")
        return _take([nodes.Const(number), value], line)


def _take(arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("notes.take"), arguments, [], None, None, lineno=line)
