"""The environment of templates: Jinja's escaping, for a document's language in the place of HTML."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from jinja2 import BaseLoader, StrictUndefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.filters import do_indent
from jinja2.runtime import Context, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from pman.suggest import nearest
from pman.translation.languages import LANGUAGES
from pman.translation.languages.marks import MARK, without_marks
from pman.translation.languages.wdl import Words
from pman.translation.sourcemap import Notes, Noting

# Filters (and the function `lipsum`) that mark HTML as safe: here they would leave a value unescaped.
_UNSAFE_FILTERS = ("safe", "escape", "e", "forceescape", "xmlattr", "urlize", "tojson", "striptags")


class Fields:
    """The variables of a template under one name (`job`, `site`), noting which of them are read."""

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self._name = name
        self._values = values
        self._read: set[str] = set()

    def __getattr__(self, field: str) -> object:
        if field.startswith("_"):
            raise AttributeError(field)
        try:
            value = self._values[field]
        except KeyError:
            raise AttributeError(field) from None
        self._read.add(f"{self._name}.{field}")
        return value


class _Unknown(StrictUndefined):
    """Names the variable that is missing, and the one that was meant."""

    @property
    def _undefined_message(self) -> str:
        source, name = self._undefined_obj, self._undefined_name
        if isinstance(source, Fields):
            near = nearest(str(name), source._values)
            advice = f"did you mean {source._name}.{near}?" if near else f"use {', '.join(source._values)}"
            return f"{source._name}.{name} is not known; {advice}"
        return super()._undefined_message


_NO_FILTER = "a filter on a block would change what is escaped already; filter the value instead"


class _Generator(CodeGenerator):
    """Leaves to the environment what Jinja would do by itself to text that may be escaped already."""

    def _write_call(self, function: str, arguments: Sequence[nodes.Expr], frame: Frame) -> None:
        """Writes a call of the environment's function with the text of each argument."""
        self.write(f"environment.{function}(")
        for argument in arguments:
            self.write("environment.text(")
            self.visit(argument, frame)
            self.write("), ")
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """`a ~ b` is text to be escaped as a whole, whatever a and b are."""
        self._write_call("joined", node.nodes, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """A slice of what is escaped would lose its quotes; `getitem` sees all but slices."""
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        bounds = (bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step))
        self._write_call("sliced", [node.node, *bounds], frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """The letters of what is escaped are those of the text."""
        text = nodes.EnvironmentAttribute("text")
        node.iter = nodes.Call(text, [node.iter], [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        self.fail(_NO_FILTER, node.lineno)

    def visit_AssignBlock(self, node: nodes.AssignBlock, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        if node.filter is not None:
            self.fail(_NO_FILTER, node.lineno)
        super().visit_AssignBlock(node, frame)


@pass_context
def _marked(context: Context, value: object) -> object:
    """Makes what `{{ }}` writes: a literal between marks, as Markup, which Jinja leaves alone."""
    if isinstance(value, Markup):
        return value
    environment = cast(Escaping, context.environment)
    return Markup(environment.marked(deep_text(value, environment.text)))  # noqa: S704  (a literal of the language)


class Escaping(ImmutableSandboxedEnvironment):
    """Writes every `{{ }}` as a literal of the document's language.

    What `finalize` returns as Markup is left alone by autoescape, and so are blocks, macros and
    `super()`, which are made of such output. Nothing else may become Markup: operators, slices,
    methods and filters get plain text instead, and what they make of it is escaped again.
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset(["+", "%", "*"])
    joined = staticmethod(lambda *texts: str_join(texts))
    sliced = staticmethod(lambda text, *bounds: text[slice(*bounds)])

    def __init__(self, loader: BaseLoader, language: str, notes: Notes | None = None) -> None:
        """`language` is the document's: what it includes or imports is escaped for it too.

        With `notes`, the templates note there where each piece of their text comes from; see sourcemap.py.
        """
        super().__init__(
            loader=loader,
            autoescape=True,
            finalize=_marked,
            undefined=_Unknown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.literal = LANGUAGES[language].literal
        self.notes = notes
        for name in _UNSAFE_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.filters["by_name"] = lambda items: dict(item.partition("=")[::2] for item in items)
        self.filters = {name: self._on_text(self.filtered(name, f)) for name, f in self.filters.items()}
        self.filters["indent"] = self._indented
        if language == "wdl":
            self.filters["words"] = lambda value: Words(deep_text(value, self.text))

    def text(self, value: Any) -> Any:
        """Makes plain text of what is escaped already, to be escaped again; leaves any other value."""
        return without_marks(str(value)) if isinstance(value, Markup) else value

    def marked(self, value: object) -> str:
        return f"{MARK}{self.literal(value)}{MARK}"

    def filtered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter's function, for values without marks."""
        return function

    def _on_text(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def on_text(*args: Any, **options: Any) -> Any:
            options = {option: self.text(value) for option, value in options.items()}
            return self.text(function(*map(self.text, args), **options))

        return on_text

    def _indented(self, text: Any, width: int = 4, first: bool = False, blank: bool = False) -> Any:
        """Jinja's own, which keeps what is escaped, for no other indentation than spaces."""
        indented = do_indent if isinstance(text, Markup) else self.filtered("indent", do_indent)
        return indented(text, int(width), first, blank)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return super().call_binop(context, operator, self.text(left), self.text(right))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(self.text(obj), argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(self.text(obj), attribute)

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        if MARK in source:
            raise TemplateSyntaxError("a template cannot hold NUL", 1, name, filename)
        return super().preprocess(source, name, filename)

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        if self.notes is not None:
            Noting(filename or name, self.notes).visit(source)
        return super()._generate(source, name, filename, defer_init)


def deep_text(value: object, text: Callable[[object], object]) -> object:
    """A value, and all that is in it, without marks. Raises UndefinedError, naming a missing variable."""
    if isinstance(value, StrictUndefined):
        str(value)  # raises
    if isinstance(value, list | tuple):
        return [deep_text(item, text) for item in value]
    if isinstance(value, Mapping):
        return {text(key): deep_text(item, text) for key, item in value.items()}
    return text(value)
