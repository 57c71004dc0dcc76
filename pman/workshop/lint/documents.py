"""Try templates with samples that reach every branch: the documents, and what is not read of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cache

import yaml

from pman.errors import ConfigError
from pman.job import Document
from pman.translation.languages.marks import MisplacedError, UnreadableError
from pman.translation.render import Rendering, Templates, loader
from pman.translation.request import PROPERTIES
from pman.translation.sourcemap import Notes, SourceMap
from pman.translation.sources import place
from pman.translation.variables import unread_fields
from pman.workshop.drift import Override
from pman.workshop.lint import native, shell
from pman.workshop.lint.findings import Finding, has_errors, of_fault
from pman.workshop.samples import Sample, pairs, samples


def of_engine(templates: Templates, engine: str, kubernetes: str) -> Trial:
    """Tries every sample, and pairs of options for the branches that none of the samples reaches."""
    trial = Trial(engine, kubernetes)
    for sample in samples(engine):
        if traced := trial.render(templates, sample):
            trial.unread |= unread(sample, traced.read)
            trial.check(traced)
    for sample in () if has_errors(trial.findings) else pairs(engine, templates.words):
        if not missed(templates.notes):
            break
        branches = len(templates.notes.taken)
        traced = trial.render(templates, sample)
        if traced and len(templates.notes.taken) > branches:
            trial.check(traced)
    if not has_errors(trial.findings):
        trial.findings += [*missed(templates.notes), *unused_blocks(templates.notes)]
    return trial


def unread(sample: Sample, read: frozenset[str]) -> set[str]:
    """The fields that a sample asks for and that are not among the variables that were read."""
    job, _ = sample.variables()
    return {fault.path.removeprefix("$.") for fault in unread_fields(job, read)}


@dataclass(slots=True)
class Trial:
    """The mistakes and gaps that an engine's samples have shown."""

    engine: str
    kubernetes: str
    findings: list[Finding] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    """The fields of requests that a sample asks for and the templates do not read."""

    checked: set[tuple[str, str]] = field(default_factory=set)
    """Names and texts of documents: each is checked once, however many samples become it."""

    def render(self, templates: Templates, sample: Sample) -> Rendering | None:
        try:
            return templates.traced(*sample.variables())
        except ConfigError as error:
            self.findings += _stopped(error, sample)
            return None

    def check(self, traced: Rendering) -> None:
        for document, source_map in zip(traced.documents, traced.source_maps, strict=True):
            if (document.name, document.text) not in self.checked:
                self.checked.add((document.name, document.text))
                self.findings += _of_shell(document, source_map)
                if document.content is not None:
                    self.findings += self._of_schema(document, source_map)

    def _of_schema(self, document: Document, source_map: SourceMap) -> Iterator[Finding]:
        first = source_map.at(0).file
        try:
            mistakes = native.mistakes(self.engine, document, self.kubernetes)
        except native.Unknown as error:
            yield Finding(error.rule, f"{document.name} is not checked: {error}", first, 0, error.hint)
            return
        root = yaml.compose(document.text, Loader=yaml.CSafeLoader) if mistakes else None
        for mistake in mistakes:
            mark = place(root, mistake.path)
            origin = source_map.at(mark.index if mark else 0)
            message = f"{mistake.where}: {mistake.message}"
            yield Finding(mistake.rule, message, origin.file, origin.line, mistake.hint)


def _of_shell(document: Document, source_map: SourceMap) -> Iterator[Finding]:
    bash = shell.bash()
    for script, begin in shell.scripts(document.name, document.text):
        if not bash:
            message = f"the shell of {document.name} is not checked: there is no bash here"
            yield Finding("shell-missing", message, source_map.at(0).file, 0, "install bash")
            return
        if mistake := shell.mistake(bash, script):
            index, message = mistake
            indentation = len(script[index:]) - len(script[index:].lstrip(" \t"))
            origin = source_map.at(begin + index + indentation)
            yield Finding("shell-syntax", f"bash cannot read it: {message}", origin.file, origin.line)


def _stopped(error: ConfigError, sample: Sample) -> Iterator[Finding]:
    rule = "template-fails"
    if isinstance(error.__cause__, MisplacedError):
        rule = "misplaced-value"
    elif isinstance(error.__cause__, UnreadableError):
        rule = "unreadable-document"
    for fault in error.faults:
        yield of_fault(rule, fault)
    if not error.faults:
        yield Finding(rule, f"{error} (sample {sample.name})", "")


def missed(notes: Notes) -> list[Finding]:
    """Lists the outermost branches that were not taken, of the blocks that are rendered."""
    rendered = {place for number, place in notes.blocks.items() if number in notes.taken}
    taken = {
        (branch.file, branch.line, branch.description)
        for number, branch in enumerate(notes.branches)
        if number in notes.taken
    }
    findings = []
    for number, branch in enumerate(notes.branches):
        key = (branch.file, branch.line, branch.description)
        outside = branch.within is None or branch.within in notes.taken
        if key in taken or not outside or number in notes.blocks:
            continue
        if branch.block and (branch.file, branch.block) not in rendered:
            continue
        message = f"no sample reaches {branch.description}"
        findings.append(Finding("branch-not-reached", message, branch.file, branch.line))
    return findings


def unused_blocks(notes: Notes) -> list[Finding]:
    """Lists the blocks that nothing renders, where no other block of the name is rendered."""
    rendered = {notes.blocks[number][1] for number in notes.blocks if number in notes.taken}
    return [
        Finding("unused-block", f"nothing renders the block {name}", file, notes.branches[number].line)
        for number, (file, name) in notes.blocks.items()
        if name not in rendered
        and ((around := notes.branches[number].within) is None or around in notes.taken)
    ]


def dropped(fields: Set[str], engine: str, overrides: Sequence[Override]) -> Iterator[Finding]:
    """Reports what the shipped templates honour and a site's do not: pman refuses such a job.

    Each at the block in whose place it was read. `fields`: those that the site does not read.
    """
    lost: dict[tuple[str, str, int], list[str]] = {}
    for name in sorted(fields - _unread_by_shipped(engine)) if fields else ():
        declared = PROPERTIES[name]
        # There are requests that do not ask for it, such as one without a limit.
        can_be_left_out = "x-unset" in declared or declared.get("type") == "array"
        rule = "field-dropped" if can_be_left_out else "no-job-runs"
        lost.setdefault((rule, *_place(name, overrides)), []).append(name)
    for (rule, file, line), names in lost.items():
        refused = "every request" if rule == "no-job-runs" else "a request that asks for it"
        yield Finding(rule, f"nothing reads {', '.join(names)} any more: {refused} is refused", file, line)


@cache
def _unread_by_shipped(engine: str) -> frozenset[str]:
    shipped = Templates(engine, loader())
    return frozenset().union(
        *(unread(sample, shipped.render(*sample.variables()).read) for sample in samples(engine))
    )


def _place(field: str, overrides: Sequence[Override]) -> tuple[str, int]:
    """The site's block, or file, that stands in the place of what reads the field."""
    variable = re.compile("|".join(map(re.escape, PROPERTIES[field]["x-reaches"])))
    for override in overrides:
        if variable.search(override.shipped or "") and not variable.search(override.site):
            return str(override.path), override.line
    return "", 0
