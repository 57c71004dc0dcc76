"""Templates by what they render: samples that reach every branch, each document against its engine's API."""

from __future__ import annotations

from collections.abc import Iterator

from pman.errors import ConfigError
from pman.job import Document
from pman.translation.languages.placement import MisplacedError
from pman.translation.render import Templates, UnreadableError
from pman.translation.sourcemap import Notes, Origins
from pman.translation.sources import composed, place
from pman.workshop.lint import native, shell
from pman.workshop.lint.findings import Finding, distinct, of_fault
from pman.workshop.samples import Sample, pairs, samples


class _Looked:
    """Documents that are checked once, however many samples become them."""

    def __init__(self, engine: str, kubernetes: str) -> None:
        self._engine = engine
        self._kubernetes = kubernetes
        self._seen: set[tuple[str, str]] = set()

    def at(self, document: Document, origins: Origins) -> Iterator[Finding]:
        if (document.name, document.text) in self._seen:
            return
        self._seen.add((document.name, document.text))
        try:
            for wrong in shell.unreadable(document.name, document.text):
                origin = origins.at(_first_character(document.text, wrong.index))
                told = f"bash cannot read it: {wrong.message}"
                yield Finding("shell-syntax", told, origin.file, origin.line)
        except shell.NotInstalled:
            told = f"the shell of {document.name} is not checked: there is no bash here"
            yield Finding("shell-missing", told, origins.at(0).file, 0, "install bash")
        if document.content is None:
            return
        try:
            checker = native.checker(self._engine, document, self._kubernetes)
        except native.NotInstalled as error:
            told, hint = f"{document.name} is not checked: {error}", "pip install kubernetes-validate"
            yield Finding("schema-missing", told, origins.at(0).file, 0, hint)
            return
        except native.Unknown as error:
            origin = origins.at(0)
            yield Finding("not-checked", f"{document.name} is not checked: {error}", origin.file, 0)
            return
        except native.NotInApi as error:
            wrongs = [error.wrong]
        else:
            wrongs = list(native.wrong(checker, document.content))
        root = composed(document.text) if wrongs else None
        for found in wrongs:
            mark = place(root, found.path)
            origin = origins.at(mark.index if mark else 0)
            message = f"{found.where}: {found.message}"
            yield Finding(found.rule, message, origin.file, origin.line, found.hint)


def _first_character(text: str, index: int) -> int:
    """Of the line, without its indentation."""
    return index + len(text[index:]) - len(text[index:].lstrip(" \t"))


def of_engine(templates: Templates, engine: str, kubernetes: str) -> Iterator[Finding]:
    """All that the documents of the samples show, and the branches that none of them reaches."""
    looked = _Looked(engine, kubernetes)
    found = [finding for sample in samples(engine) for finding in _of(templates, sample, looked)]
    if not any(finding.level == "error" for finding in found):
        for sample in pairs(engine):
            if not missed(templates.notes):
                break
            found += _of(templates, sample, looked, only_new=True)
    yield from distinct(found)
    if not any(finding.level == "error" for finding in found):
        yield from missed(templates.notes)
        yield from unused_blocks(templates.notes)


def _of(
    templates: Templates, sample: Sample, looked: _Looked, *, only_new: bool = False
) -> Iterator[Finding]:
    """`only_new`: documents are looked at only where the sample takes a branch that none has taken."""
    before = len(templates.notes.taken)
    try:
        traced = templates.traced(*sample.variables())
    except ConfigError as error:
        yield from _stopped(error, sample)
        return
    if only_new and len(templates.notes.taken) == before:
        return
    for document, origins in zip(traced.documents, traced.origins, strict=True):
        yield from looked.at(document, origins)


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
    """The outermost branches that were not taken, of the blocks that are rendered."""
    rendered = {place for number, place in notes.blocks.items() if number in notes.taken}
    taken = {
        (branch.file, branch.line, branch.told)
        for number, branch in enumerate(notes.branches)
        if number in notes.taken
    }
    found = []
    for number, branch in enumerate(notes.branches):
        key = (branch.file, branch.line, branch.told)
        outside = branch.within is None or branch.within in notes.taken
        if key in taken or not outside or number in notes.blocks:
            continue
        if branch.block and (branch.file, branch.block) not in rendered:
            continue
        found.append(
            Finding("branch-not-reached", f"no sample reaches {branch.told}", branch.file, branch.line)
        )
    return distinct(found)


def unused_blocks(notes: Notes) -> list[Finding]:
    """Those that nothing renders, and in whose place nothing of the name stands elsewhere."""
    rendered = {notes.blocks[number][1] for number in notes.blocks if number in notes.taken}
    return [
        Finding("unused-block", f"nothing renders the block {name}", file, notes.branches[number].line)
        for number, (file, name) in notes.blocks.items()
        if name not in rendered
        and ((around := notes.branches[number].within) is None or around in notes.taken)
    ]
