"""Lint the shipped templates, or a site's directories over them, with every check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import BaseLoader
from yaml import YAMLError

from pman.errors import ConfigError
from pman.suggest import nearest
from pman.translation.inventory import inventory
from pman.translation.overrides import RULES, lost_folders, unread
from pman.translation.render import Templates, loader
from pman.workshop import drift
from pman.workshop.drift import Override
from pman.workshop.lint import documents, states, templates
from pman.workshop.lint.findings import Finding, distinct, has_errors, of_fault, of_mistake
from pman.workshop.lint.native import KUBERNETES
from pman.workshop.lint.states import SHIPPED
from pman.workshop.samples import samples


@dataclass(frozen=True, slots=True)
class Report:
    """The findings in the templates and rules of some engines."""

    findings: tuple[Finding, ...]
    engines: tuple[str, ...]
    samples: int
    """How many were tried, besides those for single branches."""

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)


def lint(directories: Sequence[Path] = (), *, kubernetes: str = KUBERNETES) -> Report:
    """Reads a site's directories, in the order of PMAN_TEMPLATES; without any, the shipped templates.

    Of a shipped file that a site's stands over, only errors are reported. Raises ConfigError for what is
    asked for in a wrong way: a directory that is none, a version of Kubernetes that there is none of.
    """
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such directory")
    known = _known(directories)
    folders = {folder.name for directory in directories for folder in directory.iterdir() if folder.is_dir()}
    engines = tuple(name for name in known if name in folders or not directories)
    search = loader(*directories)
    findings = [of_mistake(one) for directory in directories for one in lost_folders(directory, known)]
    for engine in engines:
        findings += _of_engine(search, engine, directories, kubernetes)
    reported = tuple(finding for finding in distinct(findings) if _concerns(finding, directories))
    return Report(reported, engines, sum(len(samples(engine)) for engine in engines))


def _concerns(finding: Finding, directories: Sequence[Path]) -> bool:
    """Says whether it is a site's to mend: shipped files are not, but their errors matter to all."""
    return (
        not directories
        or finding.level == "error"
        or finding.rule in ("schema-missing", "shell-missing")
        or any(map(Path(finding.file).is_relative_to, directories))
    )


def _known(directories: Sequence[Path]) -> list[str]:
    """Lists the shipped engines, and such as a site has rules of its own for."""
    own = [name for name in inventory.names(directories) if not nearest(name, SHIPPED)]
    return sorted([*SHIPPED, *own])


def _of_engine(
    search: BaseLoader, engine: str, directories: Sequence[Path], kubernetes: str
) -> list[Finding]:
    findings = [of_fault("unknown-file", fault) for fault in unread(engine, search)]
    has_templates = any(True for directory in directories for _ in directory.rglob("*.j2"))
    findings += _of_templates(search, engine) if has_templates else _of_shipped_templates(engine)
    renderable = not has_errors(findings)  # what cannot be compiled cannot be rendered
    overrides = _overrides(engine, directories)
    has_rules = any((directory / engine / RULES).is_file() for directory in directories)
    findings += states.of_engine(search, engine) if has_rules else _of_shipped_rules(engine)
    findings += _of_overrides(overrides)
    if not renderable:
        return findings
    try:
        compiled = Templates(engine, search)
    except ConfigError as error:
        faults = [of_fault("template-syntax", fault) for fault in error.faults]
        return findings + (faults or [Finding("template-syntax", str(error), "")])
    has_own = has_templates or engine not in SHIPPED
    trial = (
        documents.of_engine(compiled, engine, kubernetes) if has_own else _shipped_trial(engine, kubernetes)
    )
    findings += trial.findings
    if directories and engine in SHIPPED and not has_errors(findings):
        findings += documents.dropped(trial.unread, engine, overrides)
    return findings


def _of_templates(search: BaseLoader, engine: str) -> Iterator[Finding]:
    for name in search.list_templates():
        if _is_source(name, engine):
            yield from templates.of_template(search, engine, name)


@cache
def _of_shipped_templates(engine: str) -> Sequence[Finding]:
    """Checks them once, for the many sites that have rules alone."""
    return list(_of_templates(loader(), engine))


@cache
def _shipped_trial(engine: str, kubernetes: str) -> documents.Trial:
    """Tries them once, as above."""
    return documents.of_engine(Templates(engine, loader()), engine, kubernetes)


def _is_source(name: str, engine: str) -> bool:
    """Says whether it is a template of an engine; folders that begin with `_` hold parts for several."""
    folder = name.partition("/")[0]
    return name.endswith(".j2") and (folder == engine or folder.startswith("_"))


@cache
def _of_shipped_rules(engine: str) -> Sequence[Finding]:
    """Checks them once, for the many sites that have templates alone."""
    return states.of_engine(loader(), engine)


def _overrides(engine: str, directories: Sequence[Path]) -> tuple[Override, ...]:
    try:
        return drift.overrides(inventory.engines(directories, only=[engine])) if directories else ()
    except (ConfigError, YAMLError, UnicodeDecodeError):  # what cannot be read has a finding already
        return ()


def _of_overrides(overrides: Sequence[Override]) -> Iterator[Finding]:
    for override in overrides:
        what, file = f"block {override.block}" if override.block else "file", str(override.path)
        if override.drifted:
            message = f"the shipped {what} is not the one any more that this was made from"
            hint = "pman templates check shows both changes; with --accept it is told no more"
            yield Finding("override-drifted", message, file, override.line, hint)
        elif override.recorded is None:
            message = (
                f"the {what} stands in place of {override.template} and does not say from which it was made"
            )
            hint = "pman templates check --accept writes it down, so that a change underneath is seen"
            yield Finding("override-without-record", message, file, override.line, hint)
