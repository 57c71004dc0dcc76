"""Job + site -> documents: the templates of one engine, every `{{ }}` a literal of its file's language."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
    nodes,
    pass_context,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from pman.errors import ConfigError
from pman.job import Document
from pman.literals import LANGUAGES
from pman.resources import TEMPLATES

# Filters that mark HTML as safe, or raw text as already escaped: here they would leave a value unescaped.
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


@dataclass(frozen=True, slots=True)
class Rendering:
    documents: tuple[Document, ...]
    read: frozenset[str]
    """The variables that the templates read, e.g. `job.image`, on the way that this job took."""


class _Unknown(StrictUndefined):
    """Names the variable that is missing, and the one that was meant."""

    @property
    def _undefined_message(self) -> str:
        source, name = self._undefined_obj, self._undefined_name
        if isinstance(source, Fields):
            near = difflib.get_close_matches(str(name), list(source._values), 1)
            told = f"did you mean {source._name}.{near[0]}?" if near else f"use {', '.join(source._values)}"
            return f"{source._name}.{name} is not known; {told}"
        return super()._undefined_message


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """`a ~ b` is text to be escaped as a whole, whatever a and b are."""
        self.write("str_join((")
        for item in node.nodes:
            self.visit(item, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's HTML escaping, with the literals of a document's language in the place of HTML.

    What `finalize` returns as Markup is left alone by autoescape, and so are blocks, macros and
    `super()`, which are made of such output. Nothing else may become Markup: operators and
    filters that would pass it on get plain text instead.
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset(["+", "%", "*"])

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(
            loader=loader,
            autoescape=True,
            finalize=_literal,
            undefined=_Unknown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        for name in _UNSAFE_FILTERS:
            del self.filters[name]
        for name in ("replace", "format", "join"):
            self.filters[name] = _on_text(self.filters[name])
        self.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        return super().call_binop(context, operator, _text(left), _text(right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401
        return not isinstance(obj, Markup) and super().is_safe_attribute(obj, attr, value)


@pass_context
def _literal(context: Context, value: object) -> object:
    if isinstance(value, Markup):
        return value
    if isinstance(value, StrictUndefined):
        str(value)  # raises, naming the variable
    language = _language(context.name or "")
    return Markup(LANGUAGES[language](value))  # noqa: S704  (a literal of the document's language, not HTML)


def _text(value: object) -> object:
    return str(value) if isinstance(value, Markup) else value


def _on_text(builtin: Callable[..., object]) -> Callable[..., object]:
    def on_text(*args: object, **options: object) -> object:
        return _text(builtin(*map(_text, args), **{name: _text(value) for name, value in options.items()}))

    for mark in ("jinja_pass_arg",):
        if hasattr(builtin, mark):
            setattr(on_text, mark, getattr(builtin, mark))
    return on_text


def _language(name: str) -> str:
    """The ending before `.j2`. Raises ConfigError where there is no escaping for it."""
    language = name.removesuffix(".j2").rpartition(".")[2]
    if language not in LANGUAGES:
        known = ", ".join(f".{ending}.j2" for ending in LANGUAGES)
        raise ConfigError(f"templates/{name}: no escaping is known for this ending; use {known}")
    return language


def loader(site: Sequence[Path], shipped: Sequence[Path] = (TEMPLATES,)) -> BaseLoader:
    """Site directories first; the shipped templates also under `builtin/`, for a site to extend."""
    builtin = FileSystemLoader([str(directory) for directory in shipped])
    own = [FileSystemLoader(str(directory)) for directory in site]
    return ChoiceLoader([*own, builtin, PrefixLoader({"builtin": builtin})])


class Templates:
    """The compiled templates of one engine. Raises ConfigError naming template, line and variable."""

    def __init__(self, engine: str, search: BaseLoader) -> None:
        self._environment = _Environment(search)
        self._templates: list[tuple[str, Template]] = []
        for name in sorted(set(self._names(engine))):
            _language(name)
            with _located(name):
                self._templates.append((name, self._environment.get_template(name)))
        if not self._templates:
            raise ConfigError(f"templates/{engine}: no templates (*.j2) for CONTAINER_ENV={engine!r}")

    def _names(self, engine: str) -> Iterator[str]:
        for name in self._environment.list_templates(extensions=["j2"]):
            folder, _, file = name.partition("/")
            if folder == engine and not file.startswith("_"):
                yield name

    def render(self, job: Mapping[str, object], site: Mapping[str, object]) -> Rendering:
        """Pure: the same job and site give the same documents."""
        documents, variables = [], (Fields("job", job), Fields("site", site))
        for name, template in self._templates:
            with _located(name):
                text = template.render(job=variables[0], site=variables[1])
            documents.append(Document(name.partition("/")[2].removesuffix(".j2"), text, _parsed(name, text)))
        return Rendering(tuple(documents), frozenset(variables[0]._read | variables[1]._read))


def _parsed(name: str, text: str) -> object:
    language = _language(name)
    if language == "json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"templates/{name}: what it renders is no JSON: {error}") from error
    if language == "yaml":
        try:
            return yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1} of the document: " if mark else ""
            problem = getattr(error, "problem", None) or "not readable"
            raise ConfigError(f"templates/{name}: what it renders is no YAML: {where}{problem}") from error
    return None


class _located:  # noqa: N801  (reads as a statement)
    """Turns Jinja's errors into one that names the template and the line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: Any) -> None:  # noqa: ANN401
        if isinstance(error, TemplateSyntaxError):
            self._fail(error, error.name or self._name, error.lineno)
        if isinstance(error, TemplateNotFound):
            self._fail(error, self._name, None, f"extends or includes {error.name!r}, which does not exist")
        if isinstance(
            error, TemplateError | TypeError | ValueError | ArithmeticError | LookupError | AttributeError
        ):
            self._fail(error, *self._line(traceback))

    def _line(self, traceback: Any) -> tuple[str, int | None]:  # noqa: ANN401
        """Jinja puts the template's own lines into the traceback; the innermost is the place."""
        name, line = self._name, None
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if code.co_filename.endswith(".j2"):
                name, line = "/".join(Path(code.co_filename).parts[-2:]), traceback.tb_lineno
            traceback = traceback.tb_next
        return name, line

    def _fail(self, error: BaseException, name: str, line: int | None, told: str = "") -> NoReturn:
        kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
        at = f", line {line}" if line else ""
        message = error.message if isinstance(error, UndefinedError) else str(error)
        raise ConfigError(f"templates/{name}{at}: {told or kind + str(message)}") from error
