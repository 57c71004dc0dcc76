"""Job + site -> documents: the templates of one engine, every `{{ }}` a literal of its file's language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import cast

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, Template
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError

from pman.errors import ConfigError, Fault
from pman.job import Document
from pman.resources import TEMPLATES
from pman.translation.environment import Escaping, Fields
from pman.translation.languages import LANGUAGES, placed
from pman.translation.languages.marks import (
    MARK,
    SHOWN,
    DocumentError,
    UnreadableError,
    shown,
    without_marks,
)
from pman.translation.overrides import lost, unread
from pman.translation.rules import FAILURES
from pman.translation.sourcemap import Notes, SourceMap, without_notes
from pman.translation.sources import SYNTAX
from pman.translation.taint import UNSHOWN, TaintTracking


@dataclass(frozen=True, slots=True)
class Rendering:
    documents: tuple[Document, ...]
    read: frozenset[str]
    """The variables that the templates read, e.g. `job.image`, on the way that this job took."""

    shown: tuple[Document, ...] = ()
    """The documents of `show`: the same, but for literals that hold a tainted value."""

    source_maps: tuple[SourceMap, ...] = ()
    """The source maps of `traced`, one a document: where each piece of its text comes from."""


def _language(name: str) -> str:
    """The ending before `.j2`. Raises ConfigError where there is no escaping for it."""
    language = name.removesuffix(".j2").rpartition(".")[2]
    if language not in LANGUAGES:
        endings = ", ".join(f".{ending}.j2" for ending in LANGUAGES)
        raise ConfigError(f"templates/{name}: no escaping is known for this ending; use {endings}")
    return language


@lru_cache(maxsize=64)
def loader(*site: Path, shipped: tuple[Path, ...] = (TEMPLATES,)) -> BaseLoader:
    """Site directories first; the shipped templates also under `builtin/`, for a site to extend.

    It is the same object for the same directories: what is compiled is kept by it.
    """
    builtin = FileSystemLoader([str(directory) for directory in shipped])
    own = [FileSystemLoader(str(directory)) for directory in site]
    return ChoiceLoader([*own, builtin, PrefixLoader({"builtin": builtin})])


_WORD = re.compile(r"\w+")


class _Snapshot(BaseLoader):
    """Reads each template once, so that what is compiled later is of the texts that were read at start."""

    def __init__(self, search: BaseLoader) -> None:
        self._search = search
        self._sources: dict[str, tuple[str, str | None, None]] = {}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, None]:
        if template not in self._sources:
            text, path, _ = self._search.get_source(environment, template)
            self._sources[template] = (text, path, None)
        return self._sources[template]

    def list_templates(self) -> list[str]:
        return self._search.list_templates()

    def text(self, template: str) -> str:
        """The text of a template, '' for one that is not UTF-8."""
        try:
            return self.get_source(SYNTAX, template)[0]
        except UnicodeDecodeError:
            return ""


class Templates:
    """The compiled templates of one engine. Raises ConfigError naming template, line and variable."""

    def __init__(self, engine: str, search: BaseLoader) -> None:
        for fault in unread(engine, search):
            raise ConfigError.of([fault])
        self._search = _Snapshot(search)
        self.notes = Notes()
        """They hold what all calls of `traced` came across."""

        own = (name for name in search.list_templates() if name.startswith(f"{engine}/"))
        self._names = sorted(
            name for name in own if name.endswith(".j2") and not name.startswith(f"{engine}/_")
        )
        """The templates of the engine's documents, in the order in which they are sent."""

        if not self._names:
            raise ConfigError(f"templates/{engine}: no templates (*.j2) for CONTAINER_ENV={engine!r}")
        self._templates = self._compiled(Escaping)

    def _compiled(self, kind: type[Escaping], notes: Notes | None = None) -> list[tuple[str, Template]]:
        languages = {_language(name) for name in self._names}
        environments = {language: kind(self._search, language, notes) for language in languages}
        return [(name, compile_template(environments[_language(name)], name)) for name in self._names]

    @cached_property
    def words(self) -> frozenset[str]:
        """Collects the words of the templates, of other engines' too, which these may extend."""
        names = [name for name in self._search.list_templates() if name.endswith(".j2")]
        return frozenset().union(*(_WORD.findall(self._search.text(name)) for name in names))

    @cached_property
    def _tracking(self) -> list[tuple[str, Template]]:
        return self._compiled(TaintTracking)

    @cached_property
    def _noting(self) -> list[tuple[str, Template]]:
        return self._compiled(Escaping, self.notes)

    def render(self, job: Mapping[str, object], site: Mapping[str, object]) -> Rendering:
        """Pure: the same job and site give the same documents."""
        documents, variables = [], (Fields("job", job), Fields("site", site))
        for name, template in self._templates:
            text = _rendered(name, template, variables)
            try:
                documents += [document for document, _ in _documents(name, placed(_language(name), text))]
            except DocumentError as error:
                self.traced(job, site)  # raises it with the line of the template
                raise _config_error(name, str(error), template.filename) from error
        self._check_some(documents)
        return Rendering(tuple(documents), _read(variables))

    def show(self, job: Mapping[str, object], site: Mapping[str, object]) -> Rendering:
        """Renders variables that may be tainted, which no message of an error shows; slower than `render`."""
        documents, hidden, variables = [], [], (Fields("job", job), Fields("site", site))
        for name, template in self._tracking:
            text = _rendered(name, template, variables)
            try:
                own = [document for document, _ in _documents(name, placed(_language(name), text))]
            except DocumentError as error:
                notes = Notes()
                self._traced(self._compiled(TaintTracking, notes), notes, job, site)  # raises it, as above
                raise _config_error(name, _message(name, error, text), template.filename) from None
            documents += own
            hidden += _hidden(name, own, text, template) if MARK + SHOWN in text else own
        self._check_some(documents)
        return Rendering(tuple(documents), _read(variables), shown=tuple(hidden))

    def traced(self, job: Mapping[str, object], site: Mapping[str, object]) -> Rendering:
        """Renders the same, and tells where each piece comes from; slower than `render`.

        Raises ConfigError with the template's line also for what only the rendered text tells. The
        branches that were taken are added to `notes`.
        """
        return self._traced(self._noting, self.notes, job, site)

    def _traced(
        self,
        templates: Sequence[tuple[str, Template]],
        notes: Notes,
        job: Mapping[str, object],
        site: Mapping[str, object],
    ) -> Rendering:
        pairs, variables = [], (Fields("job", job), Fields("site", site))
        for name, template in templates:
            marked, source_map = without_notes(_rendered(name, template, variables), notes)
            try:
                for document, begin in _documents(name, placed(_language(name), marked)):
                    pairs.append((document, source_map.after(begin)))
            except DocumentError as error:
                origin = source_map.suspect(error.index) if isinstance(error, UnreadableError) else None
                origin = origin or source_map.at(error.index)
                cause = type(error)(_message(name, error, marked), error.index)  # lint goes by its class
                raise _config_error(name, str(cause), origin.file, origin.line) from cause
        self._check_some(pairs)
        documents, source_maps = zip(*pairs, strict=True)
        return Rendering(documents, _read(variables), source_maps=source_maps)

    def _check_some(self, documents: Sequence[object]) -> None:
        if not documents:
            raise ConfigError(f"the templates ({', '.join(self._names)}) make no document")


def environment_for(search: BaseLoader, name: str) -> Environment:
    """In which a template is compiled. Raises ConfigError where there is no escaping for its ending."""
    return Escaping(search, _language(name))


def compile_template(environment: Environment, name: str) -> Template:
    """Raises ConfigError for what can be told of a template alone."""
    with _located(name, _path(environment, name)):
        template = environment.get_template(name)
        for mistake in lost(cast(BaseLoader, environment.loader), name):
            raise ConfigError.of([mistake.fault])
    return template


def _path(environment: Environment, name: str) -> str | None:
    loader = cast(BaseLoader, environment.loader)
    try:
        return loader.get_source(environment, name)[1]
    except (TemplateNotFound, ValueError):  # not found, or not UTF-8, which compiling it says
        return None


def _rendered(name: str, template: Template, variables: tuple[Fields, Fields]) -> str:
    """A template's text, its marks included."""
    with _located(name, template.filename):
        return template.render(job=variables[0], site=variables[1])


def _hidden(name: str, own: Sequence[Document], marked: str, template: Template) -> list[Document]:
    """The documents of a file as a dry run shows them. Raises ConfigError where that is not sure."""
    text = without_marks(shown(marked))
    if [document.content for document in own] == [None]:
        return [Document(own[0].name, text, None)]
    try:
        hidden = [document for document, _ in _documents(name, text)]
    except UnreadableError:
        hidden = []
    if len(hidden) != len(own):
        message = "a dry run cannot show what this template makes of a value of env"
        raise _config_error(name, message, template.filename)
    return hidden


def _message(name: str, error: DocumentError, marked: str) -> str:
    """Repeats what an error says, or would say of what is shown."""
    if isinstance(error, UnreadableError) and MARK + SHOWN in marked:
        try:
            list(_documents(name, without_marks(shown(marked))))
        except UnreadableError as same:
            return str(same)
        return UNSHOWN
    return str(error)


def _read(variables: Iterable[Fields]) -> frozenset[str]:
    return frozenset().union(*(fields._read for fields in variables))


def _config_error(name: str, message: str, file: str | None, line: int = 0) -> ConfigError:
    return ConfigError.of([Fault(name, message, file or f"templates/{name}", line)])


def _documents(name: str, text: str) -> Iterator[tuple[Document, int]]:
    """The documents of a file, and where in its text each begins; YAML may hold several, or none."""
    file = name.partition("/")[2].removesuffix(".j2")
    for part, content, begin in LANGUAGES[_language(name)].documents(text):
        yield Document(file, part, content), begin


@contextmanager
def _located(name: str, file: str | None) -> Iterator[None]:
    """Turns Jinja's errors into one that names the line of the template `name`, whose path is `file`."""
    try:
        yield
    except TemplateSyntaxError as error:
        raise _config_error(name, _said(error), error.filename or file, error.lineno) from error
    except FAILURES as error:
        raise _config_error(name, _said(error), *_place(error.__traceback__, file)) from error


def _place(traceback: TracebackType | None, file: str | None) -> tuple[str | None, int]:
    """Jinja puts the template's own lines into the traceback; the innermost is the place."""
    line = 0
    for frame, number in walk_tb(traceback):
        if frame.f_code.co_filename.endswith(".j2"):
            file, line = frame.f_code.co_filename, number
    return file, line


def _said(error: Exception) -> str:
    match error:
        case TemplateNotFound():
            return f"extends or includes {error.name!r}, which does not exist"
        case RecursionError():
            return "it includes or calls itself without an end"
        case UndefinedError() | TemplateSyntaxError():
            return str(error.message)  # their texts name the file once more
        case TemplateError():
            return str(error)
    return f"{type(error).__name__}: {error}"
