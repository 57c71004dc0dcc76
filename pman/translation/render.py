"""Job + site -> documents: the templates of one engine, every `{{ }}` a literal of its file's language."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import yaml
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
    nodes,
    pass_context,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.filters import do_indent
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from pman.errors import ConfigError, Fault
from pman.job import Document
from pman.resources import TEMPLATES
from pman.suggest import nearest
from pman.translation.languages import wdl
from pman.translation.languages.literals import LANGUAGES, WORDS, Words
from pman.translation.languages.placement import MARK, MisplacedError, placed
from pman.translation.overrides import check_blocks, check_files
from pman.translation.rules import FAILURES
from pman.translation.sourcemap import NOTE, Notes, Origins, noted, without_notes

# Filters and functions that mark HTML as safe: here they would leave a value unescaped.
_UNSAFE_FILTERS = ("safe", "escape", "e", "forceescape", "xmlattr", "urlize", "tojson", "striptags")
_UNSAFE_GLOBALS = ("lipsum",)
_NOTES = re.compile(f"{MARK}{NOTE}[0-9]+{MARK}")


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


@dataclass(frozen=True, slots=True)
class Traced:
    """A rendering that knows where each piece of it comes from."""

    documents: tuple[Document, ...]
    origins: tuple[Origins, ...]
    """Of each document's text."""

    read: frozenset[str]


class _Unknown(StrictUndefined):
    """Names the variable that is missing, and the one that was meant."""

    @property
    def _undefined_message(self) -> str:
        source, name = self._undefined_obj, self._undefined_name
        if isinstance(source, Fields):
            near = nearest(str(name), source._values)
            told = f"did you mean {source._name}.{near}?" if near else f"use {', '.join(source._values)}"
            return f"{source._name}.{name} is not known; {told}"
        return super()._undefined_message


_NO_FILTER = "a filter on a block would change what is escaped already; filter the value instead"


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """`a ~ b` is text to be escaped as a whole, whatever a and b are."""
        self.write("str_join((")
        for item in node.nodes:
            self.write("environment.text(")
            self.visit(item, frame)
            self.write("), ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        """A slice of what is escaped would lose its quotes; `getitem` sees all but slices."""
        if isinstance(node.arg, nodes.Slice):
            self.write("environment.text(")
            self.visit(node.node, frame)
            self.write(")[")
            self.visit(node.arg, frame)
            self.write("]")
        else:
            super().visit_Getitem(node, frame)

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        self.fail(_NO_FILTER, node.lineno)

    def visit_AssignBlock(self, node: nodes.AssignBlock, frame: Frame) -> None:  # noqa: N802  (Jinja's name)
        if node.filter is not None:
            self.fail(_NO_FILTER, node.lineno)
        super().visit_AssignBlock(node, frame)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's HTML escaping, with the literals of a document's language in the place of HTML.

    What `finalize` returns as Markup is left alone by autoescape, and so are blocks, macros and
    `super()`, which are made of such output. Nothing else may become Markup: operators, slices,
    methods and filters get plain text instead, and what they make of it is escaped again.
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset(["+", "%", "*"])

    def __init__(self, loader: BaseLoader, language: str) -> None:
        """`language` is the document's: what it includes or imports is escaped for it too."""
        super().__init__(
            loader=loader,
            autoescape=True,
            finalize=_literal,
            undefined=_Unknown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.literal = LANGUAGES[language]
        self.text = _text
        for name in _UNSAFE_FILTERS:
            del self.filters[name]
        for name in _UNSAFE_GLOBALS:
            del self.globals[name]
        self.filters = {name: _on_text(builtin) for name, builtin in self.filters.items()}
        self.filters["indent"] = _indented
        self.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
        if language == "wdl":
            self.filters["words"] = _words

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return super().call_binop(context, operator, _text(left), _text(right))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(_text(obj), argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(_text(obj), attribute)

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        if MARK in source:
            raise TemplateSyntaxError("a template cannot hold NUL", 1, name, filename)
        return super().preprocess(source, name, filename)


class _NotedEnvironment(_Environment):
    """The same templates, with notes of where each piece comes from; see origins.py."""

    def __init__(self, loader: BaseLoader, language: str, notes: Notes) -> None:
        super().__init__(loader, language)
        self.notes = notes

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        return super()._generate(noted(source, filename or name, self.notes), name, filename, defer_init)


@pass_context
def _literal(context: Context, value: object) -> object:
    if isinstance(value, Markup):
        return value
    literal = cast(_Environment, context.environment).literal(_deep_text(value))
    return Markup(f"{MARK}{literal}{MARK}")  # noqa: S704  (a literal of the document's language, not HTML)


def _text(value: object) -> object:
    """What is escaped already, as plain text to be escaped again."""
    if not isinstance(value, Markup):
        return value
    text = str(value)
    if MARK + NOTE in text:
        text = _NOTES.sub("", text)
    return text.replace(MARK + WORDS, "").replace(MARK, "")


def _deep_text(value: object) -> object:
    if isinstance(value, StrictUndefined):
        str(value)  # raises, naming the variable
    if isinstance(value, list | tuple):
        return [_deep_text(item) for item in value]
    if isinstance(value, Mapping):
        return {_text(key): _deep_text(item) for key, item in value.items()}
    return _text(value)


def _words(value: object) -> Words:
    return Words(_deep_text(value))


def _indented(text: object, width: int = 4, first: bool = False, blank: bool = False) -> object:
    """Jinja's own, which keeps what is escaped, for no other indentation than spaces."""
    return do_indent(cast(str, text), int(width), first, blank)


def _on_text(builtin: Callable[..., object]) -> Callable[..., object]:
    @wraps(builtin)
    def on_text(*args: object, **options: object) -> object:
        return _text(builtin(*map(_text, args), **{name: _text(value) for name, value in options.items()}))

    return on_text


def _language(name: str) -> str:
    """The ending before `.j2`. Raises ConfigError where there is no escaping for it."""
    language = name.removesuffix(".j2").rpartition(".")[2]
    if language not in LANGUAGES:
        known = ", ".join(f".{ending}.j2" for ending in LANGUAGES)
        raise ConfigError(f"templates/{name}: no escaping is known for this ending; use {known}")
    return language


def loader(site: Sequence[Path], shipped: Sequence[Path] = (TEMPLATES,)) -> BaseLoader:
    """Site directories first; the shipped templates also under `builtin/`, for a site to extend.

    It is the same object for the same directories: what is compiled is kept by it.
    """
    return _loader(tuple(site), tuple(shipped))


@lru_cache(maxsize=64)
def _loader(site: tuple[Path, ...], shipped: tuple[Path, ...]) -> BaseLoader:
    builtin = FileSystemLoader([str(directory) for directory in shipped])
    own = [FileSystemLoader(str(directory)) for directory in site]
    return ChoiceLoader([*own, builtin, PrefixLoader({"builtin": builtin})])


class Templates:
    """The compiled templates of one engine. Raises ConfigError naming template, line and variable."""

    def __init__(self, engine: str, search: BaseLoader, documents: Sequence[str] = ()) -> None:
        """`documents`: the names that the engine takes; none: any."""
        check_files(engine, search, documents)
        self._search = search
        self.notes = Notes()
        """Of all that was rendered by `traced`."""

        self._templates: list[tuple[str, Template]] = []
        environments: dict[str, _Environment] = {}
        for name in template_names(engine, search):
            language = _language(name)
            environment = environments.setdefault(language, _Environment(search, language))
            self._templates.append((name, compile_template(environment, name)))
        if not self._templates:
            raise ConfigError(f"templates/{engine}: no templates (*.j2) for CONTAINER_ENV={engine!r}")

    def render(self, job: Mapping[str, object], site: Mapping[str, object]) -> Rendering:
        """Pure: the same job and site give the same documents."""
        documents, variables = [], (Fields("job", job), Fields("site", site))
        for name, template in self._templates:
            with _located(name, template.filename):
                text = template.render(job=variables[0], site=variables[1])
            try:
                documents += [document for document, _ in _documents(name, placed(_language(name), text))]
            except _IN_THE_TEXT as error:
                self.traced(job, site)  # raises it with the line of the template
                raise _config_error(name, str(error), template.filename) from error
        self._check_some(documents)
        return Rendering(tuple(documents), _read(variables))

    def traced(self, job: Mapping[str, object], site: Mapping[str, object]) -> Traced:
        """The same documents, and where each piece of them comes from; slower than `render`.

        Raises ConfigError with the template's line also for what only the rendered text tells. The
        branches that were taken are added to `notes`.
        """
        found, variables = [], (Fields("job", job), Fields("site", site))
        for name, template in self._noted:
            with _located(name, template.filename):
                text = template.render(job=variables[0], site=variables[1])
            marked, starts, pieces = without_notes(text, self.notes)
            origins = Origins("", starts, pieces)
            try:
                text = placed(_language(name), marked)
                origins = Origins(text, starts, pieces)
                for document, begin in _documents(name, text):
                    found.append((document, origins.part(begin, document.text)))
            except _IN_THE_TEXT as error:
                origin = origins.suspect(error.index) if isinstance(error, UnreadableError) else None
                origin = origin or origins.at(error.index)
                raise _config_error(name, str(error), origin.file, origin.line) from error
        self._check_some(found)
        documents, places = zip(*found, strict=True)
        return Traced(documents, places, _read(variables))

    @cached_property
    def _noted(self) -> list[tuple[str, Template]]:
        environments: dict[str, _Environment] = {}
        for name, _ in self._templates:
            language = _language(name)
            environments.setdefault(language, _NotedEnvironment(self._search, language, self.notes))
        return [(name, environments[_language(name)].get_template(name)) for name, _ in self._templates]

    def _check_some(self, documents: Sequence[object]) -> None:
        if not documents:
            names = ", ".join(name for name, _ in self._templates)
            raise ConfigError(f"the templates ({names}) make no document")


def environment_for(search: BaseLoader, name: str) -> Environment:
    """In which a template is compiled. Raises ConfigError where there is no escaping for its ending."""
    return _Environment(search, _language(name))


def compile_template(environment: Environment, name: str) -> Template:
    """Raises ConfigError for what can be told of a template alone."""
    with _located(name, _path(environment, name)):
        template = environment.get_template(name)
        check_blocks(cast(BaseLoader, environment.loader), name)
    return template


def _path(environment: Environment, name: str) -> str | None:
    loader = cast(BaseLoader, environment.loader)
    try:
        return loader.get_source(environment, name)[1]
    except (TemplateNotFound, ValueError):  # not found, or not UTF-8, which is told when it is compiled
        return None


def _read(variables: Iterable[Fields]) -> frozenset[str]:
    return frozenset().union(*(fields._read for fields in variables))


def _config_error(name: str, told: str, file: str | None, line: int = 0) -> ConfigError:
    return ConfigError.of([Fault(name, told, file or f"templates/{name}", line)])


def template_names(engine: str, search: BaseLoader) -> list[str]:
    """Of the documents of an engine, in the order in which they are sent."""
    found = set()
    for name in search.list_templates():
        folder, _, file = name.partition("/")
        if folder == engine and name.endswith(".j2") and not file.startswith("_"):
            found.add(name)
    return sorted(found)


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice: YAML would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            word = str(key.value)
            if word in seen:
                raise yaml.MarkedYAMLError(problem=f"{word!r} stands twice", problem_mark=key.start_mark)
            seen.add(word)
        return super().construct_mapping(node, deep)


class UnreadableError(ValueError):
    """A document is not of its language."""

    def __init__(self, told: str, index: int) -> None:
        """`index`: of the character in the text where it went wrong."""
        super().__init__(told)
        self.index = index


class _TwiceError(ValueError):
    def __init__(self, word: str) -> None:
        super().__init__(f"{word!r} stands twice")
        self.word = word


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuses a key that stands twice: JSON would drop the first without a word."""
    found: dict[str, object] = {}
    for word, value in pairs:
        if word in found:
            raise _TwiceError(word)
        found[word] = value
    return found


_IN_THE_TEXT = (MisplacedError, UnreadableError)
"""What only the rendered text tells, and not the template's own line."""


def _documents(name: str, text: str) -> Iterator[tuple[Document, int]]:
    """The documents of a file, and where in its text each begins; YAML may hold several, or none."""
    file = name.partition("/")[2].removesuffix(".j2")
    for part, content, begin in _parsed(_language(name), text):
        yield Document(file, part, content), begin


def _parsed(language: str, text: str) -> list[tuple[str, object, int]]:
    if language == "json":
        try:
            return [(text, json.loads(text, object_pairs_hook=_once), 0)]
        except json.JSONDecodeError as error:
            before = text[: error.pos].rstrip()
            index = len(before) - 1 if before.endswith(",") and text[error.pos :][:1] in "}]" else error.pos
            raise UnreadableError(f"what it renders is no JSON: {error}", index) from error
        except _TwiceError as error:
            index = text.rindex(json.dumps(error.word, ensure_ascii=False))
            raise UnreadableError(f"what it renders is no JSON: {error}", index) from error
    if language == "yaml":
        try:
            contents = list(yaml.load_all(text, Loader=_Loader))
            parts = list(_split(text)) if len(contents) > 1 else [(text, 0)] * len(contents)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1} of the document: " if mark else ""
            problem = getattr(error, "problem", None) or "not readable"
            index = mark.index if mark else getattr(error, "position", 0)
            raise UnreadableError(f"what it renders is no YAML: {where}{problem}", index) from error
        return [
            (part, content, begin)
            for (part, begin), content in zip(parts, contents, strict=True)
            if content is not None
        ]
    if language == "wdl":
        try:
            wdl.check(text)
        except wdl.NoWdlError as error:
            index = sum(len(line) for line in text.splitlines(keepends=True)[: error.line - 1])
            raise UnreadableError(f"what it renders is no WDL: {error}", index) from error
    return [(text, None, 0)]


def _split(text: str) -> Iterator[tuple[str, int]]:
    """The text of each document, with the comments before it, and where it begins."""
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    marks = [event.end_mark for event in events if isinstance(event, yaml.DocumentEndEvent)]
    ends = [mark.index for mark in marks if mark]
    for begin, end in pairwise([0, *ends[:-1], len(text)]):
        part = text[begin:end].lstrip("\n").removeprefix("---\n")
        yield part, end - len(part)


class _located:  # noqa: N801  (reads as a statement)
    """Turns Jinja's errors into one that names the template and the line."""

    def __init__(self, name: str, file: str | None) -> None:
        """`file`: the path of the template that is called `name`."""
        self._name = name
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, TemplateSyntaxError):
            raise self._error(error, error.filename or self._file, error.lineno) from error
        if isinstance(error, FAILURES):
            raise self._error(error, *self._place(traceback)) from error

    def _place(self, traceback: Any) -> tuple[str | None, int]:
        """Jinja puts the template's own lines into the traceback; the innermost is the place."""
        file, line = self._file, 0
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if code.co_filename.endswith(".j2"):
                file, line = code.co_filename, traceback.tb_lineno
            traceback = traceback.tb_next
        return file, line

    def _error(self, error: BaseException, file: str | None, line: int) -> ConfigError:
        kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
        told = str(
            error.message if isinstance(error, UndefinedError | TemplateSyntaxError) else error
        )  # their texts name the file once more
        if isinstance(error, TemplateNotFound):
            kind, told = "", f"extends or includes {error.name!r}, which does not exist"
        if isinstance(error, RecursionError):
            kind, told = "", "it includes or calls itself without an end"
        return _config_error(self._name, f"{kind}{told}", file, line)
