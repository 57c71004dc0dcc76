"""Request -> the documents it would become, or all that is wrong with it or with the templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pman.errors import BadRequest, ConfigError, Fault, PmanError
from pman.job import Document
from pman.resources import TEMPLATES
from pman.settings import Settings
from pman.translation import assumed
from pman.translation.assumed import Notes
from pman.translation.jsontext import line_of, lines
from pman.translation.translation import Translation

T = TypeVar("T")

TemplateSet = Literal["site", "builtin"] | Path
"""`site`: PMAN_TEMPLATES over the shipped ones; `builtin`: the shipped ones; a directory over these."""


@dataclass(frozen=True, slots=True)
class Preview:
    engine: str
    documents: tuple[Document, ...]
    faults: tuple[Fault, ...] = ()
    """Everything that is wrong: of the request with JSON path (`$.args[3]`) and line of its text, of the
    templates with file and line, of the settings by their names."""

    hint: str = ""
    """A sentence for the admin that helps; may be empty."""

    notes: Notes = ()
    """Sentences on what was assumed or left out."""


Compiled = tuple[Translation, Notes] | PmanError

CHANGED = "the templates have changed since pman began; it makes jobs by those that it read then: restart it"


class Previews:
    """Previews of one site: it compiles once until a file changes."""

    def __init__(self, settings: Settings, engines: Sequence[str]) -> None:
        """`engines`: those that a preview may be asked for."""
        self._settings = settings
        self._engines = engines
        self._cache: dict[Hashable, tuple[object, Any]] = {}
        self._began = self.stamp("site")

    def preview(
        self,
        body: bytes | str,
        *,
        engine: str | None = None,
        templates: TemplateSet = "site",
        facts: Mapping[str, Any] | None = None,
        unasked: str = "no engine was asked",
        show_env: bool = False,
    ) -> Preview:
        """Shows what the request becomes on an engine, the site's own if none is named.

        `facts`: what the engine says of itself (Executor.facts); none: assumed, `unasked` being why. Settings
        that another engine or template set does not take are left out, and noted; so is the site's policy,
        which is made for its own templates. Raises nothing for what a person can get wrong: it is in
        `faults`.
        """
        engine = engine or self._settings.engine
        compiled = self.translation(engine, templates)
        own = templates == "site" and engine == self._settings.engine
        changed = (CHANGED,) if own and self.stamp(templates) != self._began else ()
        if isinstance(compiled, PmanError):
            return _failed(engine, compiled, changed)
        translation, notes = compiled
        notes += changed
        if facts is None:
            facts = translation.assumed_facts()
            if translation.needs_storebase and not translation.settings["STOREBASE"]:
                notes += (f"{unasked}; assuming that the storebase is at {facts['storebase']}",)
        try:
            job = translation.parse(body)
            documents = (translation.render if show_env else translation.show)(job, facts)
        except BadRequest as error:
            return _located(_failed(engine, error, notes), body, error)
        except ConfigError as error:
            return _failed(engine, error, notes)
        return Preview(engine, documents, notes=notes)

    def translation(self, engine: str, templates: TemplateSet = "site") -> Compiled:
        """The compiled templates, or why there are none."""
        return self.cached((engine, templates), templates, partial(self._compile, engine, templates))

    def cached(self, key: Hashable, templates: TemplateSet, make: Callable[[], T]) -> T:
        """Returns what `make` makes of the templates, until a file of them changes."""
        stamp = self.stamp(templates)
        entry = self._cache.get(key)
        if entry is None or entry[0] != stamp:
            entry = self._cache[key] = (stamp, make())
        result: T = entry[1]
        return result

    def _compile(self, engine: str, templates: TemplateSet) -> Compiled:
        try:
            settings, notes = assumed.of_engine(self._settings, engine, self._engines)
            settings = _with_templates(settings, templates)
            if templates == "site" and engine == self._settings.engine:
                return Translation(settings), notes  # to the letter: what a server would refuse to start with
            translation, more = assumed.translation(settings)
        except PmanError as error:
            return error
        except (ValueError, OSError, RecursionError) as error:  # a file that is not UTF-8, or is gone by now
            return ConfigError(f"the templates of {engine} cannot be read: {error}")
        unheeded = self._settings["PMAN_POLICY"] and not settings["PMAN_POLICY"]
        policy = ("PMAN_POLICY is for the site's own templates; left out",) if unheeded else ()
        return translation, (*notes, *more, *policy)

    def stamp(self, templates: TemplateSet) -> object:
        """Differs once a file was written that the templates are made of."""
        settings = _with_templates(self._settings, templates)
        roots = [
            TEMPLATES,
            *map(Path, settings["PMAN_TEMPLATES"]),
            Path(settings["PMAN_POLICY"] or TEMPLATES),
        ]
        files = (file for root in roots for file in (root, *sorted(root.rglob("*"))))
        return [(str(file), _written(file)) for file in files]


def _with_templates(settings: Settings, templates: TemplateSet) -> Settings:
    if templates == "site":
        return settings
    directories = [] if templates == "builtin" else [str(templates)]
    changed = {"PMAN_TEMPLATES": directories, "PMAN_POLICY": None}
    return Settings({**settings.values, **changed}, settings.sources)


def _written(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _failed(engine: str, error: PmanError, notes: Notes) -> Preview:
    path = "$" if isinstance(error, BadRequest) else ""
    return Preview(engine, (), error.faults or (Fault(path, str(error)),), error.hint, notes)


def _located(failed: Preview, body: bytes | str, error: BadRequest) -> Preview:
    """With the lines of the request's text that are at fault."""
    if isinstance(error.__cause__, json.JSONDecodeError):
        return replace(failed, faults=tuple(replace(f, line=error.__cause__.lineno) for f in failed.faults))
    try:
        text = body.decode() if isinstance(body, bytes) else body
        json.loads(text)
    except (ValueError, RecursionError):
        return failed
    places = lines(text)
    return replace(failed, faults=tuple(replace(f, line=line_of(f.path, places)) for f in failed.faults))
