"""All of lint, for the shipped templates or for a site's directories over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import BaseLoader
from yaml import YAMLError

from pman.errors import ConfigError
from pman.settings import engine_schema, properties
from pman.suggest import nearest
from pman.translation.inventory import inventory
from pman.translation.overrides import unread
from pman.translation.render import Templates, loader
from pman.workshop import drift
from pman.workshop.lint import answers, documents, honoured, states, templates
from pman.workshop.lint.findings import Finding, distinct, of_fault
from pman.workshop.lint.native import KUBERNETES
from pman.workshop.lint.states import SHIPPED
from pman.workshop.samples import samples


@dataclass(frozen=True, slots=True)
class Report:
    findings: tuple[Finding, ...]
    engines: tuple[str, ...]
    """Whose templates and rules were looked at."""

    samples: int
    """How many were tried, besides those for single branches."""

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)


def lint(directories: Sequence[Path] = (), *, kubernetes: str = KUBERNETES) -> Report:
    """`directories`: a site's, in the order of PMAN_TEMPLATES; none: the shipped templates.

    Of a shipped file that a site's stands over, only errors are told. Raises ConfigError for what is
    asked for in a wrong way: a directory that is none, a version of Kubernetes that there is none of.
    """
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such directory")
    engines = _engines(directories)
    search = loader(directories)
    found = list(_of_folders(directories, engines))
    for engine in engines:
        found += _of_engine(search, engine, directories, kubernetes)
    found += _overrides(directories, engines)
    roots = [str(directory) for directory in directories]
    told = [
        finding
        for finding in distinct(found)
        if not roots
        or finding.level == "error"
        or finding.rule in ("schema-missing", "shell-missing")
        or any(map(Path(finding.file).is_relative_to, roots))
    ]
    return Report(tuple(told), engines, sum(len(samples(engine)) for engine in engines))


def _engines(directories: Sequence[Path]) -> tuple[str, ...]:
    """Those that the directories have a folder of: shipped ones, and such as have documents of their own."""
    if not directories:
        return SHIPPED
    folders = {entry for directory in directories for entry in directory.iterdir() if entry.is_dir()}
    own = {folder.name for folder in folders if (folder / "state.yaml").is_file() and not _near(folder.name)}
    return tuple(sorted({folder.name for folder in folders} & set(SHIPPED) | own))


def _near(name: str) -> str | None:
    """The engine that was meant, where it is nearly one."""
    return None if name in SHIPPED else nearest(name, SHIPPED)


def _of_folders(directories: Sequence[Path], engines: Sequence[str]) -> Iterator[Finding]:
    for directory in directories:
        folders = sorted(entry for entry in directory.iterdir() if entry.is_dir())
        for folder in folders:
            if folder.name not in engines and (near := _near(folder.name)):
                told = f"{folder.name} is no engine, so nothing reads this folder"
                yield Finding("unknown-engine", told, str(folder), 0, f"did you mean {near}?")
        if not {folder.name for folder in folders} & set(engines):
            told = "no folder of an engine in it, so nothing reads it"
            yield Finding("unknown-engine", told, str(directory), 0, f"use {', '.join(SHIPPED)}")


def _of_engine(
    search: BaseLoader, engine: str, directories: Sequence[Path], kubernetes: str
) -> list[Finding]:
    names = list(properties(engine_schema(engine, "documents")))
    found = [of_fault("unknown-file", fault) for fault in unread(engine, search, names)]
    for name in search.list_templates():
        folder = name.partition("/")[0]
        if name.endswith(".j2") and (folder == engine or folder.startswith("_")):  # `_`: parts for several
            found += templates.of_template(search, engine, name)
    unfit = any(finding.level == "error" for finding in found)
    rules = list(states.of_engine(search, engine))
    if not any(finding.level == "error" for finding in rules):
        rules += answers.of_engine(search, engine)
    found += rules
    if unfit:  # what cannot be compiled cannot be rendered
        return found
    try:
        compiled = Templates(engine, search, names)
    except ConfigError as error:
        return [*found, *(of_fault("template-syntax", fault) for fault in error.faults), *_unplaced(error)]
    trial = documents.of_engine(compiled, engine, kubernetes)
    found += trial.findings
    if directories and engine in SHIPPED and not any(finding.level == "error" for finding in found):
        found += honoured.of_engine(trial.unread, engine, directories)
    return found


def _unplaced(error: ConfigError) -> list[Finding]:
    return [] if error.faults else [Finding("template-syntax", str(error), "")]


def _overrides(directories: Sequence[Path], engines: Sequence[str]) -> Iterator[Finding]:
    if not directories:
        return
    try:
        taken = inventory.engines(directories, only=engines)
        unrecorded, changed = drift.unrecorded(taken), drift.changed(taken)
    except (ConfigError, YAMLError, UnicodeDecodeError):  # what cannot be read is told by itself
        return
    for override in changed:
        what = f"block {override.block}" if override.block else "file"
        told = f"the shipped {what} is not the one any more that this was made from"
        hint = "pman templates check shows both changes; with --accept it is told no more"
        yield Finding("override-drifted", told, str(override.path), override.line, hint)
    for override in unrecorded:
        what = f"the block {override.block} stands" if override.block else "the file stands"
        told = f"{what} in place of {override.template} and does not say from which it was made"
        hint = "pman templates check --accept writes it down, so that a change underneath is seen"
        yield Finding("override-without-record", told, str(override.path), override.line, hint)
